"""The service in simulated time: customers call the page, the page calls the model server.

A request costs a page pod CPU, waits there until one of the few requests which the page has under
way to the model server takes it along with others (`kalecast.page.model_server`), and is over when
that one is answered. The page's connections stay with the pod of the model server that they were
opened to, as kube-proxy has it. All times are seconds of simulated time.
"""

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simpy import Environment

from benchmarks.autoscaling.tiers import Batch, Pod, PodKind, QueuedJob, Tier
from kalecast.cluster.capacity import Scaling
from kalecast.page.settings import Settings

Times = NDArray[np.float64]


def _default(name: str) -> Any:
    return Settings.model_fields[name].default


UPSTREAM_WINDOWS: int = _default("upstream_windows")
"""Forecasts in one request of the page to the model server, at most."""
MOST_IN_FLIGHT: int = _default("most_in_flight")
"""Requests that a page pod takes on at a time."""
MOST_WAITING: int = _default("most_waiting")
"""Forecasts in a page pod that may wait for the model server."""
DEADLINE: float = _default("deadline")
"""Seconds within which a customer is answered or refused."""
KEEP_ALIVE = 60.0
"""Seconds after which a connection of the page to the model server that is not used is closed."""


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


class SimulatedService:
    """Both tiers, and the customers.

    Args:
        env: the simulation.
        kinds: of pods: the page's, the model server's.
        scalings: the same way.
        upstream_requests: of a page pod under way to the model server, at most.
        seed: of balancing and starts.
    """

    def __init__(
        self,
        env: Environment,
        kinds: tuple[PodKind, PodKind],
        scalings: tuple[Scaling, Scaling],
        upstream_requests: int,
        seed: int,
    ) -> None:
        self._env = env
        self._upstream_requests = upstream_requests
        chance = random.Random(seed)
        self.page = Tier(env, kinds[0], scalings[0], chance, served=self._prepared, lost=self._lose)
        self.model = Tier(
            env, kinds[1], scalings[1], chance, served=self._forecast, lost=self._lose_group
        )
        self._desks: dict[Pod, _Desk] = {}
        self.requested: list[float] = []
        """When those who were answered had asked, in the order of the answers."""
        self.took: list[float] = []
        """Seconds that they waited."""
        self.refused: list[float] = []
        """When those who were refused, or not answered in time, had asked."""

    def come(self, times: Times) -> Iterator[Any]:
        """A process of SimPy: customers ask at these times, which ascend."""
        env = self._env
        for time in times.tolist():
            if time > env.now:
                yield env.timeout(time - env.now)
            self._ask()

    def _ask(self) -> None:
        now = self._env.now
        pod = self.page.choose()
        if pod.in_flight >= MOST_IN_FLIGHT:
            self.refused.append(now)
            return
        pod.in_flight += 1
        if not pod.queue.offer(QueuedJob(now)):
            self._lose(pod, QueuedJob(now))

    def _prepared(self, pod: Pod, batch: Batch) -> None:
        """The page has read these requests."""
        desk = self._desk(pod)
        for job in batch:
            if len(desk.waiting) >= MOST_WAITING:
                self._lose(pod, job)
            else:
                desk.waiting.append(job)
        self._send(pod, desk)

    def _desk(self, pod: Pod) -> _Desk:
        if (desk := self._desks.get(pod)) is None:
            free = [_Connection() for _ in range(self._upstream_requests)]
            desk = self._desks[pod] = _Desk(free)
        return desk

    def _send(self, pod: Pod, desk: _Desk) -> None:
        """As many requests to the model server as there are connections and work for."""
        while desk.free and desk.waiting:
            earliest = self._env.now - DEADLINE
            parts: Batch = []
            while desk.waiting and len(parts) < UPSTREAM_WINDOWS:
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
        if server is None or server.is_ending or now - connection.used > KEEP_ALIVE:
            server = connection.server = self.model.choose()
        server.in_flight += 1
        group = QueuedJob(now, len(parts), parts, (pod, connection))
        if not server.queue.offer(group):
            self._lose_group(server, group)

    def _forecast(self, server: Pod, batch: Batch) -> None:
        """The model server has answered these requests."""
        now = self._env.now
        for group in batch:
            pod = self._return(server, group)
            for job in group.parts:
                pod.in_flight -= 1
                self.requested.append(job.requested)
                self.took.append(now - job.requested)
        for pod in {group.sender[0]: None for group in batch}:
            self._send(pod, self._desk(pod))

    def _return(self, server: Pod, group: QueuedJob) -> Pod:
        """Its connection is free again."""
        pod: Pod = group.sender[0]
        connection: _Connection = group.sender[1]
        server.in_flight -= 1
        connection.used = self._env.now
        self._desk(pod).free.append(connection)
        return pod

    def _lose(self, pod: Pod, job: QueuedJob) -> None:
        pod.in_flight -= 1
        self.refused.append(job.requested)

    def _lose_group(self, server: Pod, group: QueuedJob) -> None:
        pod = self._return(server, group)
        for job in group.parts:
            self._lose(pod, job)
