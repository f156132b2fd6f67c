"""A station: a bounded queue before workers that serve what waits together, in simulated time.

The model server's micro-batcher and the page's event loop are stations; with batches of one they
are the queues of the textbooks, which `tests/benchmarks/test_autoscaling.py` holds them against.
All times are seconds of simulated time.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Any

from simpy import Environment

Batch = list["QueuedJob"]


@dataclass(slots=True, eq=False)
class QueuedJob:
    """Something that waits to be served."""

    requested: float
    """When whoever waits for it asked."""
    windows: int = 1
    """How much it counts in a queue and in a batch."""
    parts: list["QueuedJob"] = field(default_factory=list)
    """What was put together in it."""
    sender: Any = None
    """Who is to hear of it."""
    came: float = 0.0
    """When it came to the station where it is."""


class Station:
    """A queue and its workers.

    Args:
        env: the simulation.
        seconds: how long a batch of so many windows takes.
        done: is handed each batch that was served.
        lost: is handed each job that was given up.
        max_batch: windows served together; a job with more is a batch of its own.
        max_waiting: windows that may wait; what comes beyond is refused.
        workers: batches at the same time.
        timeout: seconds after its request when a job that still waits is given up.
    """

    def __init__(  # noqa: PLR0913 - a station's parameters, by name
        self,
        env: Environment,
        seconds: Callable[[int], float],
        done: Callable[[Batch], None],
        *,
        lost: Callable[[QueuedJob], None] = lambda job: None,
        max_batch: int = 1,
        max_waiting: float = inf,
        workers: int = 1,
        timeout: float = inf,
    ) -> None:
        self._env = env
        self._seconds = seconds
        self._done = done
        self._lost = lost
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._workers = workers
        self._timeout = timeout
        self._queue: deque[QueuedJob] = deque()
        self._running = 0
        self._since = 0.0
        self.waiting = 0
        """Windows that wait."""
        self.inside = 0
        """Jobs that wait or are being served."""
        self.busy = 0.0
        """Seconds that workers have worked, batches that are over."""
        self.waited = 0.0
        """Seconds that jobs have waited before their service, in all."""
        self.stayed = 0.0
        """Seconds that jobs have been inside, in all: those that are served."""
        self.served = 0
        """Jobs."""
        self.area = 0.0
        """Integral of `inside` over time, up to the last change."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is being served."""
        return self.inside == 0

    def offer(self, job: QueuedJob) -> bool:
        """Queue a job; returns whether there was room."""
        # Like the model server: an idle one takes a request of any size.
        if self.waiting and self.waiting + job.windows > self._max_waiting:
            return False
        job.came = self._env.now
        self._change(1)
        self._queue.append(job)
        self.waiting += job.windows
        if self._running < self._workers:
            self._start()
        return True

    def _start(self) -> None:
        """Serve what waits, up to a batch."""
        batch, size = self._take()
        if not batch:
            return
        now = self._env.now
        self.waited += sum(now - job.came for job in batch)
        self._running += 1
        seconds = self._seconds(size)
        over = self._env.timeout(seconds)
        over.callbacks.append(lambda _: self._finish(batch, seconds))

    def _take(self) -> tuple[Batch, int]:
        batch: Batch = []
        size, earliest = 0, self._env.now - self._timeout
        while self._queue:
            job = self._queue[0]
            if batch and size + job.windows > self._max_batch:
                break
            self._queue.popleft()
            self.waiting -= job.windows
            if job.requested < earliest:
                self._change(-1)
                self._lost(job)
                continue
            batch.append(job)
            size += job.windows
        return batch, size

    def _finish(self, batch: Batch, seconds: float) -> None:
        now = self._env.now
        self._running -= 1
        self.busy += seconds
        self.served += len(batch)
        self.stayed += sum(now - job.came for job in batch)
        self._change(-len(batch))
        self._start()
        self._done(batch)

    def _change(self, by: int) -> None:
        now = self._env.now
        self.area += self.inside * (now - self._since)
        self._since = now
        self.inside += by
