"""A forecast through each Service and protocol, from a pod with the model server's image.

    python - PAGE SERVER GRPC MODEL HOURS < query.py

Addresses are host:port, HOURS is the length of the history to send. Prints a JSON object:
what each call returned, or why it failed.
"""

import json
import sys
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import numpy as np

from kalecast.client import messages
from kalecast.client.grpc import GrpcAddress, forecast_over_grpc

SECONDS = 30


def main() -> None:
    """Query all of them."""
    page, server, grpc_server, model, hours = sys.argv[1:]
    history = [300.0 + hour % 24 for hour in range(int(hours))]
    calls = {
        "page": lambda: query_page(page, history),
        "server by Seldon's protocol": lambda: query_seldon(server, history),
        "server by Open Inference": lambda: query_open_inference(server, model, history),
        "server by gRPC": lambda: query_grpc(grpc_server, history),
    }
    print(json.dumps({name: outcome(call) for name, call in calls.items()}))


def outcome(call: Callable[[], int]) -> dict[str, object]:
    """How many numbers came, after how long; or what went wrong."""
    began = time.monotonic()
    try:
        count = call()
    except Exception as error:  # whatever it is, it is the outcome
        words = getattr(error, "read", lambda: b"")().decode(errors="replace")
        return {"error": f"{type(error).__name__}: {error} {words}".strip()[:300]}
    if not count:
        return {"error": "the answer holds no forecast"}
    return {"numbers": count, "seconds": round(time.monotonic() - began, 3)}


def post(address: str, path: str, content: object) -> Any:
    """The answer to JSON."""
    request = urllib.request.Request(
        f"http://{address}{path}",
        json.dumps(content).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        return json.load(answer)


def query_page(address: str, history: list[float]) -> int:
    """The page's plain route."""
    answer = post(address, "/api/forecast", {"history": ",".join(map(str, history))})
    return len(answer["forecast"]["0.5"])


def query_seldon(address: str, history: list[float]) -> int:
    """Seldon's protocol over HTTP."""
    answer = post(address, messages.PREDICTIONS, messages.seldon_request([history]))
    return int(messages.seldon_forecasts(answer)[0].size)


def query_open_inference(address: str, model: str, history: list[float]) -> int:
    """The Open Inference Protocol over HTTP."""
    path = messages.INFER.format(name=model)
    answer = post(address, path, messages.inference_request([history]))
    return int(messages.inference_forecasts(answer).size)


def query_grpc(address: str, history: list[float]) -> int:
    """Seldon's protocol over gRPC."""
    forecast, _ = forecast_over_grpc(GrpcAddress(address), np.array(history))
    return int(forecast.size)


if __name__ == "__main__":
    main()
