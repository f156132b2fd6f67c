"""Admission: how much the page takes on at a time, and until when it answers.

Whatever is beyond a bound is refused at once with a sentence: thousands who hear "in a few
seconds" are served better than thousands whose requests all fail together.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from kalecast.page import metrics
from kalecast.page.coalescing import Caller
from kalecast.page.history import shown
from kalecast.page.outcomes import Overloaded, Unacceptable
from kalecast.page.request_bodies import SMALL
from kalecast.page.settings import Settings

MOST_BODY_BYTES = 48 * 1024 * 1024
"""Bytes of bodies in memory at a time: two of the largest uploads, or 10,000 forecasts'."""
KEPT_FREE = 16 * 1024 * 1024
"""Bytes more, for small bodies alone."""


class Admission:
    """The requests that are being answered."""

    def __init__(self, settings: Settings) -> None:
        self.in_flight = 0
        self.is_ending = False
        """Whether an end was requested; the page still answers, but keeps no connection."""
        self._most = settings.most_in_flight
        self._seconds = settings.deadline
        self._body_bytes = 0
        metrics.IN_FLIGHT.set_function(lambda: self.in_flight)

    @property
    def is_full(self) -> bool:
        """Whether another request is one too many."""
        return self.in_flight >= self._most

    def caller(self, request: Request) -> Caller:
        """The client of a request, as one that waits for its answer."""
        client = request.client.host if request.client else ""
        return Caller.within(self._seconds, request.is_disconnected, client)

    @asynccontextmanager
    async def body(self, request: Request, largest: int) -> AsyncIterator[bytes]:
        """A request's body, which counts against what is in memory until the block ends.

        Raises:
            Unacceptable: it is compressed, or larger than `largest` bytes, whatever its header
                says, or did not come in time.
            Overloaded: too many bytes are in memory already.
        """
        body = _Body()
        try:
            await self._read(request, largest, body)
            yield body.whole()
        finally:
            self._body_bytes -= body.size

    async def _read(self, request: Request, largest: int, body: "_Body") -> None:
        coding = request.headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("identity", ""):
            message = f"Expected a body without Content-Encoding, received: {shown(coding)}."
            raise Unacceptable(415, message)
        try:
            async with asyncio.timeout(self._seconds):
                async for part in request.stream():
                    body.add(part)
                    self._body_bytes += len(part)
                    _check(body.size, largest)
                    # The largest of all must not keep the many small ones out.
                    most = MOST_BODY_BYTES + (KEPT_FREE if body.size <= SMALL else 0)
                    if self._body_bytes > most:
                        metrics.REFUSALS.labels("bodies").inc()
                        raise Overloaded("too many bytes of bodies")
        except TimeoutError:
            raise Unacceptable(408, f"Expected a body within {self._seconds:g} s.") from None
        except ClientDisconnect:
            raise Unacceptable(400, "Expected a whole body.") from None


class _Body:
    """What has come of a body; in few copies, as it may be large."""

    def __init__(self) -> None:
        self.size = 0
        self._parts: list[bytes] = []

    def add(self, part: bytes) -> None:
        """Add what came."""
        self.size += len(part)
        self._parts.append(part)

    def whole(self) -> bytes:
        """All of it, which is then kept by the caller alone."""
        whole = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        return whole


def _check(size: int, largest: int) -> None:
    if size > largest:
        limit = f"{largest // 2**20} MB" if largest >= 2**20 else f"{largest // 2**10} KB"
        raise Unacceptable(413, f"Expected a body of at most {limit}.")
