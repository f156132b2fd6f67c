"""Bystanders of an attack: benign clients, each from its own address and well below its limits.

    python -m benchmarks.protection.bystanders PORT CERTIFICATE FORECASTS EVENTS

Prints a line for each answer, until SIGTERM: when it was requested and when it came, on the
machine's monotonic clock, what was requested, and what went wrong, if anything did. It runs in a
process of its own, so that nothing of ours slows it.
"""

import asyncio
import itertools
import random
import ssl
import sys
from collections.abc import Coroutine
from pathlib import Path

from benchmarks.load.clients import Client, own_address
from benchmarks.load.job import raise_open_files

NAME = "localhost"
CLIENTS = 40
PAUSE = 0.4
"""Seconds on average between an answer and the next question: about 100 questions a second."""
TIMEOUT = 10.0
SHARES = {"forecast": 0.9, "event": 0.05, "document": 0.05}
LEAVING = 0.03
"""How often a client comes back over a new connection: one that cannot be opened is an error."""


def main() -> None:
    """Send requests until SIGTERM."""
    port, certificate, forecasts, events = sys.argv[1:5]
    raise_open_files()
    trusted = ssl.create_default_context(cafile=certificate)
    lines = [Path(name).read_bytes().splitlines() for name in (forecasts, events)]
    bodies = itertools.islice(itertools.cycle(zip(*lines, strict=True)), CLIENTS)
    requests = [
        {
            "forecast": _post("/api/forecast", forecast),
            "event": _post("/gradio_api/run/predict", event),
            "document": _head("GET", "/") + b"\r\n",
        }
        for forecast, event in bodies
    ]
    _run(_all(int(port), trusted, requests))


async def _all(port: int, trusted: ssl.SSLContext, requests: list[dict[str, bytes]]) -> None:
    async with asyncio.TaskGroup() as group:
        for number, of_one in enumerate(requests, 1):
            group.create_task(_send(port, trusted, own_address(number), of_one))


async def _send(port: int, trusted: ssl.SSLContext, own: str, requests: dict[str, bytes]) -> None:
    clients = {
        kind: Client(
            request, [("127.0.0.1", port)], TIMEOUT, False, trusted=trusted, name=NAME, own=own
        )
        for kind, request in requests.items()
    }
    while True:
        await asyncio.sleep(random.expovariate(1 / PAUSE))
        (kind,) = random.choices([*SHARES], [*SHARES.values()])
        if random.random() < LEAVING:
            clients[kind].close()
        seen = await clients[kind].send()
        print(f"{seen.began:.6f} {seen.ended:.6f} {kind} {seen.error}", flush=True)


def _head(method: str, path: str) -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: {NAME}\r\nUser-Agent: curl/8.5.0\r\n".encode()


def _post(path: str, body: bytes) -> bytes:
    about = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return _head("POST", path) + about.encode() + body


def _run(work: Coroutine[None, None, None]) -> None:
    try:
        import uvloop  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)


if __name__ == "__main__":
    main()
