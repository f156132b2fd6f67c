"""More pods under load, fewer when it is quiet."""

import re
import time
from dataclasses import dataclass

from benchmarks.cluster_test.context import (
    FORECAST_PAGE,
    MODEL_SERVER,
    WORKLOADS,
    Context,
    Workload,
)
from benchmarks.cluster_test.kube import KubeError, Object
from benchmarks.cluster_test.loads import heavy, under_load
from benchmarks.cluster_test.outcomes import CheckFailed, NotChecked
from benchmarks.load.job import Job

TOLERANCE = 1.1
"""Up to so many times its target an autoscaler leaves a metric alone: Kubernetes' default."""

DEFAULT_QUIET = 300
"""Seconds that Kubernetes waits before it scales in, where nothing else is said."""


@dataclass(frozen=True)
class AutoscalerStatus:
    """What an autoscaler sees and wants."""

    wanted: int
    seen: str
    """Its metrics beside their targets, and its numbers of pods, as kubectl prints them."""
    problem: str
    """Why it gets none."""
    strain: float
    """The highest of the metrics against its target; 0 where none is in per cent."""


def scale_out(context: Context) -> str:
    """Load until both autoscalers have added pods, the page's first: it moves both."""
    _need_metrics(context)
    _wait_for_least(context)
    return "; ".join(
        _scale_out(context, workload, job)
        for workload, job in (
            (FORECAST_PAGE, context.work.page),
            (MODEL_SERVER, context.work.server),
        )
    )


def scale_in(context: Context) -> str:
    """Quiet until both are back at their least."""
    seconds = _wait_for_least(context)
    counts = ", ".join(f"{one.name} at {context.least[one.deployment]} pods" for one in WORKLOADS)
    return f"{counts} again after {seconds:.0f} quiet seconds"


def _scale_out(context: Context, workload: Workload, job: Job) -> str:
    """Load one workload until it has more pods than at rest."""
    least = context.least[workload.deployment]
    strain = 0.0

    def missing() -> str:
        nonlocal strain
        autoscaler = autoscaler_of(context, workload)
        strain = max(strain, autoscaler.strain)
        count = len(context.ready_pods(workload))
        return "" if count > least else _report(context, workload, count, autoscaler)

    began = time.monotonic()
    if not missing():
        count = len(context.ready_pods(workload))
        return f"{workload.name} from {least} to {count} pods with the page's load"
    with under_load(context.kube, heavy(job)) as (totals,):
        try:
            context.wait(f"more pods of the {workload.name} under load", missing)
        except CheckFailed as failure:
            _raise_if_not_checked(context, workload, strain, failure)
            raise
        took, count = time.monotonic() - began, len(context.ready_pods(workload))
    return f"{workload.name} from {least} to {count} pods after {took:.0f} s ({totals})"


def _wait_for_least(context: Context) -> float:
    """Wait until both have as few pods as they may; returns the seconds that it took."""
    quiet = context.parameters.quiet
    # The autoscaler that Seldon's operator makes has no `behavior` of ours.
    longest = DEFAULT_QUIET if quiet is None or context.rendered.has_seldon else quiet

    def missing() -> str:
        results = []
        for workload in WORKLOADS:
            least, count = context.least[workload.deployment], len(context.pods(workload))
            if count > least:
                results.append(_report(context, workload, count, autoscaler_of(context, workload)))
        return "; ".join(results)

    seconds = context.wait("fewer pods when quiet", missing, context.parameters.timeout + longest)
    context.settle()
    return seconds


def autoscaler_of(context: Context, workload: Workload) -> AutoscalerStatus:
    """The one autoscaler of a workload.

    Raises:
        CheckFailed: there is none, or several, which would work against each other.
    """
    found = [
        one
        for one in context.kube.items("horizontalpodautoscalers")
        if one["spec"]["scaleTargetRef"]["name"] == workload.deployment
    ]
    if len(found) != 1:
        raise CheckFailed(f"Expected one autoscaler of {workload.deployment}, found {len(found)}")
    name = found[0]["metadata"]["name"]
    return look(found[0], context.kube.do("get", "horizontalpodautoscaler", name, "--no-headers"))


def look(autoscaler: Object, printed: str) -> AutoscalerStatus:
    """A HorizontalPodAutoscaler's status.

    Args:
        autoscaler: as the API describes it.
        printed: as kubectl prints it: name, target, metrics beside their targets, and so on.
    """
    status = autoscaler.get("status", {})
    problems = [
        one.get("message", one.get("reason", ""))
        for one in status.get("conditions", [])
        if one["type"] == "ScalingActive" and one["status"] == "False"
    ]
    percents = re.findall(r"(\d+)%/(\d+)%", printed)
    return AutoscalerStatus(
        wanted=status.get("desiredReplicas", 0),
        seen=" ".join(printed.split()[2:]),
        problem="; ".join(problems),
        strain=max((int(now) / int(target) for now, target in percents), default=0.0),
    )


def _report(context: Context, workload: Workload, count: int, autoscaler: AutoscalerStatus) -> str:
    """The state in one line, with what prevents more."""
    words = [f"{workload.name} {count} pods, {autoscaler.wanted} wanted"]
    words += [autoscaler.seen] if autoscaler.seen else []
    words += [autoscaler.problem] if autoscaler.problem else []
    return ": ".join(words) + "".join(f" ({one})" for one in context.troubles(workload))


def _need_metrics(context: Context) -> None:
    """Raise `NotChecked` where the autoscalers get no metrics."""
    try:
        context.kube.raw(f"/apis/metrics.k8s.io/v1beta1/namespaces/{context.kube.namespace}/pods")
    except KubeError as error:
        raise NotChecked(
            "this cluster has no metrics API, so autoscalers are blind (metrics-server brings it): "
            f"{error}"
        ) from error


def _raise_if_not_checked(
    context: Context, workload: Workload, strain: float, failure: CheckFailed
) -> None:
    """Raise `NotChecked` where it is not the autoscaler that failed."""
    wanted = autoscaler_of(context, workload).wanted
    full = any("no node has room" in one for one in context.troubles(workload))
    if full and wanted > len(context.ready_pods(workload)):
        raise NotChecked(f"the nodes have no room for more pods: {failure}")
    if 0 < strain <= TOLERANCE:
        raise NotChecked(
            f"the load did not bring the {workload.name} over its target: the nodes had no more "
            f"processor time to give: {failure}"
        )
