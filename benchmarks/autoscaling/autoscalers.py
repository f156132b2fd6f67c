"""What watches a tier and changes its replicas: Kubernetes' HPA on CPU, KEDA on requests in flight.

Each is a set of SimPy processes with the delays that the real ones have. All times are seconds.

Sources: metrics-server collects every 15 s, which is also the resolution of the kubelet
(https://github.com/kubernetes-sigs/metrics-server, README and FAQ); KEDA serves its metrics to an
HPA that it makes, and a query reaches Prometheus whenever that HPA queries; `pollingInterval` is
for the step between none and one replica
(https://keda.sh/docs/latest/concepts/scaling-deployments/ and /reference/scaledobject-spec/).
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from benchmarks.autoscaling.hpa import (
    CPU_INITIALIZATION_SECONDS,
    SYNC_SECONDS,
    Controller,
    Sample,
    from_cpu,
    from_total,
    largest,
)
from benchmarks.autoscaling.simulated_pods import Pod, Tier

METRICS_SECONDS = 15.0
"""metrics-server's `--metric-resolution`, by default."""

SCRAPE_SECONDS = 5.0
"""Between two looks of Prometheus at a pod: the ServiceMonitor's `interval`."""

WINDOW_SECONDS = 15.0
"""Of the query for requests in flight (`kalecast.cluster.capacity.in_flight_query`)."""


@dataclass(frozen=True)
class _Reading:
    """A pod's CPU over one window of metrics-server."""

    usage: float
    began: float


class Cpu:
    """CPU utilisation, by way of metrics-server.

    Args:
        tier: is watched; its `scaling` has the target.
        phase: seconds after the beginning when it is first looked at.
    """

    def __init__(self, tier: Tier, phase: float) -> None:
        self._tier = tier
        self._last: dict[Pod, tuple[float, float]] = {}
        self._readings: dict[Pod, _Reading] = {}
        tier.env.process(_every(tier, METRICS_SECONDS, phase, self._collect))

    def wanted(self) -> int | None:
        """Replicas, by its target."""
        samples = [self._sample(pod) for pod in self._tier.pods]
        return from_cpu(len(samples), samples, self._tier.scaling.cpu_percent / 100)

    def _collect(self) -> None:
        now = self._tier.env.now
        readings, last = {}, {}
        for pod in self._tier.pods:
            if pod.running_at > now:
                continue
            last[pod] = (now, pod.station.busy)
            if pod in self._last:
                began, busy = self._last[pod]
                # A station works with all the pod's CPU, or not at all.
                readings[pod] = _Reading((pod.station.busy - busy) / (now - began), began)
        self._last, self._readings = last, readings

    def _sample(self, pod: Pod) -> Sample:
        now = self._tier.env.now
        if pod.running_at > now:
            return Sample(None, counts=False)
        reading = self._readings.get(pod)
        if reading is None:
            return Sample(None)
        is_old = now - pod.running_at > CPU_INITIALIZATION_SECONDS
        return Sample(reading.usage, counts=is_old or pod.ready_at <= reading.began)


class InFlight:
    """Requests in flight, by way of Prometheus and KEDA.

    Args:
        tier: is watched; its `scaling` has the target.
        phase: seconds after the beginning when it is first looked at.
        seconds: how far back the query looks.
        of: what it makes of what was seen in that time.
    """

    def __init__(
        self,
        tier: Tier,
        phase: float,
        seconds: float = WINDOW_SECONDS,
        of: Callable[[Sequence[float]], float] = fmean,
    ) -> None:
        self._tier = tier
        self._of = of
        self._counts: deque[int] = deque(maxlen=int(seconds / SCRAPE_SECONDS))
        tier.env.process(_every(tier, SCRAPE_SECONDS, phase % SCRAPE_SECONDS, self._scrape))

    def wanted(self) -> int | None:
        """Replicas, by its target."""
        if not self._counts:
            return None
        tier = self._tier
        return from_total(len(tier.pods), self._of(self._counts), tier.scaling.in_flight)

    def _scrape(self) -> None:
        self._counts.append(self._tier.in_flight)


class Autoscaler:
    """An HPA with one metric or more.

    Args:
        tier: is scaled; its `scaling` has bounds and behaviour.
        phase: seconds after the beginning when it first looks.
        metrics: what it looks at; the one that wants most decides.
    """

    def __init__(self, tier: Tier, phase: float, metrics: Sequence[Cpu | InFlight]) -> None:
        self._tier = tier
        self._metrics = metrics
        scaling = tier.scaling
        self._controller = Controller(
            scaling.minimum_replicas, scaling.maximum_replicas, scaling.behavior
        )
        tier.env.process(_every(tier, SYNC_SECONDS, phase, self._sync))

    def _sync(self) -> None:
        tier = self._tier
        current = len(tier.pods)
        wanted = largest(current, [metric.wanted() for metric in self._metrics])
        tier.scale(self._controller.decide(tier.env.now, current, wanted))


def fixed(tier: Tier, phase: float) -> None:
    """No autoscaler: as many replicas as at the beginning."""


def hpa(tier: Tier, phase: float) -> None:
    """The HPA on CPU."""
    Autoscaler(tier, phase, [Cpu(tier, phase * 0.618)])


def keda(tier: Tier, phase: float) -> None:
    """KEDA's HPA on requests in flight, and on CPU."""
    Autoscaler(tier, phase, [Cpu(tier, phase * 0.618), InFlight(tier, phase * 0.618)])


def keda_peaks(tier: Tier, phase: float) -> None:
    """The same with `max_over_time` of a minute, which holds on to any peak that was seen."""
    seen = InFlight(tier, phase * 0.618, 60.0, max)
    Autoscaler(tier, phase, [Cpu(tier, phase * 0.618), seen])


AUTOSCALERS: dict[str, Callable[[Tier, float], None]] = {
    "fixed": fixed,
    "hpa": hpa,
    "keda": keda,
    "keda_peaks": keda_peaks,
}


def _every(tier: Tier, period: float, phase: float, look: Callable[[], None]) -> Iterator[Any]:
    """A process of SimPy."""
    yield tier.env.timeout(phase)
    while True:
        look()
        yield tier.env.timeout(period)
