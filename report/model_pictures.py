"""Pictures of the model's chapter: the data, the training, the errors."""

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from report.model_words import GRIDS, MODEL, contender
from report.results import ResultFile
from report.shown import COLOURS, GREY, INK, TEXT_WIDTH

BLUE, ORANGE = COLOURS[:2]
LINES = ("-", "--", ":", "-.")
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def profiles(r: ResultFile) -> Figure:
    """The average day and the average week of each series."""
    series = r["exploration"]["series"]
    figure, (days, weeks) = plt.subplots(1, 2, figsize=(TEXT_WIDTH, 2.7), sharey=True)
    for one in series:
        look = _look_of(one["series"])
        days.plot(range(len(one["day"])), one["day"], **look)
        weeks.plot(range(len(one["week"])), one["week"], **look)
    days.set(xlabel="hour of the day", ylabel="distance from the mean,\nstandard deviations")
    days.set_xticks(range(0, 25, 6))
    weeks.set_xticks(range(7), WEEKDAYS)
    weeks.set_xlabel("day of the week")
    for axis in (days, weeks):
        axis.axhline(0, color=GREY, linewidth=0.6)
    handles, labels = days.get_legend_handles_labels()
    kinds = {label: handle for handle, label in zip(handles, labels, strict=True)}
    days.legend(kinds.values(), kinds.keys(), loc="upper left")
    return figure


def strengths(r: ResultFile) -> Figure:
    """How strong the day and the week are in each series."""
    series = r["exploration"]["series"]
    figure, axis = _rows([one["series"] for one in series], "strength of the season")
    for period, marker, colour in (("day", "o", BLUE), ("week", "s", ORANGE)):
        values = [one["strength"][period] for one in series]
        axis.plot(values, range(len(series)), marker, color=colour, label=period)
    axis.set_xlim(-0.02, 1.02)
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


def learning(r: ResultFile) -> Figure:
    """Losses by epoch, and the error of the median that chooses the epoch."""
    epochs = r["training"]["epochs"]
    numbers = [row["epoch"] for row in epochs]
    figure, (losses, errors) = plt.subplots(1, 2, figsize=(TEXT_WIDTH, 2.4))
    losses.plot(numbers, [row["loss"] for row in epochs], "--s", color=GREY, label="training")
    losses.plot(numbers, [row["val_loss"] for row in epochs], "-o", color=BLUE, label="validation")
    losses.set(ylabel="pinball loss", xlabel="epoch")
    losses.legend()
    errors.plot(numbers, [row["val_error"] for row in epochs], "-o", color=BLUE)
    errors.axvline(r["training"]["kept"], color=ORANGE, linewidth=0.9, linestyle=":")
    errors.set(ylabel="error of the median,\nvalidation", xlabel="epoch (dotted: kept)")
    for axis in (losses, errors):
        axis.set_xticks(numbers)
        axis.margins(x=0.06)
    return figure


def by_hour(r: ResultFile) -> Figure:
    """Errors of all contenders by hours ahead."""
    errors = r["by_hour"]
    figure, axis = plt.subplots(figsize=(TEXT_WIDTH, 2.9))
    ahead = errors["ahead"]
    for index, (name, values) in enumerate(errors["error"].items()):
        own = name == MODEL
        axis.plot(
            ahead,
            values,
            LINES[index % len(LINES)],
            color=COLOURS[index],
            linewidth=1.9 if own else 1.1,
            label=contender(name),
        )
    axis.set(xlabel="hours ahead", ylabel="mean absolute error,\nseasonal differences")
    axis.set_xticks(range(0, max(ahead) + 1, 6))
    axis.set_ylim(bottom=0)
    axis.legend(ncols=2, loc="lower right")
    return figure


