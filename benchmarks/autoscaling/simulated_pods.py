"""Pods and tiers in simulated time: how replicas start, share the work, end, and what they cost.

All times are seconds of simulated time. A pod has the CPU that it requests and no more, however
idle its node may be.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import inf

from simpy import Environment

from benchmarks.autoscaling.stations import Batch, QueuedJob, Station
from kalecast.cluster.capacity import Scaling


@dataclass(frozen=True)
class Law:
    """Seconds on one core of a batch of n: `fixed + each * n`."""

    fixed: float
    each: float

    def seconds(self, count: int) -> float:
        """Of a batch of so many."""
        return self.fixed + self.each * count


@dataclass(frozen=True)
class StartUp:
    """How long it takes until a new pod is asked, its image being on the node."""

    cold_start: float
    """CPU seconds until the server answers: measured."""
    placing: tuple[float, float] = (1.0, 5.0)
    """Scheduling, and the container's start: up to the 5 s that Kubernetes' own objective allows
    99 of 100 pods (kubernetes/community, sig-scalability/slos/pod_startup_latency.md)."""
    startup_period: float = 2.0
    """Of the startup probe, which sees it up to one period late (`kalecast/deployment.py`)."""
    readiness_period: float = 5.0
    """The same of the readiness probe, which begins then."""
    network: float = 1.0
    """Until balancers have heard of it: an assumption."""

    def seconds(self, chance: random.Random, cores: float) -> tuple[float, float]:
        """Until the container runs, and from then on until it is asked."""
        probes = chance.uniform(0, self.startup_period) + chance.uniform(0, self.readiness_period)
        return chance.uniform(*self.placing), self.cold_start / cores + probes + self.network


@dataclass(frozen=True)
class PodKind:
    """What all pods of a tier have in common."""

    law: Law
    start_up: StartUp
    max_batch: int
    max_waiting: float = inf
    """Windows that may wait in a pod; what comes beyond is refused."""
    timeout: float = inf
    """Seconds after which a request that still waits is given up."""
    drain: float = 5.0
    """Seconds that a pod which is to end goes on, and costs."""


@dataclass(slots=True, eq=False)
class Pod:
    """One replica."""

    created: float
    running_at: float
    ready_at: float
    station: Station = field(init=False)
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
        least: whether `choose` takes the pod with the fewest requests in flight, else any.
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
        least: bool = False,
    ) -> None:
        self.env = env
        self.kind = kind
        self.scaling = scaling
        self._chance = chance
        self._served = served
        self._lost = lost
        self._least = least
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
        """The pod that a new connection goes to.

        kube-proxy takes any where it works with iptables or nftables, and the one with the fewest
        connections with IPVS's `lc`; ingresses can do either.
        """
        if self._least:
            return min(self._ready, key=lambda pod: pod.in_flight)
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
        now = self.env.now
        placing, starting = self.kind.start_up.seconds(self._chance, self.scaling.cores)
        pod = self._add(now + placing, now + placing + starting)
        self._after(placing + starting, lambda: self._make_ready(pod))

    def _add(self, running_at: float, ready_at: float) -> Pod:
        kind, cores = self.kind, self.scaling.cores
        pod = Pod(self.env.now, running_at, ready_at)
        pod.station = Station(
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
        self._after(self.kind.drain, lambda: self._gone(pod))

    def _gone(self, pod: Pod) -> None:
        """It ends once it has answered what it took on."""
        if pod.in_flight:
            self._after(1.0, lambda: self._gone(pod))
        else:
            self._ending.remove(pod)
            self._ended += self.env.now - pod.created

    def _after(self, seconds: float, then: Callable[[], None]) -> None:
        self.env.timeout(seconds).callbacks.append(lambda _: then())

    def _note(self) -> None:
        state = (len(self.pods), len(self._ready))
        if not self.history or self.history[-1][1:] != state:
            self.history.append((self.env.now, *state))
