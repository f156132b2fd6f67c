"""What the report's figures of a pipeline run are made of."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import dill
import numpy as np
import pandas as pd
import pytest
from sample_series import hourly_series

from benchmarks.accuracy import figures, pipeline_results
from benchmarks.accuracy.run_folder import FinishedRun, RunError, newest_of_sample
from kalecast.artifact.store import SAMPLE
from kalecast.evaluation.backtest import MODEL
from kalecast.project import project_path

DEFAULTS = {"data": SAMPLE, "model_store": "models", "epochs": 15}
LOG = """\
epoch   1/4  loss 0.9209  validation 0.8023, error 3.6402    26 s, at most 77 s left  best so far
epoch   2/5  loss 0.8777  validation 0.7915, error 3.6495    45 s, at most 67 s left
the time budget of 4 minutes ends training here: epoch 1 is kept
100 steps to finish, on the newest hours too
"""


def run_folder(folder: Path, status: str = "done", **parameters: Any) -> Path:
    """A run's folder with two steps, the second of which ended so."""
    (folder / "logs").mkdir(parents=True)
    (folder / "logs" / "train.log").write_text(LOG)
    names = ("train", "evaluate")
    progress = {
        "defaults": DEFAULTS,
        "parameters": parameters,
        "step_names": names,
        "started": 1000.0,
    }
    steps = [
        {"name": name, "started": 1002.5 + 10 * at, "seconds": 9.876, "status": "done"}
        for at, name in enumerate(names)
    ]
    steps[-1]["status"] = status
    (folder / "progress.json").write_text(json.dumps(progress))
    (folder / "summary.json").write_text(json.dumps({"steps": steps}))
    return folder


def test_newest_whole_run_of_the_sample_is_taken(tmp_path: Path):
    run_folder(tmp_path / "20260101-000000-aaaaaa")
    absolute = str(project_path(SAMPLE))
    run_folder(tmp_path / "20260102-000000-aaaaaa", data=absolute, model_store="elsewhere")
    run_folder(tmp_path / "20260103-000000-aaaaaa", status="failed")
    run_folder(tmp_path / "20260104-000000-aaaaaa", epochs=1)
    run_folder(tmp_path / "20260105-000000-aaaaaa", data="other.csv")
    (tmp_path / "20260106-000000-aaaaaa").mkdir()
    found = newest_of_sample(tmp_path)
    assert found is not None
    assert found.folder.name == "20260102-000000-aaaaaa"
    assert newest_of_sample(tmp_path / "nothing") is None


def test_steps_and_training_of_a_run(tmp_path: Path):
    run = FinishedRun.of(run_folder(tmp_path / "run"))
    assert run is not None
    assert run.steps[1] == {"name": "evaluate", "began": 12.5, "seconds": 9.88}
    training = run.training
    assert [row["val_error"] for row in training["epochs"]] == [3.6402, 3.6495]
    assert training["epochs"][1]["seconds"] == 45
    assert (training["kept"], training["finish_steps"]) == (1, 100)
    assert training["ended"].startswith("the time budget of 4 minutes ends training here")


def test_run_without_a_training_says_so(tmp_path: Path):
    run = FinishedRun.of(run_folder(tmp_path / "run"))
    assert run is not None
    (run.folder / "logs" / "train.log").write_text("nothing\n")
    with pytest.raises(RunError, match=r"Expected a training in .*train\.log"):
        _ = run.training
    with pytest.raises(RunError, match="Expected 'series' of step evaluate"):
        run.handed_on("evaluate", "series")


def test_rounding_keeps_digits_and_says_what_is_not_finite():
    assert figures.rounded({"a": [12345.6, 0.0012345, float("nan")]}, 3) == {
        "a": [12300.0, 0.00123, None]
    }


