"""Canary: a new model answers a part of the requests first, and the rest once it has held.

    release(render(model_uri, version, settings), Canary(percent=10, minutes=5))

The new version runs as a second predictor beside the one that serves. Both answer the same
customers meanwhile: behind the Service that the page calls each pod is as likely as another, so the
canary's share is that of its pods; behind Istio's gateway Seldon's operator gives it its percent to
the point. What the pods have counted is compared, and the new version takes all, or is withdrawn.
"""

import math
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from kalecast.cluster.canary_watch import Canary, Watch, WithdrawnError
from kalecast.cluster.kubernetes_api import Cluster
from kalecast.cluster.rollout import Report, Rollout, Timeouts, roll_out
from kalecast.cluster.seldon_deployment import DeploymentError, SeldonDeployment

__all__ = ["Canary", "release"]


def release(
    deployment: SeldonDeployment,
    canary: Canary,
    cluster: Cluster | None = None,
    report: Report = print,
    timeouts: Timeouts | None = None,
) -> None:
    """Bring a SeldonDeployment to a new version through a canary.

    Where something serves already, its model changes and nothing else: images, number of pods and
    what each may use stay as the cluster's operators have set them. Where nothing serves yet, or
    this version does already, or the canary's percent is 0, it is rolled out at once. A canary that
    an interrupted release left behind is replaced.

    Args:
        deployment: as `kalecast.cluster.deployment.render` makes it.
        canary: its share, and what it must hold.
        cluster: the one of this pod where left out.
        report: called with what happens, a line each.
        timeouts: how long a rollout may take.

    Raises:
        DeploymentError: as for `kalecast.cluster.rollout.roll_out`, or the canary did not hold;
            says why, and what serves.
    """
    rollout = Rollout(cluster or Cluster.of_this_pod(), report, timeouts or Timeouts())
    serving = rollout.serving(deployment)
    if serving is not None:
        deployment = serving.with_model_of(deployment)
        if canary.percent and serving.model_version != deployment.model_version:
            _require_untried(deployment, serving)
            _try(deployment, serving, canary, rollout)
    roll_out(deployment, rollout.cluster, report, rollout.timeouts)


def _require_untried(new: SeldonDeployment, serving: SeldonDeployment) -> None:
    """A step of a pipeline is repeated when it fails, and would try a bad version anew."""
    reason = serving.why_withdrawn(new.model_version)
    if reason is not None:
        raise DeploymentError(
            f"Version {new.model_version} was withdrawn before and is not tried again. {reason} "
            "With canary_percent=0 it would be brought all the same."
        )


def _try(
    new: SeldonDeployment, serving: SeldonDeployment, canary: Canary, rollout: Rollout
) -> None:
    """Run the new version beside the one that serves for as long as it is to hold, or go back."""
    try:
        with _sigterm_raises():
            _side_by_side(new, serving, canary, rollout)
    except WithdrawnError as failure:
        noted = serving.with_withdrawn(new.model_version, str(failure))
        raise rollout.back(noted, failure) from failure
    except DeploymentError as failure:
        raise rollout.back(serving, failure) from failure
    except BaseException:
        rollout.report(f"stopped: version {new.model_version} is withdrawn")
        rollout.cluster.put(serving)  # nothing would watch either of them any more
        raise


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Let a pod's end reach the `except` of code that must not leave a canary behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _side_by_side(
    new: SeldonDeployment, serving: SeldonDeployment, canary: Canary, rollout: Rollout
) -> None:
    pods = rollout.cluster.pods_of(serving)
    old = sum(pod.model_version == serving.model_version for pod in pods)
    count = canary_pods(canary.percent, max(old, serving.replicas))
    rollout.report(
        f"version {new.model_version} beside version {serving.model_version}: "
        f"{count} of {count + old} pods"
    )
    rollout.apply(serving.with_canary(new, canary.percent, count))
    Watch(new, serving, canary, rollout).until_it_holds()


def canary_pods(percent: int, stable: int) -> int:
    """How many pods give a canary at least its percent, beside so many others."""
    return math.ceil(percent * stable / (100 - percent))
