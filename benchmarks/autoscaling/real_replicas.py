"""Two real replicas of the model server behind nginx beside the same two simulated.

What a request costs all processes together is measured in some bursts, as CPU time; the simulation
of others knows nothing else but that, and how much of this machine's cores nobody else uses.
"""

import os
import random
import statistics
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped, unused-ignore]
from simpy import Environment

from benchmarks.autoscaling.arrivals import Rush
from benchmarks.autoscaling.service_times import cpu_of, forward_law, measure
from benchmarks.autoscaling.simulated_pods import Law, PodKind, StartUp, Tier
from benchmarks.autoscaling.stations import QueuedJob
from benchmarks.load.job import Job, allow_connections
from benchmarks.load.local_service import LocalService, ServiceError
from benchmarks.load.routes import histories, model_route
from benchmarks.load.stack import MISSING, NGINX, balancer, copied, drive, model_server
from kalecast.artifact.runtime import Forecaster
from kalecast.cluster.capacity import AT_ONCE, MODEL_SERVER

Summary = dict[str, Any]

ROUNDS = 3

LOOK_SECONDS = 3.0
"""For which it is watched what others do."""


def compare(model: Path, folder: Path) -> dict[str, Any]:
    """Measure, simulate, and say how far they are apart.

    Raises:
        ServiceError: a server does not start, or nginx is not there.
    """
    if NGINX is None:
        raise ServiceError(MISSING)
    allow_connections(AT_ONCE)
    copy = copied(model, folder / "models")
    print("measuring what a request costs", flush=True)
    costs = measure(copy, folder / "costs")
    print("two replicas behind nginx", flush=True)
    each, cores, rounds = _two_replicas(copy, folder)
    simulated = _simulated(each, forward_law(copy), cores)
    p50, p99 = (statistics.median(summary[key] for summary in rounds) for key in ("p50", "p99"))
    return {
        "command": "make benchmark-autoscaling REAL=1",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "costs": costs,
        "clients": AT_ONCE,
        "cpu_each_us": round(each * 1e6, 1),
        "cores_free": round(cores, 2),
        "measured": [
            {key: summary[key] for key in ("p50", "p99", "seconds")} for summary in rounds
        ],
        "simulated": simulated,
        "p50_ratio": round(simulated["p50"] / p50, 3),
        "p99_ratio": round(simulated["p99"] / p99, 3),
    }


def _two_replicas(model: Path, folder: Path) -> tuple[float, float, list[Summary]]:
    """CPU seconds of a request in all processes, cores that were free, what bursts were like."""
    names = ("replica-1", "replica-2")
    with (
        model_server(model, folder / names[0], "replica 1") as one,
        model_server(model, folder / names[1], "replica 2") as two,
        balancer([one, two], folder / "nginx") as gateway,
    ):
        length = Forecaster(model).contract.input_length
        route = model_route(gateway, histories(AT_ONCE, length), folder)
        first = route.loaded("burst", AT_ONCE, rounds=2)
        each = _cost([one, two, gateway], first)
        before = _free_cores()
        rounds = drive(replace(first, rounds=ROUNDS))
        after = _free_cores()
    return each, (before + after) / 2, rounds


def _free_cores() -> float:
    """Of this machine, while our own services have nothing to do."""
    cores = len(os.sched_getaffinity(0))
    idle: float = 1 - psutil.cpu_percent(interval=LOOK_SECONDS) / 100
    return cores * idle


def _cost(services: list[LocalService], job: Job) -> float:
    with cpu_of(services) as used:
        rounds = drive(job)
    count = sum(summary["ok"] for summary in rounds)
    driver = statistics.mean(summary["cpu_microseconds"] for summary in rounds) / 1e6
    return float(sum(used.seconds.values()) / count + driver)


def _simulated(each: float, forward: Law, cores: float) -> dict[str, float]:
    """5,000 at once to two pods, whose CPU is nginx's and the clients', too.

    Args:
        each: CPU seconds of a request in all processes.
        forward: of the forward passes among it.
        cores: for all of it.
    """
    env = Environment()
    took: list[float] = []
    scaling = replace(
        MODEL_SERVER, millicores=cores / 2 * 1000, minimum_replicas=2, maximum_replicas=2
    )
    law = Law(forward.fixed, each)
    kind = PodKind(law, StartUp(0.25), max_batch=256, max_waiting=8192)
    burst = Rush(0.0, AT_ONCE)
    turns = iter(range(AT_ONCE))
    tier = Tier(
        env,
        kind,
        scaling,
        random.Random(0),
        served=lambda pod, batch: took.extend(env.now - job.requested for job in batch),
        lost=lambda pod, job: None,
    )
    for _ in burst.times():
        # nginx takes its replicas in turn.
        tier.pods[next(turns) % 2].station.offer(QueuedJob(env.now))
    env.run(until=60.0)
    p50, p99 = np.percentile(took, [50, 99], method="inverted_cdf")
    return {
        "p50": round(float(p50), 4),
        "p99": round(float(p99), 4),
        "seconds": round(max(took), 4),
    }
