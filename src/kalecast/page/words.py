"""Words: the sentences in which the page says what a forecast, a history and a model are."""

import math
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import numpy as np

from kalecast.artifact.contract import Contract
from kalecast.data.steps import (
    DAY,
    UNITS,
    has_cycle,
    period_in_words,
    span_in_words,
    step_in_words,
    step_name,
    step_seconds,
    steps_in_words,
)
from kalecast.data.windows import SEASONS_A_CYCLE
from kalecast.page.forecasting import Floats, Forecast, Interval


@dataclass(frozen=True)
class Formatted:
    """The numbers of a forecast as people read them, each put into words once."""

    median: list[str]
    intervals: list[list[str]]
    """One list for each of the forecast's prediction intervals."""

    @classmethod
    def of(cls, forecast: Forecast) -> "Formatted":
        """The numbers of a forecast."""
        return cls(
            numbers(forecast.median, forecast.places),
            [_ranges(interval, forecast.places) for interval in forecast.intervals],
        )


def numbers(values: Floats, places: int | None) -> list[str]:
    """Numbers with so many decimals, below zero to tens and more: `6,120` where hundreds matter."""
    if places is None:
        return [f"{value:,.6g}" for value in values.tolist()]
    if places > 12 or np.max(np.abs(values), initial=0.0, where=~np.isnan(values)) >= 1e15:
        return [f"{value:.3g}" for value in values.tolist()]
    form = f",.{max(0, places)}f"
    rounded = np.round(values, places) if places < 0 else values
    return [_plain_zero(format(value, form)) for value in rounded.tolist()]


def title(forecast: Forecast) -> str:
    """What is forecast, from when."""
    span = span_in_words(forecast.horizon, forecast.contract.frequency)
    timestamps = forecast.timestamps(0, 1)
    since = f" after {moment(forecast, timestamps[0], year=True)}" if timestamps else ""
    return f"The next {span}{since}"


def clock(forecast: Forecast) -> str:
    """In which clock the answer has its times; empty where none came with the history."""
    offset = forecast.history.utc_offset
    if forecast.history.start is None or offset is None:
        return ""
    return f"Times are {zone(offset)}, as in the data."


def reading(forecast: Forecast, formatted: Formatted) -> str:
    """A forecast in one sentence: its peak, when, and how sure that is."""
    if float(np.ptp(forecast.median)) <= forecast.noise:
        return f"Level at about {formatted.median[0]} throughout.{_sure(forecast, formatted, 0)}"
    peak = int(forecast.median.argmax())
    timestamps = forecast.timestamps(1, forecast.horizon)
    if timestamps:
        year = timestamps[peak].year != timestamps[0].year
        word = "in" if forecast.by_month else "on" if forecast.by_day else "around"
        when = f"{word} {moment(forecast, timestamps[peak], year)}"
    else:
        when = f"in {span_in_words(peak + 1, forecast.contract.frequency)}"
    return f"Peak: about {formatted.median[peak]} {when}.{_sure(forecast, formatted, peak)}"


def notes(forecast: Forecast) -> list[str]:
    """What a customer should know about the history that the forecast started from."""
    window, frequency = forecast.window, forecast.contract.frequency
    count = len(window.values)
    found = []
    if window.unknown:
        steps = steps_in_words(count, frequency)
        verb = "is" if window.unknown == 1 else "are"
        care = "allows for that" if window.unknown * 2 <= count else "rests on few values"
        found.append(f"{window.unknown:,} of the last {steps} {verb} missing; the forecast {care}.")
    if count < window.length:
        found.append(
            f"The history has {span_in_words(count, frequency)}; the model can look at "
            f"{span_in_words(window.length, frequency)}. A longer one usually forecasts better."
        )
    if window.known.size > 1 and _is_flat(window.known):
        found.append("All known values are the same, so there is no rhythm to continue.")
    return [*found, *forecast.history.notes]


def quality(contract: Contract) -> str:
    """How good the model is, against repeating the last season or cycle of seasons."""
    ours, naive = _score(contract, "mase"), _score(contract, "mase_seasonal_naive")
    if ours is None or naive is None or naive <= 0:
        return "It carries no comparison with a simple forecast."
    better = round(100 * (1 - ours / naive))
    if better == 0:
        text = "Its errors are as large as"
    else:
        text = f"Its errors are {abs(better)} % {'smaller' if better > 0 else 'larger'} than"
    repeated = period_in_words(contract.season, contract.frequency)
    if has_cycle(contract.season, contract.frequency):
        cycle = SEASONS_A_CYCLE * contract.season
        repeated = f"{repeated} or {period_in_words(cycle, contract.frequency)}"
    elif contract.season == 1:
        repeated = "value"
    return (
        f"{text} those of simply repeating the last {repeated} (MASE {ours:.2f} against "
        f"{naive:.2f}), on values that it had not seen."
    )


