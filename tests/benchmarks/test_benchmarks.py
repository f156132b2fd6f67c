"""Benchmarks end with one JSON object; what they measure is not asserted."""

import json
from pathlib import Path

import pandas as pd
import pytest
from sample_series import hourly_series


def test_forward_pass(run, model_file: Path):
    outcome = run("accuracy.forward_pass", model_file, "--seconds", "0.01")
    assert set(outcome["windows_per_second"]) == {"1", "8", "64", "256"}


def wide(frame: pd.DataFrame, path: Path) -> Path:
    """As the M4 competition writes its series."""
    rows = frame.groupby("unique_id")["y"].apply(lambda y: pd.Series(y.to_numpy())).unstack()
    rows.columns = [f"V{at + 2}" for at in range(rows.shape[1])]
    rows.rename_axis("V1").to_csv(path)
    return path


@pytest.fixture(scope="module")
def series() -> pd.DataFrame:
    frame = hourly_series(count=3, hours=400)
    return frame[(frame["unique_id"] != "series_2") | (frame.index % 400 < 300)]


SMALL = ("--horizon", "24", "--input-length", "168", "--epochs", "2", "--steps", "5")


@pytest.mark.slow
def test_accuracy_of_a_wide_table_and_its_test_part_is_that_of_one_long_table(
    run, series: pd.DataFrame, tmp_path: Path
):
    from_end = series.groupby("unique_id").cumcount(ascending=False)
    train = wide(series[from_end >= 24], tmp_path / "train.csv")
    test = wide(series[from_end < 24], tmp_path / "test.csv")
    series.to_csv(tmp_path / "long.csv", index=False)
    apart = run("accuracy.score", train, "--test", test, *SMALL)
    assert list(apart) == [
        *("owa", "smape", "mase", "wql", "msis95", "coverage80", "coverage95"),
        *("train_seconds", "parameters", "baselines"),
    ]
    together = run("accuracy.score", tmp_path / "long.csv", *SMALL)
    for score in ("owa", "smape", "mase", "wql", "msis95", "coverage80", "coverage95"):
        assert apart[score] == pytest.approx(together[score], rel=1e-3), score
    assert set(apart["baselines"]) == {"SeasonalNaiveDay", "SeasonalNaiveWeek"}


@pytest.mark.slow
def test_accuracy_from_several_origins_is_left_for_the_report(
    run, series: pd.DataFrame, tmp_path: Path
):
    series.to_csv(tmp_path / "long.csv", index=False)
    left = tmp_path / "accuracy.json"
    asked = ("--origins", "2", "--results", left, "--command", "make benchmark-accuracy")
    message = run("accuracy.score", tmp_path / "long.csv", *asked, *SMALL)
    results = json.loads(left.read_text())
    assert results["command"] == "make benchmark-accuracy"
    assert (results["data"], results["series"], results["origins"]) == ("long.csv", 3, 2)
    assert results["values_forecast"] == 3 * 2 * 24
    ours = results["contenders"]["Kalecast"]
    assert ours["mase"] == message["mase"]
    assert ours["beaten"] == 0
    assert set(results["contenders"]) == {"Kalecast", "SeasonalNaiveDay", "SeasonalNaiveWeek"}


@pytest.mark.slow
def test_training_memory(run):
    small = ("--series", "60", "--hours", "700", "--epochs", "1", "--steps", "5")
    assert run("accuracy.training_memory", *small)["series"] == 60
