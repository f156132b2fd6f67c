"""Backtests look at nothing that they forecast, scores are the field's, the gate holds."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from model_files import contract
from sample_series import hourly_series

from kalecast.baselines import NAIVE, available_cores, fill_by_season
from kalecast.card import model_card
from kalecast.evaluation import (
    MODEL,
    GateError,
    backtest,
    calibration,
    gate,
    mean_scores,
    models_of,
    score_series,
    summarise,
)
from kalecast.series import SeriesError
from kalecast.windows import hold_out

CONTRACT = contract()
DAY, WEEK = NAIVE


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


def test_every_forecast_is_scored_and_bands_where_there_are_some(table):
    history, _ = hold_out(hourly_series(), 5 * 24)
    assert models_of(table) == [MODEL, DAY, WEEK]
    means = mean_scores(score_series(table, history, 24))
    assert list(means.index) == [MODEL, DAY, WEEK]
    assert set(means.columns) == {"mase", "smape", "coverage_80", "coverage_95", "msis_95"}
    assert np.isfinite(means.to_numpy()).all()


def test_the_interval_score_is_that_of_its_definition(table):
    history, _ = hold_out(hourly_series(), 5 * 24)
    scores = score_series(table, history, 24).set_index(["unique_id", "metric"])
    one = table[table["unique_id"] == "series_1"]
    past = history.loc[history["unique_id"] == "series_1", "y"].to_numpy()
    low, high = one[f"{MODEL}-lo-95"], one[f"{MODEL}-hi-95"]
    missed = (low - one["y"]).clip(lower=0) + (one["y"] - high).clip(lower=0)
    expected = ((high - low) + 2 / 0.05 * missed).mean() / np.abs(past[24:] - past[:-24]).mean()
    assert scores.loc[("series_1", "msis_95"), MODEL] == pytest.approx(expected)


def test_calibration_gives_the_share_below_each_quantile():
    y = np.arange(100.0)
    bounds = {"-lo-95": 2.5, "-lo-80": 10, "": 50, "-hi-80": 90, "-hi-95": 97.5}
    table = pd.DataFrame({"y": y, **{f"{MODEL}{name}": at for name, at in bounds.items()}})
    shares = calibration(table)
    assert list(shares.index) == [0.025, 0.1, 0.5, 0.9, 0.975]
    np.testing.assert_allclose(shares, [0.03, 0.105, 0.505, 0.905, 0.98])


def test_classical_forecasts_stand_beside_on_the_same_hours():
    frame = hourly_series(count=2, hours=600)
    table = backtest(repeat_last_day, frame, CONTRACT, 2, classical=["MSTL-AutoETS"])
    assert models_of(table) == [MODEL, DAY, WEEK, "MSTL-AutoETS"]
    assert not table.isna().any().any()


def test_the_card_says_what_the_model_is_and_where_it_fails(table):
    history, _ = hold_out(hourly_series(), 5 * 24)
    scores = score_series(table, history, 24)
    card = model_card(CONTRACT, table, scores)
    worst = scores[scores["metric"] == "mase"].nlargest(1, MODEL)["unique_id"].iloc[0]
    for part in (
        CONTRACT.version,
        "next 24 steps",
        "4 series, 5 cutoffs",
        f"Worst by MASE: `{worst}`",
    ):
        assert part in card
    assert replace(CONTRACT, card=card) == CONTRACT.from_json(
        replace(CONTRACT, card=card).to_json()
    )


@pytest.mark.parametrize(
    ("limit", "most"), [("max 100000", None), ("150000 100000", 2), ("50000 100000", 1), ("", None)]
)
def test_baselines_use_no_more_cores_than_the_container_has(limit, most, tmp_path):
    (tmp_path / "cpu.max").write_text(limit)
    all_of_them = available_cores(tmp_path / "no-such-file")
    assert available_cores(tmp_path / "cpu.max") == min(most or all_of_them, all_of_them)
