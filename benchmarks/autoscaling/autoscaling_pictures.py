"""The simulated day and its bursts as pictures."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("svg")

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.autoscaling.arrivals import DAY, Rush
from benchmarks.autoscaling.autoscaling_results import TITLES
from benchmarks.autoscaling.scenario import ScenarioOutcome

COLOURS = {"fixed": "#7f7f7f", "hpa": "#1f77b4", "keda": "#ff7f0e", "keda_peaks": "#2ca02c"}
PROMISE = "#d62728"
MINUTE = 60.0


def draw_day(days: dict[str, ScenarioOutcome], path: Path) -> None:
    """Requests, replicas and waiting time through the day, one panel each."""
    figure, panels = pyplot.subplots(4, 1, figsize=(10, 10), sharex=True, layout="constrained")
    first = next(iter(days.values()))
    figure.suptitle(f"a simulated day of {first.setup.demand.customers:,} customers")
    _draw_requests(panels[0], first)
    for tier, name in enumerate(("page", "model server")):
        for kind, day in days.items():
            _draw_replicas(panels[1 + tier], day, tier, kind, 0.0, 3600.0)
        panels[1 + tier].set(ylabel=f"{name}: replicas", ylim=(0, None))
    for kind, day in days.items():
        _draw_waits(panels[3], day, kind)
    panels[3].axhline(2.0, color=PROMISE, linestyle="--", linewidth=1)
    panels[3].set(yscale="log", ylabel="p99 of each minute, s", xlabel="hour", xlim=(0, 24))
    panels[1].legend(frameon=False, loc="upper right")
    _finish(figure, panels, path)


def draw_burst(days: dict[str, ScenarioOutcome], burst: Rush, rush: Rush, path: Path) -> None:
    """A burst out of quiet, and the rush: what customers wait, what starts meanwhile."""
    figure, panels = pyplot.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    for kind, day in days.items():
        _draw_distribution(panels[0], day, burst, kind)
        _draw_rush(panels[1], day, rush, kind)
        _draw_replicas(panels[2], day, 0, kind, rush.at, 1.0)
    panels[0].axvline(2.0, color=PROMISE, linestyle="--", linewidth=1)
    panels[0].set(title=f"{burst.count:,} at once out of quiet", xlabel="seconds of waiting")
    panels[0].set(ylabel="answered", xlim=(0, 2.2), ylim=(0, None))
    panels[1].set(title=f"{rush.count:,} each second: answered in 2 s", xlabel="seconds", ylim=0)
    panels[1].set(ylabel="per cent of requests")
    panels[2].set(
        title="page: replicas that get requests", xlabel="seconds", xlim=(-30, 600), ylim=0
    )
    panels[2].legend(frameon=False)
    _finish(figure, panels, path)


def _draw_requests(axes: Axes, day: ScenarioOutcome) -> None:
    edges = np.arange(0.0, DAY + MINUTE, MINUTE)
    counts, _ = np.histogram(day.arrivals, edges)
    axes.step(edges[:-1] / 3600, np.maximum(counts / MINUTE, 0.1), where="post", linewidth=0.8)
    axes.set(yscale="log", ylabel="requests a second")


def _draw_replicas(  # noqa: PLR0913, PLR0917 - what to draw, where and how
    axes: Axes, day: ScenarioOutcome, tier: int, kind: str, origin: float, unit: float
) -> None:
    rows = [*day.histories[tier], (day.seconds, *day.histories[tier][-1][1:])]
    at = [(time - origin) / unit for time, _, _ in rows]
    ready = [count for _, _, count in rows]
    axes.step(at, ready, where="post", color=COLOURS[kind], label=TITLES[kind], linewidth=1.4)


def _draw_waits(axes: Axes, day: ScenarioOutcome, kind: str) -> None:
    """The 99th percentile of those who asked in each minute."""
    order = np.argsort(day.answers.requested, kind="stable")
    requested, waits = day.answers.requested[order], day.answers.seconds[order]
    edges = np.arange(0.0, DAY + MINUTE, MINUTE)
    parts = np.split(waits, np.searchsorted(requested, edges[1:-1]))
    p99 = [np.percentile(part, 99) if len(part) else np.nan for part in parts]
    axes.plot(edges[:-1] / 3600, p99, color=COLOURS[kind], linewidth=0.9)


def _draw_distribution(axes: Axes, day: ScenarioOutcome, burst: Rush, kind: str) -> None:
    waits = np.sort(day.answers.waits(burst.at, burst.end))
    axes.plot(waits, np.arange(1, len(waits) + 1), color=COLOURS[kind], linewidth=1.4)


def _draw_rush(axes: Axes, day: ScenarioOutcome, rush: Rush, kind: str) -> None:
    """Of each second's customers, those who were answered in time."""
    moments = rush.at + rush.every * np.arange(rush.rounds)
    good = day.answers.requested[day.answers.seconds <= 2.0]
    counts = [np.count_nonzero(good == moment) for moment in moments]
    axes.plot(moments - rush.at, 100 * np.array(counts) / rush.count, color=COLOURS[kind])


def _finish(figure: Figure, panels: Sequence[Axes], path: Path) -> None:
    for axes in panels:
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)
