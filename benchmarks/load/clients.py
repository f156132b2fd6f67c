"""Clients of the load driver: each has a connection of its own, and never sleeps on errors.

What went wrong is counted by kind, in a word: `refused`, `reset` (the connection ended before the
answer), `timeout`, `malformed`, an HTTP status such as `503`, `no file` and `no port` (this
machine's limits, not the server's fault).

HTTP libraries' clients take several hundred microseconds of CPU a request, on the cores that are
measured; a whole request that was prepared and an answer read by httptools take some fifty.
"""

import asyncio
import errno
import random
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import httptools

MalformedResponse = httptools.HttpParserError
"""What came is no HTTP/1.1 answer."""

WORTH_ANOTHER_TRY = frozenset({"refused", "reset", "503"})
"""A forecast changes nothing, so whatever was lost on the way may be sent again."""

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds before another try: they double from the first to the longest, less a random part."""

Address = tuple[str, int]


def own_address(number: int) -> str:
    """A loopback address for a client: all of 127.0.0.0/8 is this machine."""
    return f"127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


@dataclass(frozen=True, slots=True)
class Response:
    """One whole answer."""

    status: int
    body: bytes
    retry_after: float
    """Seconds that the server asks to wait."""
    closes: bool
    """Whether the connection ends with it."""


@dataclass(frozen=True, slots=True)
class RequestOutcome:
    """What a client got in the end."""

    began: float
    """On `time.monotonic`, as `ended`: uvloop's own clock stands still within a turn."""
    ended: float
    error: str = ""
    """Its kind; empty for an answer with status 200."""
    hidden: str = ""
    """Kind of the first failure that another try made good."""
    answer: Response | None = None


class Connection(asyncio.Protocol):
    """One connection, one request at a time.

    An answer whose body would end with the connection counts as lost: no server that keeps
    connections sends one.
    """

    def __init__(self) -> None:
        """Before it is connected."""
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._retry_after = 0.0
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Response] | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def send(self, request: bytes) -> Response:
        """Send a whole request, wait for the whole answer.

        Raises:
            ConnectionResetError: the connection ended first.
            MalformedResponse: what came is none.
        """
        if self._transport is None:
            raise ConnectionResetError("not connected")
        self._waiting = self._loop.create_future()
        self._transport.write(request)
        return await self._waiting

    def close(self) -> None:
        """End it; a request that waits is lost."""
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)

    # As asyncio calls it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """A part of an answer came."""
        try:
            self._parser.feed_data(data)
        except MalformedResponse as error:
            self._fail(error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self._transport = None
        self._fail(exc or ConnectionResetError("ended before the answer"))

    # As httptools calls it

    def on_message_begin(self) -> None:
        """An answer begins."""
        self._body, self._retry_after = [], 0.0

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header is complete."""
        if name.lower() == b"retry-after" and value.isdigit():
            self._retry_after = float(value)

    def on_body(self, body: bytes) -> None:
        """A piece of a body, whole or in part."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """The answer is complete; one such as 103 only announces it."""
        status = self._parser.get_status_code()
        if status >= 200 and self._waiting is not None and not self._waiting.done():
            closes = not self._parser.should_keep_alive()
            self._waiting.set_result(
                Response(status, b"".join(self._body), self._retry_after, closes)
            )


class Client:
    """Sends one request again and again, to the first of its addresses that answers.

    Args:
        request: the whole HTTP request.
        addresses: the one to try first, and those to try when it fails.
        timeout: seconds within which an answer counts, other tries included.
        retries: whether it tries again where that can help.
        trusted: for TLS; None for none.
        name: the server's, in its certificate.
        own: the address that the client comes from; None for any.
    """

    def __init__(  # noqa: PLR0913 - a client's parameters
        self,
        request: bytes,
        addresses: Sequence[Address],
        timeout: float,
        retries: bool,
        *,
        trusted: ssl.SSLContext | None = None,
        name: str | None = None,
        own: str | None = None,
    ) -> None:
        self._request = request
        self._addresses = addresses
        self._at = 0
        self._timeout = timeout
        self._retries = retries
        self._options: dict[str, Any] = {"ssl": trusted, "server_hostname": name}
        self._options["local_addr"] = (own, 0) if own else None
        self._connection: Connection | None = None
        self._is_unused = False
        """Whether the connection was opened ahead, and nothing was sent over it yet."""
        self._loop = asyncio.get_running_loop()

    async def connect(self) -> None:
        """Open the connection ahead of the first request, if that can be done in time."""
        with suppress(OSError):
            async with asyncio.timeout(self._timeout):
                await self._open()
                self._is_unused = True

    async def send(self, began: float | None = None) -> RequestOutcome:
        """Send it, and again where that can help, until there is an answer or no time is left.

        Args:
            began: when the customer pressed the button, where that was not just now.
        """
        began = time.monotonic() if began is None else began
        deadline, first_failure, pause = began + self._timeout, "", FIRST_PAUSE
        while True:
            # Servers give up connections that are not used. One that was given up in the very
            # moment in which it was used first is opened again by every client there is.
            was_unused, self._is_unused = self._is_unused, False
            error, answer = await self._try(deadline)
            retries = self._retries or (was_unused and error == "reset")
            wait = max(pause * random.random(), answer.retry_after if answer else 0.0)
            in_time = time.monotonic() + wait < deadline
            if not (retries and error in WORTH_ANOTHER_TRY and in_time):
                hidden = "" if error else first_failure
                return RequestOutcome(began, time.monotonic(), error, hidden, answer)
            first_failure = first_failure or error
            self._at = (self._at + 1) % len(self._addresses)
            self.close()
            await asyncio.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE)

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _try(self, deadline: float) -> tuple[str, Response | None]:
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                connection = self._connection
                if connection is None or not connection.is_open:
                    connection = await self._open()
                answer = await connection.send(self._request)
        except (OSError, MalformedResponse) as error:
            self.close()
            return kind_of(error), None
        if answer.closes:
            self.close()
        return ("" if answer.status == 200 else str(answer.status)), answer

    async def _open(self) -> Connection:
        host, port = self._addresses[self._at]
        _, self._connection = await self._loop.create_connection(
            Connection, host, port, **self._options
        )
        return self._connection


def kind_of(error: Exception) -> str:
    """A word for what went wrong."""
    for kind, classes in (
        ("malformed", MalformedResponse),
        ("timeout", TimeoutError),
        ("refused", ConnectionRefusedError),
        ("reset", ConnectionError),
    ):
        if isinstance(error, classes):
            return kind
    names = {errno.EMFILE: "no file", errno.ENFILE: "no file", errno.EADDRNOTAVAIL: "no port"}
    number = error.errno if isinstance(error, OSError) else None
    return names.get(number or 0, type(error).__name__)
