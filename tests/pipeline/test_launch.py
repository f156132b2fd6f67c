"""`make run`: from a model file to an answering page, and back to nothing."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from model_files import contract, seasonal_naive_bytes
from ports import free_ports
from sample_series import hourly_series

from kalecast.artifact.store import state
from kalecast.launch import (
    LaunchError,
    _arguments,
    _published,
    _what_is_left,
    default_store,
    ensure_model,
)

ROOT = Path(__file__).resolve().parents[2]


START_SECONDS = 120
LAUNCH = ("-m", "kalecast.launch")

pytestmark = pytest.mark.slow


def port_options(ports: list[int]) -> list[str]:
    options = ("page", "server", "grpc", "metrics", "page-metrics")
    names = [f"--{option}-port" for option in options]
    return [item for name, port in zip(names, ports, strict=True) for item in (name, str(port))]


def launch(*options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", "-c", "trap '' INT; exec \"$@\"", "bash", sys.executable, *LAUNCH, *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def readme_blocks(page: str, language: str, ports: list[int]) -> list[str]:
    """The examples of a README, with the ports of a test in place of the default ones."""
    blocks = re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)
    defaults = zip(("7860", "9000", "9500", "6000", "7861"), map(str, ports), strict=True)
    for default, port in defaults:
        blocks = [block.replace(f"127.0.0.1:{default}", f"127.0.0.1:{port}") for block in blocks]
    return blocks


def get(url: str) -> dict | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.loads(answer.read())
    except OSError:
        return None


def is_listening(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "series.csv"
    hourly_series(count=2, hours=400).to_csv(path, index=False)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    """A store that holds a model."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "forecaster.onnx").write_bytes(seasonal_naive_bytes())
    return folder


@contextmanager
def answering(data: Path, store: Path, number: signal.Signals) -> Iterator[list[int]]:
    """The ports of a launch that answers; ended by a signal, after which nothing is left.

    Started as a shell does in its background, where it has SIGINT ignored.
    """
    ports = free_ports(5)
    process = launch("--data", str(data), "--store", str(store), *port_options(ports))
    try:
        deadline = time.monotonic() + START_SECONDS
        while get(f"http://127.0.0.1:{ports[0]}/ready") is None:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline, "the page does not answer"
            time.sleep(0.2)
        yield ports
    finally:
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)  # to its end, which children would hold open
    assert process.returncode == (-number if number == signal.SIGKILL else 0), output
    assert "Traceback" not in output
    assert not any(is_listening(port) for port in ports)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_a_model_becomes_a_page_and_the_end_of_its_starter_ends_everything(
    number: signal.Signals, data: Path, store: Path
):
    with answering(data, store, number) as ports:
        assert get(f"http://127.0.0.1:{ports[0]}/api/model") == json.loads(contract().to_json())


def test_the_readmes_examples_run_and_ctrl_c_ends_everything(data: Path, store: Path):
    with answering(data, store, signal.SIGINT) as ports:
        scripts = [
            block
            for page in ("gradio_app/README.md", "seldon/README.md", "README.md")
            for block in readme_blocks(page, "bash", ports)
            if "curl" in block
        ]
        assert len(scripts) >= 3
        for script in scripts:
            done = run(["bash", "-euo", "pipefail", "-c", script])
            assert done.returncode == 0, script + done.stderr
            assert "orecast" in done.stdout, script + done.stdout
        (client,) = readme_blocks("seldon/README.md", "python", ports)
        done = run([str(ROOT / ".venv/seldon/bin/python"), "-c", client])
        assert done.returncode == 0, done.stderr


def refused(*options: str, ports: list[int] | None = None) -> str:
    """What a launch says that serves nothing."""
    process = launch(*options, *port_options(ports or free_ports(5)))
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1, output
    return output


def test_a_used_port_is_said_before_anything_starts(data: Path, store: Path):
    ports = free_ports(5)
    with closing(socket.socket()) as holder:
        holder.bind(("127.0.0.1", ports[1]))
        holder.listen()
        output = refused("--data", str(data), "--store", str(store), ports=ports)
    assert f"{ports[1]} (model server)" in output
    assert "Serving" not in output


def test_bad_data_and_missing_ones_end_the_run_without_a_page(tmp_path: Path):
    bad = tmp_path / "bad.csv"
    assert "bad.csv: none there" in refused("--data", str(bad))
    bad.write_text("ds,y\n2026-01-01 00:00,abc\n")
    output = refused("--data", str(bad), "--store", str(tmp_path / "models"))
    assert "'abc' in row 2 of bad.csv" in output
    assert "Nothing is served" in output


@pytest.mark.parametrize(
    ("options", "is_first"), [([], True), (["--retrain"], False), (["--train-only"], False)]
)
def test_a_first_model_is_trained_for_seconds_and_a_better_one_on_request(
    options: list[str], is_first: bool, data: Path, tmp_path: Path, monkeypatch
):
    class Failed:
        def wait(self) -> int:
            return 1

    commands: list[list[str]] = []
    started = "kalecast.launch._start"
    monkeypatch.setattr(started, lambda command, _: commands.append(command) or Failed())
    monkeypatch.setattr(
        "sys.argv", ["run", "--data", str(data), "--store", str(tmp_path), *options]
    )
    with pytest.raises(LaunchError):
        ensure_model(_arguments(), [])
    assert ("epochs=2" in commands[0]) == is_first


def test_parameters_request_training_though_there_is_a_model(data: Path, store: Path):
    output = refused("--data", str(data), "--store", str(store), "--param", "nonsense=1")
    assert "nonsense" in output
    assert "serving the model" not in output
    assert f"The one before, {store}/forecaster.onnx, is as it was." in output


@pytest.mark.parametrize("parameter", ["data=x.csv", "model_store=/x", "model_name=x"])
def test_what_is_served_must_be_what_was_trained(parameter: str, data: Path, store: Path):
    output = refused("--data", str(data), "--store", str(store), "--param", parameter)
    assert f"without {parameter.partition('=')[0]}" in output


def test_a_broken_model_file_is_said(data: Path, store: Path):
    (store / "forecaster.onnx").write_bytes(b"no model")
    output = refused("--data", str(data), "--store", str(store))
    assert "Expected an ONNX model file" in output
    assert "The model server ended" in output


def test_a_failed_run_says_which_model_it_leaves(tmp_path: Path):
    uri = str(tmp_path / "forecaster.onnx")
    assert _published([f"model_store={tmp_path}", "epochs=2"]) == uri
    assert "without a model" in _what_is_left(uri, None)
    Path(uri).write_bytes(b"a model")
    assert "failed after it had published its model" in _what_is_left(uri, None)
    assert "is as it was" in _what_is_left(uri, state(uri))


def test_files_of_one_name_have_stores_of_their_own(tmp_path: Path):
    stores = set()
    for content in ("one", "two"):
        path = tmp_path / content / "data.csv"
        path.parent.mkdir()
        path.write_text(content)
        stores.add(default_store(path))
    assert len(stores) == 2
