"""Simple seasonal forecasts: what they are, and that each window finds out which to trust."""

import numpy as np
import pytest

from kalecast.model.network import NetworkSettings, build_network, predict
from kalecast.model.seasonal import SeasonalForecasts, WeighForecasts

HOUR = np.arange(504)


def forecasts(history: np.ndarray, season: int = 24, horizon: int = 48) -> tuple:
    values = history[None].astype("float32")
    layer = SeasonalForecasts(season, horizon)
    simple, residuals, tried = layer(values, np.ones_like(values))
    return simple, residuals, tried, WeighForecasts()(simple, residuals, tried)


def test_the_kernels_are_yesterday_last_week_and_their_mixtures():
    history = np.random.default_rng(0).normal(size=504)
    simple = forecasts(history)[0].numpy()[0]
    days = history.reshape(21, 24)
    yesterday = np.r_[days[-1], days[-1]]
    last_week = np.r_[days[-7], days[-6]]
    two_weeks = (last_week + np.r_[days[-14], days[-13]]) / 2
    seven_days = np.tile(days[-7:].mean(axis=0), 2)
    moved = last_week + np.tile(days[-1] - days[-8], 2)
    for found, expected in zip(
        simple, (yesterday, last_week, two_weeks, seven_days, moved), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("season", "length", "expected"),
    [
        # Years of months whose level rises by twelve a year, and values that rise by one a step.
        (12, 60, 12.0),
        (1, 52, 1.0),
    ],
)
def test_series_without_cycles_may_drift(season: int, length: int, expected: float):
    history = np.arange(length, dtype=float)
    simple, _, _, (_, mixture, *_) = forecasts(history, season=season, horizon=2 * season)
    ahead = np.arange(length, length + 2 * season)
    np.testing.assert_allclose(simple.numpy()[0, 3], ahead, rtol=1e-4)
    np.testing.assert_allclose(simple.numpy()[0, 0, :season], ahead[:season] - expected, rtol=1e-4)
    np.testing.assert_allclose(mixture.numpy()[0], ahead, rtol=1e-2)


def test_past_origins_see_nothing_that_they_forecast():
    history = np.random.default_rng(0).normal(size=504)
    changed = history.copy()
    changed[-24:] += 100.0
    before, after = (forecasts(one) for one in (history, changed))
    missed_before, missed_after = before[1].numpy()[0], after[1].numpy()[0]
    # The newest day is an actual value for the last two origins, and an input of none.
    np.testing.assert_allclose(missed_before[:, :-2], missed_after[:, :-2], atol=1e-4)
    np.testing.assert_allclose(missed_after[:, -1, :24] - missed_before[:, -1, :24], 100, rtol=1e-4)


def test_unknown_actual_values_are_not_held_against_a_forecast():
    values = np.ones((1, 504), dtype="float32")
    known = values.copy()
    known[:, 400:] = 0.0
    _, residuals, tried = SeasonalForecasts(24, 48)(values, known)
    assert (residuals.numpy()[..., tried.numpy()[0] == 0] == 0).all()
    assert tried.numpy()[0, -1].sum() == 0


def test_a_series_of_weeks_trusts_weeks_and_one_that_drifts_trusts_yesterday():
    weekly = np.sin(HOUR * 2 * np.pi / 168)
    drifting = np.cumsum(np.random.default_rng(1).normal(size=21)).repeat(24)
    *_, (logits, mixture, *_) = forecasts(weekly)
    assert logits.numpy()[0, 1] > logits.numpy()[0, 0]
    np.testing.assert_allclose(mixture.numpy()[0], weekly[:48], atol=0.05)
    *_, (logits, *_) = forecasts(drifting)
    assert logits.numpy()[0].argmax() in {0, 4}


def test_the_expected_error_knows_the_hours():
    noise = np.random.default_rng(2).normal(size=504) * (HOUR % 24 < 12)
    *_, (_, _, _, by_hour, overall) = forecasts(noise)
    quiet = np.tile(np.arange(24) >= 13, 2) & np.tile(np.arange(24) < 23, 2)
    assert by_hour.numpy()[0, quiet].max() < 0.4 * overall.numpy()[0, 0]
    assert by_hour.numpy()[0, ~quiet].mean() > overall.numpy()[0, 0]


@pytest.mark.parametrize(
    ("season", "input_length", "horizon"),
    [
        *((24, 504, 48), (24, 168, 24), (24, 192, 30), (7, 56, 14), (48, 672, 48), (24, 96, 100)),
        *((12, 60, 12), (52, 208, 13), (4, 16, 8), (5, 35, 10)),
    ],
)
def test_an_untrained_network_forecasts_sensibly(season: int, input_length: int, horizon: int):
    steps = np.arange(input_length + horizon)
    series = 50 + 10 * np.sin(steps * 2 * np.pi / season)
    shape = NetworkSettings(input_length=input_length, season=season, horizon=horizon, width=16)
    received = predict(build_network(shape), series[None, :input_length])[0]
    np.testing.assert_allclose(received[:, 2], series[input_length:], atol=0.5)
    assert (np.diff(received, axis=1) >= 0).all()
