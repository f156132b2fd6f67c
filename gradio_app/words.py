"""Words: the sentences in which the page says what a forecast, a history and a model are."""

import math
from datetime import datetime

import numpy as np
from forecasting import Band, Floats, Forecast

from kalecast.bundle import Contract

DOWN = "The forecasting service is not answering just now; please try again in a minute."
FAULT = "Something went wrong on our side. Please try again; your data were not the reason."

LIMITS = (
    "It sees one series' own past and nothing else: no weather, holidays, prices or plans.",
    "A break that the past does not show, such as a new machine or a closed site, takes it by "
    "surprise.",
    "Bands are what is usual, not what is possible: some hours lie outside the widest one.",
)


def number(value: float, spread: float) -> str:
    """A number as precise as `spread` makes sense of: `6,120` where hundreds matter."""
    if not spread > 0:
        return f"{value:,.6g}"
    places = 1 - math.floor(math.log10(spread))
    if abs(value) >= 1e15 or places > 12:
        return f"{value:.3g}"
    text = f"{round(value, places):,.{max(0, places)}f}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text


def between(band: Band, at: int, spread: float) -> str:
    """A band at one step: `5,800 to 6,500`."""
    return f"{number(band.lower[at], spread)} to\u00a0{number(band.upper[at], spread)}"


def spread_of(forecast: Forecast) -> float:
    """How far apart a forecast's values lie: what numbers in sentences are rounded by."""
    widest = float(np.median(np.ptp(forecast.values, axis=1)))
    return widest or float(np.ptp(forecast.median))


def title(forecast: Forecast) -> str:
    """What is forecast, from when."""
    span = hours(forecast.horizon, forecast.contract.frequency)
    stamps = forecast.stamps(0, 1)
    since = f" after {moment(stamps[0], year=True)}" if stamps else ""
    return f"The next {span}{since}"


def reading(forecast: Forecast) -> str:
    """A forecast in one sentence: its peak, when, and how sure that is."""
    median, spread = forecast.median, spread_of(forecast)
    if _is_flat(median):
        return f"Level at about {number(float(median[0]), spread)} throughout.{_sure(forecast, 0)}"
    peak = int(median.argmax())
    stamps = forecast.stamps(1, forecast.horizon)
    when = f"around {moment(stamps[peak])}" if stamps else f"in {hours(peak + 1)}"
    return f"Peak: about {number(float(median[peak]), spread)} {when}.{_sure(forecast, peak)}"


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


def _sure(forecast: Forecast, at: int) -> str:
    if not forecast.bands:
        return ""
    widest = forecast.bands[0]
    spread = spread_of(forecast)
    return f" {widest.percent} % sure: {between(widest, at, spread)}."


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
