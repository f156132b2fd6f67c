"""Bring a SeldonDeployment to a new model, see whether its pods answer, go back if they do not.

    roll_out(render(model_uri, version, settings))

The operator's word alone is not enough: right after a change it may still be about the old pods,
and where a rollout fails it does not say why. So the pods are looked at: those of the new version
must be ready, and what keeps one from it is logged by the program that waits.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from kalecast.cluster.kubernetes_api import Cluster
from kalecast.cluster.seldon_deployment import DeploymentError, SeldonDeployment

Report = Callable[[str], None]


@dataclass(frozen=True)
class Timeouts:
    """How long a rollout may take, in seconds."""

    total: float = 600.0
    """A first pull of the image on a new node takes minutes."""
    pulling: float = 120.0
    """An image that cannot be pulled so long is not there."""
    interval: float = 3.0


@dataclass
class Rollout:
    """One change of one SeldonDeployment, and its rollback."""

    cluster: Cluster
    report: Report
    timeouts: Timeouts

    def serving(self, deployment: SeldonDeployment) -> SeldonDeployment | None:
        """What serves under the object's name now, if something does that can be put back."""
        found = self.cluster.find(deployment)
        if found is None:
            return None
        stable = found.without_canary()
        if found.state == "Available" or self._ready(stable):
            return stable
        return None

    def _ready(self, deployment: SeldonDeployment) -> bool:
        """Whether a pod of the object's version is ready, whatever becomes of others."""
        return any(
            pod.is_ready and pod.model_version == deployment.model_version
            for pod in self.cluster.pods_of(deployment)
        )

    def apply(self, deployment: SeldonDeployment) -> None:
        """Put an object in place of what is there, and wait for its pods.

        Of an object with a canary it is the canary's pods that are awaited, beside all others.

        Raises:
            DeploymentError: the cluster refuses it, or the pods do not become ready.
        """
        self.cluster.put(deployment)
        self._wait(deployment)

    def back(self, serving: SeldonDeployment, failure: DeploymentError) -> DeploymentError:
        """Put back what served before; the error that names both."""
        self.report(f"rolling back to version {serving.model_version}")
        try:
            self.apply(serving)
        except DeploymentError as second:
            return DeploymentError(f"{failure} Going back failed, too: {second}")
        return DeploymentError(f"{failure} Version {serving.model_version} serves again.")

    def _wait(self, deployment: SeldonDeployment) -> None:
        start, reported = time.monotonic(), set[str]()
        version, replicas = deployment.newest
        while True:
            # What is applied has no status: it counts as not taken up yet.
            found = self.cluster.find(deployment) or deployment
            pods = self.cluster.pods_of(deployment)
            ours = [pod for pod in pods if pod.model_version == version]
            # More pods than requested come with load. Whether there is room for them is not ours,
            # so it does not count that the operator calls the whole not available without them.
            ready = sum(pod.is_ready for pod in ours)
            done = ready >= replicas and (deployment.has_canary or len(ours) == len(pods))
            waited = time.monotonic() - start
            problems = [one for pod in ours for one in pod.problems(self.cluster.read_log)]
            lines = [f"SeldonDeployment {deployment.name!r}: {found.state}"]
            lines += [] if done else [f"  {problem}" for problem in problems]
            for line in lines:
                if line not in reported:  # once, and not every few seconds
                    reported.add(line)
                    self.report(line)
            if done:
                self.report(f"version {version} serves with {ready} pods")
                return
            permanent = any(one.is_permanent(waited, self.timeouts.pulling) for one in problems)
            if found.state == "Failed" or permanent or waited > self.timeouts.total:
                reasons = "; ".join(dict.fromkeys(map(str, problems))) or found.description
                raise DeploymentError(
                    f"Version {version} of {found.name!r} is {found.state} after {waited:.0f} s: "
                    f"{reasons or 'the operator gives no reason'}."
                )
            time.sleep(self.timeouts.interval)


def roll_out(
    deployment: SeldonDeployment,
    cluster: Cluster | None = None,
    report: Report = print,
    timeouts: Timeouts | None = None,
) -> None:
    """Apply a SeldonDeployment and wait until the pods of its version are ready.

    Where they do not become so, the object that served before, if one did, is put back.

    Args:
        deployment: as `kalecast.cluster.deployment.render` makes it.
        cluster: the one of this pod where left out.
        report: called with what happens, a line each.
        timeouts: how long it may take.

    Raises:
        DeploymentError: the cluster refuses it, or the pods do not become ready; says why, and
            what serves now.
    """
    rollout = Rollout(cluster or Cluster.of_this_pod(), report, timeouts or Timeouts())
    serving = rollout.serving(deployment)
    report(f"SeldonDeployment {deployment.name!r}: applying version {deployment.model_version}")
    try:
        rollout.apply(deployment)
    except DeploymentError as failure:
        if serving is None:
            raise
        raise rollout.back(serving, failure) from failure
