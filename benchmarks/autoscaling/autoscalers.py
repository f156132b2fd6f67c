"""What watches a tier and changes its replicas: Kubernetes' HPA on CPU, KEDA on requests in flight.

The HorizontalPodAutoscaler's algorithm is the published one: the Kubernetes documentation,
«Horizontal Pod Autoscaling», sections «Algorithm details», «Scaling policies», «Stabilization
window» and «Default behavior»
(https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/), and, for
what it leaves open, the controller itself (kubernetes/kubernetes, pkg/controller/podautoscaler/
`replica_calculator.go` and `horizontal.go`).

Metrics have the delays that the real ones have. Metrics-server collects every 15 s, which is also
the resolution of the kubelet (https://github.com/kubernetes-sigs/metrics-server, README and FAQ);
KEDA serves its metrics to an HPA that it makes, and a query reaches Prometheus whenever that HPA
queries; `pollingInterval` is for the step between none and one replica
(https://keda.sh/docs/latest/concepts/scaling-deployments/ and /reference/scaledobject-spec/). All
times are seconds.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from benchmarks.autoscaling.tiers import Pod, Tier
from kalecast.cluster.capacity import Behavior, ScalingRules

##### The HPA's algorithm #####

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


##### Metrics of a tier #####

METRICS_SECONDS = 15.0
"""metrics-server's `--metric-resolution`, by default."""

SCRAPE_SECONDS = 5.0
"""Between two looks of Prometheus at a pod: the ServiceMonitor's `interval`."""

WINDOW_SECONDS = 15.0
"""Of the query for requests in flight (`kalecast.cluster.capacity.in_flight_query`)."""

LATER = 0.618
"""Metrics are looked at first after this part of the controller's own phase."""

Metric = Callable[[], int | None]
"""Replicas that a metric wants, by the tier's target of it."""


def cpu(tier: Tier, phase: float) -> Metric:
    """CPU utilisation, by way of metrics-server.

    Args:
        tier: is watched; its `scaling` has the target.
        phase: seconds after the beginning when it is first looked at.
    """
    last: dict[Pod, tuple[float, float]] = {}
    """When each pod was looked at, and how long it had worked by then."""
    readings: dict[Pod, tuple[float, float]] = {}
    """Its CPU over one window, and when that began."""

    def collect() -> None:
        now = tier.env.now
        readings.clear()
        running = [pod for pod in tier.pods if pod.running_at <= now]
        for pod in running:
            if pod in last:
                began, busy = last[pod]
                # A queue works with all the pod's CPU, or not at all.
                readings[pod] = ((pod.queue.busy - busy) / (now - began), began)
        last.clear()
        last.update({pod: (now, pod.queue.busy) for pod in running})

    def sample(pod: Pod) -> Sample:
        now = tier.env.now
        if pod.running_at > now:
            return Sample(None, counts=False)
        if pod not in readings:
            return Sample(None)
        usage, began = readings[pod]
        is_old = now - pod.running_at > CPU_INITIALIZATION_SECONDS
        return Sample(usage, counts=is_old or pod.ready_at <= began)

    def wanted() -> int | None:
        samples = [sample(pod) for pod in tier.pods]
        return from_cpu(len(samples), samples, tier.scaling.cpu_percent / 100)

    _every(tier, METRICS_SECONDS, phase, collect)
    return wanted


def in_flight(
    tier: Tier,
    phase: float,
    seconds: float = WINDOW_SECONDS,
    of: Callable[[Sequence[float]], float] = fmean,
) -> Metric:
    """Requests in flight, by way of Prometheus and KEDA.

    Args:
        tier: is watched; its `scaling` has the target.
        phase: seconds after the beginning when it is first looked at.
        seconds: how far back the query looks.
        of: what it makes of what was seen in that time.
    """
    counts: deque[int] = deque(maxlen=int(seconds / SCRAPE_SECONDS))

    def wanted() -> int | None:
        if not counts:
            return None
        return from_total(len(tier.pods), of(counts), tier.scaling.in_flight)

    _every(tier, SCRAPE_SECONDS, phase % SCRAPE_SECONDS, lambda: counts.append(tier.in_flight))
    return wanted


##### Autoscalers #####


def fixed(tier: Tier, phase: float) -> None:
    """No autoscaler: as many replicas as at the beginning."""


def hpa(tier: Tier, phase: float) -> None:
    """The HPA on CPU."""
    _autoscale(tier, phase, [cpu(tier, phase * LATER)])


def keda(tier: Tier, phase: float) -> None:
    """KEDA's HPA on requests in flight, and on CPU."""
    _autoscale(tier, phase, [cpu(tier, phase * LATER), in_flight(tier, phase * LATER)])


def keda_peaks(tier: Tier, phase: float) -> None:
    """The same with `max_over_time` of a minute, which holds on to any peak that was seen."""
    peaks = in_flight(tier, phase * LATER, 60.0, max)
    _autoscale(tier, phase, [cpu(tier, phase * LATER), peaks])


AUTOSCALERS: dict[str, Callable[[Tier, float], None]] = {
    "fixed": fixed,
    "hpa": hpa,
    "keda": keda,
    "keda_peaks": keda_peaks,
}
"""Each is given a tier, and after how many seconds it first looks."""


def _autoscale(tier: Tier, phase: float, metrics: Sequence[Metric]) -> None:
    """An HPA, of whose metrics the one that wants most decides."""
    scaling = tier.scaling
    controller = Controller(scaling.minimum_replicas, scaling.maximum_replicas, scaling.behavior)

    def sync() -> None:
        current = len(tier.pods)
        wanted = largest(current, [metric() for metric in metrics])
        tier.scale(controller.decide(tier.env.now, current, wanted))

    _every(tier, SYNC_SECONDS, phase, sync)


def _every(tier: Tier, period: float, phase: float, look: Callable[[], None]) -> None:
    def process() -> Iterator[Any]:
        yield tier.env.timeout(phase)
        while True:
            look()
            yield tier.env.timeout(period)

    tier.env.process(process())
