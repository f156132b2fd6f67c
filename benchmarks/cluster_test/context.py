"""What all checks look at: the workloads under test, and waiting for them."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.cluster_test.helpers import (
    GRPC_PORT,
    PAGE_PORT,
    PAGE_SERVICE,
    SERVER_PORT,
    SERVER_SERVICE,
    Loads,
)
from benchmarks.cluster_test.kube import Kube, KubeError, Object
from benchmarks.cluster_test.options import Parameters
from benchmarks.cluster_test.outcomes import CheckFailed
from benchmarks.cluster_test.rendering import PAGE, SERVER, Rendered
from kalecast.cluster.deployment import PORTS
from kalecast.cluster.pods import LOG_LINES, Pod

LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Workload:
    """A Deployment with its Service."""

    name: str
    deployment: str
    container: str
    service: str
    port: int
    labels: str
    """What selects its pods."""
    metrics_port: int


WORKLOADS = (
    Workload(
        "model server",
        "kalecast-default-0-forecaster",
        SERVER,
        SERVER_SERVICE,
        SERVER_PORT,
        f"app.kubernetes.io/name={SERVER_SERVICE}",
        PORTS["metrics"],
    ),
    Workload(
        "page",
        "kalecast-page",
        PAGE,
        PAGE_SERVICE,
        PAGE_PORT,
        f"app.kubernetes.io/name={PAGE_SERVICE}",
        7861,
    ),
)
MODEL_SERVER, FORECAST_PAGE = WORKLOADS


@dataclass
class Context:
    """A run: the cluster, the parameters, and where messages go."""

    kube: Kube
    parameters: Parameters
    rendered: Rendered
    work: Loads
    least: dict[str, int]
    """Pods at rest, by Deployment."""
    log: Callable[[str], None]

    def wait(self, what: str, missing: Callable[[], str], seconds: float | None = None) -> float:
        """Wait until nothing is missing any more; returns the seconds that it took.

        Args:
            what: for the error.
            missing: says what is, or nothing.
            seconds: longer or shorter than the parameter `timeout`.

        Raises:
            CheckFailed: it took too long; says what was missing in the end.
        """
        seconds = self.parameters.timeout if seconds is None else seconds
        began, last = time.monotonic(), ""
        while now := missing():
            if now != last:
                self.log(f"waiting: {now}")
                last = now
            if time.monotonic() - began > seconds:
                raise CheckFailed(f"{what}: not within {seconds:.0f} s: {now}")
            time.sleep(LOOK_SECONDS)
        return time.monotonic() - began

    def pods(self, workload: Workload) -> list[Pod]:
        """All of a workload's pods, those being deleted too."""
        return [Pod.of(one) for one in self.kube.items("pods", "--selector", workload.labels)]

    def ready_pods(self, workload: Workload) -> list[Pod]:
        """Those that answer and are to stay."""
        return [pod for pod in self.pods(workload) if pod.is_ready and not pod.is_leaving]

    def settle(self) -> float:
        """Wait until both workloads are as they are to be, and no change is in progress."""
        return self.wait("settled", lambda: next(filter(None, map(self.unsettled, WORKLOADS)), ""))

    def unsettled(self, workload: Workload) -> str:
        """What a workload still lacks."""
        try:
            deployment = self.kube.get("deployment", workload.deployment)
        except KubeError as error:
            if "not found" not in str(error):
                raise
            return f"{workload.name}: there is no Deployment {workload.deployment} yet"
        lacking = lacks(deployment, self.least.get(workload.deployment, 1))
        if not lacking and any(pod.is_leaving for pod in self.pods(workload)):
            lacking = "pods are being deleted"
        if not lacking:
            return ""
        return f"{workload.name}: {'; '.join([lacking, *self.troubles(workload)])}"

    def troubles(self, workload: Workload) -> list[str]:
        """What keeps its pods from being ready, or from being there, at most three of it."""
        pods = self.pods(workload)
        waiting = (pod for pod in pods if not pod.is_ready and not pod.is_leaving)
        found = [str(problem) for pod in waiting for problem in pod.problems(self.read_log)]
        return list(dict.fromkeys(found if pods else self._not_created()))[:3]

    def _not_created(self) -> list[str]:
        """Why pods are not even made: a quota, or a policy of the cluster's."""
        selected = "--field-selector=type=Warning,involvedObject.kind=ReplicaSet"
        return [event.get("message", "") for event in self.kube.items("events", selected)]

    def read_log(self, pod: Pod, container: str, previous: bool) -> str:
        """The end of a container's log, as a `kalecast.cluster.pods.LogReader` returns it."""
        options = [f"--container={container}", f"--tail={LOG_LINES}"]
        options += ["--previous"] if previous else []
        try:
            return self.kube.do("logs", pod.name, *options)
        except KubeError:
            return ""


def lacks(deployment: Object, least: int) -> str:
    """What keeps a Deployment from being done, or nothing."""
    status = deployment.get("status", {})
    wanted = deployment["spec"].get("replicas", 1)
    counted = {name: status.get(f"{name}Replicas", 0) for name in ("updated", "ready", "available")}
    if status.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return "a change is not taken up yet"
    if wanted < least:
        return f"{wanted} pods wanted, {least} expected"
    if status.get("replicas", 0) != wanted or set(counted.values()) != {wanted}:
        counts = ", ".join(f"{number} {name}" for name, number in counted.items())
        return f"of {wanted} pods {counts}"
    return ""


def addresses() -> dict[str, str]:
    """Through the Services."""
    return {
        "page": f"{PAGE_SERVICE}:{PAGE_PORT}",
        "server": f"{SERVER_SERVICE}:{SERVER_PORT}",
        "grpc": f"{SERVER_SERVICE}:{GRPC_PORT}",
    }
