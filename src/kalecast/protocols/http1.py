"""HTTP/1.1 connections within limits: uvicorn's protocol for servers that strangers reach.

uvicorn with httptools reads heads of any size for as long as they take, waits without end for
clients that do not read their answers, and drops the body of a request that offers an upgrade. The
class here bounds the heads, the connections and what waits to be sent, each and all together, and
declines upgrades as RFC 9110, section 7.8, has it: the request is answered over HTTP/1.1.

Needs uvicorn and httptools, which the model server and the page have, and no other environment.
"""

import asyncio
import resource
import socket
from asyncio import BaseTransport
from asyncio.events import TimerHandle
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from http import HTTPStatus
from typing import Any, override

import httptools
import uvicorn
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD = 64 * 1024
"""Bytes of a request's line and headers: the Seldon protocol's GET has a history in its address."""
MOST_HEADERS = 128
"""Headers of a request: each takes some hundred bytes, however short it is."""
MOST_UNFINISHED = 32 * 2**20
"""Bytes of heads that are arriving, and of what came after requests that wait, all together."""
PIECE = 8192
"""Bytes that are read at a time: of five hundred requests at the most, if they have no body."""
MOST_PIPELINED = 8192
"""Requests that wait for the one before them on their connection, all together: each takes 3 KB."""
UNSENT = 16 * 1024
"""Bytes that may wait to be read on a connection before its client is called slow."""
MOST_UNSENT = 64 * 2**20
"""Bytes that wait to be read by slow clients, all together."""
LEAST_READ = 16 * 1024
"""Bytes that a slow client has to read each `seconds`."""
MOST_CONNECTIONS = 16384
SPARE_FILES = 48
"""File descriptors that are left for everything but connections."""
BACKLOG = 16384
"""Connections that may wait to be accepted, as thousands come at once; the kernel caps it."""
KEEP_ALIVE = 75
"""Seconds for which an idle connection is kept: longer than a balancer keeps it."""
HOP_BY_HOP = frozenset((b"upgrade", b"http2-settings"))
"""Headers of an offer to upgrade, which end with it."""

TOO_LARGE = f"Expected a head of at most {LARGEST_HEAD >> 10} KiB and {MOST_HEADERS} headers."


