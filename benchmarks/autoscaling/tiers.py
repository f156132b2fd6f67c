"""Queues, pods and tiers in simulated time: how replicas start, share the work, end, and cost.

With batches of one, queues are those of the textbooks, which `tests/benchmarks/test_autoscaling.py`
holds them against. All times are seconds of simulated time. A pod has the CPU that it requests and
no more, however idle its node may be.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Any

from simpy import Environment

from kalecast.cluster.capacity import Scaling

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


class Queue:
    """A bounded queue before a worker that serves what waits together.

    The model server's micro-batcher and the page's event loop are such queues.

    Args:
        env: the simulation.
        seconds: how long a batch of so many windows takes.
        done: is handed each batch that was served.
        lost: is handed each job that was given up.
        max_batch: windows served together; a job with more is a batch of its own.
        max_waiting: windows that may wait; what comes beyond is refused.
        timeout: seconds after its request when a job that still waits is given up.
    """

    def __init__(  # noqa: PLR0913 - a queue's parameters, by name
        self,
        env: Environment,
        seconds: Callable[[int], float],
        done: Callable[[Batch], None],
        *,
        lost: Callable[[QueuedJob], None] = lambda job: None,
        max_batch: int = 1,
        max_waiting: float = inf,
        timeout: float = inf,
    ) -> None:
        self._env = env
        self._seconds = seconds
        self._done = done
        self._lost = lost
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._timeout = timeout
        self._jobs: deque[QueuedJob] = deque()
        self._waiting = 0
        """Windows."""
        self._is_serving = False
        self.busy = 0.0
        """Seconds of work, batches that are over."""

    def offer(self, job: QueuedJob) -> bool:
        """Queue a job; returns whether there was room."""
        # Like the model server: an idle one takes a request of any size.
        if self._waiting and self._waiting + job.windows > self._max_waiting:
            return False
        self._jobs.append(job)
        self._waiting += job.windows
        if not self._is_serving:
            self._serve()
        return True

    def _serve(self) -> None:
        """Serve what waits, up to a batch."""
        batch, size = self._take()
        if batch:
            self._is_serving = True
            seconds = self._seconds(size)
            after(self._env, seconds, lambda: self._finish(batch, seconds))

    def _take(self) -> tuple[Batch, int]:
        batch: Batch = []
        size, earliest = 0, self._env.now - self._timeout
        while self._jobs:
            job = self._jobs[0]
            if batch and size + job.windows > self._max_batch:
                break
            self._jobs.popleft()
            self._waiting -= job.windows
            if job.requested < earliest:
                self._lost(job)
            else:
                batch.append(job)
                size += job.windows
        return batch, size

    def _finish(self, batch: Batch, seconds: float) -> None:
        self._is_serving = False
        self.busy += seconds
        self._serve()
        self._done(batch)


def after(env: Environment, seconds: float, then: Callable[[], None]) -> None:
    """Call it so much later."""
    env.timeout(seconds).callbacks.append(lambda _: then())


@dataclass(frozen=True)
class Law:
    """Seconds on one core of a batch of n: `fixed + each * n`."""

    fixed: float
    each: float

    def seconds(self, count: int) -> float:
        """Of a batch of so many."""
        return self.fixed + self.each * count


PLACING = (1.0, 5.0)
"""Seconds of scheduling, and of the container's start: up to the 5 s that Kubernetes' own objective
allows 99 of 100 pods (kubernetes/community, sig-scalability/slos/pod_startup_latency.md)."""

STARTUP_PERIOD, READINESS_PERIOD = 2.0, 5.0
"""Seconds of the probes (`kalecast.cluster.deployment`): the startup probe sees a pod up to one
period late, and so does the readiness probe, which begins then."""

NETWORK = 1.0
"""Seconds until balancers have heard of a pod: an assumption."""

DRAIN = 5.0
"""Seconds that a pod which is to end goes on, and costs."""


@dataclass(frozen=True)
class PodKind:
    """What all pods of a tier have in common."""

    law: Law
    cold_start: float
    """CPU seconds until the server answers, its image being on the node: measured."""
    max_batch: int
    max_waiting: float = inf
    """Windows that may wait in a pod; what comes beyond is refused."""
    timeout: float = inf
    """Seconds after which a request that still waits is given up."""


@dataclass(slots=True, eq=False)
class Pod:
    """One replica."""

    created: float
    running_at: float
    ready_at: float
    queue: Queue = field(init=False)
    in_flight: int = 0
    """Requests taken on and not answered yet."""
    is_ending: bool = False


class Tier:
    """The replicas of one part of the service.

    Args:
        env: the simulation.
        kind: what its pods are.
        scaling: their size, and how many there are at the beginning.
        chance: for balancing and starts.
        served: is handed the pod and each batch that it has computed.
        lost: is handed the pod and each job that it gave up.
    """

    def __init__(  # noqa: PLR0913 - a tier's parameters, by name
        self,
        env: Environment,
        kind: PodKind,
        scaling: Scaling,
        chance: random.Random,
        *,
        served: Callable[[Pod, Batch], None],
        lost: Callable[[Pod, QueuedJob], None],
    ) -> None:
        self.env = env
        self.kind = kind
        self.scaling = scaling
        self._chance = chance
        self._served = served
        self._lost = lost
        self._ready: list[Pod] = []
        self._ending: list[Pod] = []
        self._ended = 0.0
        self.pods: list[Pod] = []
        """Those that are not about to end, oldest first."""
        self.history: list[tuple[float, int, int]] = []
        """Whenever it changed: time, replicas wanted, replicas that get requests."""
        for _ in range(scaling.minimum_replicas):
            self._ready.append(self._add(env.now, env.now))
        self._note()

    @property
    def in_flight(self) -> int:
        """Requests in all pods."""
        return sum(pod.in_flight for pod in (*self.pods, *self._ending))

    def choose(self) -> Pod:
        """The pod that a new connection goes to: any, as kube-proxy's iptables and nftables."""
        return self._ready[int(self._chance.random() * len(self._ready))]

    def scale(self, replicas: int) -> None:
        """Have so many from now on; of too many, those that are not ready and the newest end."""
        while len(self.pods) < replicas:
            self._start()
        while len(self.pods) > replicas:
            late = [pod for pod in self.pods if pod not in self._ready]
            self._end((late or self.pods)[-1])
        self._note()

    def pod_seconds(self) -> float:
        """What was paid for so far: pods from their creation to their end."""
        now = self.env.now
        return float(self._ended + sum(now - pod.created for pod in (*self.pods, *self._ending)))

    def _start(self) -> None:
        """Add a pod, which is ready once it was placed, has started, and probes have seen it."""
        chance, now = self._chance, self.env.now
        probes = chance.uniform(0, STARTUP_PERIOD) + chance.uniform(0, READINESS_PERIOD)
        placing = chance.uniform(*PLACING)
        starting = self.kind.cold_start / self.scaling.cores + probes + NETWORK
        pod = self._add(now + placing, now + placing + starting)
        after(self.env, placing + starting, lambda: self._make_ready(pod))

    def _add(self, running_at: float, ready_at: float) -> Pod:
        kind, cores = self.kind, self.scaling.cores
        pod = Pod(self.env.now, running_at, ready_at)
        pod.queue = Queue(
            self.env,
            lambda count: kind.law.seconds(count) / cores,
            partial(self._served, pod),
            lost=partial(self._lost, pod),
            max_batch=kind.max_batch,
            max_waiting=kind.max_waiting,
            timeout=kind.timeout,
        )
        self.pods.append(pod)
        return pod

    def _make_ready(self, pod: Pod) -> None:
        if not pod.is_ending:
            self._ready.append(pod)
            self._note()

    def _end(self, pod: Pod) -> None:
        self.pods.remove(pod)
        if pod in self._ready:
            self._ready.remove(pod)
        pod.is_ending = True
        self._ending.append(pod)
        after(self.env, DRAIN, lambda: self._gone(pod))

    def _gone(self, pod: Pod) -> None:
        """It ends once it has answered what it took on."""
        if pod.in_flight:
            after(self.env, 1.0, lambda: self._gone(pod))
        else:
            self._ending.remove(pod)
            self._ended += self.env.now - pod.created

    def _note(self) -> None:
        state = (len(self.pods), len(self._ready))
        if not self.history or self.history[-1][1:] != state:
            self.history.append((self.env.now, *state))
