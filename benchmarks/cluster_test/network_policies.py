"""NetworkPolicies: what they must allow, what they must deny, and whether they are enforced."""

import json
from dataclasses import dataclass

from benchmarks.cluster_test.context import FORECAST_PAGE, MODEL_SERVER, Context
from benchmarks.cluster_test.helpers import (
    CLIENT,
    CLOSED,
    GRPC_PORT,
    PAGE_PORT,
    PAGE_SERVICE,
    SERVER_PORT,
    SERVER_SERVICE,
    STORE,
    STORE_PORT,
    STRANGER,
    closed,
    script,
)
from benchmarks.cluster_test.outcomes import CheckFailed, NotChecked
from benchmarks.cluster_test.rendering import SERVER, images
from kalecast.cluster.pods import Pod

API = "kubernetes.default.svc:443"
"""The cluster's own API: outside both policies, and always there."""

SETTLING = 20.0
"""Seconds within which a network should have heard of a policy."""


@dataclass(frozen=True)
class NetworkPath:
    """A connection from one to another."""

    who: str
    to: str
    """host:port"""
    description: str
    allowed: bool
    control: bool = False
    """Whether it only shows that there is something to reach, for the denied paths to it."""


def network(context: Context) -> str:
    """Try all paths, from the pods themselves."""
    tried = _paths(context)
    reached = _try(context, tried)
    paths = judged(tried, reached)
    refused, passed = judge(paths, reached)
    if refused:
        raise CheckFailed(f"denied, expected allowed: {'; '.join(refused)}")
    if passed and not _is_enforced(context):
        raise NotChecked(
            "this network enforces no NetworkPolicies: a pod that a policy closes for all was "
            f"reached, and so were {len(passed)} connections that ours deny"
        )
    if passed:
        raise CheckFailed(f"allowed, expected denied: {'; '.join(passed)}")
    denied = sum(not path.allowed for path in paths)
    return f"{denied} connections denied, as expected, {len(paths) - denied} allowed"


def judged(paths: list[NetworkPath], reached: dict[NetworkPath, bool | str]) -> list[NetworkPath]:
    """Without the controls, and without denied paths to what nothing reaches in this cluster."""
    nowhere = {path.to for path in paths if path.control and reached[path] is not True}
    return [path for path in paths if not path.control and (path.allowed or path.to not in nowhere)]


def judge(
    paths: list[NetworkPath], reached: dict[NetworkPath, bool | str]
) -> tuple[list[str], list[str]]:
    """What is not as the policies say: paths that should have been allowed, and denied."""
    refused = [
        f"{path.description} ({reached[path]})"
        for path in paths
        if path.allowed and reached[path] is not True
    ]
    passed = [path.description for path in paths if not path.allowed and reached[path] is True]
    return refused, passed


def _paths(context: Context) -> list[NetworkPath]:
    """Each denied path leads to what another pod reaches, so that it is the policy that denies."""
    page, server = (context.ready_pods(workload)[0] for workload in (FORECAST_PAGE, MODEL_SERVER))
    from_page, from_server = (pod.name for pod in (page, server))
    page_metrics, server_metrics = (
        f"{_host(pod.ip)}:{workload.metrics_port}"
        for pod, workload in ((page, FORECAST_PAGE), (server, MODEL_SERVER))
    )
    to_page, to_server = f"{PAGE_SERVICE}:{PAGE_PORT}", f"{SERVER_SERVICE}:{SERVER_PORT}"
    to_grpc, to_store = f"{SERVER_SERVICE}:{GRPC_PORT}", f"{STORE}:{STORE_PORT}"
    return [
        NetworkPath(CLIENT, to_page, "a client to the page", True),
        NetworkPath(CLIENT, to_server, "one of the team's programs to the model server", True),
        NetworkPath(CLIENT, to_grpc, "one of the team's programs to the model server's gRPC", True),
        NetworkPath(from_page, to_server, "the page to the model server", True),
        NetworkPath(from_page, page_metrics, "the page to its own metrics", True, True),
        NetworkPath(from_server, to_store, "the model server to its store", True),
        NetworkPath(from_server, server_metrics, "the model server to its own metrics", True, True),
        NetworkPath(STRANGER, to_store, "a stranger to the store", True, True),
        NetworkPath(STRANGER, API, "a stranger to the Kubernetes API", True, True),
        NetworkPath(STRANGER, to_page, "a stranger to the page", False),
        NetworkPath(STRANGER, to_server, "a stranger to the model server", False),
        NetworkPath(STRANGER, to_grpc, "a stranger to the model server's gRPC", False),
        NetworkPath(CLIENT, page_metrics, "a client to the page's metrics", False),
        NetworkPath(CLIENT, server_metrics, "a client to the model server's metrics", False),
        NetworkPath(from_page, to_store, "the page to the store", False),
        NetworkPath(from_page, API, "the page to the Kubernetes API", False),
        NetworkPath(from_page, to_grpc, "the page to the model server's gRPC", False),
        NetworkPath(from_server, to_page, "the model server to the page", False),
    ]


def _try(context: Context, paths: list[NetworkPath]) -> dict[NetworkPath, bool | str]:
    reached: dict[NetworkPath, bool | str] = {}
    for who in dict.fromkeys(path.who for path in paths):
        ours = [path for path in paths if path.who == who]
        found = json.loads(context.kube.run(who, script("reach.py"), *(path.to for path in ours)))
        reached |= {path: found[path.to] for path in ours}
    return reached


def _is_enforced(context: Context) -> bool:
    """Whether a pod that a policy closes for all is closed."""
    context.kube.apply(closed(images(context.rendered.objects)[SERVER], context.parameters))

    def pod() -> Pod:
        return Pod.of(context.kube.get("pod", CLOSED))

    def missing() -> str:
        return "" if pod().is_ready else "the pod that is closed for all is not ready"

    context.wait(CLOSED, missing)
    address = f"{_host(pod().ip)}:{STORE_PORT}"

    def still_open() -> str:
        found = json.loads(context.kube.run(STRANGER, script("reach.py"), address))
        return "a pod that a policy closes for all is reached" if found[address] is True else ""

    try:
        context.wait("the policy", still_open, SETTLING)
    except CheckFailed:
        return False
    return True


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
