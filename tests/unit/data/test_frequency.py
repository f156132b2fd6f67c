"""Steps of any frequency: which timestamp comes after which, and what lies on no grid."""

from datetime import datetime

import numpy as np
import pandas as pd
import pytest

from kalecast.data.frequency import frequency_of, infer_frequency
from kalecast.data.series import SeriesError, read_series, tidy

STARTS = {
    "min": "2026-01-01 00:00",
    "2h": "2026-01-01 00:00",
    "D": "2026-01-01",
    "B": "2026-01-02",
    "W-SUN": "2026-01-04",
    "W-WED": "2026-01-07",
    "MS": "2025-12-01",
    "ME": "2023-02-28",
    "QS-JAN": "1991-01-01",
    "QS-FEB": "1991-02-01",
    "QE-DEC": "1991-03-31",
}


def rows(timestamps: list[str] | pd.DatetimeIndex, name: str = "one") -> pd.DataFrame:
    ds = pd.DatetimeIndex(timestamps)
    return read_series(pd.DataFrame({"unique_id": name, "ds": ds, "y": np.arange(len(ds)) + 1.0}))


@pytest.mark.parametrize("alias", STARTS)
def test_steps_are_those_of_pandas_there_and_back(alias: str):
    expected = pd.date_range(STARTS[alias], periods=300, freq=alias)
    grid = frequency_of(alias)
    found = grid.timestamps(expected.to_numpy()[:1], np.arange(300))
    assert (found == expected.to_numpy()).all()
    starts = np.repeat(found[:1], 300)
    positions, off = grid.positions(found, starts)
    assert positions.tolist() == list(range(300))
    assert not off.any()
    assert infer_frequency(rows(expected)) == alias
    start = expected[0].to_pydatetime()
    assert grid.datetimes(start, 5, 3) == tuple(expected[5:8].to_pydatetime())
    assert grid.datetimes(expected[5].to_pydatetime(), -5, 1)[0] == start or grid.months


@pytest.mark.parametrize("alias", STARTS)
def test_a_gap_is_filled_and_forecasts_follow_the_last_step(alias: str):
    expected = pd.date_range(STARTS[alias], periods=40, freq=alias)
    laid = tidy(rows(expected.delete([7, 8, 20])), alias)
    assert laid["ds"].tolist() == expected.tolist()
    assert laid["y"].isna().sum() == 3
    ahead = pd.date_range(STARTS[alias], periods=44, freq=alias)[40:]
    assert frequency_of(alias).ahead(laid["ds"], 4).tolist() == ahead.tolist()


@pytest.mark.parametrize(
    ("alias", "timestamps", "following"),
    [
        ("W-SUN", ["2026-01-05 08:00", "2026-01-12 08:00"], "2026-01-19 08:00"),
        ("MS", ["2026-01-15", "2026-02-15"], "2026-03-15"),
        ("MS", ["2026-01-31", "2026-02-28"], "2026-03-31"),
        ("ME", ["2026-02-28", "2026-03-31"], "2026-04-30"),
        ("MS", ["2026-02-28", "2026-03-28"], "2026-04-28"),
        ("QS-JAN", ["2026-02-01", "2026-05-01"], "2026-08-01"),
        ("B", ["2026-01-02 17:30", "2026-01-05 17:30"], "2026-01-06 17:30"),
    ],
)
def test_where_steps_lie_is_the_series_own(alias: str, timestamps: list[str], following: str):
    laid = tidy(rows(timestamps), alias)
    assert frequency_of(alias).ahead(laid["ds"], 1)[0] == pd.Timestamp(following)


def test_series_of_one_table_may_begin_on_different_days():
    table = pd.concat([rows(["2026-01-01", "2026-03-01"]), rows(["2026-01-31", "2026-02-28"], "b")])
    laid = tidy(table, "MS")
    assert laid["ds"].dt.day.tolist() == [31, 28, 1, 1, 1]


@pytest.mark.parametrize(
    ("alias", "timestamps", "part"),
    [
        ("MS", ["2026-01-01", "2026-02-03"], "at 2026-01-01 00:00:00 and the next at 2026-02-03"),
        ("MS", ["2026-01-01", "2026-02-01 06:00"], "750 hours later"),
        ("MS", ["2026-01-30", "2026-02-28"], "begins at 2026-01-30"),
        ("QS", ["2026-01-01", "2026-02-01"], "one value every quarter, .* 31 days later"),
        ("B", ["2026-01-02", "2026-01-03"], "on Saturday 2026-01-03.*with weekends is D"),
        ("B", ["2026-01-03", "2026-01-05"], "on Saturday 2026-01-03"),
        ("W-SUN", ["2026-01-04", "2026-01-13"], "one value every week, .* 9 days later"),
    ],
)
def test_a_timestamp_on_no_step_is_refused_with_its_row(
    alias: str, timestamps: list[str], part: str
):
    with pytest.raises(SeriesError, match=part):
        tidy(rows(timestamps), alias)


def test_days_without_weekends_are_business_days_and_gaps_alone_are_none():
    days = pd.bdate_range("2026-01-05", periods=60)
    assert infer_frequency(rows(days.delete([3, 17, 30]))) == "B"
    assert infer_frequency(rows(days[:5])) == "D"
    assert infer_frequency(rows(days.union(pd.DatetimeIndex(["2026-01-10"])))) == "D"
    assert len(tidy(rows(days.delete([3, 17, 30])), "B")) == 60


def test_monthly_values_at_any_day_that_every_month_has_are_monthly():
    fifteenth = pd.date_range("2026-01-01", periods=30, freq="MS") + pd.Timedelta(days=14)
    assert infer_frequency(rows(fifteenth)) == "MS"
    assert infer_frequency(rows(fifteenth.delete([3, 4, 9]))) == "MS"
    late = pd.DatetimeIndex(
        [day for day in pd.date_range("2026-01-01", "2027-12-31") if day.day == 30]
    )
    with pytest.raises(SeriesError, match="received mostly day 30: write the first day"):
        infer_frequency(rows(late))


def test_a_year_of_days_before_1970_is_counted_as_well():
    months = pd.date_range("1955-11-30", periods=400, freq="ME")
    assert tidy(rows(months.delete(7)), "ME")["ds"].tolist() == months.tolist()
    days = pd.bdate_range("1958-03-03", periods=50)
    assert tidy(rows(days.delete(7)), "B")["ds"].tolist() == days.tolist()


def test_which_first_timestamps_a_calendar_has():
    assert frequency_of("h").takes(datetime(2026, 1, 30))
    assert frequency_of("MS").takes(datetime(2026, 1, 31))
    assert not frequency_of("MS").takes(datetime(2026, 1, 30))
    assert not frequency_of("B").takes(datetime(2026, 1, 3))
