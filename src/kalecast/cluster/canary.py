"""Canary: a new model answers a part of the requests first, and the rest once it has held.

    release(render(model_uri, version, settings), Canary(percent=10, minutes=5))

The new version runs as a second predictor beside the one that serves. Both answer the same
customers meanwhile: behind the Service that the page calls each pod is as likely as another, so the
canary's share is that of its pods; behind Istio's gateway Seldon's operator gives it its percent to
the point. What the pods have counted is compared, and the new version takes all, or is withdrawn.
"""

import copy
import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from kalecast.cluster import pods, seldon_objects
from kalecast.cluster.canary_watch import Canary, Watch, WithdrawnError
from kalecast.cluster.deployment import CANARY, DeploymentError
from kalecast.cluster.pods import Cluster
from kalecast.cluster.rollout import Awaited, Report, Rollout, Timeouts, roll_out
from kalecast.cluster.seldon_objects import Manifest, name_of, namespace_of, version_of

__all__ = ["Canary", "release"]


def release(
    manifest: Manifest,
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
        manifest: as `kalecast.cluster.deployment.render` makes it.
        canary: its share, and what it must hold.
        cluster, report, timeouts: as for `kalecast.cluster.rollout.roll_out`.

    Raises:
        DeploymentError: as for `roll_out`, or the canary did not hold; says why, and what serves.
    """
    rollout = Rollout(cluster or Cluster.of_this_pod(), report, timeouts or Timeouts())
    serving = rollout.serving(manifest)
    if serving is not None:
        manifest = seldon_objects.with_model_of(serving, manifest)
        if canary.percent and version_of(serving) != version_of(manifest):
            _require_untried(manifest, serving)
            _try(manifest, serving, canary, rollout)
    roll_out(manifest, rollout.cluster, report, rollout.timeouts)


def _require_untried(manifest: Manifest, serving: Manifest) -> None:
    """A step of a pipeline is repeated when it fails, and would try a bad version anew."""
    reason = seldon_objects.why_withdrawn(manifest, serving)
    if reason is not None:
        raise DeploymentError(
            f"Version {version_of(manifest)} was withdrawn before and is not tried again. {reason} "
            "With canary_percent=0 it would be brought all the same."
        )


def _try(manifest: Manifest, serving: Manifest, canary: Canary, rollout: Rollout) -> None:
    """Run the new version beside the one that serves for as long as it is to hold, or go back."""
    try:
        with _sigterm_raises():
            _side_by_side(manifest, serving, canary, rollout)
    except WithdrawnError as failure:
        noted = seldon_objects.with_withdrawn(manifest, serving, str(failure))
        raise rollout.back(noted, failure) from failure
    except DeploymentError as failure:
        raise rollout.back(serving, failure) from failure
    except BaseException:
        rollout.report(f"stopped: version {version_of(manifest)} is withdrawn")
        rollout.put(serving)  # nothing would watch either of them any more
        raise


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Let a pod's end reach the `except` of code that must not leave a canary behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _raise_exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _raise_exit(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


def _side_by_side(manifest: Manifest, serving: Manifest, canary: Canary, rollout: Rollout) -> None:
    there = pods.pods_of(name_of(serving), namespace_of(serving), rollout.cluster)
    old = sum(pods.version_of(pod) == version_of(serving) for pod in there)
    count = canary_pods(canary.percent, max(old, Awaited.of(serving).replicas))
    rollout.report(
        f"version {version_of(manifest)} beside version {version_of(serving)}: "
        f"{count} of {count + old} pods"
    )
    both = side_by_side(serving, manifest, canary.percent, count)
    rollout.apply(both, Awaited(version_of(manifest), count, alone=False))
    Watch(manifest, serving, canary, rollout).until_it_holds()


def canary_pods(percent: int, stable: int) -> int:
    """How many pods give a canary at least its percent, beside so many others."""
    return math.ceil(percent * stable / (100 - percent))


def side_by_side(serving: Manifest, manifest: Manifest, percent: int, count: int) -> Manifest:
    """What serves, and a second predictor with the new version.

    Args:
        serving: with its one predictor.
        manifest: the new version's.
        percent: of the requests through Istio, for the second.
        count: its pods.
    """
    both = copy.deepcopy(serving)
    (stable,) = both["spec"]["predictors"]
    (fresh,) = copy.deepcopy(manifest["spec"]["predictors"])
    fresh |= {"name": CANARY, "replicas": count, "traffic": percent}
    stable["traffic"] = 100 - percent
    (component,) = fresh["componentSpecs"]
    # The budget of the first predictor selects the pods of both; two of one pod stop evictions.
    component.pop("pdbSpec", None)
    component.pop("hpaSpec", None)
    both["spec"]["predictors"] = [stable, fresh]
    return both
