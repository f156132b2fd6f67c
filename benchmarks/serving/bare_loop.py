"""How many windows a second ONNX Runtime forecasts when nothing is served: the limit."""

import multiprocessing
import os
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path

from benchmarks.accuracy.forward_pass import windows_a_second
from kalecast.artifact.runtime import Forecaster
from kalecast.lifetime import die_with_parent

BATCH = 64


@dataclass(frozen=True)
class Arrangement:
    """Processes that forecast at the same time, each with so many threads a forward pass."""

    processes: int
    threads: int

    @property
    def name(self) -> str:
        """In a reader's words."""
        return f"bare loop, {self.processes} x {self.threads}"


def arrangements() -> list[Arrangement]:
    """One thread alone, and both ways to use all cores that this process may run on."""
    cores = len(os.sched_getaffinity(0))
    one = Arrangement(1, 1)
    return [one] if cores == 1 else [one, Arrangement(1, cores), Arrangement(cores, 1)]


def bare_windows_a_second(model: Path, arrangement: Arrangement, seconds: float) -> float:
    """Windows a second of all its processes together, in batches of `BATCH`."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(arrangement.processes)
    with context.Pool(arrangement.processes, _get_ready, (barrier,)) as pool:
        work = [(model, arrangement.threads, seconds)] * arrangement.processes
        return sum(pool.starmap(_measure, work, chunksize=1))


_together: Barrier


def _get_ready(barrier: Barrier) -> None:
    die_with_parent()
    global _together  # noqa: PLW0603 - the only way into a pool's process
    _together = barrier


def _measure(model: Path, threads: int, seconds: float) -> float:
    forecaster = Forecaster(model, threads)
    _together.wait()
    return windows_a_second(forecaster, BATCH, seconds)
