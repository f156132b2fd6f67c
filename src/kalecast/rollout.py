"""Bring a SeldonDeployment to a new model, see whether its pods answer, go back if they do not.

    roll_out(render(model_uri, version, settings))

The operator's word alone is not enough: right after a change it may still be about the old pods,
and where a rollout fails it does not say why. So the pods are looked at: those of the new version
must be ready, and what keeps one from it is told in the log of whoever waits.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kalecast.deployment import GROUP, PLURAL, VERSION, DeploymentError

VERSION_ANNOTATION = "kalecast/model-version"
POD_LABEL = "seldon-deployment-id"
"""The operator's label on the pods of a SeldonDeployment."""

HOPELESS = ("InvalidImageName", "CreateContainerConfigError", "CreateContainerError")
PULLING = ("ErrImagePull", "ImagePullBackOff")
MOST_RESTARTS = 3
LOG_LINES = 10
WRITE_ATTEMPTS = 5
SET_BY_CLUSTER = (
    *("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"),
)

Report = Callable[[str], None]


@dataclass(frozen=True)
class Patience:
    """How long a rollout may take, in seconds."""

    total: float = 600.0
    """A first pull of the image on a new node takes minutes."""
    pulling: float = 120.0
    """An image that cannot be pulled so long is not there."""
    interval: float = 3.0


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


def roll_out(
    manifest: dict[str, Any],
    cluster: Cluster | None = None,
    report: Report = print,
    patience: Patience | None = None,
) -> None:
    """Apply a SeldonDeployment and wait until the pods of its version are ready.

    Where they do not become so, the object that served before, if one did, is put back.

    Args:
        manifest: as `kalecast.deployment.render` makes it.
        cluster: the one of this pod where left out.
        report: is told what happens, a line each.
        patience: how long it may take.

    Raises:
        DeploymentError: the cluster refuses it, or the pods do not become ready; says why, and
            what serves now.
    """
    cluster, patience = cluster or Cluster.of_this_pod(), patience or Patience()
    before = _current(manifest, cluster)
    serving = before if before and _state(before) == "Available" else None
    _put(manifest, before, cluster)
    report(f"SeldonDeployment {_name(manifest)!r}: version {_version(manifest)} applied")
    try:
        _wait(manifest, cluster, report, patience)
    except DeploymentError as failure:
        if serving is None:
            raise
        raise _back(serving, failure, cluster, report, patience) from failure


def _back(
    serving: dict[str, Any],
    failure: DeploymentError,
    cluster: Cluster,
    report: Report,
    patience: Patience,
) -> DeploymentError:
    """Put back what served before; the error that tells of both."""
    report(f"going back to version {_version(serving)}")
    try:
        _put(serving, _current(serving, cluster), cluster)
        _wait(serving, cluster, report, patience)
    except DeploymentError as second:
        return DeploymentError(f"{failure} Going back failed, too: {second}")
    return DeploymentError(f"{failure} Version {_version(serving)} serves again.")


def _current(manifest: dict[str, Any], cluster: Cluster) -> dict[str, Any] | None:
    """The object as the cluster has it."""
    from kubernetes.client.exceptions import ApiException

    try:
        found: dict[str, Any] = cluster.custom.get_namespaced_custom_object(
            **_place(manifest), name=_name(manifest)
        )
    except ApiException as error:
        if error.status == 404:
            return None
        raise _refused(manifest, error) from error
    return found


def _put(manifest: dict[str, Any], current: dict[str, Any] | None, cluster: Cluster) -> None:
    """Create the object, or replace the current one whole: a patch would leave old fields."""
    from kubernetes.client.exceptions import ApiException

    for attempts_left in reversed(range(WRITE_ATTEMPTS)):
        try:
            if current is None:
                cluster.custom.create_namespaced_custom_object(
                    **_place(manifest), body=_as_sent(manifest)
                )
            else:
                cluster.custom.replace_namespaced_custom_object(
                    **_place(manifest), name=_name(manifest), body=_as_sent(manifest, current)
                )
            return
        except ApiException as error:
            # The operator wrote its status meanwhile, or somebody else was first.
            if error.status != 409 or not attempts_left:
                raise _refused(manifest, error) from error
            current = _current(manifest, cluster)


def _as_sent(manifest: dict[str, Any], current: dict[str, Any] | None = None) -> dict[str, Any]:
    """An object without what the cluster has added to it, to replace the current one."""
    metadata = {k: v for k, v in manifest["metadata"].items() if k not in SET_BY_CLUSTER}
    if current:
        metadata["resourceVersion"] = current["metadata"]["resourceVersion"]
    return {**{k: v for k, v in manifest.items() if k != "status"}, "metadata": metadata}


def _refused(manifest: dict[str, Any], error: Any) -> DeploymentError:
    return DeploymentError(
        f"The cluster refused the SeldonDeployment {_name(manifest)!r} in namespace "
        f"{manifest['metadata']['namespace']!r}: {error.status} {error.reason}. "
        f"{error.body or ''}".strip()
    )


@dataclass
class _Told:
    """What was reported already, so that a line is told once and not every few seconds."""

    report: Report
    lines: set[str] = field(default_factory=set)

    def tell(self, line: str) -> None:
        if line not in self.lines:
            self.lines.add(line)
            self.report(line)


