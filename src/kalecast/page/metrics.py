"""Live counters for operators, in Prometheus' format.

They stand on a port of their own (`building.py`): what customers reach must not reveal how busy
the page is.
"""

from functools import partial

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

disable_created_metrics()
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

STATUS = "kalecast.status"
"""In a request's scope: the status that its customer was shown, where the answer's own is 200
because the page shows trouble as it shows forecasts."""

_counter = partial(Counter, registry=REGISTRY)
_gauge = partial(Gauge, registry=REGISTRY)
_histogram = partial(Histogram, registry=REGISTRY)

REQUESTS = _counter("kalecast_page_requests", "Requests answered.", ["route", "code"])
SECONDS = _histogram(
    "kalecast_page_request_seconds",
    "Time from a request's head to the end of its answer.",
    ["route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20),
)
IN_FLIGHT = _gauge("kalecast_page_in_flight", "Requests being answered.")
FORECASTS = _counter("kalecast_page_forecasts", "Forecasts made.")
REFUSALS = _counter(
    "kalecast_page_refusals", "Requests not answered with a forecast because of load.", ["reason"]
)
TURNED_AWAY = _counter(
    "kalecast_page_turned_away",
    "Requests refused for their caller: key, sign-in, quota. No load, so not among refusals.",
    ["reason"],
)
WAITING = _gauge("kalecast_page_waiting", "Forecasts that wait for the model server.")
UPSTREAM_WINDOWS = _histogram(
    "kalecast_page_upstream_windows",
    "Forecasts in one request to the model server.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
)
UPSTREAM_ANSWERS = _counter(
    "kalecast_page_upstream_answers",
    "What the model server's replicas answered; code 0 for nothing.",
    ["address", "code"],
)
RETRIES = _counter("kalecast_page_upstream_retries", "Requests sent again.", ["address"])
CIRCUIT_OPEN = _gauge(
    "kalecast_page_circuit_open", "1 while a replica is left alone after failures.", ["address"]
)
READERS_ENDED = _counter(
    "kalecast_page_readers_ended",
    "Processes that ended although the page needed them to read files.",
)
BACKGROUND_FAILED = _counter(
    "kalecast_page_background_failed", "Looks of background tasks that failed.", ["task"]
)
BACKGROUND_ENDED = _counter(
    "kalecast_page_background_ended",
    "Background tasks that ended although the page served.",
    ["task"],
)
