"""Metrics for Prometheus: counters of a process, on a page of their own."""

from collections.abc import Callable
from functools import cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """What an operator wants to know of a running server."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "kalecast_requests",
            "Requests by protocol and status",
            ["protocol", "code"],
            registry=registry,
        )
        self._seconds = Histogram(
            "kalecast_request_seconds",
            "From a request's head to its answer",
            ["protocol"],
            buckets=SECONDS,
            registry=registry,
        )
        self._histories = Counter(
            "kalecast_histories", "Histories forecast from", registry=registry
        )
        self._batches = Histogram(
            "kalecast_batch_windows", "Windows a forward pass", buckets=SIZES, registry=registry
        )
        self._in_flight = Gauge("kalecast_in_flight", "Requests being answered", registry=registry)
        self._reloads = Counter(
            "kalecast_model_reloads",
            "Attempts to take up a new model file",
            ["result"],
            registry=registry,
        )
        self._model = Gauge(
            "kalecast_model_info",
            "The model that is served",
            ["name", "version"],
            registry=registry,
        )
        for result in ("good", "bad"):
            self._reloads.labels(result)
        # Looked up once: a label costs as much as a count.
        self._requests_of = cache(self._requests.labels)
        self._seconds_of = cache(self._seconds.labels)

    def answered(self, protocol: str, code: int | str, seconds: float) -> None:
        """Count a request that got an answer or a refusal."""
        self._requests_of(protocol, code).inc()
        self._seconds_of(protocol).observe(seconds)

    def forecast(self, histories: int) -> None:
        """Count histories that were forecast from."""
        self._histories.inc(histories)

    def batched(self, windows: int) -> None:
        """Count a forward pass."""
        self._batches.observe(windows)

    def reloaded(self, succeeded: bool) -> None:
        """Count an attempt to take up a new model file."""
        self._reloads.labels("good" if succeeded else "bad").inc()

    def serves(self, name: str, version: str) -> None:
        """Say which model is served."""
        self._model.clear()
        self._model.labels(name, version).set(1)

    def watches(
        self, in_flight: Callable[[], float], waiting: Callable[[], float], age: Callable[[], float]
    ) -> None:
        """Take figures that are there anyway, whenever the page is read."""
        self._in_flight.set_function(in_flight)
        for name, told, function in (
            ("kalecast_queue_windows", "Windows that wait", waiting),
            ("kalecast_queue_age_seconds", "How long the oldest has waited", age),
        ):
            Gauge(name, told, registry=self._registry).set_function(function)

    def page(self) -> bytes:
        """The page, in Prometheus's text format."""
        return generate_latest(self._registry)