def _wait(manifest: dict[str, Any], cluster: Cluster, report: Report, patience: Patience) -> None:
    """Wait until all pods of the object's version are ready and none of another is left."""
    start, told = time.monotonic(), _Told(report)
    while True:
        found = _current(manifest, cluster)
        state = _state(found)
        told.tell(f"SeldonDeployment {_name(manifest)!r}: {state}")
        pods = _pods(manifest, cluster)
        ours = [pod for pod in pods if _pod_version(pod) == _version(manifest)]
        # More pods than asked for come with load, and whether there is room for those is not ours.
        ready = sum(_is_ready(pod) for pod in ours)
        if state == "Available" and ready >= _replicas(manifest) and len(ours) == len(pods):
            report(f"version {_version(manifest)} serves with {ready} pods")
            return
        waited = time.monotonic() - start
        problems = [problem for pod in ours for problem in _problems(pod, cluster)]
        for problem in problems:
            told.tell(f"  {problem}")
        hopeless = next((p for p in problems if p.is_hopeless(waited, patience)), None)
        if state == "Failed" or hopeless or waited > patience.total:
            raise _failure(manifest, state, found, problems, waited)
        time.sleep(patience.interval)


def _failure(
    manifest: dict[str, Any],
    state: str,
    found: dict[str, Any] | None,
    problems: list["Problem"],
    waited: float,
) -> DeploymentError:
    reasons = "; ".join(dict.fromkeys(str(problem) for problem in problems))
    said = ((found or {}).get("status") or {}).get("description")
    return DeploymentError(
        f"Version {_version(manifest)} of {_name(manifest)!r} is {state} after {waited:.0f} s: "
        f"{reasons or said or 'the operator gives no reason'}."
    )


@dataclass(frozen=True)
class Problem:
    """What keeps a pod from being ready."""

    kind: str
    text: str
    restarts: int = 0

    def __str__(self) -> str:
        return self.text

    def is_hopeless(self, waited: float, patience: Patience) -> bool:
        """Whether waiting longer would help nobody."""
        if self.kind in PULLING:
            return waited > patience.pulling
        return self.kind in HOPELESS or self.restarts >= MOST_RESTARTS


def _problems(pod: Any, cluster: Cluster) -> Iterator[Problem]:
    name = pod.metadata.name
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            yield Problem("Unschedulable", f"no node has room for pod {name}: {condition.message}")
    for container in pod.status.container_statuses or []:
        waiting, ended = container.state.waiting, container.last_state.terminated
        if container.restart_count and ended:
            yield Problem(
                "Crash",
                f"container {container.name} of pod {name} ended with exit code "
                f"{ended.exit_code} ({ended.reason}): {_last_words(pod, container.name, cluster)}",
                container.restart_count,
            )
        elif waiting and waiting.reason in PULLING:
            yield Problem(
                waiting.reason,
                f"image {container.image!r} cannot be pulled: {waiting.message or waiting.reason}",
            )
        elif waiting and waiting.reason in HOPELESS:
            yield Problem(waiting.reason, f"container {container.name}: {waiting.message}")


def _last_words(pod: Any, container: str, cluster: Cluster) -> str:
    """The end of what a container printed before it ended: a bad model is told there."""
    from kubernetes.client.exceptions import ApiException

    with contextlib.suppress(ApiException):
        printed = cluster.core.read_namespaced_pod_log(
            pod.metadata.name,
            pod.metadata.namespace,
            container=container,
            previous=True,
            tail_lines=LOG_LINES,
        )
        lines = [line.strip() for line in printed.splitlines() if line.strip()]
        if lines:
            return str(lines[-1])
    return "it left no log"


def _pods(manifest: dict[str, Any], cluster: Cluster) -> list[Any]:
    """The object's pods, without those that are on their way out."""
    from kubernetes.client.exceptions import ApiException

    try:
        found = cluster.core.list_namespaced_pod(
            manifest["metadata"]["namespace"], label_selector=f"{POD_LABEL}={_name(manifest)}"
        )
    except ApiException as error:
        raise DeploymentError(
            f"Expected the right to list pods in namespace {manifest['metadata']['namespace']!r}, "
            f"received: {error.status} {error.reason}."
        ) from error
    return [pod for pod in found.items if pod.metadata.deletion_timestamp is None]


def _is_ready(pod: Any) -> bool:
    conditions = pod.status.conditions or []
    return any(condition.type == "Ready" and condition.status == "True" for condition in conditions)


def _pod_version(pod: Any) -> str | None:
    return (pod.metadata.annotations or {}).get(VERSION_ANNOTATION)


def _component(manifest: dict[str, Any]) -> dict[str, Any]:
    component: dict[str, Any] = manifest["spec"]["predictors"][0]["componentSpecs"][0]
    return component


def _version(manifest: dict[str, Any]) -> str | None:
    annotations = _component(manifest).get("metadata", {}).get("annotations", {})
    version: str | None = annotations.get(VERSION_ANNOTATION)
    return version


def _replicas(manifest: dict[str, Any]) -> int:
    return int(manifest["spec"]["predictors"][0].get("replicas", 1))


def _state(found: dict[str, Any] | None) -> str:
    return ((found or {}).get("status") or {}).get("state") or "Creating"


def _name(manifest: dict[str, Any]) -> str:
    return str(manifest["metadata"]["name"])


def _place(manifest: dict[str, Any]) -> dict[str, str]:
    namespace = manifest["metadata"]["namespace"]
    return {"group": GROUP, "version": VERSION, "namespace": namespace, "plural": PLURAL}
