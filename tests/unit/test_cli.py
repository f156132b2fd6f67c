"""The command `kalecast`: what its commands get of the command line."""

import pytest

from kalecast import cli


def test_a_command_gets_its_arguments_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    monkeypatch.setattr(cli, "_call", lambda command, arguments: taken.append((command, arguments)))
    arguments = ["--kfp-port", "8780", "--", "--no-browser", "--port=8888"]
    with pytest.raises(SystemExit):
        cli.main(["lab", *arguments])
    assert taken == [("lab", arguments)]


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["no-such"])
    assert end.value.code == 2
    assert "No such command 'no-such'" in capsys.readouterr().err
