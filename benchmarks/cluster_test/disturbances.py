"""Pods killed, restarted and evicted while clients send requests: no forecast may fail."""

import json
import time

from benchmarks.cluster_test.context import (
    FORECAST_PAGE,
    MODEL_SERVER,
    WORKLOADS,
    Context,
    Workload,
)
from benchmarks.cluster_test.kube import KubeError, Object
from benchmarks.cluster_test.loads import light, under_load
from benchmarks.cluster_test.outcomes import CheckFailed


def kill(context: Context) -> str:
    """One of each killed without warning.

    The page makes good what a killed model server owed; what a killed page owed its clients
    request again, as an ingress or a browser does.
    """
    page, server = context.work.page, context.work.server
    with under_load(context.kube, light(page, retries=False)) as (through,):
        back_server = _kill_one(context, MODEL_SERVER)
    with under_load(context.kube, light(page, True), light(server, True)) as (again, direct):
        back_page = _kill_one(context, FORECAST_PAGE)
    for totals in (through, again, direct):
        totals.judge()
    return (
        f"model server killed, back after {back_server:.0f} s: page {through}; "
        f"page killed, back after {back_page:.0f} s: {again}"
    )


def restart(context: Context) -> str:
    """All pods of both replaced in turn; no client retries."""
    page, server = light(context.work.page, False), light(context.work.server, False)
    with under_load(context.kube, page, server) as (through, direct):
        for workload in WORKLOADS:
            context.kube.do("rollout", "restart", f"deployment/{workload.deployment}")
        seconds = context.settle()
    for totals in (through, direct):
        totals.judge()
    return f"both restarted within {seconds:.0f} s: page {through}; model server {direct}"


def evict(context: Context) -> str:
    """Each pod evicted, as a drained node's are; the budgets allow one at a time."""
    page, server = light(context.work.page, False), light(context.work.server, False)
    with under_load(context.kube, page, server) as (through, direct):
        results = [_evict_all(context, workload) for workload in WORKLOADS]
        context.settle()
    for totals in (through, direct):
        totals.judge()
    return f"{'; '.join(results)}; page {through}; model server {direct}"


def _kill_one(context: Context, workload: Workload) -> float:
    """Kill the oldest pod; returns the seconds until all is as before."""
    name = min(context.ready_pods(workload), key=lambda pod: pod.created).name
    context.kube.do("delete", "pod", name, "--force", "--grace-period=0", "--wait=false")
    return context.settle()


def _evict_all(context: Context, workload: Workload) -> str:
    """Evict the pods that are there now; the second at once must be refused."""
    names = [pod.name for pod in context.ready_pods(workload)]
    refusals, end = 0, time.monotonic() + context.parameters.timeout
    for at, name in enumerate(names):
        while not _evicted(context, name):
            refusals += 1
            if time.monotonic() > end:
                raise CheckFailed(f"pod {name} cannot be evicted: a node could not be drained")
            time.sleep(1)
        if at == 0 and len(names) > 1 and _evicted(context, names[1]):
            raise CheckFailed(f"two pods of the {workload.name} were evicted at the same time")
    return f"{len(names)} pods of the {workload.name} evicted one by one, {refusals} tries refused"


def _evicted(context: Context, pod: str) -> bool:
    """Request the eviction; false where the budget does not allow it now."""
    eviction: Object = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": context.kube.namespace},
    }
    path = f"/api/v1/namespaces/{context.kube.namespace}/pods/{pod}/eviction"
    try:
        context.kube.do("create", "--raw", path, "--filename=-", content=json.dumps(eviction))
    except KubeError as error:
        if "not found" in str(error).lower():
            return True
        if "disruption budget" not in str(error):
            raise
        return False
    return True
