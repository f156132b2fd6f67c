"""The algorithm of Kubernetes' HorizontalPodAutoscaler, as published.

Sources: the Kubernetes documentation, «Horizontal Pod Autoscaling», sections «Algorithm details»,
«Scaling policies», «Stabilization window» and «Default behavior»
(https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/), and, for
what it leaves open, the controller itself (kubernetes/kubernetes, pkg/controller/podautoscaler/
`replica_calculator.go` and `horizontal.go`). All times are seconds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from kalecast.cluster.capacity import Behavior, ScalingRules

SYNC_SECONDS = 15.0
"""`--horizontal-pod-autoscaler-sync-period`, by default."""

TOLERANCE = 0.1
"""`--horizontal-pod-autoscaler-tolerance`, by default."""

CPU_INITIALIZATION_SECONDS = 300.0
"""`--horizontal-pod-autoscaler-cpu-initialization-period`: since a pod's start, by default. In it
a sample counts only if the pod was ready while all of it was taken."""


@dataclass(frozen=True)
class Sample:
    """What the controller knows of a pod that is not about to end."""

    usage: float | None
    """CPU as a part of the request, 0.5 being half of it; None where there is no sample yet."""
    counts: bool = True
    """Whether the pod was ready when the sample was taken."""


def from_cpu(current: int, samples: Sequence[Sample], target: float) -> int | None:
    """Replicas wanted by a target of CPU utilisation.

    Args:
        current: replicas that the workload has.
        samples: one a pod.
        target: part of the request, 0.7 being `averageUtilization: 70`.

    Returns:
        Replicas; None where no pod has a sample that counts.
    """
    known = [sample.usage for sample in samples if sample.counts and sample.usage is not None]
    if not known:
        return None
    unready = sum(not sample.counts for sample in samples)
    missing = sum(sample.counts and sample.usage is None for sample in samples)
    ratio = sum(known) / len(known) / target
    upwards = ratio > 1.0
    if not missing and not (unready and upwards):
        return current if _is_close(ratio) else _up(ratio * len(known))
    # Carefully: what is not known keeps the number from changing much.
    if missing:
        known += [0.0 if upwards else max(1.0, target)] * missing
    if unready and upwards:
        known += [0.0] * unready
    careful = sum(known) / len(known) / target
    if _is_close(careful) or (careful > 1.0) != upwards:
        return current
    wanted = _up(careful * len(known))
    return current if (wanted < current if upwards else wanted > current) else wanted


def from_total(current: int, total: float, target: float) -> int:
    """Replicas wanted by an external metric with an `AverageValue`, as KEDA's are.

    Args:
        current: replicas that the workload has.
        total: the metric, over all pods.
        target: what each pod should have of it.
    """
    return current if _is_close(total / (target * current)) else _up(total / target)


def largest(current: int, wanted: Sequence[int | None]) -> int | None:
    """What several metrics want together: the most that any of them wants.

    Where one is not known, the others may only add replicas.
    """
    known = [count for count in wanted if count is not None]
    if not known or (len(known) < len(wanted) and max(known) < current):
        return None
    return max(known)


@dataclass
class Controller:
    """What the controller remembers of one HPA, and how it bounds what the metric wants."""

    minimum: int
    maximum: int
    behavior: Behavior
    _wanted: list[tuple[float, int]] = field(default_factory=list)
    _added: list[tuple[float, int]] = field(default_factory=list)
    _removed: list[tuple[float, int]] = field(default_factory=list)

    def decide(self, now: float, current: int, wanted: int | None) -> int:
        """Replicas to have from now on.

        Args:
            now: time.
            current: replicas that the workload has.
            wanted: by the metric; None where it is not known, and nothing is done.
        """
        if current > self.maximum or current < self.minimum:
            chosen = min(max(current, self.minimum), self.maximum)
        elif wanted is None:
            chosen = current
        else:
            chosen = self._limited(now, current, self._stabilized(now, current, wanted))
        if chosen > current:
            self._added.append((now, chosen - current))
        elif chosen < current:
            self._removed.append((now, current - chosen))
        return chosen

    def _stabilized(self, now: float, current: int, wanted: int) -> int:
        """No more than all of a window wanted upwards, no fewer than any wanted downwards."""
        up, down = (rules.stabilization_seconds for rules in (self.behavior.up, self.behavior.down))
        self._wanted = [pair for pair in self._wanted if pair[0] > now - max(up, down)]
        least = min([wanted, *(count for at, count in self._wanted if at > now - up)])
        most = max([wanted, *(count for at, count in self._wanted if at > now - down)])
        self._wanted.append((now, wanted))
        return min(max(current, least), most)

    def _limited(self, now: float, current: int, wanted: int) -> int:
        """As far as bounds and policies allow."""
        if wanted > current:
            limit = max(self._limit(now, current, self.behavior.up, 1), current)
            return min(wanted, self.maximum, limit)
        if wanted < current:
            limit = min(self._limit(now, current, self.behavior.down, -1), current)
            return max(wanted, self.minimum, limit)
        return current

    def _limit(self, now: float, current: int, rules: ScalingRules, sign: int) -> int:
        if rules.select == "Disabled":
            return current
        limits = []
        for policy in rules.policies:
            since = now - policy.period_seconds
            start = current - _changes(self._added, since) + _changes(self._removed, since)
            if policy.type == "Pods":
                limits.append(start + sign * policy.value)
            elif sign > 0:
                limits.append(_up(start * (1 + policy.value / 100)))
            else:
                limits.append(int(start * (1 - policy.value / 100)))
        return max(limits) if (rules.select == "Max") == (sign > 0) else min(limits)


def _is_close(ratio: float) -> bool:
    return 1.0 - TOLERANCE <= ratio <= 1.0 + TOLERANCE


def _up(number: float) -> int:
    # 1.1 * 10 is a little more than 11.
    return math.ceil(round(number, 9))


def _changes(events: list[tuple[float, int]], since: float) -> int:
    return sum(count for at, count in events if at > since)
