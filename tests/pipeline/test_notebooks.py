"""The notebooks run from the same cells everywhere, on data of anyone's."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import nbformat
import pytest
from model_files import contract
from sample_series import hourly_series
from seldon_server import serving

from kalecast.artifact.runtime import Forecaster
from kalecast.model.network import NetworkSettings
from kalecast.model.training import TrainingSettings
from kalecast.model.tuning import SPACE

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks"
ARTICLES = ("explore_data", "query_model", "own_data")
SMALL = {
    "input_length": 168,
    "horizon": 24,
    "width": 32,
    "hour_width": 8,
    "blocks": 1,
    "epochs": 2,
    "steps_per_epoch": 10,
    "batch_size": 128,
    "test_windows": 2,
    "validation_steps": 48,
}


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )


class Executed:
    """A notebook that papermill has run, with parameters given as texts."""

    def __init__(self, name: str, target: Path, **parameters: object) -> None:
        given = [item for pair in parameters.items() for item in ("-p", pair[0], str(pair[1]))]
        source = str(FOLDER / f"{name}.ipynb")
        self.done = run("papermill", "--no-progress-bar", source, str(target), *given)
        self.cells = nbformat.read(target, as_version=4).cells

    def outputs(self) -> Iterator[nbformat.NotebookNode]:
        for cell in self.cells:
            yield from cell.get("outputs", [])

    @property
    def pictures(self) -> int:
        return sum("image/png" in output.get("data", {}) for output in self.outputs())

    def printed(self, cell_id: str) -> str:
        """What a cell printed, and how its error reads."""
        (cell,) = [cell for cell in self.cells if cell.id == cell_id]
        return "".join(
            "".join(output.get("text", "")) + output.get("evalue", "") for output in cell.outputs
        )

    def failure(self) -> tuple[str, nbformat.NotebookNode]:
        """The id of the one cell that failed, and its error."""
        assert self.done.returncode != 0
        (failed,) = [
            cell
            for cell in self.cells
            if any(output.output_type == "error" for output in cell.get("outputs", []))
        ]
        return failed.id, failed.outputs[-1]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "series.csv"
    hourly_series(count=3).to_csv(path, index=False)
    return path


def pipeline(runs: Path, **parameters: object) -> tuple[int, dict]:
    """Run the compiled pipeline; its exit code and outcome."""
    given = [f"{name}={value}" for name, value in parameters.items()]
    runner = ("kalecast.pipelines.local.run_pipeline", "--runs-dir", str(runs))
    done = run(*runner, "--param", *given)
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


##### The pipeline's #####


def test_its_parameters_are_the_defaults_that_benchmarks_train_with() -> None:
    cells = nbformat.read(FOLDER / "forecast_pipeline.ipynb", as_version=4).cells
    written: dict[str, object] = {}
    exec(next(cell.source for cell in cells if cell.cell_type == "code"), written)
    for settings in (NetworkSettings(), TrainingSettings()):
        for name, value in asdict(settings).items():
            assert written.get(name, value) == value, name
    assert {name for name in SPACE if name not in written} == set()


@pytest.mark.slow
def test_a_network_that_does_not_win_fails_the_run(data: Path, tmp_path: Path) -> None:
    store = tmp_path / "models"
    lost = {**SMALL, "gate_margin": 99.0, "epochs": 1, "steps_per_epoch": 1}
    executed = Executed(
        "forecast_pipeline", tmp_path / "out.ipynb", data=data, model_store=store, **lost
    )
    _, error = executed.failure()
    assert error.ename == "GateError"
    assert "Nothing is published" in error.evalue
    assert not store.exists()


@pytest.mark.slow
def test_the_compiled_pipeline_runs_on_a_small_slice(data: Path, tmp_path: Path) -> None:
    store = tmp_path / "models"
    code, outcome = pipeline(tmp_path / "runs", data=data, model_store=store, **SMALL)
    assert code == 0, outcome
    contract = Forecaster(outcome["model"]).contract
    assert outcome["model"] == str(store / "forecaster.onnx")
    assert outcome["scores"] == pytest.approx(dict(contract.scores), abs=1e-6)
    (run_folder,) = (tmp_path / "runs").iterdir()
    assert len(list((run_folder / "reports").glob("*.html"))) == 7
    names = ["load_data", "preprocess", "train", "evaluate", "export_model", "deploy", "query"]
    assert json.loads((run_folder / "progress.json").read_text())["step_names"] == names


@pytest.mark.slow
def test_bad_data_stop_the_pipeline_in_their_own_words(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("ds,y\n2026-01-01 00:00,abc\n")
    store = tmp_path / "models"
    code, outcome = pipeline(tmp_path / "runs", data=tmp_path / "bad.csv", model_store=store)
    assert code == 1
    assert (outcome["error"]["step"], outcome["error"]["type"]) == ("load_data", "SeriesError")
    assert "'abc' in row 2 of bad.csv" in outcome["error"]["message"]
    assert not store.exists()


##### The others #####


@pytest.mark.parametrize("name", ARTICLES)
def test_they_are_no_pipelines_and_have_parameters(name: str) -> None:
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    assert "kubeflow_notebook" not in notebook.metadata
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code[0].metadata.tags == ["parameters"]
    assert not any("tags" in cell.metadata for cell in code[1:])


@pytest.mark.slow
def test_the_data_are_explored_in_pictures(data: Path, tmp_path: Path) -> None:
    target = tmp_path / "executed.ipynb"
    executed = Executed("explore_data", target, data=data)
    assert executed.pictures == 8, executed.done.stderr[-3000:]
    assert target.stat().st_size < 5_000_000
    assert "All 3 series are shown." in executed.printed("shown")


@pytest.mark.slow
def test_a_server_answers_the_same_to_four_clients(
    data: Path, model_file: Path, tmp_path: Path
) -> None:
    with serving(model_file) as server:
        addresses = {
            "server": f"127.0.0.1:{server.ports.http}",
            "grpc_server": f"127.0.0.1:{server.ports.grpc}",
        }
        executed = Executed(
            "query_model", tmp_path / "out.ipynb", data=data, series_name="series_1", **addresses
        )
    assert executed.pictures == 1, executed.done.stderr[-3000:]
    assert "series_1: 168 values" in executed.printed("window")
    assert executed.printed("same").count("0e+00") == 4
    assert contract().version in executed.printed("contract")
    assert "received 'n/a' at position 167" in executed.printed("errors")
    assert "expected at least 48 values" in executed.printed("errors-client")


@pytest.mark.slow
def test_without_a_server_the_first_request_says_what_to_start(data: Path, tmp_path: Path) -> None:
    target = tmp_path / "executed.ipynb"
    cell, error = Executed("query_model", target, data=data, server="127.0.0.1:9").failure()
    assert cell == "metadata"
    assert "start one with 'make run'" in error.evalue
    assert len("\n".join(error.traceback).splitlines()) <= 2


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project with models of its own, so that a test leaves none behind."""
    project = tmp_path / "project"
    project.mkdir()
    for name in ("kale", "notebooks", "pyproject.toml"):
        (project / name).symlink_to(ROOT / name)
    monkeypatch.setenv("KALECAST_HOME", str(project))
    return project


