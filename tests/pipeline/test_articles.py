"""The notebooks beside the pipeline's: articles that run on data of anyone's."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from model_files import contract
from sample_series import hourly_series
from seldon_server import serving

from kalecast.artifact.runtime import Forecaster

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks"
ARTICLES = ("explore_data", "query_model", "own_data")
QUICK = (
    "epochs=2 steps_per_epoch=10 batch_size=128 width=32 hour_width=8 blocks=1 input_length=168 "
    "horizon=24 test_windows=2 validation_steps=48"
)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def papermill(name: str, target: Path, **parameters: object) -> subprocess.CompletedProcess[str]:
    given = [item for pair in parameters.items() for item in ("-r", pair[0], str(pair[1]))]
    return subprocess.run(
        [
            *(sys.executable, "-m", "papermill", "--no-progress-bar"),
            *(str(FOLDER / f"{name}.ipynb"), str(target), *given),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def printed(notebook: nbformat.NotebookNode, cell_id: str) -> str:
    """What a cell printed, and how its error reads."""
    (cell,) = [cell for cell in notebook.cells if cell.id == cell_id]
    return "".join(
        "".join(output.get("text", "")) + output.get("evalue", "") for output in cell.outputs
    )


def failed_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [
        cell
        for cell in notebook.cells
        if any(output.output_type == "error" for output in cell.get("outputs", []))
    ]


def pictures(notebook: nbformat.NotebookNode) -> int:
    return sum(
        "image/png" in output.get("data", {})
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "series.csv"
    hourly_series(count=3).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("name", ARTICLES)
def test_they_are_valid_and_committed_without_outputs(name: str):
    notebook = read(FOLDER / f"{name}.ipynb")
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.parametrize("name", ARTICLES)
def test_they_read_as_articles(name: str):
    cells = read(FOLDER / f"{name}.ipynb").cells
    assert cells[0].source.startswith("# ")
    for before, cell in pairwise(cells):
        if cell.cell_type == "code":
            assert before.cell_type == "markdown", f"no prose before: {cell.source[:60]}"
            assert len(cell.source.splitlines()) <= 20, f"a long cell: {cell.source[:60]}"


@pytest.mark.parametrize("name", ARTICLES)
def test_they_are_no_pipelines_and_have_parameters(name: str):
    notebook = read(FOLDER / f"{name}.ipynb")
    assert "kubeflow_notebook" not in notebook.metadata
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code[0].metadata.tags == ["parameters"]
    assert not any("tags" in cell.metadata for cell in code[1:])


@pytest.mark.parametrize("name", ARTICLES)
def test_they_name_no_path_of_a_machine_and_load_nothing(name: str):
    text = (FOLDER / f"{name}.ipynb").read_text().replace("http://{server}", "")
    for unwanted in ("/home/", "/Users/", "/root/", "/tmp/", "pip install", "http://", "https://"):
        assert unwanted not in text


def test_the_folders_page_names_every_notebook():
    page = (FOLDER / "README.md").read_text()
    assert all(f"({path.name})" in page for path in FOLDER.glob("*.ipynb"))


@pytest.mark.slow
def test_the_data_are_explored_in_pictures(data: Path, tmp_path: Path):
    target = tmp_path / "executed.ipynb"
    done = papermill("explore_data", target, data=data)
    assert done.returncode == 0, done.stderr[-3000:]
    executed = read(target)
    assert pictures(executed) == 8
    assert target.stat().st_size < 5_000_000
    assert "All 3 series are shown." in printed(executed, "shown")


@pytest.mark.slow
def test_a_server_answers_the_same_to_four_clients(data: Path, model_file: Path, tmp_path: Path):
    target = tmp_path / "executed.ipynb"
    with serving(model_file) as server:
        addresses = {
            "server": f"127.0.0.1:{server.ports.http}",
            "grpc_server": f"127.0.0.1:{server.ports.grpc}",
        }
        done = papermill("query_model", target, data=data, series_name="series_1", **addresses)
    assert done.returncode == 0, done.stderr[-3000:]
    executed = read(target)
    assert pictures(executed) == 1
    assert "series_1: 168 values" in printed(executed, "window")
    assert printed(executed, "same").count("0e+00") == 4
    assert contract().version in printed(executed, "contract")
    assert "received 'n/a' at position 167" in printed(executed, "errors")
    assert "expected at least 48 values" in printed(executed, "errors-client")


@pytest.mark.slow
def test_without_a_server_the_first_request_says_what_to_start(data: Path, tmp_path: Path):
    target = tmp_path / "executed.ipynb"
    done = papermill("query_model", target, data=data, server="127.0.0.1:9")
    assert done.returncode != 0
    (failed,) = failed_cells(read(target))
    assert failed.id == "metadata"
    error = failed.outputs[-1]
    assert "start one with 'make run'" in error.evalue
    assert len("\n".join(error.traceback).splitlines()) <= 2


@pytest.mark.slow
def test_own_data_become_a_model_that_make_run_serves(data: Path, tmp_path: Path, monkeypatch):
    project = stand_in_project(tmp_path)
    monkeypatch.setenv("KALECAST_HOME", str(project))
    target = tmp_path / "executed.ipynb"
    done = papermill("own_data", target, data=data, model_name="mine", extra=QUICK)
    assert done.returncode == 0, done.stderr[-3000:]
    executed = read(target)
    assert pictures(executed) == 2
    assert "[7/7] query" in printed(executed, "run")
    assert "seasonal naive forecast" in printed(executed, "result")
    (store,) = (project / "models").iterdir()
    assert store.name.startswith("series-")
    served = Forecaster(store / "forecaster.onnx").contract
    assert (served.name, served.season) == ("mine", 24)
    assert (store / "forecaster.onnx").read_bytes() == (store / "mine.onnx").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "cell", "part"),
    [
        ("ds,y\n2026-01-01 00:00,1\n2026-01-01 01:00,abc\n", "read", "'abc' in row 3 of bad.csv"),
        ("time;value\n1;2\n", "read", "Expected a column 'ds' and a column 'y' in bad.csv"),
        ("ds,y\n2026-01-01 00:00,1\n2026-01-01 01:00,2\n", "fit", "bring a longer history"),
    ],
)
def test_bad_data_are_reported_in_their_own_words_where_they_are_read(
    content: str, cell: str, part: str, tmp_path: Path
):
    bad = tmp_path / "bad.csv"
    bad.write_text(content)
    done = papermill("own_data", tmp_path / "executed.ipynb", data=bad)
    assert done.returncode != 0
    (failed,) = failed_cells(read(tmp_path / "executed.ipynb"))
    assert failed.id == cell
    error = failed.outputs[-1]
    assert error.ename == "SeriesError"
    assert part in error.evalue
    assert len("\n".join(error.traceback).splitlines()) <= 2


@pytest.mark.slow
def test_a_step_that_fails_says_why_in_the_cell(data: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("KALECAST_HOME", str(stand_in_project(tmp_path)))
    target = tmp_path / "executed.ipynb"
    done = papermill("own_data", target, data=data, extra="test_windows=500")
    assert done.returncode != 0
    (failed,) = failed_cells(read(target))
    assert failed.id == "run"
    assert failed.outputs[-1].evalue.startswith("Step preprocess: SeriesError: Expected at least")


def stand_in_project(folder: Path) -> Path:
    """The project with models of its own, so that a test leaves none behind."""
    project = folder / "project"
    project.mkdir()
    for name in ("kale", "notebooks", "pyproject.toml"):
        (project / name).symlink_to(ROOT / name)
    return project
