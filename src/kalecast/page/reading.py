"""Reading: what customers send that is large is read in processes of its own.

One process waits with all libraries loaded and forks a child for each file or body, which costs
a few milliseconds. So each has a limit of memory and a deadline of its own, what it took is given
back when it ends, and nothing of one customer's is there when the next one's is read. `Lane`s
bound how many there are at a time: together with the page they stay below its pod's memory,
before whose limit the kernel would end the page as well.
"""

import asyncio
import contextlib
import logging
import os
import socket
import sys
import time
from asyncio.subprocess import Process
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from kalecast.data.series import SeriesError
from kalecast.page import background, metrics, reader_messages
from kalecast.page.history import History
from kalecast.page.model_server import Caller
from kalecast.page.outcomes import Overloaded
from kalecast.page.reader_process import ReadJob
from kalecast.page.request_bodies import SMALL, Body, forecast_request

logger = logging.getLogger(__name__)

PROGRAM = "kalecast.page.reader_process"

SECRET_PREFIXES = ("AWS_", "KALECAST_")
"""Variables of the environment that a reader has no use for."""
ONE_THREAD = {
    **{f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "ARROW_IO")},
    # Arrow's own allocators would reserve a gigabyte, which counts.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}

START_SECONDS = 10.0
"""Until a process has loaded its libraries, on a busy machine."""
PAUSE_SECONDS = 1.0
"""Before another one is started for one that ended."""

GAVE_UP = (
    "This takes more memory or time to read than there is here. Please send less of it, such as "
    "the newest rows."
)


@dataclass(frozen=True)
class Lane:
    """Bounds of what is read beside each other."""

    at_once: int
    memory: int
    """Bytes that each may take."""
    processor_seconds: int
    """That each may compute."""
    seconds: float
    """Within which each must be read, however busy the machine is."""


SHORT = Lane(4, 32 * 2**20, 3, 10.0)
"""For pasted text, tokens, and files up to `SHORT_FILE` bytes: tenths of a second."""
SHORT_FILE = 1024 * 1024
LONG = Lane(1, 208 * 2**20, 12, 30.0)
"""For larger ones: 20 MB take 2 to 4 s."""


class FairQueue:
    """Who may read next: one of each client that waits in turn, so that none waits for many."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @contextlib.asynccontextmanager
    async def turn(self, caller: Caller) -> AsyncIterator[None]:
        """A turn for a caller.

        Raises:
            Overloaded: there was none in time.
        """
        if self._free:
            self._free -= 1
        else:
            await self._wait(caller)
        try:
            yield
        finally:
            self._give()

    async def _wait(self, caller: Caller) -> None:
        given = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller.client, deque()).append(given)
        try:
            async with asyncio.timeout(caller.deadline - time.monotonic()):
                await asyncio.shield(given)
        except BaseException as error:
            if not given.cancel():  # it was given in the same moment
                self._give()
            if not isinstance(error, TimeoutError):
                raise
            metrics.REFUSALS.labels("reader busy").inc()
            raise Overloaded("too many others are being read") from None

    def _give(self) -> None:
        while self._waiting:
            client, waiting = self._waiting.popitem(last=False)
            given = waiting.popleft()
            if waiting:
                self._waiting[client] = waiting
            if not given.done():
                given.set_result(None)
                return
        self._free += 1


class Reader:
    """The process that waits, and those that read."""

    def __init__(self) -> None:
        self._turns = {lane: FairQueue(lane.at_once) for lane in (SHORT, LONG)}
        self._control: socket.socket | None = None
        self._process: Process | None = None

    @contextlib.asynccontextmanager
    async def ready(self) -> AsyncIterator[None]:
        """Keep a process waiting while the block runs."""
        await self._start()
        keeping = background.started(self._keep(), "reader")
        try:
            yield
        finally:
            keeping.cancel()
            if self._control:
                self._control.close()  # at which it ends, and its children with it

    async def forecast_request(self, body: Body, caller: Caller) -> tuple[History, int | None]:
        """What a program requests: as `request_bodies.forecast_request`, here if it is small."""
        if len(body) <= SMALL:
            return forecast_request(body)
        return await self.read(SHORT, caller, forecast_request, body)

    async def read[Answer](
        self, lane: Lane, caller: Caller, function: Callable[..., Answer], body: Body, *args: Any
    ) -> Answer:
        """What a function makes of a body, in a process of its own.

        Args:
            lane: bounds of its memory and time.
            caller: who waits for it.
            function: of a module, which `reader_process` loads.
            body: its first argument.
            args: further ones.

        Raises:
            SeriesError, Unacceptable: the function did.
            SeriesError: it took too much memory or time.
            Overloaded: too many others are being read.
        """
        async with self._turns[lane].turn(caller):
            bounds = lane.memory, lane.seconds, lane.processor_seconds
            named = function.__module__, function.__name__
            job = ReadJob(*bounds, *named, args, len(body)).line()
            try:
                async with asyncio.timeout(lane.seconds + START_SECONDS):
                    answer = await self._answer(job, body)
            except TimeoutError:  # a child would have ended before: none is forked
                if self._process:
                    self._process.kill()
                answer = SeriesError(GAVE_UP)
            except (OSError, EOFError, ValueError):
                metrics.REFUSALS.labels("reader").inc()
                answer = SeriesError(GAVE_UP)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    async def _answer(self, job: bytes, body: Body) -> Any:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours:
            ours.setblocking(False)
            with theirs:
                if self._control is None:
                    raise EOFError
                socket.send_fds(self._control, [b"j"], [theirs.fileno()])
            await loop.sock_sendall(ours, job)
            await loop.sock_sendall(ours, body)
            received = bytearray()
            while part := await loop.sock_recv(ours, 256 * 1024):
                received += part
        if not received:
            raise EOFError
        return reader_messages.loads(received)

    async def _keep(self) -> None:
        """Start another process for each that ends, for ever."""
        while True:
            if self._process:
                status = await self._process.wait()
                logger.error("The process that reads files ended with %s; another starts.", status)
                metrics.READERS_ENDED.inc()
            await asyncio.sleep(PAUSE_SECONDS)
            try:
                await self._start()
            except OSError as error:
                self._process = None
                logger.error("No process that reads files can be started: %s", error)

    async def _start(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(SECRET_PREFIXES)}
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", PROGRAM, stdin=theirs.fileno(), env=kept | ONE_THREAD
            )
        if self._control:
            self._control.close()
        self._control = ours
