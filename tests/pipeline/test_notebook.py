"""The pipeline's notebook: an article that runs from the same cells everywhere."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from sample_series import hourly_series

from kalecast.artifact.runtime import Forecaster
from kalecast.model.network import NetworkSettings
from kalecast.model.training import TrainingSettings
from kalecast.model.tuning import SPACE

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "forecast_pipeline.ipynb"
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


@pytest.fixture(scope="module")
def cells() -> list:
    return nbformat.read(NOTEBOOK, as_version=4).cells


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Parameters of a run of seconds on data of its own."""
    folder = tmp_path_factory.mktemp("notebook")
    hourly_series(count=3).to_csv(folder / "series.csv", index=False)
    return {**SMALL, "data": str(folder / "series.csv"), "model_store": str(folder / "models")}


def environment() -> dict[str, str]:
    """The test's own, with the workbench's tools first on the PATH."""
    tools = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False
    )


def papermill(target: Path, parameters: dict, *options: str, cwd: Path = ROOT):
    given = [item for name, value in parameters.items() for item in ("-p", name, str(value))]
    return run("papermill", str(NOTEBOOK), str(target), *options, *given, cwd=cwd)


def test_it_reads_as_an_article(cells: list):
    assert cells[0].source.startswith("# ")
    for before, cell in pairwise(cells):
        if cell.cell_type == "code":
            assert before.cell_type == "markdown", f"no prose before: {cell.source[:60]}"


def test_its_parameters_are_the_defaults_that_benchmarks_train_with(cells: list):
    written: dict[str, object] = {}
    exec(next(cell.source for cell in cells if cell.cell_type == "code"), written)
    for settings in (NetworkSettings(), TrainingSettings()):
        for name, value in asdict(settings).items():
            assert written.get(name, value) == value, name
    assert {name for name in SPACE if name not in written} == set()


def test_it_has_the_steps_in_order(cells: list):
    tags = [tag for cell in cells for tag in cell.metadata.get("tags", [])]
    steps = [tag.removeprefix("step:") for tag in tags if tag.startswith("step:")]
    assert list(dict.fromkeys(steps)) == [
        "load_data",
        "preprocess",
        "train",
        "evaluate",
        "export_model",
        "deploy",
        "query",
    ]


def test_it_names_no_path_of_a_machine_and_installs_nothing():
    text = NOTEBOOK.read_text()
    for unwanted in ("/home/", "/Users/", "/root/", "pip install", "http://", "https://"):
        assert unwanted not in text


@pytest.mark.slow
def test_papermill_runs_it_from_the_projects_folder(small: dict, tmp_path: Path):
    """As `make notebooks` does from its own."""
    target = tmp_path / "executed.ipynb"
    store = tmp_path / "models"
    done = papermill(target, {**small, "model_store": store})
    assert done.returncode == 0, done.stderr[-3000:]
    executed = nbformat.read(target, as_version=4)
    pictures = [
        output
        for cell in executed.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) >= 6
    contract = Forecaster(store / "forecaster.onnx").contract
    assert contract.horizon == 24
    assert contract.scores["mase"] < contract.scores["mase_seasonal_naive"]


@pytest.mark.slow
def test_a_network_that_does_not_win_fails_the_run(small: dict, tmp_path: Path):
    store = tmp_path / "models"
    lost = {"gate_margin": 99.0, "epochs": 1, "steps_per_epoch": 1}
    done = papermill(tmp_path / "out.ipynb", {**small, **lost, "model_store": store})
    assert done.returncode != 0
    assert "GateError" in done.stderr
    assert "Nothing is published" in done.stderr
    assert not store.exists()


@pytest.mark.slow
def test_the_compiled_pipeline_runs_on_a_small_slice(small: dict, tmp_path: Path):
    store = tmp_path / "models"
    given = [f"{name}={value}" for name, value in {**small, "model_store": store}.items()]
    done = run(
        *(
            sys.executable,
            *("-m", "kalecast.pipelines.local.run_pipeline"),
            "--runs-dir",
            str(tmp_path / "runs"),
        ),
        *("--param", *given),
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    outcome = json.loads(done.stdout.splitlines()[-1])
    contract = Forecaster(outcome["model"]).contract
    assert outcome["model"] == str(store / "forecaster.onnx")
    assert outcome["scores"] == pytest.approx(dict(contract.scores), abs=1e-6)
    (run_folder,) = (tmp_path / "runs").iterdir()
    assert len(list((run_folder / "reports").glob("*.html"))) == 7


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("ds,y\n2026-01-01 00:00,abc\n", "'abc' in row 2 of bad.csv"),
        ("", "bad.csv is empty"),
        ("ds,y\n2026-01-01 00:00,1\n2026-01-01 00:15,2\n", "15 minutes later"),
    ],
)
def test_bad_data_stop_the_pipeline_in_their_own_words(
    content: str, part: str, small: dict, tmp_path: Path
):
    bad = tmp_path / "bad.csv"
    bad.write_text(content)
    done = run(
        *(
            sys.executable,
            *("-m", "kalecast.pipelines.local.run_pipeline"),
            "--runs-dir",
            str(tmp_path / "runs"),
        ),
        *("--param", f"data={bad}", f"model_store={tmp_path / 'models'}"),
    )
    assert done.returncode == 1
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert outcome["error"]["step"] == "load_data"
    assert outcome["error"]["type"] == "SeriesError"
    assert part in outcome["error"]["message"]
    assert not (tmp_path / "models").exists()
