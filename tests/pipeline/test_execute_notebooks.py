"""Running all notebooks: the ones of this project, and what is reported of those that fail."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from kalecast.artifact.runtime import Forecaster
from kalecast.pipelines import execute_notebooks
from kalecast.pipelines.execute_notebooks import main, read_plans
from kalecast.pipelines.local.model_server import ServerError, serving
from kalecast.pipelines.notebooks.cells import NotebookError

PROJECT = Path(__file__).resolve().parents[2]


LOADS = re.compile(r"""<(?:script|link|img|iframe)[^>]*\s(?:src|href)=["']?(?:https?:)?//""")
PICTURES = {"forecast_pipeline": 6, "explore_data": 8, "own_data": 2}
"""At least so many are shown."""


def write(path: Path, *sources: str) -> Path:
    """A notebook of these code cells; the first takes parameters."""
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    notebook.cells = [nbformat.v4.new_markdown_cell("# A notebook")]
    notebook.cells += [nbformat.v4.new_code_cell(source) for source in sources]
    notebook.cells[1].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, path)
    return path


def pictures(notebook: nbformat.NotebookNode) -> int:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def outcome(capsys: pytest.CaptureFixture[str]) -> tuple[str, dict[str, float]]:
    """What was printed, and its last line."""
    message = capsys.readouterr().out
    return message, json.loads(message.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_all_notebooks_of_the_project_run_twice_with_the_same_outputs(tmp_path, capsys):
    assert main(["--output-dir", str(tmp_path / "out")]) == 0, capsys.readouterr().out
    _, last = outcome(capsys)
    names = sorted(path.stem for path in (PROJECT / "notebooks").glob("*.ipynb"))
    assert last["notebooks"] == len(names)
    assert last["failed"] == 0
    assert sorted(last) == ["failed", "notebooks", "seconds"]
    for name in names:
        executed = nbformat.read(tmp_path / "out" / f"{name}.ipynb", as_version=4)
        assert any(cell.get("outputs") for cell in executed.cells), name
        assert pictures(executed) >= PICTURES.get(name, 1), name
        page = (tmp_path / "out" / f"{name}.html").read_text()
        assert not LOADS.search(page), f"{name}.html needs a network"
    contract = Forecaster(tmp_path / "out" / "models" / "forecaster.onnx").contract
    assert contract.horizon == 24
    assert contract.scores["mase"] < contract.scores["mase_seasonal_naive"]


@pytest.mark.slow
def test_a_cell_that_fails_and_one_that_differs_are_named(tmp_path, capsys):
    warns = "import warnings; warnings.warn('from another place each time')"
    good = write(tmp_path / "good.ipynb", "n = 1", "print(n)", warns)
    failing = write(tmp_path / "failing.ipynb", "n = 0", "print(1 / n)", "print('never')")
    changing = write(
        tmp_path / "changing.ipynb", "import time", "print('same')", "print(time.time_ns())"
    )
    paths = [str(path) for path in (good, failing, changing)]
    assert main([*paths, "--output-dir", str(tmp_path / "out")]) == 1
    message, last = outcome(capsys)
    assert last["notebooks"] == 3
    assert last["failed"] == 2
    assert "failing.ipynb: cell 3 (print(1 / n)): ZeroDivisionError: division by zero" in message
    assert "changing.ipynb: cell 4 (print(time.time_ns())): printed something else" in message
    assert "good.ipynb:" not in message
    assert (tmp_path / "out" / "failing.html").is_file()


@pytest.mark.slow
def test_a_hang_and_a_kernel_that_dies_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(execute_notebooks, "CELL_SECONDS", "4")
    hangs = write(tmp_path / "hangs.ipynb", "import time", "time.sleep(100)")
    dies = write(tmp_path / "dies.ipynb", "import os", "os._exit(1)")
    assert main([str(hangs), str(dies), "--output-dir", str(tmp_path / "out")]) == 1
    message, _ = outcome(capsys)
    assert "hangs.ipynb: cell 3 (time.sleep(100)): did not end within 4 s" in message
    assert "dies.ipynb: cell 3 (os._exit(1)): the kernel died" in message


@pytest.mark.slow
def test_an_interruption_ends_everything(tmp_path):
    marker = tmp_path / "alive"
    source = f"import time\nwhile True:\n    open({str(marker)!r}, 'w').close(); time.sleep(0.1)"
    write(tmp_path / "hangs.ipynb", "n = 1", source)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "kalecast.pipelines.execute_notebooks"),
            *(str(tmp_path / "hangs.ipynb"), "--output-dir", str(tmp_path / "out")),
        ],
        cwd=PROJECT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert eventually(marker.exists)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[1] == "stopped\n"
    assert process.returncode == 130

    def is_quiet() -> bool:
        marker.unlink(missing_ok=True)
        time.sleep(0.5)
        return not marker.exists()

    assert eventually(is_quiet)


def eventually(condition: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_a_plan_for_a_notebook_that_is_not_there_is_refused(tmp_path, monkeypatch, capsys):
    write(tmp_path / "here.ipynb", "n = 1")
    (tmp_path / "ci.yaml").write_text("gone:\n  parameters: {n: 2}\n")
    monkeypatch.setattr(execute_notebooks, "NOTEBOOKS", tmp_path)
    with pytest.raises(NotebookError, match="'gone'"):
        read_plans([tmp_path / "here.ipynb"])


def test_a_server_without_a_model_says_so(tmp_path):
    with pytest.raises(ServerError, match="none there"), serving(tmp_path / "none.onnx"):
        pass


def test_a_server_that_cannot_read_its_model_says_why(tmp_path):
    (tmp_path / "bad.onnx").write_text("hello")
    with pytest.raises(ServerError, match="ended with status 2"), serving(tmp_path / "bad.onnx"):
        pass
