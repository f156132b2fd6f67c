"""Canary: a new model answers a part of what is asked first, and the rest once it has held.

    release(render(model_uri, version, settings), Canary(percent=10, minutes=5))

The new version runs as a second predictor beside the one that serves. Both are asked by the same
customers meanwhile: behind the Service that the page asks each pod is as likely as another, so the
canary's share is that of its pods; behind Istio's gateway Seldon's operator gives it its percent to
the point. What the pods have counted is compared, and the new version takes all, or is withdrawn.
"""

import copy
import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kalecast import pods, service_figures
from kalecast.asking import Address, AskError, Floats, forecast_over_http, read_contract
from kalecast.deployment import CANARY, DeploymentError
from kalecast.pods import Cluster
from kalecast.rollout import Awaited, Patience, Report, Rollout, roll_out
from kalecast.seldon_objects import (
    Manifest,
    name_of,
    namespace_of,
    port_of,
    remember_withdrawn,
    version_of,
    was_withdrawn,
)
from kalecast.service_figures import Figures, FiguresError

ASK_SECONDS = 5.0
"""How long a pod may take for one request of the release's own."""

MOST_UNANSWERED = 3
"""Requests of the release's own in a row that the new version may leave without an answer."""

REPORTS = 5
"""How often the figures are told while a canary is watched."""


@dataclass(frozen=True)
class Canary:
    """How a new version is tried, and what it must hold."""

    percent: int = 10
    """Of what is asked, for the new version; 0 gives it all at once."""
    minutes: float = 5.0
    least_requests: int = 100
    """Answered by each version before it is judged. Where customers do not ask so much, the
    release itself does."""
    most_failed: float = 0.01
    """Failures (5xx) in its answers, beyond those of the version that serves."""
    most_refused: float = 0.05
    """Histories that it refuses (4xx), beyond those that the other does."""
    slower: float = 1.5
    """Times the other's 99th percentile that its own may be."""
    unnoticed: float = 0.1
    """Seconds up to which nobody minds, however much faster the other is."""
    interval: float = 5.0
    """Seconds between two looks."""

    def __post_init__(self) -> None:
        if not 0 <= self.percent <= 50:
            raise ValueError(f"Expected a canary of 0 to 50 percent, received: {self.percent}")
        if not self.minutes > 0:
            raise ValueError(f"Expected more than 0 minutes, received: {self.minutes}")

    def against(self, canary: Figures, stable: Figures, *, at_the_end: bool) -> str | None:
        """What the figures say against the new version; nothing where it holds.

        Percentiles of few requests are noise: they count at the end only.
        """
        if canary.requests < self.least_requests:
            if not at_the_end:
                return None
            return f"it answered {canary.requests:.0f} requests, too few to judge it"
        if canary.failed_share > stable.failed_share + self.most_failed:
            return (
                f"{canary.failed_share:.1%} of its answers are failures, "
                f"{stable.failed_share:.1%} of the other's"
            )
        if canary.refused_share > stable.refused_share + self.most_refused:
            return (
                f"it refuses {canary.refused_share:.1%} of the histories, "
                f"the other {stable.refused_share:.1%}"
            )
        slow, usual = canary.seconds(0.99), stable.seconds(0.99)
        if at_the_end and slow > max(self.unnoticed, usual * self.slower):
            return f"99 of 100 answers take up to {slow:.2f} s, the other's {usual:.2f} s"
        return None


def release(
    manifest: Manifest,
    canary: Canary,
    cluster: Cluster | None = None,
    report: Report = print,
    patience: Patience | None = None,
) -> None:
    """Bring a SeldonDeployment to a new version by way of a canary.

    Where nothing serves yet, or this version does already, or the canary's percent is 0, it is
    rolled out at once. A canary that an interrupted release left behind is replaced.

    Args:
        manifest: as `kalecast.deployment.render` makes it.
        canary: its share, and what it must hold.
        cluster, report, patience: as for `kalecast.rollout.roll_out`.

    Raises:
        DeploymentError: as for `roll_out`, or the canary did not hold; says why, and what serves.
    """
    rollout = Rollout(cluster or Cluster.of_this_pod(), report, patience or Patience())
    serving = rollout.serving(manifest) if canary.percent else None
    if serving is not None and version_of(serving) != version_of(manifest):
        if was_withdrawn(manifest, serving):
            raise DeploymentError(
                f"Version {version_of(manifest)} was withdrawn before: it is not tried again."
            )
        try:
            _try(manifest, serving, canary, rollout)
        except DeploymentError as failure:
            # A step of a pipeline is repeated when it fails, and would try it anew.
            remembering = remember_withdrawn(manifest, serving)
            raise rollout.back(remembering, failure) from failure
    roll_out(manifest, rollout.cluster, report, rollout.patience)


def _try(manifest: Manifest, serving: Manifest, canary: Canary, rollout: Rollout) -> None:
    """Run the new version beside the one that serves, for as long as it is to hold."""
    there = pods.pods_of(name_of(serving), namespace_of(serving), rollout.cluster)
    old = sum(pods.version_of(pod) == version_of(serving) for pod in there)
    count = canary_pods(canary.percent, max(old, Awaited.of(serving).replicas))
    rollout.report(
        f"version {version_of(manifest)} beside version {version_of(serving)}: "
        f"{count} of {count + old} pods"
    )
    both = side_by_side(serving, manifest, canary.percent, count)
    rollout.apply(both, Awaited(version_of(manifest), count, alone=False))
    _Watch(manifest, serving, canary, rollout).until_it_holds()


