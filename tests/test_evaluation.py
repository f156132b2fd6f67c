"""Backtests look at nothing that they forecast, scores are the field's, the gate holds."""

import numpy as np
import pandas as pd
import pytest
from model_files import contract
from sample_series import hourly_series

from kalecast.evaluation import (
    BASELINES,
    MODEL,
    GateError,
    backtest,
    fill_by_season,
    gate,
    score_series,
    summarise,
)
from kalecast.series import SeriesError
from kalecast.windows import hold_out

CONTRACT = contract()
DAY, WEEK = BASELINES


def repeat_last_day(windows: np.ndarray) -> np.ndarray:
    """The seasonal naive forecast, as a network would give it."""
    return windows[:, -24:, None] + np.array([-20.0, -10.0, 0.0, 10.0, 20.0])


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return backtest(repeat_last_day, hourly_series(), CONTRACT, test_windows=5)


def test_a_network_that_repeats_yesterday_equals_that_baseline(table):
    np.testing.assert_allclose(table[MODEL], table[DAY])


def test_origins_are_a_horizon_apart_and_forecasts_follow_them(table):
    one = table[table["unique_id"] == "series_0"]
    assert len(one) == 5 * 24
    assert one["cutoff"].nunique() == 5
    ahead = one.groupby("cutoff")["ds"].min() - one["cutoff"].unique()
    assert set(ahead) == {pd.Timedelta(hours=1)}
    assert one["ds"].max() == hourly_series()["ds"].max()


def test_scores_are_those_of_their_definitions(table):
    frame = hourly_series()
    history, _ = hold_out(frame, 5 * 24)
    scores = score_series(table, history, 24).set_index(["unique_id", "metric"])
    one = table[table["unique_id"] == "series_1"]
    past = history.loc[history["unique_id"] == "series_1", "y"].to_numpy()
    error = np.abs(one["y"] - one[MODEL])
    scale = np.abs(past[24:] - past[:-24]).mean()
    smape = 200 * (error / (one["y"].abs() + one[MODEL].abs())).mean()
    inside = one["y"].between(one[f"{MODEL}-lo-80"], one[f"{MODEL}-hi-80"]).mean()
    assert scores.loc[("series_1", "mase"), MODEL] == pytest.approx(error.mean() / scale)
    assert scores.loc[("series_1", "smape"), MODEL] == pytest.approx(smape)
    assert scores.loc[("series_1", "coverage_80"), MODEL] == pytest.approx(inside)


def test_gaps_and_constant_series_leave_finite_scores():
    frame = hourly_series()
    frame.loc[frame["unique_id"] == "series_0", "y"] = 3.0
    frame.loc[frame.index % 5 == 0, "y"] = np.nan
    table = backtest(lambda w: np.nan_to_num(repeat_last_day(w)), frame, CONTRACT, 3)
    history, _ = hold_out(frame, 72)
    summary = summarise(score_series(table, history, 24))
    assert all(np.isfinite(value) for value in summary.values()), summary
    assert all(type(value) is float for value in summary.values())


def test_series_too_short_are_left_out_and_all_too_short_is_said():
    frame = hourly_series(count=2)
    short = frame["unique_id"].eq("series_1") & (frame.groupby("unique_id").cumcount() >= 100)
    table = backtest(repeat_last_day, frame[~short], CONTRACT, 5)
    assert set(table["unique_id"]) == {"series_0"}
    with pytest.raises(SeriesError, match=r"168 steps or more .* has 100"):
        backtest(repeat_last_day, hourly_series(count=1, hours=100), CONTRACT, 5)


def test_the_gate_lets_the_better_through_and_says_by_how_much():
    verdict = gate({"mase": 0.8, "mase_seasonal_naive": 1.0})
    assert "20.0 % better" in verdict


@pytest.mark.parametrize(
    ("mase", "naive", "margin", "part"),
    [
        (1.2, 1.0, 0.0, "20.0 % worse than"),
        (1.0, 1.0, 0.0, "0.0 % worse than"),
        (0.95, 1.0, 10.0, "5.0 % better than"),
        (float("nan"), 1.0, 0.0, "not comparable"),
        (0.0, 0.0, 0.0, "not comparable"),
    ],
)
def test_the_gate_stops_what_is_not_better(mase: float, naive: float, margin: float, part: str):
    with pytest.raises(GateError, match=part):
        gate({"mase": mase, "mase_seasonal_naive": naive}, margin)


def test_baselines_see_gaps_filled_from_the_same_hour_before():
    frame = hourly_series(count=1, hours=72)
    frame.loc[[0, 30, 54], "y"] = np.nan
    filled = fill_by_season(frame, 24)["y"]
    assert filled[30] == frame["y"][6]
    assert filled[54] == frame["y"][6]
    assert filled[0] == frame["y"][1]
