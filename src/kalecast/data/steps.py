"""Steps in words: what one step of a frequency is called, and how long some of them are.

The one place where `(count, frequency)` becomes something to read; nothing else writes "hours"
of data whose frequency it has not looked at.
"""

from dataclasses import dataclass
from functools import lru_cache

from kalecast.data.frequency import ONE_QUARTER, frequency_of
from kalecast.data.table_files import SeriesError

MINUTE, HOUR, DAY = 60, 3600, 86400
UNITS = {"week": 7 * DAY, "day": DAY, "hour": HOUR, "minute": MINUTE, "second": 1}
"""Seconds of each unit, the longest first."""
ADJECTIVES = {"day": "daily"}
CALENDAR = {
    **dict.fromkeys(("24 hours", "1 day"), "day"),
    **dict.fromkeys(("168 hours", "7 days", "1 week", "5 business days"), "week"),
    **dict.fromkeys(("8,760 hours", "365 days", "52 weeks", "12 months", "4 quarters"), "year"),
}
"""What spans are called that the calendar has a name for."""


@dataclass(frozen=True)
class StepName:
    """What a step of some frequency is called."""

    one: str
    """Such as `hour`, `quarter-hour`, `3-hour step`."""
    many: str
    """Such as `hours`."""
    adjective: str
    """Such as `hourly`, `quarter-hourly`, `3-hour`, as in "daily values"."""


def steps_in_words(count: int, frequency: str) -> str:
    """A number of steps: `1 hour`, `1,008 hours`, `96 quarter-hours`, `14 days`.

    Args:
        count: steps.
        frequency: a pandas offset alias; where it is none that is known, its steps have no name.
    """
    name = step_name(frequency)
    return f"{count:,} {name.one if count == 1 else name.many}"


def span_in_words(count: int, frequency: str) -> str:
    """How long so many steps last: `48 hours`, `23 hours 15 minutes`, `14 days`, `12 months`.

    Args:
        count: steps.
        frequency: a pandas offset alias; where it has no fixed length, the steps are counted.
    """
    seconds = step_seconds(frequency)
    if not seconds:
        return steps_in_words(count, frequency)
    # In the units that the frequency itself is thought in: two days of hours are 48 hours.
    largest = next((size for size in (7 * DAY, DAY) if seconds % size == 0), HOUR)
    parts, left = [], count * seconds
    for unit, size in UNITS.items():
        if size <= largest and left >= size:
            parts.append(counted(left // size, unit))
            left %= size
    return " ".join(parts) or steps_in_words(0, frequency)


def step_in_words(frequency: str) -> str:
    """What there is one value every of: `hour`, `15 minutes`, `week`, `business day`, `month`."""
    name = step_name(frequency).one
    return name if name in UNITS or not step_seconds(frequency) else span_in_words(1, frequency)


def period_in_words(count: int, frequency: str) -> str:
    """How long so many steps last, by one name where there is one: `day`, `week`, `month`."""
    span = span_in_words(count, frequency)
    return CALENDAR.get(span, span.removeprefix("1 "))


def has_cycle(season: int, frequency: str) -> bool:
    """Whether seven seasons make another one: days make weeks, and nothing else does so."""
    return season * step_seconds(frequency) == DAY


def counted(count: int, unit: str) -> str:
    """A count and its unit, in the plural where it is one: `1 day`, `1,008 hours`."""
    return f"{count:,} {unit}" if count == 1 else f"{count:,} {unit}s"


@lru_cache(maxsize=64)
def step_name(frequency: str) -> StepName:
    """What a step of a frequency is called: `hour`, `quarter-hour`, `3-hour step`, `month`.

    Args:
        frequency: a pandas offset alias; where it is none that is known, it is named itself.
    """
    seconds = step_seconds(frequency)
    if not seconds:
        return _calendar_name(frequency)
    if seconds in (15 * MINUTE, 30 * MINUTE):
        fraction = "quarter" if seconds == 15 * MINUTE else "half"
        return StepName(f"{fraction}-hour", f"{fraction}-hours", f"{fraction}-hourly")
    unit, size = next((unit, size) for unit, size in UNITS.items() if seconds % size == 0)
    adjective = ADJECTIVES.get(unit, f"{unit}ly")
    if seconds == size:
        return StepName(unit, f"{unit}s", adjective)
    each = f"{seconds // size}-{unit}"
    return StepName(f"{each} step", f"{each} steps", each)


@lru_cache(maxsize=64)
def step_seconds(frequency: str) -> int:
    """Whole seconds of a step, 0 where there are none or their number changes."""
    try:
        step = frequency_of(frequency).step
    except SeriesError:
        return 0
    return int(step.total_seconds()) if step is not None else 0


def _calendar_name(frequency: str) -> StepName:
    """The name of steps whose length changes."""
    try:
        months = frequency_of(frequency).months
    except SeriesError:
        return StepName(f"step of {frequency}", f"steps of {frequency}", f"'{frequency}'")
    if not months:
        return StepName("business day", "business days", "business-day")
    unit = "quarter" if months == ONE_QUARTER else "month"
    return StepName(unit, f"{unit}s", f"{unit}ly")
