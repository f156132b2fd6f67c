"""The forecast of one history: what the page and the plain routes both call and show."""

import math
from dataclasses import dataclass
from datetime import datetime, time, timedelta, timezone
from functools import cached_property, lru_cache
from statistics import median

import numpy as np
import numpy.typing as npt

from kalecast.artifact.contract import Contract
from kalecast.data.frequency import Frequency, frequency_of
from kalecast.data.series import SeriesError
from kalecast.data.steps import step_in_words
from kalecast.page.history import History, Window, shown, window
from kalecast.page.model_server import Caller, ModelServer

Floats = npt.NDArray[np.float64]

DAY = timedelta(days=1)
FINEST = 1e-3
"""Of what a history varies by: finer differences are the model's noise."""
WHOLE = 0.1
"""Prediction intervals that are narrower say that a whole number is sure."""


@dataclass(frozen=True)
class Interval:
    """The range in which a value lies with `percent` % probability."""

    percent: int
    lower: Floats
    upper: Floats


@dataclass(frozen=True)
class Forecast:
    """A history and what comes after it."""

    history: History
    window: Window
    contract: Contract
    values: Floats
    """Shape `(horizon, quantiles)`; the horizon is the customer's, not the model's."""

    @property
    def horizon(self) -> int:
        """Steps forecast."""
        return len(self.values)

    @cached_property
    def median(self) -> Floats:
        """The middle of what is expected: as likely to be too high as too low."""
        return self.values[:, self.contract.median]

    @cached_property
    def noise(self) -> float:
        """Differences up to which values are the same beside what the history varies by."""
        known = self.window.known
        return FINEST * (float(np.ptp(known)) or self.window.largest)

    @cached_property
    def places(self) -> int | None:
        """Decimals in sentences, negative for tens and more; None where nothing varies.

        As fine as the intervals are wide, but no finer than makes sense beside the history: a
        model's 168.99999 for a history of 169 is 169.
        """
        known = self.window.known
        # Quantiles never cross. Half a hundred values are sorted sooner without NumPy.
        widths = (self.values[:, -1] - self.values[:, 0]).tolist()
        widest = median(widths) or float(np.ptp(self.median))
        finest = max(widest, self.noise)
        if not finest > 0:
            return None
        places = 1 - math.floor(math.log10(finest))
        # Whole numbers need decimals for intervals of less than one alone, as of some a day.
        whole = not WHOLE <= widest < 1 and (known == np.rint(known)).all()
        return min(0, places) if whole else places

    @cached_property
    def intervals(self) -> list[Interval]:
        """A prediction interval for every symmetric pair of quantiles, the widest first."""
        quantiles = self.contract.quantiles
        pairs = [
            (low, high)
            for low, q in enumerate(quantiles)
            for high in range(low + 1, len(quantiles))
            if math.isclose(q + quantiles[high], 1.0, abs_tol=1e-9)
        ]
        return [
            Interval(
                percent=round(100 * (quantiles[high] - quantiles[low])),
                lower=self.values[:, low],
                upper=self.values[:, high],
            )
            for low, high in pairs
        ]

    @property
    def grid(self) -> Frequency:
        """Which timestamp comes after which."""
        return frequency_of(self.contract.frequency)

    @cached_property
    def by_day(self) -> bool:
        """Whether its times are days: then none has an hour to show."""
        start, step = self._start, self.grid.step
        whole = step is None or not step % DAY
        return start is not None and whole and start.time() == time()

    @property
    def by_month(self) -> bool:
        """Whether its times are months: then none has a day to show."""
        return self.by_day and self.grid.months > 0

    def timestamps(self, first: int, count: int) -> tuple[datetime, ...] | None:
        """Timestamps of `count` steps from `first`, in the clock of the history.

        Step 0 is the newest of the history.
        """
        begin = self._from(first)
        return None if begin is None else _timestamps(*begin, self.grid, count)

    def timestamp_texts(self, first: int, count: int, until: str) -> tuple[str, ...] | None:
        """The same as texts: `2026-01-31 13:00` until the `minutes`, or until the `seconds`."""
        begin = self._from(first)
        return None if begin is None else _timestamp_texts(*begin, self.grid, count, until)

    def zoned_texts(self, first: int, count: int) -> tuple[str, ...] | None:
        """The same until the seconds, each with the offset that came: `… 13:00:00+01:00`."""
        timestamps, offset = self.timestamps(first, count), self.history.utc_offset
        if timestamps is None or offset is None:
            return self.timestamp_texts(first, count, "seconds")
        return _zoned_texts(timestamps, offset)

    @cached_property
    def _start(self) -> datetime | None:
        return _local_start(self.history)

    def _from(self, first: int) -> tuple[datetime, int] | None:
        """A timestamp, and how many steps after it step `first` from the newest comes.

        That step itself, so that all histories that end alike have the same; but a month's step
        cannot tell on which day the history's months begin.
        """
        if self._start is None:
            return None
        since_start = len(self.history.values) - 1 + first
        if self.grid.step is None:
            return self._start, since_start
        return self.grid.datetimes(self._start, since_start, 1)[0], 0

    @property
    def decimals(self) -> int:
        """Decimals that keep seven figures of the largest value: beyond them is noise."""
        largest = max(float(np.abs(self.values).max()), self.window.largest)
        return 6 if largest == 0 else min(max(0, 6 - math.floor(math.log10(largest))), 12)