@pytest.fixture
def history() -> pd.DataFrame:
    """Two series that change by 1 and by 100 from a season of two to the next."""
    timestamps = pd.date_range("2026-01-01", periods=6, freq="h")
    level = np.repeat([0.0, 1.0, 2.0], 2)
    parts = [
        pd.DataFrame({"unique_id": name, "ds": timestamps, "y": scale * level})
        for name, scale in (("small", 1.0), ("large", 100.0))
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture
def table(history: pd.DataFrame) -> pd.DataFrame:
    """Two forecasts a series, two hours ahead, missed by half and by twice the difference."""
    last = history["ds"].max()
    rows = [
        {
            "unique_id": name,
            "cutoff": last + pd.Timedelta(hours=2 * origin),
            "ds": last + pd.Timedelta(hours=2 * origin + ahead),
            "y": scale * (5.0 + missed),
            MODEL: scale * 5.0,
            "SeasonalNaiveWeek": 0.0,
            **{
                f"{MODEL}-{side}-{level}": scale * (5.0 + sign * width)
                for side, sign in (("lo", -1), ("hi", 1))
                for level, width in ((80, 1.0), (95, 3.0))
            },
        }
        for name, scale in (("small", 1.0), ("large", 100.0))
        for origin, missed in enumerate((0.5, 2.0))
        for ahead in (1, 2)
    ]
    return pd.DataFrame(rows)


def test_errors_and_intervals_by_hour_are_in_seasonal_differences(
    table: pd.DataFrame, history: pd.DataFrame
):
    known = figures.scaled(table, history, season=2)
    message = figures.by_hour(known)
    assert message["ahead"] == [1, 2]
    assert message["error"][MODEL] == [1.25, 1.25]
    assert set(message["error"]) == {MODEL, "SeasonalNaiveWeek"}
    assert message["coverage"] == {"80": [0.5, 0.5], "95": [1.0, 1.0]}
    assert figures.intervals(known)[MODEL] == {
        "80": {"coverage": 0.5, "width": 2.0},
        "95": {"coverage": 1.0, "width": 6.0},
    }


def test_worst_and_typical_forecasts(table: pd.DataFrame, history: pd.DataFrame):
    known = figures.scaled(table, history, season=2)
    later = table["cutoff"].max()
    assert set(figures.worst(known)) == {("small", later), ("large", later)}
    # of two the middle one is the better one: they are ranked from the worst on
    assert figures.typical(known, ["large"]) == [("large", table["cutoff"].min())]


def test_shown_forecast_has_what_came_before_and_what_came_true(
    table: pd.DataFrame, history: pd.DataFrame
):
    table.loc[0, "y"] = np.nan
    chosen = [("small", table["cutoff"].min())]
    (one,) = figures.shown(table, history, chosen, season=2)
    assert one["before"] == history["y"].head(6).to_list()
    assert one["actual"] == [None, 5.5]
    assert one["forecast"]["hi-95"] == [8.0, 8.0]
    assert set(one["forecast"]) == {"median", "lo-80", "hi-80", "lo-95", "hi-95"}


@pytest.fixture(scope="module")
def real_run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """A run's folder as the pipeline's steps leave it, of a small network."""
    import contextlib
    import io

    from kalecast.data.windows import hold_out
    from kalecast.evaluation.backtest import backtest, score_series, summarise
    from kalecast.model.export import draft_contract, export_model
    from kalecast.model.network import NetworkSettings, predict, to_bytes
    from kalecast.model.training import TrainingSettings, train

    shape = NetworkSettings(input_length=168, horizon=24, width=16, hour_width=8, blocks=1)
    settings = TrainingSettings(
        epochs=2, steps_per_epoch=4, batch_size=32, validation_steps=48, minutes=30.0
    )
    series = hourly_series(count=3, hours=800)
    history, _ = hold_out(series, 2 * shape.horizon)
    log = io.StringIO()
    with contextlib.redirect_stdout(log):
        network, _ = train(history, shape, settings)
    contract = draft_contract("forecaster", history, shape, "h", 48)
    model_file, _ = export_model(network, contract, history)
    table = backtest(lambda windows: predict(network, windows), series, contract, 2)
    scores = summarise(score_series(table, history, shape.season))

    parameters = {**vars(shape), "test_windows": 2}
    folder = run_folder(tmp_path_factory.mktemp("runs") / "20260101-000000-aaaaaa")
    (folder / "logs" / "train.log").write_text(log.getvalue())
    summary = json.loads((folder / "summary.json").read_text())
    summary |= {"seconds": 20.0, "overhead_seconds": 1.0, "scores": scores}
    handed_on = {
        "evaluate": {"contract": contract, "network_bytes": to_bytes(network)},
        "export_model": {"model_file": model_file},
    }
    for step, named in handed_on.items():
        (folder / "marshal" / step).mkdir(parents=True)
        for name, value in named.items():
            path = folder / "marshal" / step / f"{name}_artifact.dillpkl"
            path.write_bytes(dill.dumps(value))
    for name, frame in (("series", series), ("history", history)):
        frame.to_pickle(folder / "marshal" / "evaluate" / f"{name}_artifact.pdpkl")
    progress = json.loads((folder / "progress.json").read_text())
    progress["defaults"] |= parameters
    return FinishedRun(folder, progress, summary)


@pytest.mark.slow
def test_all_figures_of_a_run(real_run: FinishedRun):
    found = pipeline_results.outcome(real_run)
    assert json.dumps(found, allow_nan=False)
    assert found["scores"][MODEL]["mase"] == pytest.approx(found["run_scores"]["mase"], rel=1e-3)
    assert found["judged_on"] == {
        "values": 3 * 48,
        "forecasts": 6,
        "first": "2026-02-01 08:00:00",
        "last": "2026-02-03 07:00:00",
    }
    assert len(found["training"]["epochs"]) == 2
    assert len(found["by_hour"]["ahead"]) == 24
    assert [row["series"] for row in found["exploration"]["series"]] == [
        "series_0", "series_1", "series_2"
    ]  # fmt: skip
    assert (
        sum(layer["parameters"] for layer in found["network"]["layers"])
        == (found["network"]["parameters"])
    )
    assert found["network"]["file_bytes"] == len(real_run.handed_on("export_model", "model_file"))
    # values that are missing cost something, and two days of history more
    whole = found["scores"][MODEL]["mase"]
    assert found["gaps"]["shortest"]["mase"] > whole * 0.9
    assert found["gaps"]["missing"]["0.3"]["mase"] != whole


@pytest.mark.slow
def test_other_scores_than_the_run_reported_are_refused(real_run: FinishedRun):
    message = {**real_run.summary["scores"], "mase": 0.1}
    other = replace(real_run, summary={**real_run.summary, "scores": message})
    with pytest.raises(RunError, match="Expected the scores that the run reported"):
        pipeline_results.outcome(other)
