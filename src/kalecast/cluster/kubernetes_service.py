"""The model server's Service on the cluster of the current KUBECONFIG, found with `kubectl`."""

import json
import shutil
import subprocess
from typing import Any

from kalecast.cluster.deployment import DeploymentSettings
from kalecast.cluster.pods import Pod

SERVICE = DeploymentSettings.service
PORT_NAMES = ("http", "grpc")

REQUEST_SECONDS = 15
"""Timeout of one request to the cluster."""


class ClusterError(RuntimeError):
    """The model server on the cluster cannot be reached; the text says why."""


def find_namespace(service: str = SERVICE) -> str:
    """The one namespace that has the Service.

    Raises:
        ClusterError: none has it, or several.
    """
    try:
        found = _namespaces_with(service)
    except _ForbiddenError as error:
        raise ClusterError(
            f"Expected a namespace. {_cluster()} does not let you look into all of them."
        ) from error
    if len(found) == 1:
        return found[0]
    if not found:
        raise ClusterError(
            f"{_cluster()} has no Service '{service}' in any namespace: run the "
            "pipeline's step deploy, or cluster-setup/4-model-and-app/apply.sh."
        )
    raise ClusterError(
        f"Expected a namespace, several have a Service '{service}': {', '.join(found)}."
    )


def service_ports(namespace: str, service: str = SERVICE) -> dict[str, int]:
    """The Service's ports by name, `http` and `grpc`.

    Raises:
        ClusterError: there is no such Service, or it has other ports.
    """
    try:
        found = _get("service", service, "--namespace", namespace)
    except _NotFoundError:
        raise ClusterError(_no_service(namespace, service)) from None
    ports = {port.get("name"): port["port"] for port in found["spec"]["ports"]}
    if not set(PORT_NAMES) <= set(ports):
        raise ClusterError(
            f"Expected ports named {' and '.join(PORT_NAMES)} of Service '{service}' in namespace "
            f"'{namespace}', received: {', '.join(map(str, ports))}."
        )
    return {name: int(ports[name]) for name in PORT_NAMES}


def require_ready(namespace: str, service: str = SERVICE) -> None:
    """Raise a `ClusterError` that says what keeps the pods where none of them is ready."""
    selector = f"kubernetes.io/service-name={service}"
    slices = _get("endpointslices", "--namespace", namespace, "--selector", selector)["items"]
    endpoints = [endpoint for one in slices for endpoint in one.get("endpoints") or []]
    if any(endpoint.get("conditions", {}).get("ready") for endpoint in endpoints):
        return
    wanted = _get("service", service, "--namespace", namespace)["spec"].get("selector") or {}
    labels = ",".join(f"{name}={value}" for name, value in wanted.items())
    pods = map(Pod.of, _get("pods", "--namespace", namespace, "--selector", labels)["items"][:3])
    states = [f"{pod.name} ({pod.reason})" for pod in pods]
    raise ClusterError(
        f"No pod of Service '{service}' in namespace '{namespace}' is ready: "
        f"{', '.join(states) or 'there is none'}."
    )


class _ForbiddenError(ClusterError):
    """The cluster does not say, to this user."""


class _NotFoundError(ClusterError):
    """The cluster has no such object."""


def _no_service(namespace: str, service: str) -> str:
    message = f"Namespace '{namespace}' has no Service '{service}'"
    try:
        others = _namespaces_with(service)
    except ClusterError:  # who may look into one namespace may not look into all
        return f"{message}."
    return (
        f"{message}; these have one: {', '.join(others)}."
        if others
        else f"{message}, and no other."
    )


def _namespaces_with(service: str) -> list[str]:
    named = f"metadata.name={service}"
    found = _get("services", "--all-namespaces", "--field-selector", named)["items"]
    return sorted(one["metadata"]["namespace"] for one in found)


def _get(*what: str) -> Any:
    """The answer to `kubectl get`."""
    if shutil.which("kubectl") is None:
        raise ClusterError("Expected 'kubectl' on the PATH, there is none.")
    command = ["kubectl", "get", *what, "--output=json", f"--request-timeout={REQUEST_SECONDS}s"]
    done = _run(command)
    if done.returncode == 0:
        return json.loads(done.stdout)
    message = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
    if "(NotFound)" in message:
        raise _NotFoundError(message)
    if "(Forbidden)" in message or "(Unauthorized)" in message or "logged in" in message:
        raise _ForbiddenError(f"{_cluster()} does not let you look: {message}")
    raise ClusterError(
        f"{_cluster()} does not answer; does KUBECONFIG name the right one? {message}"
    )


def _cluster() -> str:
    """The cluster of the current context, as its user calls it."""
    name = _run(["kubectl", "config", "current-context"]).stdout.strip()
    return f"The cluster of context '{name}'" if name else "The cluster (KUBECONFIG names none)"


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
