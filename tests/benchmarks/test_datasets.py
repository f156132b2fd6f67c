"""A folder of sets: each has its own split, is scored once, and fails alone."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from model_files import contract
from sample_series import hourly_series

from benchmarks.accuracy.contest import Settings
from benchmarks.accuracy.datasets import (
    identity,
    is_kept,
    run_sets,
    show,
    summary,
    tables,
    windows,
)
from benchmarks.accuracy.score import beside
from benchmarks.accuracy.tables import Given, cut
from kalecast.data.series import SeriesError
from kalecast.evaluation.backtest import own_forecasts
from kalecast.evaluation.baselines import naive_names


def of_length(steps: int, frequency: str, more: int = 0) -> pd.DataFrame:
    """Two series of a frequency, the second longer."""
    parts = [
        pd.DataFrame(
            {
                "unique_id": name,
                "ds": pd.date_range("2010-01-01", periods=length, freq=frequency),
                "y": np.arange(float(length)),
            }
        )
        for name, length in (("a", steps), ("b", steps + more))
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize(
    ("frequency", "steps", "horizon", "count"),
    [
        ("h", 8784, 48, 19),
        ("h", 17379, 48, 20),
        ("h", 6553, 48, 14),
        ("h", 336, 24, 1),
        ("30min", 52608, 48, 20),
        ("15min", 35040, 96, 20),
        ("D", 3149, 28, 12),
        ("B", 800, 20, 4),
        ("W-SUN", 93, 13, 1),
        ("W-SUN", 52, 8, 1),
        ("MS", 32, 12, 1),
        ("ME", 441, 12, 4),
        ("QS", 100, 8, 2),
        ("YS", 40, 6, 1),
    ],
)
def test_horizon_and_windows_go_by_frequency_and_the_shortest_series(
    frequency, steps, horizon, count
):
    given = windows(of_length(steps, frequency, more=30), frequency)
    assert (given.horizon, given.origins) == (horizon, count)


def row(mase: float, msis: float, naive: float = 1.0) -> dict:
    def of(ratio: float, wide: float) -> dict:
        return {
            "mase": ratio * naive, "wql": 0.1, "coverage_80": 0.8, "coverage_95": 0.95,
            "msis_95": wide * naive, "mase_ratio": ratio, "msis_ratio": wide, "seconds": 0.1,
        }  # fmt: skip

    return {
        "frequency": "h", "series": 2, "horizon": 24, "windows": 2, "train_seconds": 1.5,
        "contenders": {"Kalecast": of(mase, msis), "SeasonalNaiveDay": of(1.0, 1.0)},
        "sample": {"series": 1, "contenders": {"AutoTheta": of(2.0, 0.5)}},
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "sets"
    folder.mkdir()
    for at, name in enumerate(("first.csv", "second.csv.gz", "third.parquet")):
        frame = hourly_series(count=1, hours=50 + at)
        frame.to_parquet(folder / name) if "parquet" in name else frame.to_csv(folder / name)
    (folder / "README.md").write_text("no set")
    return folder


class Scorer:
    """Scores sets as requested, and says which."""

    def __init__(self, fails: str = "") -> None:
        self.fails, self.scored = fails, []

    def __call__(self, path: Path, settings: Settings) -> dict:
        self.scored.append(path.name)
        if path.name.startswith(self.fails or "no set"):
            raise SeriesError("Expected longer series, received: short ones.")
        return row(0.5, 0.25)


def test_the_tables_of_a_folder_are_its_sets(folder):
    assert list(tables(folder)) == ["first", "second", "third"]
    assert list(tables(folder, ["third"])) == ["third"]
    with pytest.raises(SeriesError, match=r"Expected tables fourth in .*first, second, third"):
        tables(folder, ["fourth"])
    (folder / "first.parquet").write_bytes(b"")
    with pytest.raises(SeriesError, match="Expected one table 'first'"):
        tables(folder)


def test_a_set_that_fails_is_a_row_and_the_others_go_on(folder, tmp_path, capsys):
    results = tmp_path / "results.json"
    rows = run_sets(tables(folder), Settings({}), results, "make", Scorer(fails="second"))
    assert rows["second"]["error"] == "Expected longer series, received: short ones."
    written = json.loads(results.read_text())
    assert (written["scored"], written["failed"], written["command"]) == (2, 1, "make")
    assert written["sets"] == rows
    show(rows)
    said = capsys.readouterr().out
    assert "second: not scored. Expected longer series" in said
    assert said.count("first") == 3  # its line, its row, and that of the slow baselines


def test_a_set_is_scored_once_for_its_content_settings_and_code(folder, tmp_path):
    found, results = tables(folder), tmp_path / "results.json"
    run_sets(found, Settings({}), results, "make", Scorer(fails="second"))
    again = Scorer()
    run_sets(found, Settings({}), results, "make", again)
    assert again.scored == ["second.csv.gz"]  # what failed is tried again
    hourly_series(count=1, hours=70).to_csv(found["first"])
    changed = Scorer()
    run_sets(found, Settings({}), results, "make", changed)
    assert changed.scored == ["first.csv"]
    other = Scorer()
    run_sets({"third": found["third"]}, Settings({"epochs": 1}), results, "make", other)
    assert other.scored == ["third.parquet"]
    assert set(json.loads(results.read_text())["sets"]) == set(found)


def test_a_row_with_slow_baselines_answers_who_asks_without_them(folder):
    path = folder / "first.csv"
    slow, quick = (identity(path, Settings({}, slow=slow)) for slow in (True, False))
    assert is_kept({**row(1, 1), **slow}, quick)
    assert not is_kept({**row(1, 1), **quick}, slow)
    assert not is_kept({**row(1, 1), **quick, "library": "0.0.1"}, quick)


def test_the_figure_over_all_sets_is_a_geometric_mean_of_ratios():
    found = summary([row(0.5, 0.25), row(2.0, 1.0, naive=7.0), {"error": "too short"}])
    assert (found["mase_ratio"], found["msis_ratio"]) == (1.0, 0.5)
    assert found["baselines"] == {"AutoTheta": {"sets": 2, "mase_ratio": 2.0, "msis_ratio": 0.5}}
    assert (found["scored"], found["failed"]) == (2, 1)


def test_neural_baselines_count_with_all_series_of_a_set(capsys):
    one = row(0.5, 0.25)
    one["contenders"]["NHITS"] = {**one["contenders"]["Kalecast"], "mase_ratio": 0.75}
    one["lacking"] = {"PatchTST": "NeuralError: no memory"}
    assert summary([one, row(2.0, 1.0)])["baselines"]["NHITS"] == {
        "sets": 1, "mase_ratio": 0.75, "msis_ratio": 0.25,
    }  # fmt: skip
    show({"one": one})
    assert "one, PatchTST: NeuralError: no memory" in capsys.readouterr().out


def test_where_a_week_is_more_than_a_series_has_the_day_stands_in():
    frame = hourly_series(count=2, hours=400)
    frame = frame[(frame["unique_id"] == "series_0") | (frame.index % 400 >= 280)]
    parts = cut(frame.reset_index(drop=True), "h", Given(horizon=24))
    quantiles = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    table = own_forecasts(lambda seen: seen[:, -24:, None] + quantiles, parts.judged, contract(), 1)
    table, seconds = beside(table, contract(), parts, naive_names(24, "h"), None)
    short = table[table["unique_id"] == "series_1"]
    assert (short["SeasonalNaiveWeek"] == short["SeasonalNaiveDay"]).all()
    assert set(seconds) == set(naive_names(24, "h"))


@pytest.mark.slow
def test_sets_are_trained_on_and_scored_beside_naive_forecasts(run, tmp_path):
    hourly_series(count=2, hours=700).to_csv(tmp_path / "hours.csv", index=False)
    (tmp_path / "broken.csv").write_text("unique_id,ds,y\na,yesterday,1\n")
    left = tmp_path / "left.json"
    requested = (tmp_path, "--epochs", "1", "--steps", "2", "--results", left)
    message = run("accuracy.datasets", *requested)
    assert (message["scored"], message["failed"]) == (1, 1)
    scored = json.loads(left.read_text())["sets"]["hours"]
    assert (scored["horizon"], scored["windows"], scored["series"]) == (48, 2, 2)
    ours, day = (scored["contenders"][name] for name in ("Kalecast", "SeasonalNaiveDay"))
    assert ours["mase_ratio"] == message["mase_ratio"] > 0
    assert min(day["mase_ratio"], scored["contenders"]["SeasonalNaiveWeek"]["mase_ratio"]) == 1