class _Shared:
    """What the connections of a process have together."""

    def __init__(self) -> None:
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.most = min(max(files - SPARE_FILES, files // 2), MOST_CONNECTIONS)
        self.connections = 0
        self.unfinished = 0
        self.pipelined = 0
        # Dictionaries, as these keep their order: the first has been there for longest.
        self.idle: dict[LimitedProtocol, None] = {}
        self.slow: dict[LimitedProtocol, int] = {}
        """Bytes that waited when each became slow. While it is, its answer does not grow."""
        self.unsent = 0
        """Their sum, kept as it changes: thousands become slow in one moment."""

    def forget_slow(self, connection: "LimitedProtocol") -> None:
        """A connection is slow no more, or gone."""
        self.unsent -= self.slow.pop(connection, 0)


@cache
def _shared() -> _Shared:
    """Made with the first connection: the server may raise the number of its files before."""
    return _Shared()


class _TooLarge(Exception):
    """A head is larger than it may be, or too many requests wait."""


class _Flow(FlowControl):
    """Reads no further where it is held, even if more is requested."""

    is_held = False

    @override
    def resume_reading(self) -> None:
        if not self.is_held:
            super().resume_reading()


class LimitedProtocol(HttpToolsProtocol):
    """A connection. Give uvicorn `http=functools.partial(LimitedProtocol, seconds=10.0)`.

    Args:
        seconds: how long a head may take to arrive, and an answer to be read at all.
        arguments: uvicorn's.
    """

    flow: _Flow

    def __init__(self, *arguments: Any, seconds: float, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._all = _shared()
        self._seconds = seconds
        self._head = 0
        """Bytes of a head that did not come at once."""
        self._in_head = self._in_body = self._offers_upgrade = self._advanced = False
        self._stalled = 0
        """Bytes since the last whole head or piece of a body."""
        self._unread = b""
        """What came after requests that wait."""
        self._queued = 0
        self._unsent = 0
        self._late: TimerHandle | None = None
        self._slow: TimerHandle | None = None

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    # A connection's beginning and end

    @override
    def connection_made(self, transport: BaseTransport) -> None:
        """Take a connection; where there are too many, in place of the one idle for longest."""
        super().connection_made(transport)
        self.flow = _Flow(self.transport)
        self.transport.set_write_buffer_limits(UNSENT)
        shared = self._all
        shared.connections += 1
        if shared.connections > shared.most:
            if not shared.idle:
                self._refuse(503, "Too many connections.")
                return
            oldest = next(iter(shared.idle))
            del shared.idle[oldest]
            oldest.transport.close()
        shared.idle[self] = None
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        super().connection_lost(exc)
        shared = self._all
        shared.connections -= 1
        shared.idle.pop(self, None)
        shared.forget_slow(self)
        shared.unfinished -= self._stalled + len(self._unread)
        self._unread = b""
        shared.pipelined -= self._queued
        self._stalled = self._queued = 0
        self.pipeline.clear()
        self._unset_keepalive_if_required()
        for timer in (self._late, self._slow):
            if timer is not None:
                timer.cancel()
        self._late = self._slow = None

    @override
    def timeout_keep_alive_handler(self) -> None:
        """Close what was idle for too long, whether or not its last answer was ever read."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    # Requests as they arrive

    @override
    def data_received(self, data: bytes) -> None:
        """Read what came."""
        self._unset_keepalive_if_required()
        self._advanced = False
        try:
            if len(data) <= PIECE:
                self._feed(data)
            else:
                self._feed_in_pieces(memoryview(data))
        except _TooLarge:
            self._refuse(431, TOO_LARGE)
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, _TooLarge):
                self._refuse(431, TOO_LARGE)
            else:
                self._refuse(400, "Invalid HTTP request received.")
        else:
            if self._in_head or not self._advanced:
                self._await_rest(len(data))

    def _feed(self, data: bytes | memoryview) -> None:
        rest = None
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = memoryview(data)[upgrade.args[0] :]
        if rest is not None:
            self._decline(rest)
        if self._in_head:
            self._head += len(data)
            if self._head > LARGEST_HEAD:
                raise _TooLarge

    def _feed_in_pieces(self, data: memoryview) -> None:
        """Read on as long as no request waits for the one before it."""
        at = 0
        while at < len(data) and not self.transport.is_closing():
            if self.pipeline:
                self._keep(bytes(data[at:]))
                return
            self._feed(data[at : at + PIECE])
            at += PIECE

    def _keep(self, unread: bytes) -> None:
        self._unread = unread
        self._all.unfinished += len(unread)
        self.flow.is_held = True
        self.flow.pause_reading()
        if self._all.unfinished > MOST_UNFINISHED:
            self._close()

    def _read_on(self) -> None:
        """Read what was kept, and then again from the socket."""
        unread, self._unread = self._unread, b""
        self._all.unfinished -= len(unread)
        self.flow.is_held = False
        if self.parser is not None and unread and not self.transport.is_closing():
            self.data_received(unread)
            if not self.pipeline:
                self.flow.resume_reading()

    def _await_rest(self, size: int) -> None:
        """Count what came and is no whole head nor part of a body, and set it a time."""
        # Where something whole came with it, it is unknown how much of it is the next head.
        size = min(size, LARGEST_HEAD) if self._advanced else size
        self._stalled += size
        self._all.unfinished += size
        if self._stalled > 2 * LARGEST_HEAD or len(self.headers or ()) > MOST_HEADERS:
            self._refuse(431, TOO_LARGE)
        elif self._all.unfinished > MOST_UNFINISHED:
            self._refuse(503, "Too many requests are arriving.")
        else:
            self._expect_rest()

    def _expect_rest(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self._seconds, self._is_late)

    def _is_late(self) -> None:
        self._late = None
        if self._is_answering:  # the rest may wait in a socket that is not read meanwhile
            self._expect_rest()
        elif self._in_head:
            self._refuse(408, "The request did not arrive in time.")
        else:
            self._close()

    def _advance(self) -> None:
        """A head or a message is whole."""
        self._proceed()
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _proceed(self) -> None:
        """What came until here is no concern any more."""
        self._advanced = True
        if self._stalled:
            self._all.unfinished -= self._stalled
            self._stalled = 0

    def _decline(self, rest: memoryview) -> None:
        """Read requests once more, without their offers to upgrade.

        The parser takes what follows such a head for another protocol's; a new one does not.
        """
        while self._offers_upgrade:
            self._offers_upgrade = False
            head = self._head_without_offer()
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self.parser.feed_data(head)
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]

    def _head_without_offer(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
        for name, value in self.headers:
            kept = _without_offer(value) if name == b"connection" else value
            if name not in HOP_BY_HOP:
                lines.append(b"%s: %s" % (name, kept))
        return b"\r\n".join([*lines, b"", b""])

    @override
    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._in_head = True
        self._head = 0

    def _size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    @override
    def on_headers_complete(self) -> None:
        """A head is whole: answer it."""
        self._in_head, self._advanced = False, True
        if self._stalled or self._late is not None:
            self._advance()
        if len(self.headers) > MOST_HEADERS or (self._head and self._size() > LARGEST_HEAD):
            raise _TooLarge
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._offers_upgrade = True
            return
        self._all.idle.pop(self, None)
        super().on_headers_complete()
        self._in_body = True
        if len(self.pipeline) > self._queued:
            self._queued += 1
            self._all.pipelined += 1
            if self._all.pipelined > MOST_PIPELINED:
                raise _TooLarge

    # The next two stand for uvicorn's own, which would look for an upgrade once more: they are
    # called for each request.

    @override
    def on_body(self, body: bytes) -> None:
        """A part of a body came."""
        self._advanced = True
        if self._stalled:
            self._proceed()
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.body += body
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            cycle.message_event.set()

    @override
    def on_message_complete(self) -> None:
        """A request is whole."""
        self._in_body, self._advanced = False, True
        if self._stalled or self._late is not None:
            self._advance()
        if not self._offers_upgrade and not self.cycle.response_complete:
            self.cycle.more_body = False
            self.cycle.message_event.set()

    # Answers as they leave

    @override
    def on_response_complete(self) -> None:
        """Go on with the next request, or wait for one."""
        super().on_response_complete()
        if self._queued > len(self.pipeline):
            self._queued -= 1
            self._all.pipelined -= 1
        if self.transport.is_closing():
            self._await_reader()
        elif self._unread and not self.pipeline:
            self.loop.call_soon(self._read_on)
        elif not self._is_answering:
            self._all.idle[self] = None
            if self._in_body:  # nothing reads the rest of it
                self._expect_rest()

    @override
    def pause_writing(self) -> None:
        """The client reads more slowly than it is answered."""
        super().pause_writing()
        shared = self._all
        shared.forget_slow(self)
        shared.slow[self] = size = self.transport.get_write_buffer_size()
        shared.unsent += size
        self._await_reader()
        while shared.unsent > MOST_UNSENT and shared.slow:
            longest = next(iter(shared.slow))
            shared.forget_slow(longest)
            self.loop.call_soon(longest.transport.abort)

    @override
    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        self._all.forget_slow(self)
        if self._slow is not None and not self.transport.is_closing():
            self._slow.cancel()
            self._slow = None

    def _await_reader(self) -> None:
        """Drop a connection whose client does not read."""
        self._unsent = self.transport.get_write_buffer_size()
        if self._unsent and self._slow is None:
            self._slow = self.loop.call_later(self._seconds, self._is_slow)

    def _is_slow(self) -> None:
        self._slow = None
        left = self.transport.get_write_buffer_size()
        if left > self._unsent - LEAST_READ:
            self.transport.abort()
        else:
            self._await_reader()

    def _refuse(self, status: int, text: str) -> None:
        """Answer what cannot be read, and end the connection."""
        is_in_answer = self._is_answering and (
            self.pipeline or self.cycle.response_started or not self._in_body
        )
        if is_in_answer:  # the earlier request is answered first
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        lines = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            "content-type: text/plain; charset=utf-8",
            f"content-length: {len(text)}",
            "connection: close",
        ]
        self.transport.write("\r\n".join([*lines, "", text]).encode())
        self._close()

    def _close(self) -> None:
        self.transport.close()
        self._await_reader()


def _without_offer(connection: bytes) -> bytes:
    tokens = (token.strip() for token in connection.split(b","))
    return b", ".join(token for token in tokens if token.lower() not in HOP_BY_HOP)


def limited_config(app: Any, seconds: float, **options: Any) -> uvicorn.Config:
    """uvicorn's settings for a server that strangers reach.

    Args:
        app: the ASGI application.
        seconds: as for `LimitedProtocol`.
        options: uvicorn's, in place of these.
    """
    settings = {
        "http": partial(LimitedProtocol, seconds=seconds),
        "ws": "none",
        "access_log": False,
        "server_header": False,
        "backlog": BACKLOG,
        "timeout_keep_alive": KEEP_ALIVE,
    }
    return uvicorn.Config(app, **{**settings, **options})


class LoopServer(uvicorn.Server):
    """A server in the running event loop, which its caller starts and stops: no signal does.

    Args:
        config: as `limited_config` makes it.
        listener: bound, not listening yet.
    """

    def __init__(self, config: uvicorn.Config, listener: socket.socket) -> None:
        super().__init__(config)
        self._listener = listener
        self._task: asyncio.Task[None] | None = None

    @override
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def start(self) -> None:
        """Listen; returns when connections are taken."""
        self._task = asyncio.create_task(self.serve(sockets=[self._listener]))
        while not self.started and not self._task.done():
            await asyncio.sleep(0.002)

    async def ended(self) -> None:
        """Returns when nothing is answered any more, raises what was the cause."""
        assert self._task is not None
        await asyncio.shield(self._task)

    async def stop(self) -> None:
        """Listen no more, and answer what is in flight."""
        self.should_exit = True
        if self._task is not None:
            await self._task
