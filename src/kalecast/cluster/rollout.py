"""Bring a SeldonDeployment to a new model, see whether its pods answer, go back if they do not.

    roll_out(render(model_uri, version, settings))

The operator's word alone is not enough: right after a change it may still be about the old pods,
and where a rollout fails it does not say why. So the pods are looked at: those of the new version
must be ready, and what keeps one from it is logged by the program that waits.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from kalecast.cluster import pods, seldon_objects
from kalecast.cluster.deployment import DeploymentError
from kalecast.cluster.pods import Cluster, PodProblem
from kalecast.cluster.seldon_objects import Manifest, name_of, namespace_of, state_of, version_of

Report = Callable[[str], None]


@dataclass(frozen=True)
class Timeouts:
    """How long a rollout may take, in seconds."""

    total: float = 600.0
    """A first pull of the image on a new node takes minutes."""
    pulling: float = 120.0
    """An image that cannot be pulled so long is not there."""
    interval: float = 3.0


@dataclass(frozen=True)
class Awaited:
    """The pods that a rollout waits for."""

    version: str | None
    replicas: int
    alone: bool = True
    """Whether those of other versions must be gone, too."""

    @classmethod
    def of(cls, manifest: Manifest) -> "Awaited":
        """Those of the only predictor of a SeldonDeployment."""
        return cls(version_of(manifest), int(manifest["spec"]["predictors"][0].get("replicas", 1)))


@dataclass
class Rollout:
    """One change of one SeldonDeployment, and its rollback."""

    cluster: Cluster
    report: Report
    timeouts: Timeouts

    def serving(self, manifest: Manifest) -> Manifest | None:
        """What serves under the object's name now, if something does that can be put back."""
        found = seldon_objects.current(manifest, self.cluster)
        if found is None:
            return None
        stable = seldon_objects.with_one_predictor(found)
        if state_of(found) == "Available" or self._ready(stable):
            return stable
        return None

    def _ready(self, manifest: Manifest) -> bool:
        """Whether a pod of the object's version is ready, whatever becomes of others."""
        return any(
            pods.is_ready(pod) and pods.version_of(pod) == version_of(manifest)
            for pod in pods.pods_of(name_of(manifest), namespace_of(manifest), self.cluster)
        )

    def apply(self, manifest: Manifest, awaited: Awaited) -> None:
        """Put an object in place of what is there, and wait for its pods.

        Raises:
            DeploymentError: the cluster refuses it, or the pods do not become ready.
        """
        self.put(manifest)
        self._wait(manifest, awaited)

    def put(self, manifest: Manifest) -> None:
        """Put an object in place of what is there, and wait for nothing.

        Raises:
            DeploymentError: the cluster refuses it.
        """
        before = seldon_objects.current(manifest, self.cluster)
        seldon_objects.put(manifest, before, self.cluster)

    def back(self, serving: Manifest, failure: DeploymentError) -> DeploymentError:
        """Put back what served before; the error that names both."""
        self.report(f"rolling back to version {version_of(serving)}")
        try:
            self.apply(serving, Awaited.of(serving))
        except DeploymentError as second:
            return DeploymentError(f"{failure} Going back failed, too: {second}")
        return DeploymentError(f"{failure} Version {version_of(serving)} serves again.")

    def _wait(self, manifest: Manifest, awaited: Awaited) -> None:
        start, lines = time.monotonic(), _NewLines(self.report)
        while True:
            found = seldon_objects.current(manifest, self.cluster)
            state = state_of(found)
            lines.add(f"SeldonDeployment {name_of(manifest)!r}: {state}")
            there = pods.pods_of(name_of(manifest), namespace_of(manifest), self.cluster)
            ours = [pod for pod in there if pods.version_of(pod) == awaited.version]
            # More pods than requested come with load. Whether there is room for them is not ours,
            # so it does not count that the operator calls the whole not available without them.
            ready = sum(map(pods.is_ready, ours))
            others_may_stay = not awaited.alone or len(ours) == len(there)
            if ready >= awaited.replicas and others_may_stay:
                self.report(f"version {awaited.version} serves with {ready} pods")
                return
            waited = time.monotonic() - start
            problems = [problem for pod in ours for problem in pods.problems(pod, self.cluster)]
            for problem in problems:
                lines.add(f"  {problem}")
            permanent = any(one.is_permanent(waited, self.timeouts.pulling) for one in problems)
            if state == "Failed" or permanent or waited > self.timeouts.total:
                raise _failure(manifest, awaited, found, problems, waited)
            time.sleep(self.timeouts.interval)


def roll_out(
    manifest: Manifest,
    cluster: Cluster | None = None,
    report: Report = print,
    timeouts: Timeouts | None = None,
) -> None:
    """Apply a SeldonDeployment and wait until the pods of its version are ready.

    Where they do not become so, the object that served before, if one did, is put back.

    Args:
        manifest: as `kalecast.cluster.deployment.render` makes it.
        cluster: the one of this pod where left out.
        report: called with what happens, a line each.
        timeouts: how long it may take.

    Raises:
        DeploymentError: the cluster refuses it, or the pods do not become ready; says why, and
            what serves now.
    """
    rollout = Rollout(cluster or Cluster.of_this_pod(), report, timeouts or Timeouts())
    serving = rollout.serving(manifest)
    report(f"SeldonDeployment {name_of(manifest)!r}: applying version {version_of(manifest)}")
    try:
        rollout.apply(manifest, Awaited.of(manifest))
    except DeploymentError as failure:
        if serving is None:
            raise
        raise rollout.back(serving, failure) from failure


@dataclass
class _NewLines:
    """What was reported already, so that a line is logged once and not every few seconds."""

    report: Report
    lines: set[str] = field(default_factory=set)

    def add(self, line: str) -> None:
        if line not in self.lines:
            self.lines.add(line)
            self.report(line)


def _failure(
    manifest: Manifest,
    awaited: Awaited,
    found: Manifest | None,
    problems: list[PodProblem],
    waited: float,
) -> DeploymentError:
    reasons = "; ".join(dict.fromkeys(str(problem) for problem in problems))
    said = ((found or {}).get("status") or {}).get("description")
    return DeploymentError(
        f"Version {awaited.version} of {name_of(manifest)!r} is {state_of(found)} after "
        f"{waited:.0f} s: {reasons or said or 'the operator gives no reason'}."
    )
