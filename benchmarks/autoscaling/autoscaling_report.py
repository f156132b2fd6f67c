"""What the simulation came to: the one JSON object, tables of it for people, pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.autoscaling.scenario import (
    BURSTS,
    DAY,
    DAY_DEMAND,
    HOUR,
    RUSH,
    Rush,
    ScenarioOutcome,
)
from kalecast.cluster.capacity import AT_ONCE, WAIT_SECONDS

TITLES = {
    "fixed": "as in quiet",
    "hpa": "HPA on CPU",
    "keda": "KEDA, in flight",
    "keda_peaks": "KEDA, peaks",
}
"""What people call the autoscalers."""


def as_json(
    days: dict[str, ScenarioOutcome], shapes: list[dict[str, Any]], least: float, work: float
) -> dict[str, Any]:
    """The figures; those of the shipped settings first.

    Args:
        days: by autoscaler.
        shapes: trials by size of pods, the shipped one first.
        least: core-hours of the least possible.
        work: core-hours that the work itself takes.
    """
    return {
        "refused_out_of_quiet": shapes[0]["refused"],
        "p99_out_of_quiet": shapes[0]["p99"],
        "cost_over_least": round(days["keda"].core_hours / least, 3),
        "least_core_hours": round(least, 2),
        "work_core_hours": round(work, 3),
        "days": {kind: _day(outcome, least) for kind, outcome in days.items()},
        "shapes": shapes,
    }


def _day(day: ScenarioOutcome, least: float) -> dict[str, Any]:
    return {
        "requests": len(day.arrivals),
        "refused": len(day.refused),
        "p50": round(day.wait(50), 4),
        "p99": round(day.wait(99), 3),
        "bursts_p99": [round(day.wait(99, burst), 3) for burst in BURSTS],
        "bursts_refused": sum(day.refused_in(burst) for burst in BURSTS),
        "rush_p50": round(day.wait(50, RUSH), 3),
        "rush_p99": round(day.wait(99, RUSH), 3),
        "rush_refused": day.refused_in(RUSH),
        "most_replicas": dict(zip(("page", "model_server"), day.most_replicas, strict=True)),
        "core_hours": round(day.core_hours, 2),
        "cost_over_least": round(day.core_hours / least, 3),
    }


##### Tables #####


def print_bursts(shapes: list[dict[str, Any]], trials: int) -> None:
    """A line for each size of pods; the first is the shipped one."""
    print(f"{AT_ONCE:,} at once out of quiet, the worst of {trials} times\n")
    print(pd.DataFrame(shapes).to_string(index=False), flush=True)


def print_days(figures: dict[str, Any]) -> None:
    """A line an autoscaler; what the least possible is."""
    print(
        f"\na day of {DAY_DEMAND.customers:,} customers, {len(BURSTS)} bursts of {AT_ONCE:,}, and "
        f"a rush of {RUSH.rounds * RUSH.count:,} in {RUSH.rounds} s\n"
    )
    frame = pd.DataFrame(figures["days"]).T.rename(TITLES)
    frame["bursts_p99"] = frame["bursts_p99"].map(max)
    frame["most_replicas"] = ["+".join(map(str, most.values())) for most in frame["most_replicas"]]
    print(frame.to_string())
    print(f"least possible: {figures['least_core_hours']} core-hours", flush=True)


def print_real(real: dict[str, Any]) -> None:
    """Two real replicas beside two simulated ones."""
    print(f"\n{real['clients']:,} at once to two replicas behind nginx\n")
    rows = {f"measured, {number}": one for number, one in enumerate(real["measured"], 1)}
    print(pd.DataFrame(rows | {"simulated": real["simulated"]}).T.to_string())
    print(
        f"{real['cpu_each_us']:.0f} µs of CPU a request, {real['cores_free']:.2f} cores free; "
        f"simulated over measured: p50 {real['p50_ratio']:.2f}, p99 {real['p99_ratio']:.2f}"
    )


##### Pictures #####

COLOURS = {"fixed": "#7f7f7f", "hpa": "#1f77b4", "keda": "#ff7f0e", "keda_peaks": "#2ca02c"}
PROMISE = "#d62728"
MINUTE = 60.0


def draw_day(days: dict[str, ScenarioOutcome], path: Path) -> None:
    """Requests, replicas and waiting time through the day, one panel each."""
    figure, panels = pyplot.subplots(4, 1, figsize=(10, 10), sharex=True, layout="constrained")
    figure.suptitle(f"a simulated day of {DAY_DEMAND.customers:,} customers")
    _draw_requests(panels[0], next(iter(days.values())))
    for kind, day in days.items():
        for tier in (0, 1):
            _draw_replicas(panels[1 + tier], day, tier, kind)
        _draw_waits(panels[3], day, kind)
    for tier, name in enumerate(("page", "model server")):
        panels[1 + tier].set(ylabel=f"{name}: replicas", ylim=(0, None))
    panels[3].axhline(WAIT_SECONDS, color=PROMISE, linestyle="--", linewidth=1)
    panels[3].set(yscale="log", ylabel="p99 of each minute, s", xlabel="hour", xlim=(0, 24))
    panels[1].legend(frameon=False, loc="upper right")
    _finish(figure, panels, path)


def draw_burst(days: dict[str, ScenarioOutcome], burst: Rush, rush: Rush, path: Path) -> None:
    """A burst out of quiet, and the rush: what customers wait, what starts meanwhile."""
    figure, panels = pyplot.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    for kind, day in days.items():
        waits = np.sort(day.waits_in(burst))
        panels[0].plot(waits, np.arange(1, len(waits) + 1), color=COLOURS[kind], linewidth=1.4)
        good = day.requested[day.waits <= WAIT_SECONDS]
        counts = np.array([np.count_nonzero(good == moment) for moment in rush.moments])
        panels[1].plot(rush.moments - rush.at, 100 * counts / rush.count, color=COLOURS[kind])
        _draw_replicas(panels[2], day, 0, kind, rush.at, unit=1.0)
    panels[0].axvline(WAIT_SECONDS, color=PROMISE, linestyle="--", linewidth=1)
    panels[0].set(title=f"{burst.count:,} at once out of quiet", xlabel="seconds of waiting")
    panels[0].set(ylabel="answered", xlim=(0, 2.2), ylim=(0, None))
    panels[1].set(title=f"{rush.count:,} each second: answered in 2 s", xlabel="seconds", ylim=0)
    panels[1].set(ylabel="per cent of requests")
    panels[2].set(title="page: replicas that get requests", xlabel="seconds", ylim=0)
    panels[2].set_xlim(-30, 600)
    panels[2].legend(frameon=False)
    _finish(figure, panels, path)


def _draw_requests(axes: Axes, day: ScenarioOutcome) -> None:
    edges = np.arange(0.0, DAY + MINUTE, MINUTE)
    counts, _ = np.histogram(day.arrivals, edges)
    axes.step(edges[:-1] / HOUR, np.maximum(counts / MINUTE, 0.1), where="post", linewidth=0.8)
    axes.set(yscale="log", ylabel="requests a second")


def _draw_replicas(  # noqa: PLR0913, PLR0917 - what to draw, where and how
    axes: Axes, day: ScenarioOutcome, tier: int, kind: str, origin: float = 0.0, unit: float = HOUR
) -> None:
    rows = [*day.histories[tier], (day.end, *day.histories[tier][-1][1:])]
    at = [(time - origin) / unit for time, _, _ in rows]
    ready = [count for _, _, count in rows]
    axes.step(at, ready, where="post", color=COLOURS[kind], label=TITLES[kind], linewidth=1.4)


def _draw_waits(axes: Axes, day: ScenarioOutcome, kind: str) -> None:
    """The 99th percentile of those who asked in each minute."""
    order = np.argsort(day.requested, kind="stable")
    requested, waits = day.requested[order], day.waits[order]
    edges = np.arange(0.0, DAY + MINUTE, MINUTE)
    parts = np.split(waits, np.searchsorted(requested, edges[1:-1]))
    p99 = [np.percentile(part, 99) if len(part) else np.nan for part in parts]
    axes.plot(edges[:-1] / HOUR, p99, color=COLOURS[kind], linewidth=0.9)


def _finish(figure: Figure, panels: Sequence[Axes], path: Path) -> None:
    for axes in panels:
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