def canary_pods(percent: int, stable: int) -> int:
    """How many pods give a canary at least its percent, beside so many others."""
    return math.ceil(percent * stable / (100 - percent))


def side_by_side(serving: Manifest, manifest: Manifest, percent: int, count: int) -> Manifest:
    """What serves, and a second predictor with the new version.

    Args:
        serving: with its one predictor.
        manifest: the new version's.
        percent: of what is asked through Istio, for the second.
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


@dataclass
class _Counted:
    """What the pods of one version have counted since they were first looked at."""

    first: dict[str, Figures] = field(default_factory=dict)
    last: dict[str, Figures] = field(default_factory=dict)

    def look(self, pod: str, figures: Figures) -> None:
        self.first.setdefault(pod, figures)
        self.last[pod] = figures

    def so_far(self) -> Figures:
        return sum((self.last[pod] - self.first[pod] for pod in self.last), Figures())


class _Watch:
    """Two versions side by side, looked at again and again."""

    def __init__(
        self, manifest: Manifest, serving: Manifest, canary: Canary, rollout: Rollout
    ) -> None:
        self._manifest, self._canary, self._rollout = manifest, canary, rollout
        self._fresh, self._stable = version_of(manifest), version_of(serving)
        self._manifests = {self._fresh: manifest, self._stable: serving}
        self._counted = {self._fresh: _Counted(), self._stable: _Counted()}
        looks = max(1, round(canary.minutes * 60 / canary.interval))
        self._own_requests = math.ceil(canary.least_requests / looks)
        self._windows: dict[str | None, Floats] = {}
        self._unanswered: Counter[str] = Counter()

    def until_it_holds(self) -> None:
        """Look until the time is over.

        Raises:
            DeploymentError: it does not hold, and why.
        """
        seconds = self._canary.minutes * 60
        start = time.monotonic()
        told = 0
        self._look()
        while (passed := time.monotonic() - start) < seconds:
            self._ask()
            time.sleep(min(self._canary.interval, seconds - passed))
            self._look()
            self._judge(at_the_end=False)
            if (due := int(REPORTS * (time.monotonic() - start) / seconds)) > told:
                told = due
                self._tell()
        self._judge(at_the_end=True)
        self._rollout.report(f"version {self._fresh} has held for {self._canary.minutes:g} minutes")

    def _ready(self) -> Iterable[Any]:
        name, namespace = name_of(self._manifest), namespace_of(self._manifest)
        for pod in pods.pods_of(name, namespace, self._rollout.cluster):
            version = pods.version_of(pod)
            if version == self._fresh:
                for problem in pods.problems(pod, self._rollout.cluster):
                    if problem.restarts:
                        raise self._withdrawn(str(problem))
            if version in self._counted and pods.is_ready(pod):
                yield pod

    def _look(self) -> None:
        for pod in self._ready():
            with self._bearing_with(pod, "figures"):
                figures = service_figures.read(self._address(pod, "metrics"))
                self._counted[pods.version_of(pod)].look(pod.metadata.name, figures)

    def _ask(self) -> None:
        """Ask both versions, so that a quiet service can be judged, too."""
        for pod in self._ready():
            version = pods.version_of(pod)
            address = Address(f"http://{self._address(pod, 'http')}", seconds=ASK_SECONDS)
            with self._bearing_with(pod, "forecast"):
                if version not in self._windows:
                    contract = read_contract(address)
                    steps = np.arange(contract.input_length, dtype=np.float64)
                    self._windows[version] = steps % contract.season
                for _ in range(self._own_requests):
                    forecast, _ = forecast_over_http(address, self._windows[version])
                    if not np.isfinite(forecast).all():
                        raise AskError(f"{address.url} answers with values that are no numbers.")

    @contextmanager
    def _bearing_with(self, pod: Any, asked_for: str) -> Iterator[None]:
        """A pod may be on its way out. But new ones that do not answer again and again are bad."""
        try:
            yield
        except (FiguresError, AskError) as error:
            if pods.version_of(pod) == self._fresh:
                self._unanswered[asked_for] += 1
                if self._unanswered[asked_for] >= MOST_UNANSWERED:
                    raise self._withdrawn(
                        f"{error} (may pods of a pipeline reach the model server's ports?)"
                    ) from error
        else:
            if pods.version_of(pod) == self._fresh:
                self._unanswered[asked_for] = 0

    def _address(self, pod: Any, port: str) -> str:
        manifest = self._manifests[pods.version_of(pod)]
        return f"{pod.status.pod_ip}:{port_of(manifest, port)}"

    def _judge(self, *, at_the_end: bool) -> None:
        against = self._canary.against(
            self._counted[self._fresh].so_far(),
            self._counted[self._stable].so_far(),
            at_the_end=at_the_end,
        )
        if against:
            self._tell()
            raise self._withdrawn(against)

    def _withdrawn(self, reason: str) -> DeploymentError:
        return DeploymentError(f"Version {self._fresh} is withdrawn: {reason}.")

    def _tell(self) -> None:
        for version, counted in self._counted.items():
            figures = counted.so_far()
            self._rollout.report(
                f"  {version}: {figures.requests:.0f} answers, {figures.failed:.0f} failures, "
                f"{figures.refused:.0f} refusals, 99 of 100 within {figures.seconds(0.99):.3f} s"
            )
