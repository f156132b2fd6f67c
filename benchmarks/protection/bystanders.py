"""Bystanders of an attack: benign clients, each from its own address and well below its limits.

    python -m benchmarks.protection.bystanders PORT CERTIFICATE FORECASTS EVENTS

Prints a line for each answer, until SIGTERM: when it was requested and when it came, on the
machine's monotonic clock, what was requested, and what went wrong, if anything did. It runs in a
process of its own, so that nothing of ours slows it.
"""

import asyncio
import random
import ssl
import sys
import time
from pathlib import Path

import aiohttp

NAME = "localhost"
CLIENTS = 40
PAUSE = 0.4
"""Seconds on average between an answer and the next request: about 100 requests a second."""
TIMEOUT = 10.0
SHARES = {"forecast": 0.9, "event": 0.05, "document": 0.05}
LEAVING = 0.03
"""How often a client comes back over a new connection: one that cannot be opened is an error."""


async def main() -> None:
    """Send requests until SIGTERM."""
    port, certificate, *bodies = sys.argv[1:5]
    forecasts, events = (Path(name).read_bytes().splitlines() for name in bodies)
    trust = ssl.create_default_context(cafile=certificate)
    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            requests = {
                "forecast": ("POST", "/api/forecast", forecasts[number]),
                "event": ("POST", "/gradio_api/run/predict", events[number]),
                "document": ("GET", "/", None),
            }
            group.create_task(_send(f"https://{NAME}:{port}", trust, number, requests))


async def _send(
    home: str,
    trust: ssl.SSLContext,
    number: int,
    requests: dict[str, tuple[str, str, bytes | None]],
) -> None:
    connector = aiohttp.TCPConnector(ssl=trust, local_addr=(f"127.1.0.{number + 1}", 0))
    headers = {"User-Agent": "curl/8.5.0", "Accept": "*/*"}
    session = aiohttp.ClientSession(
        home, connector=connector, headers=headers, timeout=aiohttp.ClientTimeout(TIMEOUT)
    )
    async with session:
        while True:
            await asyncio.sleep(random.expovariate(1 / PAUSE))
            (kind,) = random.choices([*SHARES], [*SHARES.values()])
            method, path, body = requests[kind]
            more = {"Content-Type": "application/json"} if body else {}
            if random.random() < LEAVING:
                more["Connection"] = "close"
            began = time.monotonic()
            error = await _error(session.request(method, path, data=body, headers=more))
            print(f"{began:.6f} {time.monotonic():.6f} {kind} {error}", flush=True)


async def _error(request: "aiohttp.client._RequestContextManager") -> str:
    """What went wrong, in a word; empty for an answer with status 200."""
    try:
        async with request as answer:
            await answer.read()
            return "" if answer.status == 200 else str(answer.status)
    except TimeoutError:
        return "timeout"
    except (OSError, aiohttp.ClientError) as error:
        return type(error).__name__


if __name__ == "__main__":
    asyncio.run(main())
