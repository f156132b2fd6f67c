"""NetworkPolicies: what they must let through, what they must refuse, and whether anybody obeys."""

import json
from dataclasses import dataclass

from .helpers import (
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
from .outcomes import CheckFailed, NotChecked
from .rendering import SERVER, images
from .scene import FORECAST_PAGE, MODEL_SERVER, Scene, is_ready

API = "kubernetes.default.svc:443"
"""The cluster's own API: outside both policies, and always there."""

SETTLING = 20.0
"""Seconds within which a network should have heard of a policy."""


@dataclass(frozen=True)
class Way:
    """A connection from one to another."""

    who: str
    to: str
    """host:port"""
    called: str
    allowed: bool
    control: bool = False
    """Whether it only shows that there is something to reach, for the closed ways to it."""


@dataclass(frozen=True)
class Verdict:
    """What is not as the policies say."""

    refused: list[str]
    """What should have passed."""
    passed: list[str]
    """What should have been refused."""


def network(scene: Scene) -> str:
    """Try all ways, from the pods themselves."""
    tried = _ways(scene)
    reached = _try(scene, tried)
    ways = judged(tried, reached)
    verdict = judge(ways, reached)
    if verdict.refused:
        raise CheckFailed(f"refused what must pass: {'; '.join(verdict.refused)}")
    if verdict.passed and not _is_enforced(scene):
        raise NotChecked(
            "this network enforces no NetworkPolicies: a pod that a policy closes for all was "
            f"reached, and so were {len(verdict.passed)} ways that ours refuse"
        )
    if verdict.passed:
        raise CheckFailed(f"let through what must be refused: {'; '.join(verdict.passed)}")
    refused = sum(not way.allowed for way in ways)
    return f"{refused} ways refused, as they must be, {len(ways) - refused} ways open"


def judged(ways: list[Way], reached: dict[Way, bool | str]) -> list[Way]:
    """Without the controls, and without closed ways to where nobody gets in this cluster."""
    nowhere = {way.to for way in ways if way.control and reached[way] is not True}
    return [way for way in ways if not way.control and (way.allowed or way.to not in nowhere)]


def judge(ways: list[Way], reached: dict[Way, bool | str]) -> Verdict:
    """Hold what was reached against what should be."""
    refused = [
        f"{way.called} ({reached[way]})" for way in ways if way.allowed and reached[way] is not True
    ]
    passed = [way.called for way in ways if not way.allowed and reached[way] is True]
    return Verdict(refused, passed)


def _ways(scene: Scene) -> list[Way]:
    """Each closed way leads to where another pod gets to, so that it is the policy that refuses."""
    page, server = (scene.ready_pods(workload)[0] for workload in (FORECAST_PAGE, MODEL_SERVER))
    from_page, from_server = (pod["metadata"]["name"] for pod in (page, server))
    page_metrics, server_metrics = (
        f"{_host(pod['status']['podIP'])}:{workload.metrics_port}"
        for pod, workload in ((page, FORECAST_PAGE), (server, MODEL_SERVER))
    )
    to_page, to_server = f"{PAGE_SERVICE}:{PAGE_PORT}", f"{SERVER_SERVICE}:{SERVER_PORT}"
    to_grpc, to_store = f"{SERVER_SERVICE}:{GRPC_PORT}", f"{STORE}:{STORE_PORT}"
    return [
        Way(CLIENT, to_page, "a client to the page", True),
        Way(CLIENT, to_server, "one of the team's programs to the model server", True),
        Way(CLIENT, to_grpc, "one of the team's programs to the model server's gRPC", True),
        Way(from_page, to_server, "the page to the model server", True),
        Way(from_page, page_metrics, "the page to its own metrics", True, True),
        Way(from_server, to_store, "the model server to its store", True),
        Way(from_server, server_metrics, "the model server to its own metrics", True, True),
        Way(STRANGER, to_store, "a stranger to the store", True, True),
        Way(STRANGER, API, "a stranger to the Kubernetes API", True, True),
        Way(STRANGER, to_page, "a stranger to the page", False),
        Way(STRANGER, to_server, "a stranger to the model server", False),
        Way(STRANGER, to_grpc, "a stranger to the model server's gRPC", False),
        Way(CLIENT, page_metrics, "a client to the page's metrics", False),
        Way(CLIENT, server_metrics, "a client to the model server's metrics", False),
        Way(from_page, to_store, "the page to the store", False),
        Way(from_page, API, "the page to the Kubernetes API", False),
        Way(from_page, to_grpc, "the page to the model server's gRPC", False),
        Way(from_server, to_page, "the model server to the page", False),
    ]


def _try(scene: Scene, ways: list[Way]) -> dict[Way, bool | str]:
    reached: dict[Way, bool | str] = {}
    for who in dict.fromkeys(way.who for way in ways):
        ours = [way for way in ways if way.who == who]
        found = json.loads(scene.kube.run(who, script("reach.py"), *(way.to for way in ours)))
        reached |= {way: found[way.to] for way in ours}
    return reached


def _is_enforced(scene: Scene) -> bool:
    """Whether a pod that a policy closes for everybody is closed."""
    scene.kube.apply(closed(images(scene.rendered.objects)[SERVER], scene.parameters))
    pod = {}

    def missing() -> str:
        pod.update(scene.kube.get("pod", CLOSED))
        return "" if is_ready(pod) else "the pod that is closed for all is not ready"

    scene.wait(CLOSED, missing)
    address = f"{_host(pod['status']['podIP'])}:{STORE_PORT}"

    def still_open() -> str:
        found = json.loads(scene.kube.run(STRANGER, script("reach.py"), address))
        return "a pod that a policy closes for all is reached" if found[address] is True else ""

    try:
        scene.wait("the policy", still_open, SETTLING)
    except CheckFailed:
        return False
    return True


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
