"""Backtests look at nothing that they forecast, scores are the field's, the gate holds."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from model_files import contract
from sample_series import hourly_series

from kalecast.data.series import SeriesError, notes
from kalecast.data.usable import outliers
from kalecast.data.windows import fill_by_season, hold_out
from kalecast.evaluation.backtest import (
    MODEL,
    GateError,
    backtest,
    calibration,
    gate,
    mean_scores,
    models_of,
    pooled_scores,
    score_series,
    summarise,
)
from kalecast.evaluation.baselines import available_cores, naive_names
from kalecast.evaluation.card import model_card

CONTRACT = contract()
DAY, WEEK = naive_names(24, "h")


def repeat_last_day(windows: np.ndarray) -> np.ndarray:
    """The seasonal naive forecast, as a network would give it."""
    return windows[:, -24:, None] + np.array([-20.0, -10.0, 0.0, 10.0, 20.0])


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return backtest(repeat_last_day, hourly_series(), CONTRACT, test_windows=5)


@pytest.fixture(scope="module")
def scores(table: pd.DataFrame) -> pd.DataFrame:
    return scored(table, hourly_series(), 5 * 24)


def scored(table: pd.DataFrame, frame: pd.DataFrame, held_out: int, season: int = 24):
    return score_series(table, hold_out(frame, held_out)[0], season)


def test_a_network_that_repeats_yesterday_equals_that_baseline(table):
    np.testing.assert_allclose(table[MODEL], table[DAY])


def test_origins_are_a_horizon_apart_and_forecasts_follow_them(table):
    one = table[table["unique_id"] == "series_0"]
    assert len(one) == 5 * 24
    assert one["cutoff"].nunique() == 5
    ahead = one.groupby("cutoff")["ds"].min() - one["cutoff"].unique()
    assert set(ahead) == {pd.Timedelta(hours=1)}
    assert one["ds"].max() == hourly_series()["ds"].max()


def test_scores_are_those_of_their_definitions(table, scores):
    history, _ = hold_out(hourly_series(), 5 * 24)
    found = scores.set_index(["unique_id", "metric"])[MODEL]["series_1"]
    one = table[table["unique_id"] == "series_1"]
    past = history.loc[history["unique_id"] == "series_1", "y"].to_numpy()
    error = np.abs(one["y"] - one[MODEL])
    scale = np.abs(past[24:] - past[:-24]).mean()
    smape = 200 * (error / (one["y"].abs() + one[MODEL].abs())).mean()
    inside = one["y"].between(one[f"{MODEL}-lo-80"], one[f"{MODEL}-hi-80"]).mean()
    low, high = one[f"{MODEL}-lo-95"], one[f"{MODEL}-hi-95"]
    missed = (low - one["y"]).clip(lower=0) + (one["y"] - high).clip(lower=0)
    assert found["mase"] == pytest.approx(error.mean() / scale)
    assert found["smape"] == pytest.approx(smape)
    assert found["coverage_80"] == pytest.approx(inside)
    assert found["msis_95"] == pytest.approx(((high - low) + 2 / 0.05 * missed).mean() / scale)


def test_gaps_and_constant_series_leave_finite_scores():
    frame = hourly_series()
    frame.loc[frame["unique_id"] == "series_0", "y"] = 3.0
    frame.loc[frame.index % 5 == 0, "y"] = np.nan
    table = backtest(lambda w: np.nan_to_num(repeat_last_day(w)), frame, CONTRACT, 3)
    summary = summarise(scored(table, frame, 72))
    assert all(np.isfinite(value) for value in summary.values()), summary
    assert all(type(value) is float for value in summary.values())


def test_series_too_short_are_left_out_and_all_too_short_is_said():
    frame = hourly_series(count=2)
    short = frame["unique_id"].eq("series_1") & (frame.groupby("unique_id").cumcount() >= 100)
    table = backtest(repeat_last_day, frame[~short], CONTRACT, 5)
    assert set(table["unique_id"]) == {"series_0"}
    with pytest.raises(SeriesError, match=r"168 steps or more .* has 100"):
        backtest(repeat_last_day, hourly_series(count=1, hours=100), CONTRACT, 5)


@pytest.mark.parametrize(
    ("mase", "naive", "margin", "part"),
    [
        (1.2, 1.0, 0.0, "20.0 % worse than"),
        (1.0, 1.0, 0.0, "0.0 % worse than"),
        (0.95, 1.0, 10.0, "5.0 % better than"),
        (float("nan"), 1.0, 0.0, "not comparable"),
        (0.0, 0.0, 0.0, "not comparable"),
        (0.05, 0.0, 0.0, "not comparable"),
    ],
)
def test_the_gate_stops_what_is_not_better(mase: float, naive: float, margin: float, part: str):
    with pytest.raises(GateError, match=part):
        gate({"mase": mase, "mase_seasonal_naive": naive}, margin)


@pytest.mark.parametrize(
    ("mase", "naive", "margin", "part"),
    [
        (0.8, 1.0, 0.0, "20.0 % better"),
        (0.05, 0.0, -1000.0, "not better"),  # naive is exact, and the margin decides
        # Compared before they are rounded.
        (3.9e-9, 4e-9, 0.0, "2.5 % better than the seasonal naive forecast (MASE 3.9e-09 against"),
    ],
)
def test_the_gate_lets_the_better_through(mase: float, naive: float, margin: float, part: str):
    assert part in gate({"mase": mase, "mase_seasonal_naive": naive}, margin)


SPIKES = {
    "overflows of a counter": (dict.fromkeys((101, 460, 700), 2.0**32 / 1000)),
    "one fill value": {500: 9.97e36},
    "a fill value and its neighbours": dict.fromkeys(range(300, 320), 9.97e36),
    "a negative one where it is judged": {1000: -1e12},
    "two where it is judged": {1001: 65535.0, 1090: 65535.0},
}


@pytest.mark.parametrize("spikes", SPIKES.values(), ids=SPIKES.keys())
def test_outliers_carry_no_score_and_are_named(spikes: dict[int, float]):
    whole = hourly_series(count=3, hours=1100)
    spiky = whole.copy()
    at = np.array(list(spikes)) + 1100
    spiky.loc[at, "y"] = list(spikes.values())
    tables = [backtest(repeat_last_day, frame, CONTRACT, 5) for frame in (whole, spiky)]
    means = []
    for frame, table in zip((whole, spiky), tables, strict=True):
        scores = scored(table, frame, 5 * 24).set_index(["unique_id", "metric"])
        means.append(scores.loc[("series_1", "mase"), WEEK])
    assert means[1] == pytest.approx(means[0], rel=0.15)
    (note,) = notes(tables[1])
    first = spiky.loc[at.min()]
    assert f"'series_1' ({len(at)}, the first {first['y']:.6g} at {first['ds']})" in note
    assert notes(tables[0]) == []


def test_peaks_that_return_and_new_levels_are_no_outliers():
    rng = np.random.default_rng(0)
    hours = np.arange(1000)
    kettle = np.where(rng.uniform(size=1000) < 0.08, 2000.0, rng.uniform(0.0, 10.0, 1000))
    daily = np.where(hours % 24 == 7, 5000.0, rng.uniform(0.0, 10.0, 1000))
    level = np.where(hours < 700, rng.uniform(0.0, 1.0, 1000), 500.0 + rng.uniform(0.0, 1.0, 1000))
    rare = np.where(hours % 37 == 0, 5.0, 0.0)
    for values in (kettle, daily, level, rare):
        assert not outliers(values, 24).any()


@pytest.mark.parametrize("unknown", [48, 60])
def test_series_unknown_where_they_are_judged_are_named_and_left_out(unknown: int):
    frame = hourly_series(count=3)
    newest = frame.groupby("unique_id").cumcount(ascending=False) < unknown
    frame.loc[newest & (frame["unique_id"] == "series_1"), "y"] = np.nan
    table = backtest(repeat_last_day, frame, CONTRACT, 2)
    scores = scored(table, frame, 48)
    assert set(scores["unique_id"]) == {"series_0", "series_2"}
    card = model_card(CONTRACT, table, scores)
    assert "2 series" in card
    assert "Not judged: 'series_1' (its newest 48 hours are missing)." in card
    frame.loc[newest, "y"] = np.nan
    with pytest.raises(SeriesError, match="newest 48 hours of every series are missing"):
        backtest(repeat_last_day, frame, CONTRACT, 2)


def test_a_series_without_a_scale_is_shown_as_such_and_not_as_zero():
    frame = hourly_series(count=2)
    constant = frame["unique_id"] == "series_0"
    frame.loc[constant, "y"] = 3.0
    frame.loc[frame.index[constant][[50, 90, 130]], "y"] = 2.0**32
    table = backtest(repeat_last_day, frame, CONTRACT, 2)
    scores = scored(table, frame, 48)
    card = model_card(CONTRACT, table, scores)
    assert "`series_0`" not in card
    assert "Not judged: 'series_0' (it hardly ever changes before the held-out steps)." in card


def test_seasons_that_repeat_exactly_are_measured_by_their_steps():
    frame = hourly_series(count=1)
    frame["y"] = frame["ds"].dt.hour.astype(float)
    table = backtest(lambda w: repeat_last_day(w) + 1.0, frame, CONTRACT, 2)
    summary = summarise(scored(table, frame, 48))
    assert summary["mase_seasonal_naive"] == 0.0
    assert summary["mase"] == pytest.approx(1 / frame["y"][:-48].diff().abs().mean())


@pytest.mark.parametrize(
    ("season", "frequency", "names"),
    [
        (24, "h", ("SeasonalNaiveDay", "SeasonalNaiveWeek")),
        (96, "15min", ("SeasonalNaiveDay", "SeasonalNaiveWeek")),
        (8, "3h", ("SeasonalNaiveDay", "SeasonalNaiveWeek")),
        (7, "D", ("SeasonalNaiveWeek",)),
        (365, "D", ("SeasonalNaiveYear",)),
        (12, "h", ("SeasonalNaive12Hours",)),
        (5, "B", ("SeasonalNaiveWeek",)),
        (52, "W-SUN", ("SeasonalNaiveYear",)),
        (1, "W-SUN", ("SeasonalNaiveWeek",)),
        (12, "MS", ("SeasonalNaiveYear",)),
        (1, "QS", ("SeasonalNaiveQuarter",)),
    ],
)
def test_naive_forecasts_are_called_what_they_are(season: int, frequency: str, names: tuple):
    assert naive_names(season, frequency) == names


def test_daily_values_are_judged_beside_weeks():
    daily = hourly_series(count=2, hours=200)
    daily["ds"] = daily["ds"].iloc[0] + (daily["ds"] - daily["ds"].iloc[0]) * 24
    days = replace(CONTRACT, frequency="D", season=7, input_length=49, horizon=14)
    table = backtest(lambda w: np.repeat(w[:, -14:, None], 5, axis=2), daily, days, 2)
    assert models_of(table) == [MODEL, "SeasonalNaiveWeek"]
    scores = scored(table, daily, 28, season=7)
    assert np.isfinite(list(summarise(scores).values())).all()
    card = model_card(days, table, scores)
    assert "the next 14 days of a series from its newest 49 days" in card
    assert "hour" not in card


def test_baselines_see_gaps_filled_from_the_same_hour_before():
    frame = hourly_series(count=1, hours=72)
    frame.loc[[0, 30, 54], "y"] = np.nan
    filled = fill_by_season(frame, 24)["y"]
    assert filled[30] == frame["y"][6]
    assert filled[54] == frame["y"][6]
    assert filled[0] == frame["y"][1]


def test_every_forecast_is_scored_and_intervals_where_there_are_some(table, scores):
    assert models_of(table) == [MODEL, DAY, WEEK]
    means = mean_scores(scores)
    assert list(means.index) == [MODEL, DAY, WEEK]
    assert set(means.columns) == {"mase", "smape", "coverage_80", "coverage_95", "msis_95"}
    assert np.isfinite(means.to_numpy()).all()


def test_calibration_gives_the_share_below_each_quantile():
    y = np.arange(100.0)
    bounds = {"-lo-95": 2.5, "-lo-80": 10, "": 50, "-hi-80": 90, "-hi-95": 97.5}
    table = pd.DataFrame({"y": y, **{f"{MODEL}{name}": at for name, at in bounds.items()}})
    shares = calibration(table)
    assert list(shares.index) == [0.025, 0.1, 0.5, 0.9, 0.975]
    np.testing.assert_allclose(shares, [0.03, 0.105, 0.505, 0.905, 0.98])


def test_classical_forecasts_stand_beside_on_the_same_hours(recwarn):
    frame = hourly_series(count=2, hours=600)
    table = backtest(repeat_last_day, frame, CONTRACT, 2, classical=["MSTL-AutoETS"])
    assert models_of(table) == [MODEL, DAY, WEEK, "MSTL-AutoETS"]
    assert not table.isna().any().any()
    # A fork of a process with threads, as a kernel with Keras has them, may wait for ever.
    assert not [str(warning.message) for warning in recwarn if "fork" in str(warning.message)]


def pooled_table() -> pd.DataFrame:
    """A short series and a long one, an unknown value, and the quantiles of a normal forecast."""
    frame = pd.DataFrame(
        {
            "unique_id": ["a", "b", "b", "b"],
            "ds": pd.to_datetime(["2026-01-01", "2026-01-01", "2026-01-02", "2026-01-03"]),
            "cutoff": pd.Timestamp("2025-12-31"),
            "y": [10.0, 20.0, -30.0, np.nan],
        }
    )
    median = np.array([10.0, 17.0, 0.0, 0.0])
    for name, half in ((MODEL, 0.0), ("Other", 5.0)):
        frame[name] = median
        for level, z in ((80, 1.2815515655446004), (95, 1.959963984540054)):
            frame[f"{name}-lo-{level}"], frame[f"{name}-hi-{level}"] = (
                median - half * z,
                median + half * z,
            )
    return frame


def test_pooled_scores_are_over_all_values_of_all_series():
    pooled = pooled_scores(pooled_table())
    # Without any width all quantiles are the median: 2 * pinball is |error| on the mean of deciles.
    assert pooled.loc[MODEL, "wql"] == pytest.approx((0.0 + 3.0 + 30.0) / 60.0)
    assert pooled.loc[MODEL, "coverage_80"] == pytest.approx(1 / 3)
    # Of two series, one of whose two values lies outside: not the 75 % that is their mean.
    assert pooled.loc["Other", "coverage_80"] == pytest.approx(2 / 3)
    assert pooled.loc["Other", "coverage_95"] == pytest.approx(2 / 3)


def test_the_weighted_quantile_loss_uses_a_normal_forecasts_own_deciles():
    z = [-1.2815515655, -0.8416212336, -0.5244005127, -0.2533471031]
    deciles = np.array([*z, 0.0, *(-at for at in reversed(z))]) * 5.0
    losses = []
    for median, actual in ((10.0, 10.0), (17.0, 20.0), (0.0, -30.0)):
        missed = actual - (median + deciles)
        quantiles = np.arange(1, 10) / 10
        losses.append(2 * np.where(missed > 0, quantiles, quantiles - 1) * missed)
    expected = np.sum(losses) / 9 / 60.0
    assert pooled_scores(pooled_table()).loc["Other", "wql"] == pytest.approx(expected)


def test_a_forecast_that_is_not_there_has_no_weighted_quantile_loss():
    table = pooled_table()
    table.loc[0, "Other-lo-80"] = np.nan
    pooled = pooled_scores(table)
    assert np.isinf(pooled.loc["Other", "wql"])
    assert np.isfinite(pooled.loc[MODEL, "wql"])


def test_the_card_says_what_the_model_is_and_where_it_fails(table, scores):
    card = model_card(CONTRACT, table, scores)
    worst = scores[scores["metric"] == "mase"].nlargest(1, MODEL)["unique_id"].iloc[0]
    for part in (
        CONTRACT.version,
        "next 24 hours of a series from its newest 168 hours",
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