def reliability(r: ResultFile) -> Figure:
    """Actual values below each quantile, and inside the bands by hours ahead."""
    figure, (shares, hours) = plt.subplots(1, 2, figsize=(TEXT_WIDTH, 2.8), width_ratios=(1, 1.35))
    observed = r["calibration"]
    nominal = [float(quantile) for quantile in observed]
    shares.plot([0, 1], [0, 1], ":", color=GREY, label="as promised")
    shares.plot(nominal, list(observed.values()), "o", color=BLUE, label="held-out hours")
    shares.set(xlabel="quantile", ylabel="share of actual values below it", aspect="equal")
    shares.legend(loc="upper left")
    for (level, held), colour, line in zip(
        r["by_hour"]["coverage"].items(), COLOURS, LINES, strict=False
    ):
        ahead = r["by_hour"]["ahead"]
        hours.plot(
            ahead, [100 * share for share in held], line, color=colour, label=f"{level} % band"
        )
        hours.axhline(float(level), color=colour, linewidth=0.7, linestyle=":")
    hours.set(xlabel="hours ahead", ylabel="inside the band, %", ylim=(40, 102))
    hours.set_xticks(range(0, 49, 12))
    hours.legend(loc="lower right")
    return figure


def scores_by_series(r: ResultFile) -> Figure:
    """MASE of each contender, a row a series, the network's best at the top."""
    rows = sorted(r["by_series"], key=lambda row: row["mase"][MODEL])
    figure, axis = _rows([row["series"] for row in rows], "MASE (further left is better)")
    markers = "osD^v"
    for index, name in enumerate(rows[0]["mase"]):
        own = name == MODEL
        axis.plot(
            [row["mase"][name] for row in rows],
            range(len(rows)),
            markers[index % len(markers)],
            color=COLOURS[index],
            markersize=7 if own else 4.5,
            markerfacecolor=COLOURS[index] if own else "none",
            label=contender(name),
        )
    axis.axvline(1, color=GREY, linewidth=0.6)
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


def forecasts(shown: Sequence[Any], season: int, days_before: int = 3) -> Figure:
    """Forecasts with what came true, a panel each, and some days before them."""
    columns = 2 if len(shown) > 3 else 1
    lines = -(-len(shown) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(TEXT_WIDTH, 1.75 * lines + 0.3), squeeze=False, sharex=True
    )
    for axis, one in zip(axes.flat, shown, strict=False):
        _forecast(axis, one, days_before * season)
    for axis in axes[-1]:
        axis.set_xlabel("hours from the forecast's origin")
        axis.set_xticks(range(-days_before * season, 49, season))
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return figure


def _forecast(axis: Axes, one: Any, steps_before: int) -> None:
    forecast, horizon = one["forecast"], len(one["actual"])
    ahead = np.arange(1, horizon + 1)
    for level, alpha in (("95", 0.16), ("80", 0.3)):
        low, high = _floats(forecast[f"lo-{level}"]), _floats(forecast[f"hi-{level}"])
        label = f"{level} % band"
        axis.fill_between(ahead, low, high, color=BLUE, alpha=alpha, linewidth=0, label=label)
    axis.plot(ahead, _floats(forecast["median"]), color=BLUE, label="median")
    axis.plot(
        ahead, _floats(one["naive"]), "--", color=ORANGE, linewidth=0.8, label="last week again"
    )
    actual = [*one["before"][-steps_before:], *one["actual"]]
    axis.plot(
        np.arange(len(actual)) - steps_before + 1,
        _floats(actual),
        color=INK,
        linewidth=0.8,
        label="actual",
    )
    axis.axvline(0.5, color=GREY, linewidth=0.6)
    axis.set_title(f"{one['series']}, after {one['cutoff'][:16]}", loc="left", fontsize=8.5)


def _floats(values: Iterable[float | None]) -> Any:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _look_of(name: str) -> dict[str, Any]:
    if name.endswith(GRIDS):
        return {"color": ORANGE, "linewidth": 1.5, "label": "grids", "linestyle": "--"}
    return {"color": BLUE, "linewidth": 0.9, "label": "homes", "alpha": 0.8}


def _rows(names: Sequence[str], label: str) -> tuple[Figure, Axes]:
    figure, axis = plt.subplots(figsize=(TEXT_WIDTH, 0.8 + 0.24 * len(names)))
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_xlabel(label)
    axis.grid(axis="y")
    axis.set_axisbelow(True)
    return figure, axis
