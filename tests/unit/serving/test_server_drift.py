"""What the model server reports of drift: figures without a unit, and no value of any customer."""

import threading

import numpy as np
import pytest
from model_files import contract, seasonal_naive_bytes

from kalecast.artifact.contract import Contract
from kalecast.artifact.runtime import Forecaster
from kalecast.serving import drift
from kalecast.serving.drift import Drift, figures
from kalecast.serving.metrics import Metrics

HOURS = np.arange(168)
CONTRACT = contract()


def week(level: float = 0.0, trend: float = 1.0) -> np.ndarray:
    """A day's rhythm that grows by `trend` a day: each value is `trend` above yesterday's."""
    return level + 10.0 * np.cos(HOURS % 24 / 24 * 2 * np.pi) + trend * (HOURS // 24)


def forecasts(windows: np.ndarray, above: float = 0.0, apart: float = 1.0) -> np.ndarray:
    """The last day, moved; quantiles so far apart."""
    quantiles = np.arange(5) - CONTRACT.median
    return windows[:, -24:, None] + above + apart * quantiles


def drifts(
    windows: np.ndarray, forecast: np.ndarray, contract: Contract = CONTRACT
) -> dict[str, float]:
    found = figures(windows, forecast, contract)
    return {name: pytest.approx(float(values[0])) for name, values in found.items()}


def test_figures_are_in_steps_of_the_history_from_season_to_season() -> None:
    windows = week(trend=2.0)[None]
    # The last day is three days' growth above the week's mean: 3 x 2 / 2.
    known = {"departure": 0, "shift": 0, "width": 2, "change": 3}
    assert drifts(windows, forecasts(windows)) == known
    assert drifts(windows, forecasts(windows, above=-4)) == {**known, "departure": 2, "shift": -2}
    alternating = forecasts(windows) + np.where(np.arange(24) % 2, 1.0, -1.0)[:, None]
    assert drifts(windows, alternating) == {**known, "departure": 0.5, "shift": 0}


@pytest.mark.parametrize(("factor", "offset"), [(1e-9, 0.0), (1000.0, -1e6)])
def test_the_unit_does_not_matter(factor: float, offset: float) -> None:
    windows = week()[None]
    forecast = forecasts(windows, above=1.5)
    other = drifts(windows * factor + offset, forecast * factor + offset)
    assert other == drifts(windows, forecast)


def test_unknown_values_are_left_out() -> None:
    whole = week()[None]
    windows = np.concatenate([whole, whole])
    windows[1, [3, 50, 160]] = np.nan
    found = figures(windows, forecasts(np.concatenate([whole, whole]), above=2.0), CONTRACT)
    for name in ("departure", "shift", "width"):
        assert found[name][1] == pytest.approx(found[name][0])
    assert np.isfinite(found["change"]).all()


def test_a_horizon_longer_than_a_season_is_held_against_the_season_again_and_again() -> None:
    windows = week()[None]
    twice = np.concatenate([forecasts(windows), forecasts(windows)], axis=1)
    assert drifts(windows, twice, contract(horizon=48))["departure"] == 0


@pytest.mark.parametrize(
    "window",
    [np.zeros(168), np.r_[np.full(120, np.nan), np.full(24, 1.0), np.full(24, np.nan)]],
    ids=["constant", "one season known"],
)
def test_a_window_without_a_scale_is_in_no_bucket(window: np.ndarray) -> None:
    seen = Drift()
    seen.observe(window[None], np.ones((1, 24, 5)), CONTRACT)
    assert counts(seen)["departure"] == 0


def test_a_season_longer_than_the_window_is_no_error() -> None:
    seen = Drift()
    seen.observe(week()[None], np.ones((1, 24, 5)), contract(season=500))
    assert counts(seen)["shift"] == 0


def counts(seen: Drift) -> dict[str, float]:
    """Windows that stand in a figure."""
    return {
        family.name.removeprefix("kalecast_drift_"): family.samples[-1].value
        for family in seen.collect()
        if family.type == "histogram"
    }


def test_of_a_large_batch_a_few_windows_are_looked_at() -> None:
    seen = Drift()
    windows = np.tile(week(), (300, 1))
    seen.observe(windows, forecasts(windows), CONTRACT)
    assert set(counts(seen).values()) == {drift.MOST}


def test_not_every_batch_is_looked_at() -> None:
    seen, windows = Drift(every=1000), week()[None]
    for _ in range(5):
        seen.observe(windows, forecasts(windows), CONTRACT)
    assert set(counts(seen).values()) == {1}


def test_threads_lose_no_count() -> None:
    seen, windows = Drift(every=0), week()[None]

    def add() -> None:
        for _ in range(200):
            seen.observe(windows, forecasts(windows), CONTRACT)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(counts(seen).values()) == {800}


def test_the_page_for_prometheus_has_counts_alone() -> None:
    metrics = Metrics()
    metrics.serves("forecaster", "20260102-030405-abcdef", "2026-01-02T03:04:05Z")
    windows = week(level=123456.0)[None]
    windows[0, 7] = np.nan
    forecast = Forecaster(seasonal_naive_bytes()).forecast_windows(windows)
    metrics.drift.observe(windows, forecast, CONTRACT)
    page = metrics.page().decode()
    for line in (
        'kalecast_drift_departure_bucket{le="0.125"} 1.0',
        'kalecast_drift_shift_bucket{le="-0.2"} 0.0',
        'kalecast_drift_shift_bucket{le="0.0"} 1.0',
        'kalecast_drift_width_bucket{le="+Inf"} 1.0',
        'kalecast_drift_values_total{known="no"} 1.0',
        'kalecast_drift_values_total{known="yes"} 167.0',
        "kalecast_model_created_timestamp_seconds 1.767323045e+09",
    ):
        assert line in page.splitlines()
    assert "kalecast_drift_shift_sum" not in page
    assert "1234" not in page


def test_bounds_are_written_as_prometheus_3_keeps_them() -> None:
    metrics = Metrics()
    metrics.answered("seldon", 200, 1.5)
    assert 'kalecast_request_seconds_bucket{le="2.0",protocol="seldon"} 1.0' in (
        metrics.page().decode()
    )


def test_a_date_that_is_none_costs_nothing() -> None:
    metrics = Metrics()
    metrics.serves("forecaster", "1", "yesterday")
    assert "kalecast_model_created_timestamp_seconds NaN" in metrics.page().decode()
