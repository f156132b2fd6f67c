"""Frequencies: the arithmetic of steps, from minutes to quarters, and which one a table has.

The one place that knows which timestamp comes so many steps after another. A frequency says how
far steps lie apart; where they lie within the hour, the day, the week or the month is the series'
own: monthly values may stand at the first of each month, at its last day, or on any day up to the
28th, which every month has.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kalecast.data.table_files import SeriesError

MINUTE, HOUR, DAY, WEEK = (pd.Timedelta(length) for length in ("1min", "1h", "1D", "7D"))
LONGEST_STEP = 366 * DAY
MONTH = pd.Timedelta("365.25D") / 12
"""Its mean length."""

MOST_STEPS_A_DAY = 288
"""Of five minutes. Finer values have the hour for a season: a network of whole days of them would
be a hundred times as large as one of hours."""

ONE_MONTH, ONE_QUARTER = 1, 3
IN_EVERY_MONTH = np.timedelta64(28, "D")
BUSINESS_DAYS = 5
"""Of a week, Monday to Friday."""
MONTH_NAMES = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")

Timestamps = npt.NDArray[np.datetime64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Frequency:
    """How far the steps of series lie apart, as a pandas offset alias says it."""

    alias: str
    step: pd.Timedelta | None
    """Their distance, where it is always the same: not that of months and business days."""
    months: int = 0
    """Months from one step to the next, 0 where it is none of months."""
    at_end: bool = False
    """Whether the alias counts months by their ends."""

    @property
    def length(self) -> pd.Timedelta:
        """The distance of two steps, the mean one where it changes."""
        if self.step is not None:
            return self.step
        return self.months * MONTH if self.months else WEEK / BUSINESS_DAYS

    def positions(self, timestamps: Timestamps, starts: Timestamps) -> tuple[Integers, Flags]:
        """Where timestamps lie on the grid of their series.

        Args:
            timestamps: shape `(rows,)`.
            starts: the first timestamp of each one's series, the same shape.

        Returns:
            Steps since the start, and flags of timestamps that lie on none, both `(rows,)`.
        """
        if self.step is not None:
            step = self.step.to_timedelta64()
            since_start = timestamps - starts
            between = (since_start % step).view(np.int64) != 0
            return since_start // step, between
        if self.months:
            return self._monthly_positions(timestamps, starts)
        days, first = (each.astype("datetime64[D]") for each in (timestamps, starts))
        off = ~np.is_busday(days) | (timestamps - days != starts - first)
        return np.busday_count(first, days), off

    def timestamps(self, starts: Timestamps, positions: Integers) -> Timestamps:
        """The timestamps so many steps after others, which broadcast together.

        Args:
            starts: on the grid, such as the first timestamps of series.
            positions: steps after each of them, or before where negative.
        """
        if self.step is not None:
            moved: Timestamps = starts + positions * self.step.to_timedelta64()
            return moved
        if self.months:
            months, from_end = _months(starts), self._from_end(starts)
            within = starts - _reference(months, from_end)
            moved = _reference(months + positions * self.months, from_end) + within
        else:
            days = starts.astype("datetime64[D]")
            moved = np.busday_offset(days, positions, roll="forward") + (starts - days)
        return moved.astype(starts.dtype)

    def ahead(self, timestamps: pd.Series, count: int) -> pd.DatetimeIndex:
        """The timestamps of so many steps after a tidy series.

        Args:
            timestamps: those of the series, one a step.
            count: steps.
        """
        start = timestamps.iloc[:1].to_numpy()
        return pd.DatetimeIndex(self.timestamps(start, len(timestamps) + np.arange(count)))

    def datetimes(self, start: datetime, first: int, count: int) -> tuple[datetime, ...]:
        """The timestamps of `count` steps, of which one is `first` steps after the start."""
        if self.step is not None:
            step = self.step.to_pytimedelta()
            begin = start + first * step
            return tuple(begin + at * step for at in range(count))
        moved = self.timestamps(np.array([start], "datetime64[us]"), first + np.arange(count))
        return tuple(moved.tolist())

    def takes(self, start: datetime) -> bool:
        """Whether a series may begin at a timestamp: no weekend, no day that some months lack."""
        if self.step is not None:
            return True
        starts = np.array([start], "datetime64[us]")
        return not self.positions(starts, starts)[1].any()

    def _monthly_positions(
        self, timestamps: Timestamps, starts: Timestamps
    ) -> tuple[Integers, Flags]:
        months, first, from_end = _months(timestamps), _months(starts), self._from_end(starts)
        within = starts - _reference(first, from_end)
        off = (timestamps - _reference(months, from_end) != within) | (within >= IN_EVERY_MONTH)
        return (months - first) // self.months, off | ((months - first) % self.months != 0)

    def _from_end(self, starts: Timestamps) -> Flags:
        """Whether series count their months by the last day.

        They do where they begin on one that not every month has; 28 February alone can be both.
        """
        days: Timestamps = starts.astype("datetime64[D]")
        tomorrow: Timestamps = days + np.timedelta64(1, "D")
        last: Flags = _months(tomorrow) != _months(days)
        late: Flags = days - _reference(_months(days), False) >= IN_EVERY_MONTH
        return last & (late | self.at_end)


def _months(timestamps: Timestamps) -> Integers:
    """Months since 1970."""
    return timestamps.astype("datetime64[M]").astype(np.int64)


def _reference(months: Integers, from_end: Flags | bool) -> Timestamps:
    """First days of months since 1970, or last ones."""
    begins = (months + from_end).astype("datetime64[M]").astype("datetime64[D]")
    references: Timestamps = begins - np.asarray(from_end).astype("timedelta64[D]")
    return references


@lru_cache(maxsize=64)
def frequency_of(alias: str) -> Frequency:
    """The frequency that a pandas offset alias names.

    Args:
        alias: any of fixed length up to a year, such as `30min`, `h`, `D`, `W-SUN`; `B` for
            business days, `MS` and `ME` for months, `QS` and `QE`, with any month, for quarters.

    Raises:
        SeriesError: it names none of these.
    """
    offsets = pd.offsets
    try:
        offset: Any = pd.tseries.frequencies.to_offset(alias)
        fixed = offset.n * WEEK if isinstance(offset, offsets.Week) else None
        if offset.n == 1 and isinstance(offset, offsets.MonthBegin | offsets.MonthEnd):
            return Frequency(alias, None, ONE_MONTH, isinstance(offset, offsets.MonthEnd))
        if offset.n == 1 and isinstance(offset, offsets.QuarterBegin | offsets.QuarterEnd):
            return Frequency(alias, None, ONE_QUARTER, isinstance(offset, offsets.QuarterEnd))
        if offset.freqstr == "B":
            return Frequency(alias, None)
        step = pd.Timedelta(offset) if fixed is None else fixed
    except (AttributeError, ValueError, TypeError, OverflowError):
        step = pd.Timedelta(0)
    if not pd.Timedelta(0) < step <= LONGEST_STEP:
        raise SeriesError(
            "Expected a frequency such as '30min', 'h', 'D', 'B' (business days), 'W-SUN', 'MS' "
            f"(months) or 'QS' (quarters), received: {alias!r}."
        )
    return Frequency(alias, step)


def infer_frequency(frame: pd.DataFrame) -> str:
    """The frequency of series as their timestamps show it, as a pandas offset alias.

    The commonest distance between neighbouring timestamps counts; whether all others keep to it is
    for `kalecast.data.series.tidy` to say.

    Args:
        frame: as `kalecast.data.series.read_series` returns it.

    Raises:
        SeriesError: there are no two timestamps, or their distance is none that can be forecast;
            says what to do.
    """
    ordered = frame.sort_values(["unique_id", "ds"])
    apart = ordered.groupby("unique_id")["ds"].diff()
    later = apart > pd.Timedelta(0)
    if not later.any():
        raise SeriesError("Expected a series with two different timestamps or more, received none.")
    step = apart[later].mode().iloc[0]
    if step == DAY:
        return "B" if _without_weekends(ordered["ds"]) else "D"
    if step == WEEK:
        weekday = ordered.loc[later, "ds"].dt.day_name().mode().iloc[0]
        return f"W-{weekday[:3].upper()}"
    if step >= 28 * DAY:
        return _of_months(ordered, later)
    if step > DAY:
        raise _refused(length_in_words(step), "every day or every week")
    if step < MINUTE or DAY % step or (step < 5 * MINUTE and HOUR % step):
        finer = "every minute, every hour" if step < HOUR else "every hour"
        raise _refused(length_in_words(step), f"{finer} or every day", too_coarse=False)
    return str(pd.tseries.frequencies.to_offset(step).freqstr)


def _without_weekends(timestamps: pd.Series) -> bool:
    """Whether days are business days: two weeks or more, and none of a weekend."""
    long_enough = timestamps.max() - timestamps.min() >= 2 * WEEK
    return bool(long_enough and (timestamps.dt.dayofweek < BUSINESS_DAYS).all())


def _of_months(ordered: pd.DataFrame, later: pd.Series) -> str:
    """The alias of months or quarters."""
    timestamps = ordered["ds"]
    months = timestamps.dt.year * 12 + timestamps.dt.month
    apart = int(months.diff()[later].mode().iloc[0])
    days = timestamps.dt.day
    if (timestamps.diff()[later] == 28 * DAY).mean() > 0.5:
        raise _refused("4 weeks", "every week or every month")
    if apart not in (ONE_MONTH, ONE_QUARTER):
        years, rest = divmod(apart, 12)
        words = f"{apart} months" if rest else "year" if years == 1 else f"{years} years"
        raise _refused(words, "every month or every quarter")
    at_end = bool((days == timestamps.dt.days_in_month).mean() > 0.5)
    day = int(days.mode().iloc[0])
    if not at_end and day > IN_EVERY_MONTH.astype(int):
        raise SeriesError(
            "Expected monthly values at the first or last day of each month, or at a day that "
            f"every month has (1 to 28), received mostly day {day}: write the first day as `ds`."
        )
    month = int(timestamps.dt.month.mode().iloc[0])
    if apart == ONE_MONTH:
        return "ME" if at_end else "MS"
    # Pandas names quarters by a month in which one begins, or the last of a year ends.
    name = MONTH_NAMES[(month - 1) % 3 + (9 if at_end else 0)]
    return f"{'QE' if at_end else 'QS'}-{name}"


def _refused(found: str, instead: str, too_coarse: bool = True) -> SeriesError:
    remedy = (
        f"Bring finer ones, one {instead}."
        if too_coarse
        else f"Bring them to one value {instead} first (sum or average)."
    )
    return SeriesError(
        "Expected values at regular distances: minutes or hours of which a day has a whole number, "
        f"days, business days, weeks, months or quarters; here there is mostly one every {found}. "
        + remedy
    )


def rhythms(alias: str) -> dict[str, int]:
    """Names and steps of the seasons that series of a frequency may have, the shortest first.

    Raises:
        SeriesError: the alias is no frequency, or one whose seasons have no name.
    """
    frequency = frequency_of(alias)
    step = frequency.step
    if step is None:
        week = {"week": BUSINESS_DAYS, "year": 52 * BUSINESS_DAYS}
        return {"year": 12 // frequency.months} if frequency.months else week
    if step == WEEK:
        return {"year": 52}
    if step == DAY:
        return {"week": 7, "year": 365}
    if step > DAY or DAY % step:
        raise _refused(length_in_words(step), "every hour, every day or every week")
    a_day = DAY // step
    if a_day > MOST_STEPS_A_DAY and HOUR % step == pd.Timedelta(0):
        return {"hour": HOUR // step, "day": a_day}
    return {"day": a_day, "week": 7 * a_day}


def length_in_words(length: pd.Timedelta) -> str:
    """A length of time as a reader would say it: `hour`, `30 minutes`, `2 days`."""
    seconds = length.total_seconds()
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count = seconds / size
        if count >= 1 and count == int(count):
            return unit if count == 1 else f"{int(count)} {unit}s"
    return f"{seconds:g} seconds"