# Most histories end at the present hour, so most forecasts begin at the same one.
@lru_cache(maxsize=256)
def _timestamps(start: datetime, first: int, grid: Frequency, count: int) -> tuple[datetime, ...]:
    return grid.datetimes(start, first, count)


@lru_cache(maxsize=256)
def _timestamp_texts(
    start: datetime, first: int, grid: Frequency, count: int, until: str
) -> tuple[str, ...]:
    timestamps = _timestamps(start, first, grid, count)
    return tuple(timestamp.isoformat(" ", until) for timestamp in timestamps)


@lru_cache(maxsize=256)
def _zoned_texts(timestamps: tuple[datetime, ...], offset: int) -> tuple[str, ...]:
    zone = timezone(timedelta(minutes=offset))
    zoned = (timestamp.replace(tzinfo=zone) for timestamp in timestamps)
    return tuple(timestamp.isoformat(" ", "seconds") for timestamp in zoned)


def _local_start(history: History) -> datetime | None:
    """A history's first timestamp, in its clock."""
    start, offset = history.start, history.utc_offset
    return None if start is None else start + timedelta(minutes=offset or 0)


def _check_start(history: History, frequency: str) -> None:
    """Refuse a first timestamp that steps of the calendar cannot have.

    Raises:
        SeriesError: it is of a weekend, or of a day that not every month has.
    """
    start = _local_start(history)
    if start is not None and not (grid := frequency_of(frequency)).takes(start):
        days = "on a day from 1 to 28, or the last" if grid.months else "from Monday to Friday"
        raise SeriesError(
            f"Expected the time of the first number, of one every {step_in_words(frequency)}, to "
            f"be {days}, received: {start}."
        )


async def forecast(
    server: ModelServer, caller: Caller, history: History, horizon: int | None = None
) -> Forecast:
    """Forecast a history.

    Args:
        server: the model server.
        caller: who waits for it.
        history: what is known.
        horizon: steps to forecast, the model's whole horizon where left out.

    Raises:
        SeriesError: the history cannot be forecast from, or the horizon is out of range.
        ServiceDown, Overloaded, Refused: as for `ModelServer.forecast`.
    """
    contract = await server.contract()
    if horizon is not None and not 1 <= horizon <= contract.horizon:
        raise SeriesError(
            f"Expected a horizon from 1 to {contract.horizon}, received: {shown(horizon)}."
        )
    _check_start(history, contract.frequency)
    part = window(history, contract)
    contract, values = await server.forecast(part.values, caller)
    return Forecast(history, part, contract, values[: horizon or contract.horizon])
