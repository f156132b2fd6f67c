"""Live counters for operators, in Prometheus' format.

They stand on a port of their own (`listeners.py`): what customers reach must not reveal how busy
the page is.
"""

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

STATUS = "kalecast.status"
"""In a request's scope: the status that its customer was shown, where the answer's own is 200
because the page shows trouble as it shows forecasts."""

REQUESTS = Counter(
    "kalecast_page_requests", "Requests answered.", ["route", "code"], registry=REGISTRY
)
SECONDS = Histogram(
    "kalecast_page_request_seconds",
    "Time from a request's head to the end of its answer.",
    ["route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20),
    registry=REGISTRY,
)
IN_FLIGHT = Gauge("kalecast_page_in_flight", "Requests being answered.", registry=REGISTRY)
FORECASTS = Counter("kalecast_page_forecasts", "Forecasts made.", registry=REGISTRY)
REFUSALS = Counter(
    "kalecast_page_refusals",
    "Requests not answered with a forecast because of load.",
    ["reason"],
    registry=REGISTRY,
)
TURNED_AWAY = Counter(
    "kalecast_page_turned_away",
    "Requests refused for their caller: key, sign-in, quota. No load, so not among refusals.",
    ["reason"],
    registry=REGISTRY,
)
WAITING = Gauge(
    "kalecast_page_waiting", "Forecasts that wait for the model server.", registry=REGISTRY
)
UPSTREAM_WINDOWS = Histogram(
    "kalecast_page_upstream_windows",
    "Forecasts in one request to the model server.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
    registry=REGISTRY,
)
UPSTREAM_ANSWERS = Counter(
    "kalecast_page_upstream_answers",
    "What the model server's replicas answered; code 0 for nothing.",
    ["address", "code"],
    registry=REGISTRY,
)
RETRIES = Counter(
    "kalecast_page_upstream_retries", "Requests sent again.", ["address"], registry=REGISTRY
)
CIRCUIT_OPEN = Gauge(
    "kalecast_page_circuit_open",
    "1 while a replica is left alone after failures.",
    ["address"],
    registry=REGISTRY,
)
READERS_ENDED = Counter(
    "kalecast_page_readers_ended",
    "Processes that ended although the page needed them to read files.",
    registry=REGISTRY,
)
BACKGROUND_FAILED = Counter(
    "kalecast_page_background_failed",
    "Looks of background tasks that failed.",
    ["task"],
    registry=REGISTRY,
)
BACKGROUND_ENDED = Counter(
    "kalecast_page_background_ended",
    "Background tasks that ended although the page served.",
    ["task"],
    registry=REGISTRY,
)
ProcessCollector(registry=REGISTRY)
