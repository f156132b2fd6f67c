"""The figure: past, forecast and prediction intervals as Plotly draws them.

A figure is plain data (traces, layout, configuration): the browser's Plotly needs no more, and
the server saves the import of its Python half. What is the same in every figure is in
`figure.json`, with colours for light pages; `page.css` recognises them by their value and replaces
them on dark ones.
"""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from kalecast.data.steps import step_name
from kalecast.page.forecasting import Forecast, Interval
from kalecast.page.words import Formatted, numbers, zone

STATIC = orjson.loads(Path(__file__).with_name("figure.json").read_bytes())

INTERVAL = "rgba(37, 99, 235, {shade})"

SHORTEST_PAST, LONGEST_PAST = 168, 336

MINUTE = timedelta(minutes=1)
UNITS = {"week": timedelta(days=7), "day": timedelta(days=1), "hour": timedelta(hours=1)}


def figure_json(forecast: Forecast, formatted: Formatted) -> str:
    """The figure of a forecast as JSON."""
    axis, past = _axes(forecast)
    figure = {
        "data": [
            *(_interval(interval, axis, at) for at, interval in enumerate(forecast.intervals)),
            _past(forecast, past),
            _median(forecast, axis, formatted),
        ],
        "layout": _layout(forecast, past[-1]),
        "config": STATIC["config"],
    }
    # Columns of the forecast do not lie in one piece, which orjson leaves to its `default`.
    text: bytes = orjson.dumps(figure, default=np.ndarray.tolist, option=orjson.OPT_SERIALIZE_NUMPY)
    return text.decode()


def _axes(forecast: Forecast) -> tuple[Sequence[Any], Sequence[Any]]:
    """Positions along the x-axis of the forecast and of the past that is shown."""
    count = min(
        len(forecast.window.values),
        int(np.clip(4 * forecast.horizon, SHORTEST_PAST, LONGEST_PAST)),
    )
    ahead = forecast.timestamp_texts(1, forecast.horizon, "minutes")
    past = forecast.timestamp_texts(1 - count, count, "minutes")
    if ahead is None or past is None:
        _, each = _unit(forecast)
        return _counted(1, forecast.horizon + 1, each), _counted(1 - count, 1, each)
    return ahead, past


def _counted(first: int, end: int, each: float) -> Sequence[float]:
    """Positions of steps in a unit of time."""
    if each == 1:
        return range(first, end)
    return [round(at * each, 4) for at in range(first, end)]


def _unit(forecast: Forecast) -> tuple[str, float]:
    """The unit of time that the axis counts in, and how many of it a step lasts."""
    if forecast.grid.step is None:
        return step_name(forecast.contract.frequency).one, 1.0
    step = forecast.grid.step.to_pytimedelta()
    for name, size in UNITS.items():
        if not step % size and step >= size:
            return name, step / size
    # Parts of an hour are counted in hours where there are some of them.
    name = "hour" if forecast.horizon * step >= 2 * UNITS["hour"] else "minute"
    return name, step / (UNITS["hour"] if name == "hour" else MINUTE)


def _interval(interval: Interval, axis: Sequence[Any], at: int) -> dict[str, Any]:
    """A prediction interval, shaded, its outline there and back; wider ones are paler."""
    return {
        **STATIC["interval"],
        "name": f"{interval.percent} % sure",
        "x": [*axis, *reversed(axis)],
        "y": np.concatenate([interval.upper, interval.lower[::-1]]),
        "fillcolor": INTERVAL.format(shade=0.14 + 0.12 * at),
        "legendrank": 1003 - at,
    }


def _past(forecast: Forecast, axis: Sequence[Any]) -> dict[str, Any]:
    values = forecast.window.values[-len(axis) :]
    return {
        **STATIC["past"],
        "x": [*axis],
        "y": values,  # NaN leaves as null: a gap in the line
        "text": ["" if text == "nan" else text for text in numbers(values, forecast.places)],
        "hovertemplate": f"{_hover_head(forecast)}<br>%{{text}}<extra></extra>",
    }


def _median(forecast: Forecast, axis: Sequence[Any], formatted: Formatted) -> dict[str, Any]:
    percents = [interval.percent for interval in forecast.intervals]
    lines = [
        "<br>".join(
            [
                f"<b>about {middle}</b>",
                *(f"{p} % sure: {r}" for p, r in zip(percents[::-1], ranges[::-1], strict=True)),
            ]
        )
        for middle, *ranges in zip(formatted.median, *formatted.intervals, strict=True)
    ]
    return {
        **STATIC["forecast"],
        "x": [*axis],
        "y": forecast.median,
        "text": lines,
        "hovertemplate": f"{_hover_head(forecast)}<br>%{{text}}<extra></extra>",
    }


def _hover_head(forecast: Forecast) -> str:
    if forecast.history.start is None:
        return f"{_unit(forecast)[0]} %{{x}}"
    if forecast.by_month:
        return "%{x|%b %Y}"
    return "%{x|%a %-d %b %Y}" if forecast.by_day else "%{x|%a %-d %b, %H:%M}"


def _layout(forecast: Forecast, now: Any) -> dict[str, Any]:
    # Plain numbers with thousands separators; powers of ten only where those get too long.
    largest = max(np.abs(forecast.values).max(), forecast.window.largest)
    form = "," if 10 <= largest < 1e9 else ""
    return {
        **STATIC["layout"],
        # Dragging stays with the page: on a phone it is how one scrolls past the figure.
        "dragmode": False,
        "xaxis": {**STATIC["xaxis"], **_time(forecast)},
        "yaxis": {**STATIC["yaxis"], "tickformat": form},
        "shapes": [{**STATIC["now_line"], "x0": now, "x1": now}],
        "annotations": [{**STATIC["now_label"], "x": now}],
    }


def _time(forecast: Forecast) -> dict[str, Any]:
    """What is the axis' own where the history has timestamps, and where it has none."""
    if forecast.history.start is None:
        title = f"{_unit(forecast)[0]}s from now"
        return {"zeroline": False, "title": {"text": title, "standoff": 8}}
    ticks = STATIC["day_ticks" if forecast.by_day else "hour_ticks"]
    axis = {"type": "date", "tickformatstops": ticks}
    if (offset := forecast.history.utc_offset) is not None:
        axis["title"] = {"text": zone(offset), "standoff": 8}
    return axis
