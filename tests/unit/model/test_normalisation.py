"""Gaps: unknown values get the values that they likely had, and hardly change a forecast."""

import numpy as np
import pytest

from kalecast.model.normalisation import FillGaps, Normalise

HOUR = np.arange(504)


def weekly(seed: int = 0) -> np.ndarray:
    """Days that differ by the day of the week, with a little noise."""
    day_of_week = HOUR // 24 % 7
    shape = np.sin(HOUR * 2 * np.pi / 24) * (1.0 + (day_of_week < 5))
    return 100 + 30 * shape + np.random.default_rng(seed).normal(0, 1, len(HOUR))


def filled(history: np.ndarray, season: int = 24) -> np.ndarray:
    values, known, level, spread = Normalise()(history[None])
    normalised = FillGaps(season)(values, known)[0].numpy().astype(float)
    return (normalised * spread.numpy() + level.numpy())[0]


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_single_gaps_are_filled_closer_than_a_repeated_day(share: float):
    history = weekly()
    unknown = np.random.default_rng(1).random(len(HOUR)) < share
    received = filled(np.where(unknown, np.nan, history))
    error = np.abs(received - history)[unknown].mean()
    assert error < 0.5 * np.abs(history[24:] - history[:-24]).mean()
    np.testing.assert_allclose(received[~unknown], history[~unknown], rtol=1e-4)


def test_a_whole_day_is_filled_from_the_same_days_of_other_weeks():
    history = weekly()
    unknown = np.zeros(len(HOUR), dtype=bool)
    unknown[240:264] = True
    received = filled(np.where(unknown, np.nan, history))
    assert np.abs(received - history)[unknown].mean() < 6


@pytest.mark.parametrize("season", [1, 4, 12])
def test_a_trend_of_any_season_is_filled_from_its_neighbours(season: int):
    trend = 100.0 + np.arange(48)
    unknown = np.isin(np.arange(48), [7, 20, 21, 40])
    received = filled(np.where(unknown, np.nan, trend), season)
    assert np.abs(received - trend)[unknown].max() < 4


def test_a_window_without_gaps_passes_as_it_is():
    np.testing.assert_allclose(filled(weekly()), weekly(), rtol=1e-4)


def known_after(history: np.ndarray) -> np.ndarray:
    values, known, *_ = Normalise()(history[None])
    return FillGaps(24)(values, known)[1].numpy()[0]


def test_lone_outliers_count_as_unknown_and_hardly_move_the_rest():
    spoiled = weekly()
    spoiled[[50, 300]] = [1e7, -1e7]
    known = known_after(spoiled)
    assert set(np.flatnonzero(known == 0)) == {50, 300}
    np.testing.assert_allclose(filled(spoiled), weekly(), atol=15)
    np.testing.assert_allclose(filled(spoiled)[known > 0], weekly()[known > 0], rtol=1e-3)


@pytest.mark.parametrize(
    "peaks",
    [HOUR % 24 == 2, HOUR % 168 == 30, HOUR >= 490, HOUR >= 502],
    ids=["an hour every day", "an hour every week", "a new level", "a new level of two hours"],
)
def test_peaks_that_return_and_new_levels_are_no_outliers(peaks: np.ndarray):
    history = weekly() + 1e5 * peaks
    assert known_after(history).all()
    np.testing.assert_allclose(filled(history), history, rtol=1e-3)


def test_nothing_known_stays_finite():
    assert np.isfinite(filled(np.full(len(HOUR), np.nan))).all()
