"""Metrics for Prometheus: counters of a process, on a page of their own.

They are counted here and turned into Prometheus's when the page is read: its client's own counters
guard each addition with a lock, which one event loop does not need, and at ten thousand requests a
second that would cost a twentieth of the server's time.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from kalecast.serving.drift import Drift

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)


class Tally:
    """Values counted by size.

    Args:
        bounds: the largest value of each bucket, ascending.
    """

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Bounds, and how many values did not exceed them, as Prometheus has them."""
        # As Prometheus 3 writes bounds, whatever it reads: queries name them.
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        return list(zip(names, accumulate(self._counts), strict=True))


class Metrics(Collector):
    """What an operator wants to know of a running server."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int | str]] = Counter()
        self._seconds: defaultdict[str, Tally] = defaultdict(lambda: Tally(SECONDS))
        self._batches = Tally(SIZES)
        self._histories = 0
        self._reloads = {"good": 0, "bad": 0}
        self._model = {"name": "", "version": ""}
        self._created = 0.0
        self.drift = Drift()
        """Observes each batch, in whichever thread."""
        self._watched: dict[str, tuple[str, Callable[[], float]]] = {}
        self.registry = CollectorRegistry()
        """What Prometheus reads."""
        ProcessCollector(registry=self.registry)
        self.registry.register(self)

    def answered(self, protocol: str, code: int | str, seconds: float) -> None:
        """Count a request that got an answer or a refusal."""
        self._requests[protocol, code] += 1
        self._seconds[protocol].add(seconds)

    def forecast(self, histories: int) -> None:
        """Count histories that were taken to be forecast from."""
        self._histories += histories

    def batched(self, windows: int) -> None:
        """Count a forward pass."""
        self._batches.add(windows)

    def reloaded(self, succeeded: bool) -> None:
        """Count an attempt to take up a new model file."""
        self._reloads["good" if succeeded else "bad"] += 1

    def serves(self, name: str, version: str, created: str) -> None:
        """Say which model is served, and when it was made (ISO 8601)."""
        self._model = {"name": name, "version": version}
        self._created = _timestamp(created)

    def watches(self, name: str, description: str, figure: Callable[[], float]) -> None:
        """Take a figure that is there anyway, whenever the page is read."""
        self._watched[name] = (description, figure)

    def page(self) -> bytes:
        """The page, in Prometheus's text format."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """The counters as Prometheus's client wants them."""
        requests = CounterMetricFamily(
            "kalecast_requests", "Requests by protocol and status", labels=["protocol", "code"]
        )
        for (protocol, code), count in self._requests.items():
            requests.add_metric([protocol, str(code)], count)
        seconds = HistogramMetricFamily(
            "kalecast_request_seconds", "From a request's head to its answer", labels=["protocol"]
        )
        for protocol, tally in self._seconds.items():
            seconds.add_metric([protocol], tally.buckets(), tally.sum)
        yield requests
        yield seconds
        yield CounterMetricFamily(
            "kalecast_histories", "Histories taken to be forecast from", self._histories
        )
        yield HistogramMetricFamily(
            "kalecast_batch_windows",
            "Windows a forward pass",
            self._batches.buckets(),
            self._batches.sum,
        )
        reloads = CounterMetricFamily(
            "kalecast_model_reloads", "Attempts to take up a new model file", labels=["result"]
        )
        for result, count in self._reloads.items():
            reloads.add_metric([result], count)
        yield reloads
        yield InfoMetricFamily("kalecast_model", "The model that is served", self._model)
        yield GaugeMetricFamily(
            "kalecast_model_created_timestamp_seconds", "When it was made", self._created
        )
        yield from self.drift.collect()
        for name, (description, figure) in self._watched.items():
            yield GaugeMetricFamily(name, description, figure())


def _timestamp(created: str) -> float:
    """Seconds since 1970; not a number where a model file's author wrote something else."""
    try:
        return datetime.fromisoformat(created).timestamp()
    except (ValueError, OverflowError):
        return float("nan")
