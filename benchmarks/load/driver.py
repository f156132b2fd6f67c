"""The load driver: thousands of HTTP clients in one process, cheap enough to share the cores.

    python -m benchmarks.load.driver < job.json > outcome.json

`job.py` says what a job is. It needs httptools and uvloop, which the model server's environment
has, and prepares every request beforehand, because it runs on the cores that it measures. The
outcome is a JSON object with `warnings` about this machine's limits, and `rounds` (one but for
bursts), each as `Record.summary` returns it, with `cpu_microseconds`, what a request cost the
driver itself, and `overruns`, how often a server's queue of connections was full meanwhile.
"""

import asyncio
import gc
import itertools
import json
import random
import ssl
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

from benchmarks.load.clients import Address, Client, RequestOutcome, own_address
from benchmarks.load.job import Job, LimitError, allow_connections, percentile

PAUSE = 1.0
"""Seconds between two rounds."""

CONNECTING = 200
"""Connections that are opened at the same time where that is not what is measured."""

PROGRESS = 10.0
"""Seconds between two lines that say how far it is."""

MOST_KEPT = 20_000
"""Answers whose content is looked at."""

SAMPLES = 20
"""Answers that are handed on whole, for their numbers to be compared."""

WRONG = "wrong content"

Summary = dict[str, Any]


