"""What the simulation came to: tables for people, pictures, and the one JSON object."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.autoscaling.scenario import BURSTS, DAY, HOUR, RUSH, Rush, ScenarioOutcome
from benchmarks.autoscaling.trials import Trial
from kalecast.cluster.capacity import WAIT_SECONDS

##### Tables #####

TITLES = {
    "fixed": "as in quiet",
    "hpa": "HPA on CPU",
    "keda": "KEDA, in flight",
    "keda_peaks": "KEDA, peaks",
}
"""What people call the autoscalers."""


def print_bursts(trials: list[Trial]) -> None:
    """A line for each size of pods; the first is the shipped one."""
    print(f"5,000 at once out of quiet, the worst of {trials[0].trials} times")
    print(f"\n{'page':>9} {'model':>9} {'upstream':>9} {'cores':>6} {'refused':>8}", end="")
    print(f" {'p50':>6} {'p99':>6} {'p99, one of each away':>22}")
    for trial in trials:
        shape = trial.shape
        print(
            f"{_pods(shape.page):>9} {_pods(shape.model):>9} {shape.upstream_requests:>9} "
            f"{shape.cores:>6.2f} {trial.refused:>8,} {trial.p50:>6.2f} {trial.p99:>6.2f} "
            f"{trial.p99_one_away:>22.2f}",
            flush=True,
        )


def print_days(days: dict[str, ScenarioOutcome], least: float) -> None:
    """A line an autoscaler; what the least possible is."""
    first = next(iter(days.values()))
    rush = RUSH.rounds * RUSH.count
    print(
        f"\na day of {first.setup.demand.customers:,} customers, {len(first.arrivals):,} forecasts:"
        f" {len(BURSTS)} bursts of 5,000, and a rush of {rush:,} in {RUSH.rounds} s"
    )
    print(f"\n{'':16} {'p50':>7} {'p99':>7} {'bursts: p99':>12} {'refused':>8}", end="")
    print(f" {'rush: p50':>10} {'p99':>6} {'refused':>8} {'pods':>6} {'core-h':>7} {'/ least':>8}")
    for kind, day in days.items():
        bursts = max(day.wait(99, burst) for burst in BURSTS)
        refused = sum(day.refused_in(burst) for burst in BURSTS)
        most = "+".join(map(str, day.most_replicas))
        print(
            f"{TITLES[kind]:16} {day.wait(50):>7.3f} {day.wait(99):>7.2f} {bursts:>12.2f} "
            f"{refused:>8,} {day.wait(50, RUSH):>10.2f} {day.wait(99, RUSH):>6.2f} "
            f"{day.refused_in(RUSH):>8,} {most:>6} {day.core_hours:>7.2f} "
            f"{day.core_hours / least:>8.2f}"
        )
    print(f"{'least possible':16} {'':79} {least:>7.2f} {1:>8.2f}", flush=True)


def print_real(real: dict[str, Any]) -> None:
    """Two real replicas beside two simulated ones."""
    print(f"\n{real['clients']:,} at once to two replicas behind nginx")
    print(f"\n{'':16} {'p50':>7} {'p99':>7} {'seconds':>8}")
    for number, summary in enumerate(real["measured"], 1):
        print(
            f"measured, {number:<6} {summary['p50']:>7.3f} {summary['p99']:>7.3f} "
            f"{summary['seconds']:>8.3f}"
        )
    simulated = real["simulated"]
    print(
        f"{'simulated':16} {simulated['p50']:>7.3f} {simulated['p99']:>7.3f} "
        f"{simulated['seconds']:>8.3f}"
    )
    print(
        f"{real['cpu_each_us']:.0f} µs of CPU a request, {real['cores_free']:.2f} cores free; "
        f"simulated over measured: p50 {real['p50_ratio']:.2f}, p99 {real['p99_ratio']:.2f}"
    )


def as_json(
    days: dict[str, ScenarioOutcome], trials: list[Trial], least: float, work: float
) -> dict[str, Any]:
    """The figures; those of the shipped settings first.

    Args:
        days: by autoscaler.
        trials: by size of pods, the shipped one first.
        least: core-hours of the least possible.
        work: core-hours that the work itself takes.
    """
    shipped = trials[0]
    return {
        "refused_out_of_quiet": shipped.refused,
        "p99_out_of_quiet": round(shipped.p99, 3),
        "cost_over_least": round(days["keda"].core_hours / least, 3),
        "least_core_hours": round(least, 2),
        "work_core_hours": round(work, 3),
        "days": {kind: _day(outcome, least) for kind, outcome in days.items()},
        "shapes": [_trial(trial) for trial in trials],
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


def _trial(trial: Trial) -> dict[str, Any]:
    shape = trial.shape
    return {
        "page": _pods(shape.page),
        "model_server": _pods(shape.model),
        "upstream_requests": shape.upstream_requests,
        "cores": round(shape.cores, 3),
        "refused": trial.refused,
        "p50": round(trial.p50, 3),
        "p99": round(trial.p99, 3),
        "p99_one_away": round(trial.p99_one_away, 3),
    }


def _pods(pods: tuple[int, float]) -> str:
    return f"{pods[0]} x {pods[1]:g}m"


##### Pictures #####

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
            _draw_replicas(panels[1 + tier], day, tier, kind, 0.0, HOUR)
        panels[1 + tier].set(ylabel=f"{name}: replicas", ylim=(0, None))
    for kind, day in days.items():
        _draw_waits(panels[3], day, kind)
    panels[3].axhline(WAIT_SECONDS, color=PROMISE, linestyle="--", linewidth=1)
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
    panels[0].axvline(WAIT_SECONDS, color=PROMISE, linestyle="--", linewidth=1)
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
    axes.step(edges[:-1] / HOUR, np.maximum(counts / MINUTE, 0.1), where="post", linewidth=0.8)
    axes.set(yscale="log", ylabel="requests a second")


def _draw_replicas(  # noqa: PLR0913, PLR0917 - what to draw, where and how
    axes: Axes, day: ScenarioOutcome, tier: int, kind: str, origin: float, unit: float
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


def _draw_distribution(axes: Axes, day: ScenarioOutcome, burst: Rush, kind: str) -> None:
    waits = np.sort(day.waits_in(burst))
    axes.plot(waits, np.arange(1, len(waits) + 1), color=COLOURS[kind], linewidth=1.4)


def _draw_rush(axes: Axes, day: ScenarioOutcome, rush: Rush, kind: str) -> None:
    """Of each second's customers, those who were answered in time."""
    good = day.requested[day.waits <= WAIT_SECONDS]
    counts = [np.count_nonzero(good == moment) for moment in rush.moments]
    axes.plot(rush.moments - rush.at, 100 * np.array(counts) / rush.count, color=COLOURS[kind])


def _finish(figure: Figure, panels: Sequence[Axes], path: Path) -> None:
    for axes in panels:
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
