"""Pods as the Kubernetes API describes them in JSON: what they run, and why they are not ready.

`kubectl get --output=json` prints the same as the API's client can return.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from kalecast.cluster.seldon_deployment import VERSION_ANNOTATION

PERMANENT = ("InvalidImageName", "CreateContainerConfigError", "CreateContainerError")
PULLING = ("ErrImagePull", "ImagePullBackOff")
ENDED = ("Succeeded", "Failed")
MOST_RESTARTS = 3

LOG_LINES = 10
"""How many lines of a log a `LogReader` reads, from the end."""

NO_LOG = "unable to retrieve container logs"
"""How the kubelet begins what it says, with status 200, where a log is gone."""

Json = dict[str, Any]

LogReader = Callable[["Pod", str, bool], str]
"""Returns the end of the log of a pod's container by its name; where the last argument is true,
of the one that ended before it. Empty where there is none."""


@dataclass(frozen=True)
class PodProblem:
    """What keeps a pod from being ready."""

    kind: str
    text: str
    restarts: int = 0

    def __str__(self) -> str:
        return self.text

    def is_permanent(self, waited: float, pulling: float) -> bool:
        """Whether waiting longer would not help.

        Args:
            waited: so far, in seconds.
            pulling: after so many seconds an image that cannot be pulled is not there.
        """
        if self.kind in PULLING:
            return waited > pulling
        return self.kind in PERMANENT or self.restarts >= MOST_RESTARTS


@dataclass(frozen=True)
class Container:
    """A container of a pod, as the kubelet reports it.

    Attributes:
        restarts: how often it was started again.
        waiting: `reason` and `message` of what it waits for, if it does.
        terminated: `reason` and `exitCode` of its end, if it has ended.
        ended_before: the same of its end before it was started again, if it was.
    """

    name: str
    image: str
    is_ready: bool
    restarts: int
    waiting: Json
    terminated: Json
    ended_before: Json

    @classmethod
    def of(cls, status: Json) -> "Container":
        """From its part of a pod's status."""
        state, last_state = status.get("state") or {}, status.get("lastState") or {}
        return cls(
            name=status.get("name", ""),
            image=status.get("image", ""),
            is_ready=status.get("ready", False),
            restarts=status.get("restartCount", 0),
            waiting=state.get("waiting") or {},
            terminated=state.get("terminated") or {},
            ended_before=last_state.get("terminated") or {},
        )


@dataclass(frozen=True)
class Pod:
    """A pod.

    Attributes:
        created: when, in a form that sorts by time.
        ip: its address in the cluster, once it has one.
        model_version: the version of the model that it was started with.
        is_ready: whether it is an endpoint of its Service.
        is_leaving: whether it is being deleted.
        unschedulable: why no node takes it; None where one does.
        containers: those that the kubelet reports.
    """

    name: str
    namespace: str
    created: str
    ip: str
    phase: str
    model_version: str | None
    is_ready: bool
    is_leaving: bool
    unschedulable: str | None
    containers: tuple[Container, ...]

    @classmethod
    def of(cls, described: Json) -> "Pod":
        """From the API's description of it."""
        metadata, status = described["metadata"], described.get("status") or {}
        conditions = {one["type"]: one for one in status.get("conditions") or []}
        scheduled = conditions.get("PodScheduled", {})
        refused = scheduled.get("status") == "False"
        return cls(
            name=metadata["name"],
            namespace=metadata.get("namespace", ""),
            created=metadata.get("creationTimestamp", ""),
            ip=status.get("podIP", ""),
            phase=status.get("phase", "unknown"),
            model_version=(metadata.get("annotations") or {}).get(VERSION_ANNOTATION),
            is_ready=conditions.get("Ready", {}).get("status") == "True",
            is_leaving="deletionTimestamp" in metadata,
            unschedulable=scheduled.get("message", "cannot be scheduled") if refused else None,
            containers=tuple(map(Container.of, status.get("containerStatuses") or [])),
        )

    @property
    def restarts(self) -> int:
        """How often its containers were started again."""
        return sum(one.restarts for one in self.containers)

    @property
    def reason(self) -> str:
        """What it waits for, in Kubernetes' own words."""
        states = (state for one in self.containers for state in (one.waiting, one.terminated))
        reasons = (state["reason"] for state in states if state.get("reason"))
        return next(reasons, self.unschedulable or self.phase)

    def problems(self, read_log: LogReader) -> Iterator[PodProblem]:
        """What the kubelet and the scheduler say against it.

        Args:
            read_log: reads why a container ended: a bad model is reported in its log.
        """
        if self.unschedulable is not None:
            text = f"no node has room for pod {self.name}: {self.unschedulable}"
            yield PodProblem("Unschedulable", text)
        for container in self.containers:
            ended, message = container.ended_before, container.waiting.get("message")
            reason = container.waiting.get("reason", "")
            if container.restarts and ended:
                yield PodProblem(
                    "Crash",
                    f"container {container.name} of pod {self.name} ended with exit code "
                    f"{ended.get('exitCode')} ({ended.get('reason')}): "
                    f"{last_log_line(self, container.name, read_log)}",
                    container.restarts,
                )
            elif reason in PULLING:
                text = f"image {container.image!r} cannot be pulled: {message or reason}"
                yield PodProblem(reason, text)
            elif reason in PERMANENT:
                yield PodProblem(reason, f"container {container.name}: {message}")


def last_log_line(pod: Pod, container: str, read_log: LogReader) -> str:
    """The end of what a container printed before it ended.

    Where the log of the one that ended is gone already, that of the next one says the same.
    """
    for previous in (True, False):
        lines = [line.strip() for line in read_log(pod, container, previous).splitlines()]
        lines = [line for line in lines if line and not line.startswith(NO_LOG)]
        if lines:
            return lines[-1]
    return "it left no log"
