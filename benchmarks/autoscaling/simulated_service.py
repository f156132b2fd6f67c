"""The service in simulated time: customers call the page, the page calls the model server.

A request costs a page pod CPU, waits there until one of the few requests which the page has under
way to the model server takes it along with others (`kalecast.page.coalescing`), and is over when
that one is answered. The page's connections stay with the pod of the model server that they were
opened to, as kube-proxy has it. All times are seconds of simulated time.
"""

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from simpy import Environment

from benchmarks.autoscaling.arrivals import Times
from benchmarks.autoscaling.simulated_pods import Pod, PodKind, Tier
from benchmarks.autoscaling.stations import Batch, QueuedJob
from kalecast.cluster.capacity import Scaling


@dataclass(frozen=True)
class SimulatedPage:
    """What the page does besides computing (`kalecast.page.settings`)."""

    upstream_windows: int = 64
    """Forecasts in one request to the model server, at most."""
    upstream_requests: int = 2
    """Requests of a pod under way to the model server, at most."""
    most_in_flight: int = 8192
    """Requests that a pod takes on at a time."""
    most_waiting: int = 6000
    """Forecasts in a pod that may wait for the model server."""
    keep_alive: float = 60.0
    """Seconds after which a connection that is not used is closed."""
    deadline: float = 20.0
    """Seconds within which a customer is answered or refused."""


@dataclass(slots=True, eq=False)
class _Connection:
    """One of a page pod's connections to the model server."""

    server: Pod | None = None
    used: float = 0.0


@dataclass(slots=True, eq=False)
class _Desk:
    """What a page pod has before it: forecasts that wait, connections that are free."""

    free: list[_Connection]
    waiting: deque[QueuedJob] = field(default_factory=deque)


@dataclass
class Answers:
    """What customers got; both arrays in the order of the answers."""

    requested: Times
    seconds: Times

    def waits(self, begin: float, end: float) -> Times:
        """Of those who asked in a part of the day, both ends included."""
        return self.seconds[(self.requested >= begin) & (self.requested <= end)]


class SimulatedService:
    """Both tiers, and the customers.

    Args:
        env: the simulation.
        kinds: of pods: the page's, the model server's.
        scalings: the same way.
        page: what the page does.
        seed: of balancing and starts.
        least: whether the page's pods are chosen by the fewest requests in flight.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - a service's parts
        self,
        env: Environment,
        kinds: tuple[PodKind, PodKind],
        scalings: tuple[Scaling, Scaling],
        page: SimulatedPage,
        seed: int = 0,
        least: bool = False,
    ) -> None:
        self._env = env
        self._settings = page
        chance = random.Random(seed)
        self.page = Tier(
            env, kinds[0], scalings[0], chance, served=self._prepared, lost=self._lose, least=least
        )
        self.model = Tier(
            env, kinds[1], scalings[1], chance, served=self._forecast, lost=self._lose_group
        )
        self._desks: dict[Pod, _Desk] = {}
        self._requested: list[float] = []
        self._took: list[float] = []
        self.requested = 0
        self.refused: list[float] = []
        """When those who were refused, or not answered in time, had asked."""

    @property
    def answers(self) -> Answers:
        """What customers got so far."""
        return Answers(np.array(self._requested), np.array(self._took))

    @property
    def inside(self) -> int:
        """Requests that are being answered."""
        return self.page.in_flight

    def send(self) -> None:
        """A customer asks."""
        now = self._env.now
        pod = self.page.choose()
        self.requested += 1
        if pod.in_flight >= self._settings.most_in_flight:
            self.refused.append(now)
            return
        pod.in_flight += 1
        if not pod.station.offer(QueuedJob(now)):
            self._lose(pod, QueuedJob(now))

    def come(self, times: Times) -> Iterator[Any]:
        """A process of SimPy: customers ask at these times, which ascend."""
        env = self._env
        for time in times.tolist():
            if time > env.now:
                yield env.timeout(time - env.now)
            self.send()

    def _prepared(self, pod: Pod, batch: Batch) -> None:
        """The page has read these requests."""
        desk = self._desk(pod)
        for job in batch:
            if len(desk.waiting) >= self._settings.most_waiting:
                self._lose(pod, job)
            else:
                desk.waiting.append(job)
        self._send(pod, desk)

    def _desk(self, pod: Pod) -> _Desk:
        if (desk := self._desks.get(pod)) is None:
            free = [_Connection() for _ in range(self._settings.upstream_requests)]
            desk = self._desks[pod] = _Desk(free)
        return desk

    def _send(self, pod: Pod, desk: _Desk) -> None:
        """As many requests to the model server as there are connections and work for."""
        while desk.free and desk.waiting:
            earliest = self._env.now - self._settings.deadline
            parts: Batch = []
            while desk.waiting and len(parts) < self._settings.upstream_windows:
                job = desk.waiting.popleft()
                if job.requested < earliest:
                    self._lose(pod, job)
                else:
                    parts.append(job)
            if parts:
                self._call_model(pod, desk.free.pop(), parts)

    def _call_model(self, pod: Pod, connection: _Connection, parts: Batch) -> None:
        now = self._env.now
        server = connection.server
        if server is None or server.is_ending or now - connection.used > self._settings.keep_alive:
            server = connection.server = self.model.choose()
        server.in_flight += 1
        group = QueuedJob(now, len(parts), parts, (pod, connection))
        if not server.station.offer(group):
            self._lose_group(server, group)

    def _forecast(self, server: Pod, batch: Batch) -> None:
        """The model server has answered these requests."""
        for group in batch:
            pod = self._return(server, group)
            for job in group.parts:
                self._answer(pod, job)
        for pod in {group.sender[0]: None for group in batch}:
            self._send(pod, self._desk(pod))

    def _return(self, server: Pod, group: QueuedJob) -> Pod:
        """Its connection is free again."""
        now = self._env.now
        pod: Pod = group.sender[0]
        connection = group.sender[1]
        server.in_flight -= 1
        connection.used = now
        self._desk(pod).free.append(connection)
        return pod

    def _answer(self, pod: Pod, job: QueuedJob) -> None:
        took = self._env.now - job.requested
        pod.in_flight -= 1
        self._requested.append(job.requested)
        self._took.append(took)

    def _lose(self, pod: Pod, job: QueuedJob) -> None:
        pod.in_flight -= 1
        self.refused.append(job.requested)

    def _lose_group(self, server: Pod, group: QueuedJob) -> None:
        pod = self._return(server, group)
        for job in group.parts:
            self._lose(pod, job)
