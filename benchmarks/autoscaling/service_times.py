"""What a request costs each part of the service, measured on this machine.

Forward passes are timed; what servers add is read from the kernel's account of their processes'
CPU time while the load driver sends requests, so that other work on the machine hardly changes it.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped, unused-ignore]

from benchmarks.autoscaling.simulated_pods import Law
from benchmarks.load.job import Shape
from benchmarks.load.local_service import LocalService
from benchmarks.load.routes import api_route, histories, seldon_route
from benchmarks.load.stack import app, drive, model_server
from kalecast.artifact.runtime import Forecaster

BATCHES = (1, 8, 32, 64, 128, 256)
GROUP = 64
"""Windows in one request of the page to the model server, at most (`kalecast.page.settings`)."""


@dataclass
class Used:
    """CPU seconds that services used, by name."""

    seconds: dict[str, float] = field(default_factory=dict)


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


def measure(model: Path, folder: Path) -> dict[str, Any]:
    """CPU microseconds of a forecast in each part, alone and in a crowd, and cold starts."""
    forward = forward_law(model)
    with model_server(model, folder / "server") as server:
        starts = {"model_server": _started(server)}
        with app([server], folder / "app") as page:
            starts["page"] = _started(page)
            grouped = _grouped(server, folder)
            crowd = _api(server, page, folder, "burst", 5000, rounds=2)
            alone = _api(server, page, folder, "plateau", 50, seconds=6.0, think=1.0)
    return {
        "forward_fixed_us": _micro(forward.fixed),
        "forward_each_us": _micro(forward.each),
        "model_server_each_in_64_us": _micro(grouped),
        "burst_us": crowd,
        "alone_us": alone,
        "cold_start_seconds": starts,
    }


@contextmanager
def cpu_of(services: Sequence[LocalService]) -> Iterator[Used]:
    """Count the CPU seconds of services in a block; they are there at its end."""
    used = Used()
    before = [_cpu(service) for service in services]
    yield used
    for service, earlier in zip(services, before, strict=True):
        used.seconds[service.name] = _cpu(service) - earlier


def _grouped(server: LocalService, folder: Path) -> float:
    """CPU seconds of a window where 64 come in one request."""
    length = Forecaster(Path(server.command[3])).contract.input_length
    batches = histories(GROUP * 8, length).reshape(8, GROUP, length)
    job = seldon_route(server, batches, folder).loaded("steady", 8, seconds=2.0)
    with cpu_of([server]) as used:
        (summary,) = drive(job)
    return float(used.seconds[server.name] / max(summary["ok"], 1) / GROUP)


def _api(
    server: LocalService, page: LocalService, folder: Path, shape: Shape, clients: int, **load: Any
) -> dict[str, float]:
    """CPU microseconds of a forecast asked for over the page's plain route."""
    length = Forecaster(Path(server.command[3])).contract.input_length
    route = api_route(page, histories(clients, length), folder)
    with cpu_of([server, page]) as used:
        rounds = drive(route.loaded(shape, clients, **load))
    count = max(sum(summary["ok"] for summary in rounds), 1)
    return {name: _micro(seconds / count) for name, seconds in used.seconds.items()}


def _started(service: LocalService) -> float:
    """Seconds of CPU until it answered, which is how long it takes on one core of its own."""
    return round(_cpu(service), 3)


def _cpu(service: LocalService) -> float:
    assert service.process is not None
    first = psutil.Process(service.process.pid)
    total = 0.0
    for process in (first, *first.children(recursive=True)):
        times = process.cpu_times()
        total += times.user + times.system
    return total


def _micro(seconds: float) -> float:
    return round(seconds * 1e6, 1)
