"""Licences are read from packages' own metadata, and nothing is left out in silence."""

import json
from pathlib import Path

import pytest

from benchmarks import licences

PYPROJECT = """
[project.optional-dependencies]
server = ["Some.Server>=1", "plain[extra]==2"]
[dependency-groups]
test = ["tool>=3"]
uv = ["uv>=0.9"]
"""


def add(environment: Path, name: str, version: str, *metadata: str) -> None:
    folder = environment / "lib/python3.12/site-packages" / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *metadata]
    (folder / "METADATA").write_text("\n".join(lines) + "\n")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    server, workbench = tmp_path / "server", tmp_path / "workbench"
    add(server, "some_server", "1.0", "License-Expression: MIT")
    add(server, "plain", "2", "License: Business Source License 1.1")
    add(server, "brought", "5", "License: GNU GPLv3+")
    add(server, "kalecast", "0.1.0", "License-Expression: Apache-2.0")
    add(workbench, "tool", "3", "Classifier: License :: OSI Approved :: BSD License")
    return tmp_path


def run(place: Path) -> int:
    at = ["--environments", str(place), "--pyproject", str(place / "pyproject.toml")]
    return licences.main([*at, "--output", str(place)])


def test_direct_packages_are_reported_and_others_where_they_ask_for_more(place: Path) -> None:
    assert run(place) == 0
    found = json.loads((place / "licences.json").read_text())
    assert [(p["group"], p["name"], p["licence"]) for p in found["direct"]] == [
        ("server", "plain", "BUSL-1.1"),
        ("server", "some-server", "MIT"),
        ("test", "tool", "BSD"),
    ]
    assert found["brought"] == 1
    assert [p["name"] for p in found["brought_asking_more"]] == ["brought"]
    assert found["command"] == "make benchmark-licences"


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (["License: The whole text:\n        that begins here"], "not stated"),
        (["License: UNKNOWN", "Classifier: License :: OSI Approved :: MIT License"], "MIT"),
        (["Classifier: License :: OSI Approved"], "not stated"),
        (["License-Expression: MIT AND PSF-2.0", "License: Apache 2.0"], "MIT AND PSF-2.0"),
    ],
)
def test_a_licence_is_a_name_and_never_a_text(
    tmp_path: Path, metadata: list[str], message: str
) -> None:
    add(tmp_path / "one", "package", "1", *metadata)
    (package,) = licences.installed(tmp_path, "one").values()
    assert licences.licence(package) == message


def test_what_is_not_installed_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = PYPROJECT.replace('"tool>=3"', '"tool>=3", "absent>=1"')
    (place / "pyproject.toml").write_text(text + 'page = ["gradio"]\n')
    assert run(place) == 1
    assert "an environment in" in capsys.readouterr().err
    add(place / "page", "gradio", "6", "License-Expression: Apache-2.0")
    assert run(place) == 1
    assert "Expected in the environment test: absent" in capsys.readouterr().err
    assert not (place / "licences.json").exists()
