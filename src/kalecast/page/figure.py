"""The figure: past, forecast and prediction intervals as Plotly draws them.

A figure is plain data (traces, layout, configuration): the browser's Plotly needs no more, and
the server saves the import of its Python half. Colours are written once here for light pages;
`page.css` recognises them by their value and replaces them on dark ones.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import orjson

from kalecast.page.forecasting import Forecast, Interval
from kalecast.page.words import Formatted, numbers, zone

PAST = "rgb(71, 85, 105)"
AHEAD = "rgb(37, 99, 235)"
INTERVAL = "rgba(37, 99, 235, {shade})"
RULE = "rgb(148, 163, 184)"
GRID = "rgba(148, 163, 184, 0.25)"
TEXT = "rgb(71, 85, 106)"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"

SHORTEST_PAST, LONGEST_PAST = 168, 336

MINUTE = timedelta(minutes=1)
UNITS = {"week": timedelta(days=7), "day": timedelta(days=1), "hour": timedelta(hours=1)}

HOUR_TICKS = [
    {"dtickrange": [None, 86400000 - 1], "value": "%H:%M<br>%a %-d %b"},
    {"dtickrange": [86400000, None], "value": "%a<br>%-d %b"},
]
DAY_TICKS = [
    {"dtickrange": [None, "M1"], "value": "%-d %b<br>%Y"},
    {"dtickrange": ["M1", None], "value": "%b<br>%Y"},
]


def figure_json(forecast: Forecast, formatted: Formatted) -> str:
    """The figure of a forecast as JSON."""
    axis, past = _axes(forecast)
    figure = {
        "data": [
            *(_interval(interval, axis, at) for at, interval in enumerate(forecast.intervals)),
            _past(forecast, past),
            _median(forecast, axis, formatted),
        ],
        "layout": _layout(forecast, past),
        "config": {
            "displaylogo": False,
            "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "pan2d"],
        },
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
    step = forecast.step
    for name, size in UNITS.items():
        if not step % size and step >= size:
            return name, step / size
    # Parts of an hour are counted in hours where there are some of them.
    name = "hour" if forecast.horizon * step >= 2 * UNITS["hour"] else "minute"
    return name, step / (UNITS["hour"] if name == "hour" else MINUTE)


def _interval(interval: Interval, axis: Sequence[Any], at: int) -> dict[str, Any]:
    """A prediction interval, shaded, its outline there and back; wider ones are paler."""
    return {
        "name": f"{interval.percent} % sure",
        "x": [*axis, *reversed(axis)],
        "y": np.concatenate([interval.upper, interval.lower[::-1]]),
        "fill": "toself",
        "fillcolor": INTERVAL.format(shade=0.14 + 0.12 * at),
        "line": {"width": 0},
        "mode": "lines",
        "hoverinfo": "skip",
        "legendrank": 1003 - at,
    }


def _past(forecast: Forecast, axis: Sequence[Any]) -> dict[str, Any]:
    values = forecast.window.values[-len(axis) :]
    return {
        "name": "Past",
        "x": [*axis],
        "y": values,  # NaN leaves as null: a gap in the line
        "mode": "lines",
        "line": {"color": PAST, "width": 1.6},
        "text": ["" if text == "nan" else text for text in numbers(values, forecast.places)],
        "hovertemplate": f"{_hover_head(forecast)}<br>%{{text}}<extra></extra>",
        "legendrank": 1000,
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
        "name": "Forecast",
        "x": [*axis],
        "y": forecast.median,
        "mode": "lines",
        "line": {"color": AHEAD, "width": 2.4},
        "text": lines,
        "hovertemplate": f"{_hover_head(forecast)}<br>%{{text}}<extra></extra>",
        "legendrank": 1001,
    }


def _hover_head(forecast: Forecast) -> str:
    if forecast.history.start is None:
        return f"{_unit(forecast)[0]} %{{x}}"
    return "%{x|%a %-d %b %Y}" if forecast.by_day else "%{x|%a %-d %b, %H:%M}"


def _layout(forecast: Forecast, past: Sequence[Any]) -> dict[str, Any]:
    dated = forecast.history.start is not None
    return {
        "autosize": True,
        "margin": {"l": 8, "r": 12, "t": 34, "b": 8},
        "paper_bgcolor": "rgba(0, 0, 0, 0)",
        "plot_bgcolor": "rgba(0, 0, 0, 0)",
        "font": {"family": FONT, "size": 13, "color": TEXT},
        "hovermode": "closest",
        "hoverdistance": 60,
        "hoverlabel": {
            "bgcolor": "rgb(255, 255, 255)",
            "bordercolor": RULE,
            "align": "left",
            "font": {"family": FONT, "size": 13, "color": "rgb(15, 23, 42)"},
        },
        # Dragging stays with the page: on a phone it is how one scrolls past the figure.
        "dragmode": False,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "xaxis": _dated_axis(forecast) if dated else _counted_axis(forecast),
        "yaxis": {
            "automargin": True,
            "fixedrange": True,
            "gridcolor": GRID,
            "zeroline": False,
            "nticks": 7,
            "separatethousands": True,
            "exponentformat": "power",
            "tickformat": _tick_format(forecast),
        },
        "shapes": [_now_line(past[-1])],
        "annotations": [_now_label(past[-1])],
    }


def _tick_format(forecast: Forecast) -> str:
    """Plain numbers with thousands separators; powers of ten only where those get too long."""
    largest = max(np.abs(forecast.values).max(), forecast.window.largest)
    return "," if 10 <= largest < 1e9 else ""


def _dated_axis(forecast: Forecast) -> dict[str, Any]:
    offset = forecast.history.utc_offset
    return {
        "type": "date",
        "automargin": True,
        "showgrid": False,
        "nticks": 7,
        "tickformatstops": DAY_TICKS if forecast.by_day else HOUR_TICKS,
        "showline": True,
        "linecolor": RULE,
        **({} if offset is None else {"title": {"text": zone(offset), "standoff": 8}}),
    }


def _counted_axis(forecast: Forecast) -> dict[str, Any]:
    return {
        "automargin": True,
        "showgrid": False,
        "zeroline": False,
        "nticks": 7,
        "title": {"text": f"{_unit(forecast)[0]}s from now", "standoff": 8},
        "showline": True,
        "linecolor": RULE,
    }


def _now_line(now: Any) -> dict[str, Any]:
    line = {"color": RULE, "width": 1.2, "dash": "dot"}
    return {"type": "line", "x0": now, "x1": now, "yref": "paper", "y0": 0, "y1": 1, "line": line}


def _now_label(now: Any) -> dict[str, Any]:
    return {
        "x": now,
        "yref": "paper",
        "y": 1,
        "yanchor": "top",
        "xanchor": "right",
        "text": "now",
        "showarrow": False,
        "font": {"size": 12, "color": TEXT},
    }
