"""Pods killed, restarted and evicted while clients ask: no forecast may fail."""

import json
import time

from .kube import KubeError, Object
from .loads import light, under_load
from .outcomes import CheckFailed
from .scene import FORECAST_PAGE, MODEL_SERVER, WORKLOADS, Scene, Workload


def kill(scene: Scene) -> str:
    """One of each killed without warning.

    The page makes good what a killed model server owed; what a killed page owed its clients ask
    for again, as an ingress or a browser does.
    """
    page, server = scene.work.page, scene.work.server
    with under_load(scene.kube, light(page, retries=False)) as (through,):
        back_server = _kill_one(scene, MODEL_SERVER)
    with under_load(scene.kube, light(page, True), light(server, True)) as (again, direct):
        back_page = _kill_one(scene, FORECAST_PAGE)
    for totals in (through, again, direct):
        totals.judge()
    return (
        f"model server killed, back after {back_server:.0f} s: page {through}; "
        f"page killed, back after {back_page:.0f} s: {again}"
    )


def restart(scene: Scene) -> str:
    """All pods of both replaced in turn; nobody asks twice."""
    page, server = light(scene.work.page, False), light(scene.work.server, False)
    with under_load(scene.kube, page, server) as (through, direct):
        for workload in WORKLOADS:
            scene.kube.do("rollout", "restart", f"deployment/{workload.deployment}")
        seconds = scene.settle()
    for totals in (through, direct):
        totals.judge()
    return f"both restarted within {seconds:.0f} s: page {through}; model server {direct}"


def evict(scene: Scene) -> str:
    """Each pod evicted, as a drained node's are; the budgets allow one at a time."""
    page, server = light(scene.work.page, False), light(scene.work.server, False)
    with under_load(scene.kube, page, server) as (through, direct):
        results = [_evict_all(scene, workload) for workload in WORKLOADS]
        scene.settle()
    for totals in (through, direct):
        totals.judge()
    return f"{'; '.join(results)}; page {through}; model server {direct}"


def _kill_one(scene: Scene, workload: Workload) -> float:
    """Kill the oldest pod; returns the seconds until all is as before."""
    pods = sorted(scene.ready_pods(workload), key=lambda pod: pod["metadata"]["creationTimestamp"])
    name = pods[0]["metadata"]["name"]
    scene.kube.do("delete", "pod", name, "--force", "--grace-period=0", "--wait=false")
    return scene.settle()


def _evict_all(scene: Scene, workload: Workload) -> str:
    """Evict the pods that are there now; the second at once must be refused."""
    names = [pod["metadata"]["name"] for pod in scene.ready_pods(workload)]
    refusals, end = 0, time.monotonic() + scene.parameters.patience
    for at, name in enumerate(names):
        while not _evicted(scene, name):
            refusals += 1
            if time.monotonic() > end:
                raise CheckFailed(f"pod {name} cannot be evicted: a node could not be drained")
            time.sleep(1)
        if at == 0 and len(names) > 1 and _evicted(scene, names[1]):
            raise CheckFailed(f"two pods of the {workload.name} were evicted at the same time")
    return f"{len(names)} pods of the {workload.name} evicted one by one, {refusals} tries refused"


def _evicted(scene: Scene, pod: str) -> bool:
    """Ask for the eviction; false where the budget does not allow it now."""
    eviction: Object = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": scene.kube.namespace},
    }
    path = f"/api/v1/namespaces/{scene.kube.namespace}/pods/{pod}/eviction"
    try:
        scene.kube.do("create", "--raw", path, "--filename=-", content=json.dumps(eviction))
    except KubeError as error:
        if "not found" in str(error).lower():
            return True
        if "disruption budget" not in str(error):
            raise
        return False
    return True
