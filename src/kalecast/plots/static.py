"""Pictures for notebooks and reports: series, losses, scores, forecasts."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from kalecast.artifact.contract import Contract
from kalecast.artifact.runtime import Windows
from kalecast.data.frequency import frequency_of
from kalecast.evaluation.backtest import MODEL, calibration, models_of
from kalecast.evaluation.baselines import INTERVALS, naive_among

INK, BLUE, GREY = "#1f2933", "#2563eb", "#9aa5b1"
FEWEST_STEPS = 56
"""Of a series that are drawn, however few days they are."""
SEASONS_SHOWN, HORIZONS_SHOWN = 7, 3
"""Before a forecast, whichever is more: a week of days, or three times as much as is forecast."""


def plot_series(frame: pd.DataFrame, days: int = 14, most: int = 12) -> Figure:
    """The newest days of each series, or as many steps as make a picture: a panel a series."""
    names = list(frame["unique_id"].unique()[:most])
    figure, axes = panels(len(names))
    for axis, name in zip(axes, names, strict=False):
        one = frame[frame["unique_id"] == name]
        newest = (one["ds"] > one["ds"].max() - pd.Timedelta(days=days)).sum()
        recent = one.tail(max(newest, FEWEST_STEPS))
        axis.plot(recent["ds"], recent["y"], color=INK, linewidth=0.9)
        date_title(axis, str(name))
    return figure


def plot_losses(losses: pd.DataFrame) -> Figure:
    """Training and validation loss by epoch, and the median's error, by which the best is kept."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    left.plot(losses["epoch"], losses["loss"], color=GREY, label="training")
    left.plot(losses["epoch"], losses["val_loss"], color=BLUE, label="validation")
    left.set_ylabel("pinball loss")
    best = losses.iloc[int(losses["val_error"].to_numpy().argmin())]
    right.plot(losses["epoch"], losses["val_error"], color=BLUE, label="validation")
    right.plot(best["epoch"], best["val_error"], "o", color=BLUE, label="best epoch, kept")
    right.set_ylabel("error of the median")
    for axis in (left, right):
        axis.set_xlabel("epoch")
        axis.legend(frameon=False)
        clean(axis)
    return figure


def plot_scores(scores: pd.DataFrame, metric: str = "mase") -> Figure:
    """One row a series: the network's score beside the baselines'. Further left is better."""
    table = scores[scores["metric"] == metric].sort_values(MODEL, ascending=False)
    rows = np.arange(len(table))
    figure, axis = plt.subplots(figsize=(7, 1.2 + 0.28 * len(table)), layout="constrained")
    for column, (colour, marker, _) in _styles(models_of(table)).items():
        axis.plot(table[column], rows, marker, color=colour, label=column, markersize=7)
    axis.set_yticks(rows, table["unique_id"])
    axis.set_xlabel({"mase": "MASE", "smape": "sMAPE in %"}.get(metric, metric))
    axis.legend(frameon=False, loc="best")
    clean(axis)
    return figure


def plot_error_by_hour(table: pd.DataFrame) -> Figure:
    """Mean absolute error by steps ahead, each series relative to the naive error of a season."""
    known = table[table["y"].notna()].copy()
    known["ahead"] = known.groupby(["unique_id", "cutoff"]).cumcount() + 1
    once = naive_among(models_of(table))[0]
    naive = (known[once] - known["y"]).abs().groupby(known["unique_id"]).transform("mean")
    figure, axis = plt.subplots(figsize=(7, 3), layout="constrained")
    for column, (colour, _, line) in _styles(models_of(table)).items():
        relative = (known[column] - known["y"]).abs() / naive.where(naive > 0)
        axis.plot(relative.groupby(known["ahead"]).mean(), line, color=colour, label=column)
    axis.set_xlabel("steps ahead")
    axis.set_ylabel("relative error")
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False)
    clean(axis)
    return figure


def plot_backtest(table: pd.DataFrame, scores: pd.DataFrame) -> Figure:
    """The series forecast best and worst (by MASE) on all held-out steps, with the intervals."""
    ranked = scores[scores["metric"] == "mase"].dropna(subset=[MODEL]).sort_values(MODEL)
    chosen = list(dict.fromkeys([ranked["unique_id"].iloc[0], ranked["unique_id"].iloc[-1]]))
    figure, axes = plt.subplots(
        len(chosen), 1, figsize=(9, 2.8 * len(chosen)), layout="constrained", squeeze=False
    )
    for axis, name in zip(axes[:, 0], chosen, strict=True):
        one = table[table["unique_id"] == name].sort_values("ds")
        for level, alpha in ((95, 0.12), (80, 0.22)):
            axis.fill_between(
                one["ds"],
                one[f"{MODEL}-lo-{level}"],
                one[f"{MODEL}-hi-{level}"],
                color=BLUE,
                alpha=alpha,
                linewidth=0,
            )
        axis.plot(one["ds"], one["y"], color=INK, linewidth=0.9, label="actual")
        axis.plot(one["ds"], one[MODEL], color=BLUE, linewidth=0.9, label="median forecast")
        mase = ranked.loc[ranked["unique_id"] == name, MODEL].iloc[0]
        date_title(axis, f"{name}  (MASE {mase:.2f})")
    axes[0, 0].legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    return figure


