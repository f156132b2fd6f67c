"""What the simulation came to: tables for people, and the one JSON object."""

from typing import Any

from benchmarks.autoscaling.burst_trials import Trial
from benchmarks.autoscaling.scenario import BURSTS, RUSH, ScenarioOutcome

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
    print(
        f"\n{'page':>9} {'model':>9} {'upstream':>9} {'cores':>6} {'refused':>8} {'p50':>6}", end=""
    )
    print(f" {'p99':>6} {'p99, one of each away':>22}")
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
