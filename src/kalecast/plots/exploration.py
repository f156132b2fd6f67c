"""Pictures of what `kalecast.data.exploration` gives in numbers; a panel or a row a series."""

from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kalecast.data.exploration import (
    MONTHS,
    WEEKDAYS,
    calendar_grid,
    gaps,
    seasonal_differences,
)
from kalecast.data.frequency import frequency_of
from kalecast.plots.static import BLUE, GREY, INK, clean, date_title, panels

RED = "#c2410c"
HALF_A_DAY = pd.Timedelta("12h")


def plot_whole(frame: pd.DataFrame, steps_a_day: int) -> Figure:
    """Each series from its first to its last day: the day's mean, smallest and largest value."""
    figure, axes = panels(frame["unique_id"].nunique())
    for axis, (name, one) in zip(axes, frame.groupby("unique_id", sort=False), strict=False):
        days = one.groupby(one["ds"].dt.normalize())["y"].agg(["min", "mean", "max"])
        if steps_a_day > 1:
            axis.fill_between(days.index, days["min"], days["max"], color=GREY, alpha=0.5, lw=0)
        axis.plot(days.index, days["mean"], color=INK, linewidth=0.8)
        axis.set_xlim(days.index[0] - HALF_A_DAY, days.index[-1] + HALF_A_DAY)
        date_title(axis, str(name))
    return figure


def plot_profiles(days: pd.DataFrame, weeks: pd.DataFrame) -> Figure:
    """The average day, where values come several a day, and the average week: a line a series."""
    several = len(days) > 1
    figure, axes = plt.subplots(1, 1 + several, figsize=(10, 3.4), layout="constrained")
    *left, right = np.atleast_1d(axes)
    for axis in left:
        axis.plot(days, linewidth=1.1)
        axis.set_xticks(range(0, 25, 6))
        axis.set_xlabel("hour of the day")
    lines = right.plot(weeks, "o-", linewidth=1.1, markersize=3)
    right.set_xticks(range(7), WEEKDAYS)
    for axis in (*left, right):
        axis.axhline(0, color=GREY, linewidth=0.8)
        clean(axis)
    (left or [right])[0].set_ylabel("standard deviations from the mean")
    figure.legend(lines, list(weeks.columns), loc="outside right upper", frameon=False)
    return figure