def plot_coverage(table: pd.DataFrame) -> Figure:
    """Coverage of the prediction intervals, step by step ahead, beside the nominal one."""
    known = table[table["y"].notna()].copy()
    known["ahead"] = known.groupby(["unique_id", "cutoff"]).cumcount() + 1
    figure, axis = plt.subplots(figsize=(7, 3), layout="constrained")
    for level, colour in zip(INTERVALS, (BLUE, INK), strict=True):
        inside = known["y"].between(known[f"{MODEL}-lo-{level}"], known[f"{MODEL}-hi-{level}"])
        axis.plot(
            100 * inside.groupby(known["ahead"]).mean(), color=colour, label=f"{level} % interval"
        )
        axis.axhline(level, color=colour, linestyle=":", linewidth=1)
    axis.set_xlabel("steps ahead")
    axis.set_ylabel("inside, %")
    axis.set_ylim(0, 102)
    axis.legend(frameon=False, loc="lower right")
    clean(axis)
    return figure


def plot_calibration(table: pd.DataFrame) -> Figure:
    """The share of actual values below each quantile, beside what the quantile says."""
    shares = calibration(table)
    figure, axis = plt.subplots(figsize=(4, 4), layout="constrained")
    axis.plot([0, 1], [0, 1], ":", color=GREY, label="as promised")
    axis.plot(shares.index, shares, "o-", color=BLUE, label=MODEL)
    axis.set_xlabel("quantile")
    axis.set_ylabel("share of actual values below it")
    axis.set_aspect("equal")
    axis.legend(frameon=False, loc="upper left")
    clean(axis)
    return figure


def plot_forecast(
    history: pd.DataFrame, forecast: Windows, contract: Contract, most: int = 6
) -> Figure:
    """What the published model says of the steps after the newest known ones.

    Args:
        history: tidy series; the newest seasons of each are drawn, a week of days.
        forecast: `(series, horizon, quantiles)`, in the order of the series in `history`.
        contract: the model's.
        most: panels.
    """
    names = list(history["unique_id"].unique()[:most])
    figure, axes = panels(len(names))
    grid = frequency_of(contract.frequency)
    for index, (axis, name) in enumerate(zip(axes, names, strict=False)):
        whole = history[history["unique_id"] == name]
        ahead = grid.ahead(whole["ds"], contract.horizon)
        one = whole.tail(max(SEASONS_SHOWN * contract.season, HORIZONS_SHOWN * contract.horizon))
        for (low, high), alpha in zip(INTERVALS.values(), (0.25, 0.12), strict=True):
            lower = forecast[index, :, contract.quantiles.index(low)]
            upper = forecast[index, :, contract.quantiles.index(high)]
            axis.fill_between(ahead, lower, upper, color=BLUE, alpha=alpha, linewidth=0)
        axis.plot(one["ds"], one["y"], color=INK, linewidth=0.9)
        axis.plot(ahead, forecast[index, :, contract.median], color=BLUE, linewidth=1.2)
        date_title(axis, str(name))
    return figure


def _styles(models: list[str]) -> dict[str, tuple[str, str, str]]:
    """Colour, marker and line of each model; the network's is drawn last, on top."""
    naive = naive_among(models)
    others = [name for name in models if name not in (MODEL, *naive)]
    styles = dict(zip(naive, ((GREY, "|", ":"), (GREY, "x", "--")), strict=False))
    styles |= {name: (INK, marker, "-.") for name, marker in zip(others, "+*^", strict=False)}
    return {**styles, MODEL: (BLUE, "o", "-")}


def panels(count: int, columns: int = 3) -> tuple[Figure, list[Axes]]:
    """A figure of that many small panels, or of a large one, and their axes."""
    columns = min(columns, count)
    rows = -(-count // columns)
    height = 1.9 * rows if count > 1 else 3.4
    figure, axes = plt.subplots(
        rows, columns, figsize=(10, height), layout="constrained", squeeze=False
    )
    flat: list[Any] = list(axes.ravel())
    for unused in flat[count:]:
        unused.set_axis_off()
    return figure, flat


def date_title(axis: Axes, text: str) -> None:
    """Title a small panel whose horizontal axis is time."""
    axis.set_title(text, fontsize=9, loc="left")
    axis.tick_params(labelsize=7)
    dates = AutoDateLocator(minticks=2, maxticks=6)
    axis.xaxis.set_major_locator(dates)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(dates))
    clean(axis)


def clean(axis: Axes) -> None:
    """Leave out the frame's lines that say nothing."""
    axis.spines[["top", "right"]].set_visible(False)