def coverage(contract: Contract) -> str:
    """How often the truth lay inside the prediction intervals, on values not seen in training."""
    text = [
        f"the {percent} % range held {round(100 * share)} %"
        for percent in (80, 95)
        if (share := _score(contract, f"coverage_{percent}")) is not None
    ]
    return f"Of those values {' and '.join(text)}." if text else ""


def trained_on(contract: Contract) -> str:
    """What the model learned from."""
    found = contract.trained_on
    parts = []
    if isinstance(found.get("values"), int):
        parts.append(f"{found['values']:,} {step_name(contract.frequency).adjective} values")
    if isinstance(found.get("series"), int):
        parts.append(f"of {found['series']:,} series")
    if found.get("first") and found.get("last"):
        parts.append(f"from {_day(found['first'])} to {_day(found['last'])}")
    return " ".join(parts) or "not stated"


def trained_when(contract: Contract) -> str:
    """When the model was made."""
    return _day(contract.created)


def every(frequency: str) -> str:
    """How often a value comes: `every hour`, `every 15 minutes`, `every month`."""
    return f"every {step_in_words(frequency)}"


def is_daily(frequency: str) -> bool:
    """Whether values come by whole days: then they have no time of day."""
    return step_seconds(frequency) % DAY == 0


@lru_cache(maxsize=8)
def ahead(count: int, frequency: str) -> tuple[str, ...]:
    """Steps from now on, each by name: `hour 1`, `month 1`, `1 hour 15 minutes`."""
    name = step_name(frequency)
    if name.one in UNITS or not step_seconds(frequency):
        return tuple(f"{name.one} {at}" for at in range(1, count + 1))
    return tuple(span_in_words(at, frequency) for at in range(1, count + 1))


def moment(forecast: Forecast, timestamp: datetime, year: bool = False) -> str:
    """A timestamp as people say it: `Friday 2 January, 18:00`, a day without its time, a month."""
    if forecast.by_month:
        return f"{timestamp:%B %Y}"
    day = f"{timestamp:%A} {timestamp.day} {timestamp:%B}{f' {timestamp.year}' if year else ''}"
    return day if forecast.by_day else f"{day}, {timestamp:%H:%M}"


def zone(utc_offset: int) -> str:
    """A clock by its minutes east of UTC: `UTC`, `UTC+01:00`, `UTC-03:30`."""
    if not utc_offset:
        return "UTC"
    hours, minutes = divmod(abs(utc_offset), 60)
    return f"UTC{'+' if utc_offset > 0 else '-'}{hours:02}:{minutes:02}"


def label(name: str) -> str:
    """An identifier as a title: `victoria_demand` as `Victoria demand`."""
    return capital(name.replace("_", " ").strip())


def capital(text: str) -> str:
    """A text with a capital at its beginning, the rest as it is."""
    return text[:1].upper() + text[1:]


def _ranges(interval: Interval, places: int | None) -> list[str]:
    """A prediction interval step by step: `5,800 to 6,500`."""
    ends = zip(numbers(interval.lower, places), numbers(interval.upper, places), strict=True)
    return [f"{lower} to\u00a0{upper}" for lower, upper in ends]


def _plain_zero(text: str) -> str:
    """A zero without sign and decimals, which would say that it is nearly one."""
    return text if text[0] not in "-0" or text.strip("-0.") else "0"


def _sure(forecast: Forecast, formatted: Formatted, at: int) -> str:
    if not forecast.intervals:
        return ""
    return f" {forecast.intervals[0].percent} % sure: {formatted.intervals[0][at]}."


def _is_flat(values: Floats) -> bool:
    return float(np.ptp(values)) <= 1e-9 * float(np.abs(values).max())


def _score(contract: Contract, key: str) -> float | None:
    value = contract.scores.get(key)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _day(text: object) -> str:
    """The day of a timestamp in ISO 8601; what is no timestamp stays as it is."""
    try:
        timestamp = datetime.fromisoformat(str(text))
    except ValueError:
        return str(text)[:40]
    return f"{timestamp.day} {timestamp:%B %Y}"
