"""What a request costs here, and two real replicas beside two simulated ones.

Forward passes are timed; what servers add is read from the kernel's account of their processes'
CPU time while the load driver sends requests, so that other work on the machine hardly changes it.
The simulation of two replicas behind nginx knows nothing else but that, measured in other bursts,
and how much of this machine's cores nobody else uses.
"""

import os
import random
import statistics
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from simpy import Environment

from benchmarks.autoscaling.scenario import MODEL_KIND
from benchmarks.autoscaling.simulated_service import UPSTREAM_WINDOWS
from benchmarks.autoscaling.tiers import Law, QueuedJob, Tier
from benchmarks.load.job import Job, allow_connections
from benchmarks.load.local_service import LocalService, ServiceError
from benchmarks.load.routes import api_route, histories, model_route, seldon_route
from benchmarks.load.stack import MISSING, NGINX, app, balancer, copied, drive, model_server
from kalecast.artifact.runtime import Forecaster
from kalecast.cluster.capacity import AT_ONCE, MODEL_SERVER

BATCHES = (1, 8, 32, 64, 128, 256)
ROUNDS = 3
LOOK_SECONDS = 3.0
"""For which it is watched what others do."""

Summary = dict[str, Any]


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
    forward = forward_law(copy)
    costs = measure(copy, forward, folder / "costs")
    print("two replicas behind nginx", flush=True)
    each, cores, rounds = _two_replicas(copy, folder)
    simulated = simulate_two(Law(forward.fixed, each), cores)
    p50, p99 = (statistics.median(summary[key] for summary in rounds) for key in ("p50", "p99"))
    return {
        "command": "make benchmark-autoscaling REAL=1",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "costs": costs,
        "clients": AT_ONCE,
        "cpu_each_us": _micro(each),
        "cores_free": round(cores, 2),
        "measured": [
            {key: summary[key] for key in ("p50", "p99", "seconds")} for summary in rounds
        ],
        "simulated": simulated,
        "p50_ratio": round(simulated["p50"] / p50, 3),
        "p99_ratio": round(simulated["p99"] / p99, 3),
    }


##### Costs #####


def forward_law(model: Path, seconds: float = 0.4) -> Law:
    """A forward pass by batch size, fitted to the fastest of several runs of each."""
    forecaster = Forecaster(model, threads=1)
    chance = np.random.default_rng(0)
    best = []
    for size in BATCHES:
        windows = chance.normal(1000.0, 100.0, (size, forecaster.contract.input_length))
        runs, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            began = time.perf_counter()
            forecaster.forecast_windows(windows)
            runs.append(time.perf_counter() - began)
        best.append(float(np.percentile(runs, 25)))
    # Relative errors count: a small batch's as much as a large one's.
    design = np.stack([np.ones(len(BATCHES)), BATCHES], axis=1) / np.array(best)[:, np.newaxis]
    (fixed, each), *_ = np.linalg.lstsq(design, np.ones(len(BATCHES)), rcond=None)
    return Law(float(max(fixed, 0.0)), float(each))


def measure(model: Path, forward: Law, folder: Path) -> dict[str, Any]:
    """CPU microseconds of a forecast in each part, alone and in a crowd, and cold starts."""
    length = Forecaster(model).contract.input_length
    with model_server(model, folder / "server") as server:
        # On one core of its own, a server takes as long until it answers.
        starts = {"model_server": round(_cpu(server), 3)}
        with app([server], folder / "app") as page:
            starts["page"] = round(_cpu(page), 3)
            batches = histories(UPSTREAM_WINDOWS * 8, length).reshape(8, UPSTREAM_WINDOWS, length)
            grouped = seldon_route(server, batches, folder).loaded("steady", 8, seconds=2.0)
            in_group, _ = _cost([server], grouped)
            api = api_route(page, histories(AT_ONCE, length), folder)
            crowd, _ = _cost([server, page], api.loaded("burst", AT_ONCE, rounds=2))
            quiet = api.loaded("plateau", 50, seconds=6.0, think=1.0)
            alone, _ = _cost([server, page], quiet)
    return {
        "forward_fixed_us": _micro(forward.fixed),
        "forward_each_us": _micro(forward.each),
        "model_server_each_in_64_us": _micro(in_group[server.name] / UPSTREAM_WINDOWS),
        "burst_us": {name: _micro(seconds) for name, seconds in crowd.items()},
        "alone_us": {name: _micro(seconds) for name, seconds in alone.items()},
        "cold_start_seconds": starts,
    }


def _cost(services: list[LocalService], job: Job) -> tuple[dict[str, float], float]:
    """CPU seconds of a request in each service, by name, and in the driver."""
    before = [_cpu(service) for service in services]
    rounds = drive(job)
    count = max(sum(summary["ok"] for summary in rounds), 1)
    used = {
        service.name: (_cpu(service) - earlier) / count
        for service, earlier in zip(services, before, strict=True)
    }
    return used, statistics.mean(summary["cpu_microseconds"] for summary in rounds) / 1e6


def _cpu(service: LocalService) -> float:
    times = [process.cpu_times() for process in service.processes()]
    return float(sum(one.user + one.system for one in times))


def _micro(seconds: float) -> float:
    return round(seconds * 1e6, 1)


##### Two replicas #####


def _two_replicas(model: Path, folder: Path) -> tuple[float, float, list[Summary]]:
    """CPU seconds of a request in all processes, cores that were free, what bursts were like."""
    names = ("replica-1", "replica-2")
    with (
        model_server(model, folder / names[0], "replica 1") as one,
        model_server(model, folder / names[1], "replica 2") as two,
        balancer([one, two], folder / "nginx") as front,
    ):
        length = Forecaster(model).contract.input_length
        route = model_route(front, histories(AT_ONCE, length), folder)
        used, driver = _cost([one, two, front], route.loaded("burst", AT_ONCE, rounds=2))
        before = _free_cores()
        rounds = drive(route.loaded("burst", AT_ONCE, rounds=ROUNDS))
        after = _free_cores()
    return sum(used.values()) + driver, (before + after) / 2, rounds


def _free_cores() -> float:
    """Of this machine, while our own services have nothing to do."""
    cores = len(os.sched_getaffinity(0))
    idle: float = 1 - psutil.cpu_percent(interval=LOOK_SECONDS) / 100
    return cores * idle


def simulate_two(law: Law, cores: float) -> dict[str, float]:
    """5,000 at once to two pods, whose CPU is nginx's and the clients', too.

    Args:
        law: what requests cost all processes together.
        cores: for all of it.

    Returns:
        Seconds: `p50`, `p99`, and `seconds` until all were answered.
    """
    env = Environment()
    took: list[float] = []
    tier = Tier(
        env,
        replace(MODEL_KIND, law=law, timeout=float("inf")),
        replace(MODEL_SERVER, millicores=cores / 2 * 1000, minimum_replicas=2),
        random.Random(0),
        served=lambda pod, batch: took.extend(env.now - job.requested for job in batch),
        lost=lambda pod, job: None,
    )
    for number in range(AT_ONCE):
        # nginx takes its replicas in turn.
        tier.pods[number % 2].queue.offer(QueuedJob(env.now))
    env.run(until=60.0)
    p50, p99 = np.percentile(took, [50, 99], method="inverted_cdf")
    return {
        "p50": round(float(p50), 4),
        "p99": round(float(p99), 4),
        "seconds": round(max(took), 4),
    }