@pytest.mark.slow
def test_own_data_become_a_model_that_make_run_serves(
    data: Path, project: Path, tmp_path: Path
) -> None:
    quick = " ".join(f"{name}={value}" for name, value in SMALL.items())
    target = tmp_path / "executed.ipynb"
    executed = Executed("own_data", target, data=data, model_name="mine", extra=quick)
    assert executed.pictures == 2, executed.done.stderr[-3000:]
    assert "[7/7] query" in executed.printed("run")
    assert "seasonal naive forecast" in executed.printed("result")
    (store,) = (project / "models").iterdir()
    assert store.name.startswith("series-")
    served = Forecaster(store / "forecaster.onnx").contract
    assert (served.name, served.season) == ("mine", 24)
    assert (store / "forecaster.onnx").read_bytes() == (store / "mine.onnx").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "expected", "part"),
    [
        ("ds,y\n2026-01-01 00:00,1\n2026-01-01 01:00,abc\n", "read", "'abc' in row 3 of bad.csv"),
        ("time;value\n1;2\n", "read", "Expected a column 'ds' and a column 'y' in bad.csv"),
        ("ds,y\n2026-01-01 00:00,1\n2026-01-01 01:00,2\n", "fit", "bring a longer history"),
    ],
)
def test_bad_data_are_reported_in_their_own_words_where_they_are_read(
    content: str, expected: str, part: str, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text(content)
    cell, error = Executed("own_data", tmp_path / "executed.ipynb", data=bad).failure()
    assert (cell, error.ename) == (expected, "SeriesError")
    assert part in error.evalue
    assert len("\n".join(error.traceback).splitlines()) <= 2


@pytest.mark.slow
def test_a_step_that_fails_says_why_in_the_cell(data: Path, project: Path, tmp_path: Path) -> None:
    target = tmp_path / "executed.ipynb"
    cell, error = Executed("own_data", target, data=data, extra="test_windows=500").failure()
    assert cell == "run"
    assert error.evalue.startswith("Step preprocess: SeriesError: Expected at least")
