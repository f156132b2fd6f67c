"""What series look like in numbers, held against series whose answers are known."""

import json
from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from kalecast.data import exploration
from kalecast.data.series import SeriesError, pick
from kalecast.plots import exploration as plots_exploration
from kalecast.plots.interactive import Interactive, thinned, zoomable

HOURLY = {"day": 24, "week": 168}
HOUR = pd.Timedelta("1h")


def frame(values, name: str = "one", freq: str = "h", start: str = "2026-01-05") -> pd.DataFrame:
    """A tidy frame of one series; the default start is a Monday."""
    timestamps = pd.date_range(start, periods=len(values), freq=freq)
    return pd.DataFrame({"unique_id": name, "ds": timestamps, "y": np.asarray(values, dtype=float)})


def daily_wave(days: int = 28) -> np.ndarray:
    return np.sin(np.arange(24 * days) * 2 * np.pi / 24)


def with_gaps(values: np.ndarray, *spans: tuple[int, int]) -> np.ndarray:
    values = values.copy()
    for first, last in spans:
        values[first:last] = np.nan
    return values


def noisy(count: int, hours: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.concat(
        [frame(daily_wave(hours // 24) + rng.normal(0, 1, hours), f"s{i}") for i in range(count)],
        ignore_index=True,
    )


ODD: dict[str, Callable[[], pd.DataFrame]] = {
    "constant": lambda: frame(np.full(500, 7.0)),
    "zero": lambda: frame(np.zeros(500)),
    "unknown": lambda: frame(np.full(500, np.nan)),
    "unknown beside known": lambda: pd.concat(
        [frame(np.full(500, np.nan), "a"), frame(daily_wave(), "b")], ignore_index=True
    ),
    "one value": lambda: frame([1.0]),
    "three days": lambda: frame(daily_wave(3)),
    "huge gaps": lambda: frame(with_gaps(daily_wave(60), (10, 600), (700, 1400))),
    "daily": lambda: frame(np.arange(100) % 7, freq="D"),
    "half-hourly": lambda: frame(daily_wave(40), freq="30min"),
    "many": lambda: noisy(400, 240),
}


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ODD)
def test_no_odd_series_crashes_a_number_or_a_picture(kind: str):
    series = ODD[kind]()
    shown = series[series["unique_id"].isin(exploration.choose(series))]
    days, weeks = exploration.day_profiles(shown), exploration.week_profiles(shown)
    correlations = exploration.autocorrelation(shown, 336)
    strengths = exploration.season_strengths(shown, HOURLY)
    figures = [
        plots_exploration.plot_whole(shown, 24),
        plots_exploration.plot_profiles(days, weeks),
        plots_exploration.plot_calendar(shown),
        plots_exploration.plot_autocorrelation(correlations, 24, "day"),
        plots_exploration.plot_strengths(strengths),
        plots_exploration.plot_gaps(shown, "h"),
        plots_exploration.plot_values(shown),
        plots_exploration.plot_differences(shown, 24),
    ]
    for figure in figures:
        figure.canvas.draw()
    assert set(exploration.gap_summary(series)["unique_id"]) == set(series["unique_id"])
    count = series["unique_id"].nunique()
    assert len(exploration.spreads(series)) == len(exploration.scales(series, HOURLY)) == count


def test_a_picture_has_room_for_so_many_series_and_says_which():
    many = noisy(400, 48)
    names = exploration.choose(many, 9)
    assert len(names) == 9
    assert names[0], names[-1] == ("s0", "s399")
    assert exploration.what_is_shown(many, names).startswith("9 of 400 series are shown: s0, ")
    few = noisy(2, 48)
    assert exploration.what_is_shown(few, exploration.choose(few)) == "All 2 series are shown."


def test_one_series_is_picked_by_its_name_or_is_the_first():
    series = noisy(3, 48)
    assert set(pick(series)["unique_id"]) == {"s0"}
    assert len(pick(series, "s2")) == 48
    with pytest.raises(SeriesError, match=r"\('s0', 's1', 's2'\), received: 's9'"):
        pick(series, "s9")


def test_profiles_are_those_of_the_clock_and_the_calendar():
    working_days = np.repeat(np.tile([1.0, 1, 1, 1, 1, 0, 0], 4), 24)
    days = exploration.day_profiles(frame(daily_wave()))["one"]
    weeks = exploration.week_profiles(frame(working_days))["one"]
    assert days.idxmax() == 6
    assert days.max() == pytest.approx(np.sqrt(2))
    assert (weeks[:5] > 0).all()
    assert weeks[5] == weeks[6] == pytest.approx(-np.sqrt(2.5))


def test_the_calendar_has_hours_of_hourly_values_and_months_of_daily_ones():
    hourly = exploration.calendar_grid(frame(daily_wave()))
    daily = exploration.calendar_grid(frame(np.arange(60.0), freq="D"))
    assert hourly.shape == (7, 24)
    assert list(daily.columns) == ["Jan", "Feb", "Mar"]
    assert daily.loc["Mon", "Jan"] == np.mean([0, 7, 14, 21])


def test_autocorrelation_of_a_wave_goes_up_and_down_with_it():
    found = exploration.autocorrelation(frame(daily_wave(100)), 336)["one"]
    np.testing.assert_allclose(found[[0, 12, 24, 168, 336]], [1, -1, 1, 1, 1], atol=0.02)


def test_autocorrelation_is_that_of_the_known_pairs():
    whole = daily_wave(100)
    gappy = with_gaps(whole, (0, 30), (500, 777), (2000, 2100))
    found = exploration.autocorrelation(frame(gappy), 48)["one"]
    np.testing.assert_allclose(found[[12, 24, 48]], [-1, 1, 1], atol=0.02)


def test_noise_has_no_autocorrelation_and_no_season():
    noise = frame(np.random.default_rng(0).normal(size=24 * 7 * 20))
    assert exploration.autocorrelation(noise, 336)["one"][1:].abs().max() < 0.08
    assert exploration.season_strengths(noise, HOURLY)["day"].iloc[0] < 0.3


def test_a_pure_wave_is_all_season_and_a_constant_none():
    wave, constant = frame(daily_wave(60), "wave"), frame(np.full(1440, 3.0), "constant")
    found = exploration.season_strengths(pd.concat([constant, wave]), HOURLY).set_index("unique_id")
    assert found.loc["wave", "day"] > 0.99
    assert found.loc["constant", "day"] == 0


def test_a_season_needs_two_of_its_length():
    (found,) = exploration.season_strengths(frame(daily_wave(10)), HOURLY).to_dict("records")
    assert found["day"] > 0.99
    assert np.isnan(found["week"])


def test_gaps_are_reported_with_their_place_and_length():
    first = frame(with_gaps(daily_wave(4), (0, 2), (10, 15)), "a")
    second = frame(with_gaps(daily_wave(4), (95, 96)), "b")
    found = exploration.gaps(pd.concat([first, second], ignore_index=True))
    assert list(found["steps"]) == [5, 2, 1]
    assert list(found["unique_id"]) == ["a", "a", "b"]
    assert str(found["first"][0]) == "2026-01-05 10:00:00"
    assert str(found["last"][0]) == "2026-01-05 14:00:00"
    summary = exploration.gap_summary(pd.concat([first, second])).set_index("unique_id")
    assert list(summary.loc["a"]) == [96, 7, pytest.approx(700 / 96), 2, 5]


def test_a_gap_at_one_series_end_is_not_joined_to_the_next_ones_beginning():
    first = frame(with_gaps(daily_wave(1), (20, 24)), "a")
    second = frame(with_gaps(daily_wave(1), (0, 3)), "b")
    found = exploration.gaps(pd.concat([first, second], ignore_index=True))
    assert list(found["steps"]) == [4, 3]


def test_scales_are_the_errors_of_the_naive_forecasts():
    days = np.repeat(np.arange(21) % 7, 24) * 2.0
    (found,) = exploration.scales(frame(days), HOURLY).to_dict("records")
    assert found["week"] == 0
    assert found["day"] == pytest.approx((18 * 2 + 2 * 12) / 20)


def test_the_furthest_value_is_found_in_spreads():
    values = np.tile([1.0, 3.0], 100)
    values[77] = 102.0
    (found,) = exploration.spreads(frame(values)).to_dict("records")
    assert found["median"] == 2
    assert found["furthest"] == pytest.approx(100 / ((199 + 100) / 200))
    assert found["at"] == pd.Timestamp("2026-01-05") + 77 * HOUR


def test_thinning_keeps_every_peak_and_the_length():
    values = np.zeros(100_001)
    values[[17, 50_000, 100_000]] = [5.0, -3.0, 9.0]
    values[200:60_00] = np.nan
    thin, every = thinned(values, 1000)
    assert {5.0, -3.0, 9.0} <= set(thin)
    assert len(thin) <= 1000
    assert len(thin) * every == pytest.approx(len(values), rel=0.01)
    assert np.isnan(thin).any()
    short, every = thinned(values[:900], 1000)
    assert every == 1
    np.testing.assert_array_equal(short, values[:900])


def test_the_zoomable_picture_is_small_deterministic_and_loads_nothing():
    series = noisy(9, 20_400)

    def bundle() -> dict[str, Any]:
        picture = zoomable(series, "h", plots_exploration.plot_whole(series, 24))
        assert isinstance(picture, Interactive)
        return picture._repr_mimebundle_()

    found = bundle()
    assert found == bundle()
    assert set(found) == {
        "application/vnd.plotly.v1+json",
        "text/html",
        "image/png",
        "text/plain",
    }
    assert sum(len(str(part)) for part in found.values()) < 5_000_000
    config = found["application/vnd.plotly.v1+json"]["config"]
    assert config["showSendToCloud"] is False
    page = found["text/html"]
    assert json.dumps(config) in page
    assert "https:" not in page
    assert "<script src" not in page
    assert plt.get_fignums() == []  # the still image is not shown a second time


@pytest.mark.parametrize("frequency", ["MS", "QS-JAN", "W-SUN"])
def test_longer_steps_are_shown_by_the_year(frequency: str):
    timestamps = pd.date_range("2010-01-01", periods=80, freq=frequency)
    series = pd.DataFrame({"unique_id": "a", "ds": timestamps, "y": np.arange(80.0)})
    series.loc[7, "y"] = np.nan
    months = exploration.year_profiles(series)["a"]
    assert list(months.index) == list(range(1, 13))
    assert months.notna().sum() == (4 if frequency == "QS-JAN" else 12)
    grid = exploration.calendar_grid(series)
    assert list(grid.index) == sorted(set(timestamps.year))
    assert set(grid.columns) <= set(exploration.MONTHS)
    figures = [
        plots_exploration.plot_year(exploration.year_profiles(series)),
        plots_exploration.plot_calendar(series),
        plots_exploration.plot_gaps(series, frequency),
    ]
    picture = zoomable(series, frequency, plots_exploration.plot_whole(series, 1))
    drawn = json.loads(json.dumps(picture._repr_mimebundle_()))
    (line,) = drawn["application/vnd.plotly.v1+json"]["data"]
    shown = line["x"] if "x" in line else [line["x0"]]
    assert shown[0].startswith(f"{timestamps[0]:%Y-%m-%d}")
    for figure in figures:
        plt.close(figure)
