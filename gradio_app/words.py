"""Words: the sentences in which the page says what a forecast, a history and a model are."""

import math
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from forecasting import Band, Floats, Forecast

from kalecast.bundle import Contract

LIMITS = (
    "It sees one series' own past and nothing else: no weather, holidays, prices or plans.",
    "A break that the past does not show, such as a new machine or a closed site, takes it by "
    "surprise.",
    "Bands are what is usual, not what is possible: some hours lie outside the widest one.",
)


@dataclass(frozen=True)
class Told:
    """The numbers of a forecast as people read them, each put into words once."""

    median: list[str]
    bands: list[list[str]]
    """One list for each of the forecast's bands."""

    @classmethod
    def of(cls, forecast: Forecast) -> "Told":
        """The numbers of a forecast."""
        return cls(
            numbers(forecast.median, forecast.spread),
            [_ranges(band, forecast.spread) for band in forecast.bands],
        )


def numbers(values: Floats, spread: float) -> list[str]:
    """Numbers as precise as `spread` makes sense of: `6,120` where hundreds matter."""
    if not spread > 0:
        return [f"{value:,.6g}" for value in values.tolist()]
    places = 1 - math.floor(math.log10(spread))
    if places > 12 or np.max(np.abs(values), initial=0.0, where=~np.isnan(values)) >= 1e15:
        return [f"{value:.3g}" for value in values.tolist()]
    form = f",.{max(0, places)}f"
    rounded = np.round(values, places) if places < 0 else values
    return [_unsigned_zero(format(value, form)) for value in rounded.tolist()]


def title(forecast: Forecast) -> str:
    """What is forecast, from when."""
    span = hours(forecast.horizon, forecast.contract.frequency)
    stamps = forecast.stamps(0, 1)
    since = f" after {moment(stamps[0], year=True)}" if stamps else ""
    return f"The next {span}{since}"


def reading(forecast: Forecast, told: Told) -> str:
    """A forecast in one sentence: its peak, when, and how sure that is."""
    if _is_flat(forecast.median):
        return f"Level at about {told.median[0]} throughout.{_sure(forecast, told, 0)}"
    peak = int(forecast.median.argmax())
    stamps = forecast.stamps(1, forecast.horizon)
    when = f"around {moment(stamps[peak])}" if stamps else f"in {hours(peak + 1)}"
    return f"Peak: about {told.median[peak]} {when}.{_sure(forecast, told, peak)}"


def notes(forecast: Forecast) -> list[str]:
    """What a customer should know about the history that the forecast started from."""
    window, frequency = forecast.window, forecast.contract.frequency
    count = len(window.values)
    found = []
    if window.unknown:
        span = hours(count, frequency)
        verb = "is" if window.unknown == 1 else "are"
        care = "allows for that" if window.unknown * 2 <= count else "rests on few values"
        found.append(f"{window.unknown:,} of the last {span} {verb} unknown; the forecast {care}.")
    if count < window.length:
        found.append(
            f"The history has {hours(count, frequency)}; the model can look at "
            f"{window.length:,}. A longer one usually forecasts better."
        )
    if window.known.size > 1 and _is_flat(window.known):
        found.append("All known values are the same, so there is no rhythm to continue.")
    return found


def quality(contract: Contract) -> str:
    """How good the model is, against repeating the last day or week."""
    ours, naive = _score(contract, "mase"), _score(contract, "mase_seasonal_naive")
    if ours is None or naive is None or naive <= 0:
        return "It carries no comparison with a simple forecast."
    better = round(100 * (1 - ours / naive))
    if better == 0:
        told = "Its errors are as large as"
    else:
        told = f"Its errors are {abs(better)} % {'smaller' if better > 0 else 'larger'} than"
    return (
        f"{told} those of simply repeating the last day or week (MASE {ours:.2f} against "
        f"{naive:.2f}), on hours that it had not seen."
    )


def coverage(contract: Contract) -> str:
    """How often the truth lay inside the bands, on hours not seen in training."""
    told = [
        f"the {percent} % band held {round(100 * share)} %"
        for percent in (80, 95)
        if (share := _score(contract, f"coverage_{percent}")) is not None
    ]
    return f"Of those hours {' and '.join(told)}." if told else ""


def trained_on(contract: Contract) -> str:
    """What the model learned from."""
    found = contract.trained_on
    parts = []
    if isinstance(found.get("values"), int):
        parts.append(f"{found['values']:,} hourly values")
    if isinstance(found.get("series"), int):
        parts.append(f"of {found['series']:,} series")
    if found.get("first") and found.get("last"):
        parts.append(f"from {_day(found['first'])} to {_day(found['last'])}")
    return " ".join(parts) or "not stated"


def trained_when(contract: Contract) -> str:
    """When the model was made."""
    return _day(contract.created)


def hours(count: int, frequency: str = "h") -> str:
    """A number of steps: `1 hour`, `48 hours`."""
    unit = "hour" if frequency.lower() in ("h", "1h") else f"step of {frequency}"
    if count == 1:
        return f"1 {unit}"
    return f"{count:,} " + ("hours" if unit == "hour" else unit.replace("step", "steps"))


def moment(stamp: datetime, year: bool = False) -> str:
    """A stamp as people say it: `Friday 2 January, 18:00`."""
    day = f"{stamp:%A} {stamp.day} {stamp:%B}"
    return f"{day} {stamp.year}, {stamp:%H:%M}" if year else f"{day}, {stamp:%H:%M}"


def label(name: str) -> str:
    """An identifier as a title: `victoria_demand` as `Victoria demand`."""
    text = name.replace("_", " ").strip()
    return text[:1].upper() + text[1:]


def _ranges(band: Band, spread: float) -> list[str]:
    """A band step by step: `5,800 to 6,500`."""
    ends = zip(numbers(band.lower, spread), numbers(band.upper, spread), strict=True)
    return [f"{lower} to\u00a0{upper}" for lower, upper in ends]


def _unsigned_zero(text: str) -> str:
    return text[1:] if text[0] == "-" and not text.strip("-0.") else text


def _sure(forecast: Forecast, told: Told, at: int) -> str:
    if not forecast.bands:
        return ""
    return f" {forecast.bands[0].percent} % sure: {told.bands[0][at]}."


def _is_flat(values: Floats) -> bool:
    return float(np.ptp(values)) <= 1e-9 * float(np.abs(values).max())


def _score(contract: Contract, key: str) -> float | None:
    value = contract.scores.get(key)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _day(text: object) -> str:
    """The day of a stamp in ISO 8601; what is no stamp stays as it is."""
    try:
        stamp = datetime.fromisoformat(str(text))
    except ValueError:
        return str(text)[:40]
    return f"{stamp.day} {stamp:%B %Y}"
