"""Does it work at all: objects, readiness, a forecast by each protocol, pods without rights."""

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from benchmarks.cluster_test.context import (
    FORECAST_PAGE,
    MODEL_SERVER,
    WORKLOADS,
    Context,
    Workload,
    addresses,
)
from benchmarks.cluster_test.helpers import CLIENT, script
from benchmarks.cluster_test.kube import KubeError, Object
from benchmarks.cluster_test.outcomes import CheckFailed, NotChecked
from benchmarks.cluster_test.rendering import title
from kalecast.cluster.deployment import USER

AT_ONCE = 4
"""Calls to the API at the same time."""

OPERATOR_SECONDS = 60.0
"""After which an operator should have said something of a new object."""


def objects(context: Context) -> str:
    """Server-side dry run of every object, strictly."""

    def refusal(one: Object) -> str:
        try:
            context.kube.apply([one], dry_run=True)
        except KubeError as error:
            return f"{title(one)}: {error}"
        return ""

    with ThreadPoolExecutor(AT_ONCE) as pool:
        refused = list(filter(None, pool.map(refusal, context.rendered.objects)))
    if refused:
        raise CheckFailed(f"refused: {' | '.join(refused)}")
    kinds = sorted({one["kind"] for one in context.rendered.objects})
    return f"{len(context.rendered.objects)} objects accepted ({', '.join(kinds)})"


def ready(context: Context) -> str:
    """Apply, and wait until all pods answer and the Services lead to them."""
    context.kube.apply(context.rendered.objects)
    if context.rendered.has_seldon:
        _wait_for_operator(context)
    took = context.settle()
    counted = []
    for workload in WORKLOADS:
        took += context.wait(
            f"endpoints of {workload.service}", partial(_no_endpoints, context, workload)
        )
        counted.append(f"{workload.name} {len(context.ready_pods(workload))} pods")
    return f"ready after {took:.0f} s: {', '.join(counted)}"


def _wait_for_operator(context: Context) -> None:
    def missing() -> str:
        status = context.kube.get("seldondeployment", "kalecast").get("status", {})
        return "" if status.get("state") else "Seldon's operator has not looked at it"

    try:
        context.wait("SeldonDeployment", missing, min(OPERATOR_SECONDS, context.parameters.timeout))
    except CheckFailed as failure:
        raise NotChecked(
            f"no operator of Seldon's works here (the overlay standalone needs none): {failure}"
        ) from failure


def _no_endpoints(context: Context, workload: Workload) -> str:
    slices = context.kube.items(
        "endpointslices", f"--selector=kubernetes.io/service-name={workload.service}"
    )
    found = sum(
        bool(endpoint.get("conditions", {}).get("ready"))
        for one in slices
        for endpoint in one.get("endpoints") or []
    )
    wanted = len(context.ready_pods(workload))
    return "" if found == wanted else f"{workload.service} leads to {found} of {wanted} pods"


def forecast(context: Context) -> str:
    """One through each Service and protocol."""
    to = addresses()
    arguments = (to["page"], to["server"], to["grpc"], context.work.model, str(context.work.hours))
    answers = json.loads(context.kube.run(CLIENT, script("query.py"), *arguments, seconds=200))
    failed = [f"{name}: {one['error']}" for name, one in answers.items() if "error" in one]
    if failed:
        raise CheckFailed("; ".join(failed))
    return "; ".join(
        f"{name}: {one['numbers']} numbers in {one['seconds']:.2f} s"
        for name, one in answers.items()
    )


def pods(context: Context) -> str:
    """What a process in each of the two may do."""
    seen = {}
    for workload in (MODEL_SERVER, FORECAST_PAGE):
        (pod, *_) = context.ready_pods(workload)
        arguments = (
            "exec",
            "--stdin",
            pod.name,
            f"--container={workload.container}",
        )
        output = context.kube.again(*arguments, "--", "python", "-", content=script("inside.py"))
        seen[workload.name] = json.loads(output)
    wrong = [f"{name}: {one}" for name, found in seen.items() for one in too_much(found)]
    if wrong:
        raise CheckFailed("; ".join(wrong))
    return (
        f"both run as user {USER}, write to /tmp alone, have no token of the API, no capabilities, "
        "no new privileges, the runtime's seccomp profile, no variables of Services"
    )


def too_much(found: dict[str, Any]) -> list[str]:
    """What a pod has that it should not, of what `inside.py` reports."""
    wrong = {
        f"runs as user {found['user']}": found["user"] != USER,
        f"can write to {', '.join(found['writable'])}": bool(found["writable"]),
        "cannot write to /tmp": not found["tmp"],
        "has a token of the Kubernetes API": found["token"],
        f"has capabilities {found['capabilities']:#x}": found["capabilities"] != 0,
        "may gain privileges": not found["no_new_privileges"],
        "runs without a seccomp profile": not found["seccomp"],
        f"has variables of {', '.join(found['neighbours'])}": bool(found["neighbours"]),
    }
    return [text for text, is_so in wrong.items() if is_so]
