"""Tables of every form are read, and what is held out is neither learnt from nor mixed up."""

import gzip
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
from sample_series import hourly_series

from benchmarks.accuracy.tables import Given, cut, read_table, split
from kalecast.data.series import SeriesError, notes

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def series() -> pd.DataFrame:
    return hourly_series(count=3, hours=400)


def daily_series(days: int = 200) -> pd.DataFrame:
    frame = hourly_series(count=2, hours=days)
    step = frame.groupby("unique_id").cumcount()
    return frame.assign(ds=pd.Timestamp("2025-01-01") + step * pd.Timedelta("1D"))


def written(frame: pd.DataFrame, folder: Path, name: str) -> Path:
    path = folder / name
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        text = frame.to_csv(index=False).encode()
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_tables_are_long_or_wide_in_each_kind_of_file(suffix, series, tmp_path):
    long = written(series, tmp_path, f"long{suffix}")
    rows = series.assign(step=series.groupby("unique_id").cumcount())
    rows = rows.pivot(index="unique_id", columns="step", values="y").reset_index()
    wide = written(rows.rename(columns=str), tmp_path, f"wide{suffix}")
    from_long, frequency = read_table(long)
    from_wide, hours = read_table(wide)
    assert (frequency, hours) == ("h", "h")
    pd.testing.assert_frame_equal(from_long[["unique_id", "y"]], from_wide[["unique_id", "y"]])


def test_covariates_are_ignored_and_named(series, tmp_path):
    table, _ = read_table(written(series.assign(temperature=1.0), tmp_path, "with.csv"))
    assert any("temperature" in note for note in notes(table))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SeriesError, match=r"Expected a data file at .*none\.csv"):
        read_table(tmp_path / "none.csv")


def test_hours_have_the_notebooks_defaults(series):
    parts = cut(series, "h", Given(horizon=24, origins=2))
    notebook = json.loads((ROOT / "notebooks" / "forecast_pipeline.ipynb").read_text())
    defaults: dict[str, object] = {}
    exec("".join(notebook["cells"][_parameters(notebook)]["source"]), defaults)
    ours = {**asdict(parts.shape), **asdict(parts.training)}
    same = set(ours) & set(defaults) - {"horizon"}
    assert {name: ours[name] for name in same} == {name: defaults[name] for name in same}
    assert len(same) > 12
    assert (parts.shape.horizon, parts.held_out) == (24, 48)


def _parameters(notebook) -> int:
    tags = [cell["metadata"].get("tags", []) for cell in notebook["cells"]]
    return next(at for at, of_cell in enumerate(tags) if "pipeline-parameters" in of_cell)


def test_other_frequencies_have_what_suits_what_is_left_to_learn_from():
    whole = daily_series()
    parts = cut(whole, "D", Given(horizon=28, origins=2))
    assert (parts.shape.season, parts.shape.horizon) == (7, 28)
    assert parts.shape.input_length % 7 == 0
    assert parts.training.validation_steps >= 28
    assert len(parts.history) == len(whole) - 2 * 2 * 28
    shorter = cut(whole, "D", Given(horizon=28, origins=4))
    assert shorter.shape.input_length <= parts.shape.input_length
    other = cut(whole, "D", Given(horizon=28, season=14)).shape
    assert (other.season, other.input_length % 14) == (14, 0)


def test_series_without_a_season_before_the_held_out_steps_are_learnt_from_alone(series):
    short = series[(series["unique_id"] != "series_1") | (series.index % 400 >= 400 - 60)]
    parts = cut(short.reset_index(drop=True), "h", Given(horizon=48))
    assert parts.left_out == ("series_1",)
    assert set(parts.history["unique_id"]) == {"series_0", "series_1", "series_2"}
    with pytest.raises(SeriesError, match="Expected a series with more than a season"):
        cut(short[short["unique_id"] == "series_1"], "h", Given(horizon=48))
    with pytest.raises(SeriesError, match="Expected a series of more than 400 steps"):
        cut(series, "h", Given(horizon=40, origins=10))


def test_a_test_part_bears_as_many_origins_as_it_has_horizons(series, tmp_path):
    from_end = series.groupby("unique_id").cumcount(ascending=False)
    train = written(series[from_end >= 48], tmp_path, "train.csv")
    later = series[(from_end < 48) & (series["unique_id"] != "series_2")]
    test = written(later, tmp_path, "test.csv")
    parts = split(train, test, Given(horizon=24))
    assert (parts.origins, parts.shape.horizon, parts.left_out) == (2, 24, ("series_2",))
    assert len(parts.history) == 3 * 352 and len(parts.judged) == 2 * 400
    assert split(train, test, Given(origins=4)).shape.horizon == 12
    assert split(train, test).shape.horizon == 48
    with pytest.raises(SeriesError, match="Expected a test part of 72 steps"):
        split(train, test, Given(horizon=24, origins=3))
    with pytest.raises(SeriesError, match="Expected a test part that follows TRAIN"):
        split(train, train, Given(horizon=24))


def test_covariates_that_are_known_ahead_are_refused(series, tmp_path):
    table = written(series, tmp_path, "long.csv")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.accuracy.score", table, "--known", "temperature"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "this version has none, received: 'temperature'" in done.stderr
