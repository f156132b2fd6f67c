"""What Prometheus reads of a server, on a port that customers do not reach."""

from typing import Any

from prometheus_client import CollectorRegistry, make_asgi_app

PATHS = ("/metrics", "/prometheus")
"""The second is the path that Seldon Core's operator sets for Prometheus by default."""

NOTHING_HERE = b"There is nothing at this path: see /metrics.\n"


def counters_app(registry: CollectorRegistry) -> Any:
    """The ASGI application that answers with a registry's metrics, and with 404 elsewhere."""
    metrics = make_asgi_app(registry)

    async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["path"] in PATHS:
            await metrics(scope, receive, send)
            return
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        await send({"type": "http.response.start", "status": 404, "headers": headers})
        await send({"type": "http.response.body", "body": NOTHING_HERE})

    return answer
