"""The ASGI application for Prometheus, on a port that customers do not reach."""

from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST

from kalecast.serving.metrics import Metrics

PATHS = ("/metrics", "/prometheus")
"""The second is the path that Seldon Core's operator sets for Prometheus by default."""


class MetricsApp:
    """Answers with the page of `metrics`."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def __call__(self, scope: dict[str, Any], _: Any, send: Any) -> None:
        """Answer a request."""
        found = scope["path"] in PATHS
        body = self._metrics.page() if found else b"There is nothing at this path: see /metrics.\n"
        kind = CONTENT_TYPE_LATEST.encode() if found else b"text/plain; charset=utf-8"
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        status = 200 if found else 404
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