def plot_year(months: pd.DataFrame) -> Figure:
    """The average year of weeks, months or quarters: a line a series."""
    figure, axis = plt.subplots(figsize=(10, 3.4), layout="constrained")
    for name, one in months.items():  # quarters have values for some months alone
        axis.plot(one.dropna(), "o-", linewidth=1.1, markersize=3, label=name)
    axis.set_xticks(range(1, 13), MONTHS)
    axis.axhline(0, color=GREY, linewidth=0.8)
    axis.set_ylabel("standard deviations from the mean")
    clean(axis)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def plot_calendar(frame: pd.DataFrame) -> Figure:
    """Weekday × hour of each series (of daily ones weekday × month, of coarser ones year × month).

    The darker, the more.
    """
    figure, axes = panels(frame["unique_id"].nunique())
    for axis, (name, one) in zip(axes, frame.groupby("unique_id", sort=False), strict=False):
        grid = calendar_grid(one)
        axis.imshow(grid, aspect="auto", cmap="Blues", interpolation="nearest")
        every = max(1, len(grid.columns) // 4)
        axis.set_xticks(range(0, len(grid.columns), every), grid.columns[::every])
        rows = max(1, len(grid) // 7)
        axis.set_yticks(range(0, len(grid), rows), grid.index[::rows])
        axis.tick_params(labelsize=7)
        axis.set_title(str(name), fontsize=9, loc="left")
    return figure


def plot_autocorrelation(correlations: pd.DataFrame, season: int, season_name: str) -> Figure:
    """How alike values so many steps apart are, with a mark at each whole season."""
    figure, axes = panels(len(correlations.columns))
    seasons = correlations.index / season
    for index, name in enumerate(correlations.columns):
        axis = axes[index]
        for whole in range(1, int(seasons[-1]) + 1):
            axis.axvline(whole, color=GREY, linewidth=1.5 if whole % 7 == 0 else 0.4)
        axis.axhline(0, color=GREY, linewidth=0.8)
        axis.plot(seasons, correlations[name], color=INK, linewidth=0.9)
        axis.set_ylim(-1.05, 1.05)
        axis.set_title(name, fontsize=9, loc="left")
        axis.tick_params(labelsize=7)
        clean(axis)
    figure.supxlabel(f"{season_name}s apart", fontsize=9)
    return figure


def plot_strengths(strengths: pd.DataFrame) -> Figure:
    """A row a series, a mark a season: 0 at the left is no season, 1 at the right nothing else."""
    figure, axis = _rows(strengths["unique_id"])
    marks = zip(strengths.columns[1:], "os", (BLUE, INK), strict=False)
    for period, marker, colour in marks:
        axis.plot(strengths[period], range(len(strengths)), marker, color=colour, label=period)
    axis.set_xlim(-0.03, 1.03)
    axis.set_xlabel("strength of the season")
    axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def plot_gaps(frame: pd.DataFrame, frequency: str) -> Figure:
    """A line a series, from its first day to its last; its gaps are marked, however short."""
    step = frequency_of(frequency).length
    grouped = frame.groupby("unique_id", sort=False)["ds"]
    begins, ends = grouped.min(), grouped.max()
    figure, axis = _rows(begins.index)
    axis.hlines(range(len(begins)), 0, _days(ends - begins), color=GREY, linewidth=5)
    found = gaps(frame)
    rows = found["unique_id"].map({name: row for row, name in enumerate(begins.index)})
    started = found["unique_id"].map(begins)
    first = _days(found["first"] - started)
    last = _days(found["last"] + step - started)
    axis.hlines(rows, first, last, color=RED, linewidth=9)
    axis.plot(first, rows, "|", color=RED, markersize=9)
    axis.set_xlabel("days since the series began")
    return figure


def plot_values(frame: pd.DataFrame, bins: int = 60) -> Figure:
    """How often which value occurs, a panel a series; the line is the median."""
    figure, axes = panels(frame["unique_id"].nunique())
    for axis, (name, one) in zip(axes, frame.groupby("unique_id", sort=False), strict=False):
        known = one["y"].dropna()
        if len(known):
            axis.hist(known, bins=_bins(known, bins), color=GREY)
            axis.axvline(known.median(), color=BLUE, linewidth=1.2)
        axis.set_yticks([])
        axis.tick_params(labelsize=7)
        axis.set_title(str(name), fontsize=9, loc="left")
        clean(axis)
    return figure


def plot_differences(frame: pd.DataFrame, steps: int) -> Figure:
    """Differences from one season before, in units of their own mean size: a box a series.

    A box holds the middle half, whiskers 98 %, dots the rest.
    """
    names = list(frame["unique_id"].unique())
    differences = seasonal_differences(frame, steps)
    by_series = [differences[frame["unique_id"] == name].dropna() for name in names]
    relative = [one / (one.abs().mean() or 1.0) for one in by_series]
    figure, axis = _rows(names)
    axis.boxplot(
        relative,
        orientation="horizontal",
        positions=range(len(names)),
        whis=(1, 99),
        widths=0.6,
        flierprops={"marker": ".", "markersize": 2, "markeredgecolor": GREY},
        medianprops={"color": BLUE},
        manage_ticks=False,
    )
    axis.set_xlabel("difference, in mean absolute differences")
    return figure


def _days(length: pd.Series) -> pd.Series:
    days: pd.Series = length.dt.total_seconds() / 86400
    return days


def _bins(known: pd.Series, most: int) -> int:
    """As many as a histogram takes; one where all values are the same, or nearly."""
    apart = known.max() - known.min()
    return most if apart > 1e-9 * known.abs().max() else 1


def _rows(names: Iterable[object]) -> tuple[Figure, Axes]:
    """A figure with a row a series, the first at the top."""
    labels = [str(name) for name in names]
    figure, axis = plt.subplots(figsize=(8, 1.0 + 0.3 * len(labels)), layout="constrained")
    axis.set_yticks(range(len(labels)), labels)
    axis.set_ylim(len(labels) - 0.4, -0.6)
    clean(axis)
    return figure, axis