def main() -> int:
    """Do the job on stdin; the exit code says whether it could be done."""
    try:
        job = Job.from_json(sys.stdin.read())
        allow_connections(job.clients)
        requests = prepare(job)
    except (ValueError, LimitError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    notes = warnings(job)
    # A collection would stop every client at once; what the run leaves behind is small.
    gc.freeze()
    gc.disable()
    outcome = {"rounds": run(job, requests), "warnings": notes}
    # Not through `sys.stdout`: where PYTHONUNBUFFERED is set, that loses what a pipe did not take
    # at the first try, and after a run of uvloop the kernel does interrupt writes.
    with open(sys.stdout.fileno(), "wb", closefd=False) as out:
        out.write(json.dumps(outcome).encode())
    return 0


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


def run(job: Job, requests: list[bytes]) -> list[Summary]:
    """Do a job; returns the summaries of its rounds."""
    work = _bursts if job.shape == "burst" else _for_a_while
    summaries: list[Summary] = uvloop.run(work(job, requests))
    return summaries


async def _bursts(job: Job, requests: list[bytes]) -> list[Summary]:
    """All at the same moment, round after round, each time over new connections."""
    summaries = []
    for number in range(job.rounds):
        if number:
            await asyncio.sleep(PAUSE)
        clients = _clients(job, requests)
        record = Record(job)
        outcomes = await asyncio.gather(*(client.send(record.began) for client in clients))
        for at, outcome in enumerate(outcomes):
            record.add(at, outcome)
        record.stop(ended=max(outcome.ended for outcome in outcomes))
        for client in clients:
            client.close()
        summaries.append(record.summary(step=0.1))
        _log(f"round {number + 1}: {record.counts(record.ended)}")
    return summaries


async def _for_a_while(job: Job, requests: list[bytes]) -> list[Summary]:
    """All connected for `job.seconds`, sending again and again; what they sent then, they get."""
    clients = _clients(job, requests)
    await _connect(clients)
    steady, chance = job.shape == "steady", random.Random(0)
    record = Record(job, keep_every=50 if steady else 20)
    _log(f"{len(clients):,} connections are open")
    end = record.began + job.seconds

    async def live(number: int, client: Client) -> None:
        while (left := end - time.monotonic()) > 0:
            if not steady:
                pause = chance.expovariate(1 / job.think)
                await asyncio.sleep(min(pause, left))
                if pause >= left:
                    return
            record.add(number, await client.send())

    async def report_progress() -> None:
        while True:
            await asyncio.sleep(PROGRESS)
            _log(record.counts(time.monotonic()))

    progress = asyncio.create_task(report_progress())
    await asyncio.gather(*(live(number, client) for number, client in enumerate(clients)))
    record.stop(ended=max(end, time.monotonic()))
    progress.cancel()
    for client in clients:
        client.close()
    return [record.summary(step=1.0)]


class Row(NamedTuple):
    """An outcome, of which no more is kept."""

    ended: float
    seconds: float
    error: str
    marked: bool


class Record:
    """What clients got, in all, by kind of error and over time; parsed once all have it.

    It begins with its making, and counts what the driver and this machine spend until its end.

    Args:
        job: what is done.
        keep_every: the content of one answer in so many is looked at.
    """

    def __init__(self, job: Job, keep_every: int = 1) -> None:
        self._job = job
        self._keep_every = keep_every
        self._mark = job.mark.encode()
        self._rows: list[Row] = []
        self._ok = 0
        self._hidden: Counter[str] = Counter()
        self._kept: list[tuple[int, Row, bytes]] = []
        """Client, outcome and body."""
        self.began = self.ended = time.monotonic()
        self._used, self._overruns = time.process_time(), overruns()

    def add(self, client: int, outcome: RequestOutcome) -> None:
        """Take an outcome of the client of this number."""
        if outcome.hidden:
            self._hidden[outcome.hidden] += 1
        seconds, body = outcome.ended - outcome.began, None
        if not outcome.error and outcome.answer is not None:
            body = outcome.answer.body
        marked = bool(self._mark) and body is not None and self._mark in body
        row = Row(outcome.ended, seconds, outcome.error, marked)
        self._rows.append(row)
        if body is not None:
            if self._ok % self._keep_every == 0 and len(self._kept) < MOST_KEPT:
                self._kept.append((client, row, body))
            self._ok += 1

    def stop(self, ended: float) -> None:
        """All have come."""
        self.ended = ended
        self._used = time.process_time() - self._used
        self._overruns = overruns() - self._overruns

    def counts(self, now: float) -> str:
        """For people."""
        failed = len(self._rows) - self._ok
        return f"{self._ok:,} answered, {failed:,} errors, {now - self.began:.2f} s"

    def summary(self, step: float) -> Summary:
        """All of it as JSON: times in seconds, a row of the timeline every `step` seconds.

        An answer with the wrong content is counted as an error, though its time counts too: it
        was sent. Where only some are looked at, only those can be found wrong.
        """
        path = self._job.forecast_at
        wrong = [
            row._replace(error=WRONG, marked=False)
            for _, row, body in self._kept
            if not _holds_forecast(body, path)
        ]
        rows = self._rows + wrong
        last = int((self.ended - self.began) / step)
        timeline: list[list[Row]] = [[] for _ in range(last + 1)]
        for row in rows:
            timeline[min(int((row.ended - self.began) / step), last)].append(row)
        every = max(1, len(self._kept) // SAMPLES)
        return {
            **_figures(rows),
            "ok": self._ok - len(wrong),
            "kinds": dict(Counter(row.error for row in rows if row.error)),
            "retried": self._hidden.total(),
            "hidden_by_retry": dict(self._hidden),
            "looked_at": len(self._kept),
            "seconds": round(self.ended - self.began, 4),
            "slowest": percentile(sorted(row.seconds for row in rows if not row.error), 100),
            "slowest_error": percentile(sorted(row.seconds for row in rows if row.error), 100),
            "timeline": [
                {"at": round(number * step, 3)} | _figures(of_step)
                for number, of_step in enumerate(timeline)
            ],
            "samples": [
                {"client": client, "body": body.decode(errors="replace")}
                for client, _, body in self._kept[::every][:SAMPLES]
            ],
            "cpu_microseconds": round(self._used / max(len(self._rows), 1) * 1e6, 1),
            "overruns": self._overruns,
        }


def _figures(rows: list[Row]) -> dict[str, Any]:
    times = sorted(row.seconds for row in rows if not row.error)
    return {
        "ok": len(times),
        "errors": len(rows) - len(times),
        "marked": sum(row.marked for row in rows),
        "p50": percentile(times, 50),
        "p99": percentile(times, 99),
    }


def _holds_forecast(body: bytes, path: Sequence[str | int]) -> bool:
    try:
        found = json.loads(body)
        for key in path:
            found = found[key]
    except (ValueError, LookupError, TypeError):
        return False
    return isinstance(found, list | str) and bool(found)


##### This machine #####


def warnings(job: Job) -> list[str]:
    """What makes so many connections slower, or fail, in sentences."""
    found = []
    servers, clients = len(job.addresses), job.clients
    first, last = map(int, _kernel("net/ipv4/ip_local_port_range", "32768 60999").split())
    ports = (last - first + 1) * servers
    if clients > 0.8 * ports:
        found.append(
            f"{clients:,} connections come close to the {ports:,} local ports there are: "
            "widen net.ipv4.ip_local_port_range."
        )
    backlog = int(_kernel("net/core/somaxconn", "4096"))
    if job.shape == "burst" and clients > backlog * servers:
        found.append(
            f"{clients:,} connections opened at once may overrun a server's queue of {backlog:,} "
            "for those not accepted yet; what is beyond it the kernel tries again after a second: "
            "raise net.core.somaxconn."
        )
    return found


def overruns() -> int:
    """How often so far a connection found a server's queue full, on this whole machine.

    The kernel sends it again after a second: that is where a burst's late answers come from.
    """
    names, values = Path("/proc/net/netstat").read_text().splitlines()[:2]
    counts = dict(zip(names.split(), values.split(), strict=True))
    return int(counts["ListenOverflows"])


def _kernel(name: str, default: str) -> str:
    try:
        return (Path("/proc/sys") / name).read_text()
    except OSError:
        return default


##### Clients #####


def _clients(job: Job, requests: list[bytes]) -> list[Client]:
    addresses = [_address(text) for text in job.addresses]
    orders = [addresses[at:] + addresses[:at] for at in range(len(addresses))]
    name, _ = _address(_name(job))
    trusted = ssl.create_default_context(cafile=job.certificate) if job.certificate else None
    return [
        Client(
            request,
            orders[number % len(orders)],
            job.timeout,
            job.retry,
            trusted=trusted,
            name=name if trusted else None,
            own=own_address(number) if job.own_addresses else None,
        )
        for number, request in enumerate(requests)
    ]


async def _connect(clients: list[Client]) -> None:
    """Open all connections; a client whose connection fails opens it when it sends."""
    turns = asyncio.Semaphore(CONNECTING)

    async def connect(client: Client) -> None:
        async with turns:
            await client.connect()

    await asyncio.gather(*map(connect, clients))


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


def _log(line: str) -> None:
    print(f"    {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
