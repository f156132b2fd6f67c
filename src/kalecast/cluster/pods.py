"""The pods of a SeldonDeployment: which version each runs, and what keeps it from being ready."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from kalecast.cluster.deployment import DeploymentError

VERSION_ANNOTATION = "kalecast/model-version"
POD_LABEL = "seldon-deployment-id"
"""The operator's label on the pods of a SeldonDeployment."""

PERMANENT = ("InvalidImageName", "CreateContainerConfigError", "CreateContainerError")
PULLING = ("ErrImagePull", "ImagePullBackOff")
ENDED = ("Succeeded", "Failed")
MOST_RESTARTS = 3
CALL_SECONDS = 30.0
CALLS = 5
PAUSE = 2.0
"""Seconds before a call that was not answered is made again."""

RETRIED_STATUSES = (429, 500, 502, 503, 504)
"""What the API answers while it has too much to do, or is being replaced."""

LOG_LINES = 10
NO_LOG = "unable to retrieve container logs"
"""How the kubelet begins what it says, with status 200, where a log is gone."""


@dataclass
class Cluster:
    """What of the Kubernetes API is needed: custom objects, and pods with their logs."""

    custom: Any
    core: Any

    @classmethod
    def of_this_pod(cls) -> "Cluster":
        """With the rights of the pod's own service account."""
        from kubernetes import client, config

        config.load_incluster_config()
        return cls(client.CustomObjectsApi(), client.CoreV1Api())


def call(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """What a function of the Kubernetes client returns; called again where there is no answer.

    Raises:
        ApiException: the API refuses.
        DeploymentError: it does not answer.
    """
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    for calls_left in reversed(range(CALLS)):
        try:
            return function(*arguments, _request_timeout=CALL_SECONDS, **named)
        except HTTPError as error:
            if not calls_left:
                raise DeploymentError(f"The Kubernetes API does not answer: {error}") from error
        except ApiException as error:
            if error.status not in RETRIED_STATUSES or not calls_left:
                raise
        time.sleep(PAUSE)


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


def problems(pod: Any, cluster: Cluster) -> Iterator[PodProblem]:
    """What the kubelet and the scheduler say against a pod."""
    name = pod.metadata.name
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            yield PodProblem(
                "Unschedulable", f"no node has room for pod {name}: {condition.message}"
            )
    for container in pod.status.container_statuses or []:
        waiting, ended = container.state.waiting, container.last_state.terminated
        if container.restart_count and ended:
            yield PodProblem(
                "Crash",
                f"container {container.name} of pod {name} ended with exit code "
                f"{ended.exit_code} ({ended.reason}): {_log_tail(pod, container.name, cluster)}",
                container.restart_count,
            )
        elif waiting and waiting.reason in PULLING:
            yield PodProblem(
                waiting.reason,
                f"image {container.image!r} cannot be pulled: {waiting.message or waiting.reason}",
            )
        elif waiting and waiting.reason in PERMANENT:
            yield PodProblem(waiting.reason, f"container {container.name}: {waiting.message}")


def _log_tail(pod: Any, container: str, cluster: Cluster) -> str:
    """The end of what a container printed before it ended: a bad model is reported there.

    Where the log of the one that ended is gone already, that of the next one says the same.
    """
    for previous in (True, False):
        lines = _log(pod, container, cluster, previous)
        if lines:
            return lines[-1]
    return "it left no log"


def _log(pod: Any, container: str, cluster: Cluster, previous: bool) -> list[str]:
    from kubernetes.client.exceptions import ApiException

    with contextlib.suppress(ApiException):
        printed = call(
            cluster.core.read_namespaced_pod_log,
            pod.metadata.name,
            pod.metadata.namespace,
            container=container,
            previous=previous,
            tail_lines=LOG_LINES,
        )
        lines = [line.strip() for line in printed.splitlines()]
        return [line for line in lines if line and not line.startswith(NO_LOG)]
    return []


def pods_of(name: str, namespace: str, cluster: Cluster) -> list[Any]:
    """The pods of a SeldonDeployment, without those that are about to end.

    Raises:
        DeploymentError: the account of this pod may not list them.
    """
    from kubernetes.client.exceptions import ApiException

    try:
        found = cluster.core.list_namespaced_pod(namespace, label_selector=f"{POD_LABEL}={name}")
    except ApiException as error:
        raise DeploymentError(
            f"Expected the right to list pods in namespace {namespace!r}, "
            f"received: {error.status} {error.reason}."
        ) from error
    return [
        pod
        for pod in found.items
        # What was evicted stays as an object, and as nothing else.
        if pod.metadata.deletion_timestamp is None and pod.status.phase not in ENDED
    ]


def is_ready(pod: Any) -> bool:
    """Whether a pod answers."""
    conditions = pod.status.conditions or []
    return any(condition.type == "Ready" and condition.status == "True" for condition in conditions)


def restarts(pod: Any) -> int:
    """How often its containers have been started again."""
    return sum(one.restart_count for one in pod.status.container_statuses or [])


def version_of(pod: Any) -> str | None:
    """The version of the model that a pod was started with."""
    return (pod.metadata.annotations or {}).get(VERSION_ANNOTATION)
