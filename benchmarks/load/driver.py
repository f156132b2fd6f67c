"""The load driver: thousands of HTTP clients in one process, cheap enough to share the cores.

    python -m benchmarks.load.driver < job.json > outcome.json

`job.py` says what a job is. It needs the standard library alone, takes uvloop where that is
installed, and prepares every request beforehand, because it runs on the cores that it measures.
The outcome is a JSON object with `warnings` about this machine's limits, and `rounds` (one but
for bursts), each as `Record.summary` tells, with `cpu_microseconds`, what a request cost the
driver itself, and `overruns`, how often a server's queue of connections was full meanwhile.
"""

import asyncio
import gc
import itertools
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.load.clients import Address, Client, ConnectionOptions, own_address
from benchmarks.load.job import Job
from benchmarks.load.limits import LimitError, allow_connections, overruns, warnings
from benchmarks.load.record import Record

PAUSE = 1.0
"""Seconds between two rounds."""

CONNECTING = 200
"""Connections that are opened at the same time where that is not what is measured."""

PROGRESS = 10.0
"""Seconds between two lines that say how far it is."""

Clients = list[Client]
Summaries = list[dict[str, Any]]


def main() -> int:
    """Do the job on stdin; the exit code says whether it could be done."""
    try:
        job = Job.from_json(sys.stdin.read())
        allow_connections(job.clients)
        requests = prepare(job)
    except (ValueError, LimitError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    at_once = CONNECTING if job.shape != "burst" or job.connect_first else job.clients
    notes = warnings(job.clients, at_once, len(job.addresses))
    # A collection would stop every client at once; what the run leaves behind is small.
    gc.freeze()
    gc.disable()
    hand_over({"rounds": run(do(job, requests)), "warnings": notes})
    return 0


def run(work: Coroutine[Any, Any, Summaries]) -> Summaries:
    """Run it on uvloop where there is one."""
    try:
        import uvloop  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return asyncio.run(work)
    result: Summaries = uvloop.run(work)
    return result


def prepare(job: Job) -> list[bytes]:
    """One whole request a client.

    Raises:
        ValueError: there is no body.
    """
    bodies = Path(job.bodies).read_bytes().splitlines()
    if not bodies:
        raise ValueError(f"Expected a JSON body a line in {job.bodies}, received none")
    requests = [_request(job, body) for body in bodies]
    return list(itertools.islice(itertools.cycle(requests), job.clients))


def hand_over(outcome: dict[str, Any]) -> None:
    """Write megabytes of JSON to stdout.

    Not through `sys.stdout`: where PYTHONUNBUFFERED is set, that loses what a pipe did not take at
    the first try, and after a run of uvloop the kernel does interrupt writes.
    """
    with open(sys.stdout.fileno(), "wb", closefd=False) as out:
        out.write(json.dumps(outcome).encode())


async def do(job: Job, requests: list[bytes]) -> Summaries:
    """Do a job; returns the summaries of its rounds."""
    shapes: dict[str, Callable[[Job, list[bytes]], Awaitable[Summaries]]] = {
        "burst": burst,
        "plateau": plateau,
        "steady": steady,
    }
    return await shapes[job.shape](job, requests)


async def burst(job: Job, requests: list[bytes]) -> Summaries:
    """All at the same moment, round after round, each time over new connections."""
    summaries = []
    for number in range(job.rounds):
        if number:
            await asyncio.sleep(PAUSE)
        clients = _clients(job, requests)
        if job.connect_first:
            await _connect(clients)
        record = Record(job.forecast_at, mark=job.mark)
        watch = Stopwatch()
        outcomes = await asyncio.gather(*(client.send(watch.began) for client in clients))
        for at, outcome in enumerate(outcomes):
            record.add(at, outcome)
        watch.stop()
        _close(clients)
        last = max(outcome.ended for outcome in outcomes)
        summaries.append(record.summary(watch.began, last, step=0.1) | watch.figures(record))
        _log(f"round {number + 1}: {_counts(record, last - watch.began)}")
    return summaries


async def plateau(job: Job, requests: list[bytes]) -> Summaries:
    """All connected all the time, each asking now and then."""
    chance = random.Random(0)
    return await _for_a_while(job, requests, 20, lambda: chance.expovariate(1 / job.think))


async def steady(job: Job, requests: list[bytes]) -> Summaries:
    """Each asking again as soon as it is answered."""
    return await _for_a_while(job, requests, 50, lambda: 0.0)


async def _for_a_while(
    job: Job, requests: list[bytes], keep_every: int, think: Callable[[], float]
) -> Summaries:
    """Clients that pause and ask in turn for `job.seconds`; what they asked then, they get."""
    clients = _clients(job, requests)
    await _connect(clients)
    record = Record(job.forecast_at, keep_every, job.mark)
    _log(f"{len(clients):,} connections are open")
    watch = Stopwatch()
    end = watch.began + job.seconds

    async def live(number: int, client: Client) -> None:
        while (left := end - time.monotonic()) > 0:
            if pause := think():
                await asyncio.sleep(min(pause, left))
                if pause >= left:
                    return
            record.add(number, await client.send())

    progress = asyncio.create_task(_report_progress(record, watch.began))
    await asyncio.gather(*(live(number, client) for number, client in enumerate(clients)))
    watch.stop()
    progress.cancel()
    _close(clients)
    return [record.summary(watch.began, max(end, time.monotonic()), 1.0) | watch.figures(record)]


async def _report_progress(record: Record, began: float) -> None:
    while True:
        await asyncio.sleep(PROGRESS)
        _log(_counts(record, time.monotonic() - began))


class Stopwatch:
    """When something began, what time of the processor it took, and what went over."""

    def __init__(self) -> None:
        """Start."""
        self.began = time.monotonic()
        self._used = time.process_time()
        self._overruns = overruns()

    def stop(self) -> None:
        """Stop."""
        self._used = time.process_time() - self._used
        self._overruns = overruns() - self._overruns

    def figures(self, record: Record) -> dict[str, float]:
        """For the outcome."""
        requests = max(record.ok + record.failed, 1)
        cost = round(self._used / requests * 1e6, 1)
        return {"cpu_microseconds": cost, "overruns": self._overruns}


async def _connect(clients: Clients) -> None:
    """Open all connections; a client whose connection fails opens it when it asks."""
    turns = asyncio.Semaphore(CONNECTING)

    async def connect(client: Client) -> None:
        async with turns:
            await client.connect()

    await asyncio.gather(*map(connect, clients))


def _close(clients: Clients) -> None:
    for client in clients:
        client.close()


def _clients(job: Job, requests: list[bytes]) -> Clients:
    addresses = [_address(text) for text in job.addresses]
    orders = [addresses[at:] + addresses[:at] for at in range(len(addresses))]
    secure = (
        ConnectionOptions.trusting(job.certificate, _address(_name(job))[0])
        if job.certificate
        else ConnectionOptions()
    )
    ways = (replace(secure, own=own_address(at)) if job.own_addresses else secure for at in count())
    return [
        Client(request, order, job.timeout, job.retry, options)
        for request, order, options in zip(requests, itertools.cycle(orders), ways, strict=False)
    ]


def _name(job: Job) -> str:
    return job.name or job.addresses[0]


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return host, int(port)


def _request(job: Job, body: bytes) -> bytes:
    head = (
        f"POST {job.path} HTTP/1.1\r\nHost: {_name(job)}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{job.headers}\r\n"
    )
    return head.encode() + body


def _counts(record: Record, seconds: float) -> str:
    return f"{record.ok:,} answered, {record.failed:,} errors, {seconds:.2f} s"


def _log(line: str) -> None:
    print(f"    {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
