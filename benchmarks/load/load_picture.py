"""The load test as a picture: how fast bursts were answered, and latency along the plateau."""

from itertools import accumulate
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot
from matplotlib.axes import Axes

Summary = dict[str, Any]

BELOW = (0.5, -0.16)
"""Where a legend hides no line, in parts of a panel."""

TYPICAL, SLOW, ERRORS = "#1f77b4", "#ff7f0e", "#d62728"


def draw(rounds: dict[str, list[Summary]], plateau: Summary | None, title: str, path: Path) -> None:
    """Save a picture: one panel a route that had bursts, and one of the plateau.

    Args:
        rounds: the driver's summaries by route.
        plateau: the driver's summary of it, where there was one.
        title: above all panels.
        path: where it goes; the ending decides on the format.
    """
    bursts = {name: of_route for name, of_route in rounds.items() if of_route}
    heights = [1.0] * bool(bursts) + [1.0] * (plateau is not None)
    figure = pyplot.figure(figsize=(10, 0.6 + 3.1 * len(heights)), layout="constrained")
    figure.suptitle(title)
    grid = figure.add_gridspec(len(heights), max(len(bursts), 1))
    for column, (name, of_route) in enumerate(bursts.items()):
        _draw_bursts(figure.add_subplot(grid[0, column]), name, of_route)
    if plateau is not None:
        _draw_plateau(figure.add_subplot(grid[-1, :]), plateau)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def _draw_bursts(axes: Axes, name: str, rounds: list[Summary]) -> None:
    """Answers so far, against the time since all were sent: the distribution of latencies."""
    for number, summary in enumerate(rounds, 1):
        rows = summary["timeline"]
        times = [*(row["at"] for row in rows), summary["seconds"]]
        answered = [0, *accumulate(row["ok"] for row in rows)]
        axes.plot(times, answered, label=f"round {number}", linewidth=1.4)
        if summary["errors"]:
            axes.plot(times[-1], summary["errors"], "x", color=ERRORS, label="errors")
    axes.set(title=name, xlabel="seconds after all sent a request", ylabel="answered")
    axes.set(xlim=(0, None), ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="upper left")


def _draw_plateau(axes: Axes, plateau: Summary) -> None:
    """Latency and errors, second by second."""
    rows = [row for row in plateau["timeline"] if row["ok"] or row["errors"]]
    at = [row["at"] for row in rows]
    for key, label, colour in (("p99", "99th percentile", SLOW), ("p50", "median", TYPICAL)):
        axes.plot(at, [_milliseconds(row[key]) for row in rows], label=label, color=colour)
    axes.set(title="app: connections stay open, each sends a request now and then", ylim=(0, None))
    axes.set(xlabel="seconds", ylabel="milliseconds")
    axes.grid(alpha=0.3)
    counts = axes.twinx()
    counts.bar(at, [row["ok"] for row in rows], alpha=0.15, align="edge", label="answers")
    counts.bar(at, [row["errors"] for row in rows], color=ERRORS, align="edge", label="errors")
    counts.set_ylabel("a second")
    handles = [*axes.get_legend_handles_labels()[0], *counts.get_legend_handles_labels()[0]]
    axes.legend(handles=handles, frameon=False, ncols=4, loc="upper center", bbox_to_anchor=BELOW)


def _milliseconds(seconds: float | None) -> float:
    return float("nan") if seconds is None else seconds * 1000
