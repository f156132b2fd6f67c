"""gRPC's calls within limits: a client slow to send a request, or to read answers, is dropped.

gRPC bounds a single message, and neither how long it takes to arrive nor how many arrive or leave
together. So calls are taken here before their message is there, although each has only one.
"""

import asyncio
import ctypes
import os
import socket
from collections import Counter
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import grpc

from kalecast.serving.configuration import Configuration
from kalecast.serving.refusals import Refusal, ServerOverloaded

EVERY = 0.05
"""Seconds between two looks at what is arriving. Messages that are sent at once arrive between
two: what is seen twice is slow."""
FRESH = 0.01
"""Seconds for which the process's memory counts as known."""
MOST_UNSENT = 128 * 2**20
"""Bytes of memory for answers that wait to be read, all together."""
EACH_CALL, EACH_BYTE = 16 * 1024, 2
"""Bytes of memory for an answer that waits: gRPC has a copy of it."""
LATE, CROWDED = "late", "crowded"
"""Why a call is cancelled: its message takes too long, or too many do."""


class Calls:
    """The calls that are under way.

    Args:
        limits: what they are.
    """

    def __init__(self, limits: Configuration) -> None:
        self._seconds = limits.request_seconds
        self._most = limits.max_in_flight
        self._most_slow = max(limits.max_bodies // limits.max_body, 1)
        # Open from now on: there may be no file descriptor left when it is needed.
        self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._most_memory = self._resident() + limits.max_bodies
        self._arriving: dict[asyncio.Task[Any], float] = {}
        """When each began, the oldest first."""
        self._unsent: Counter[str] = Counter()
        """Memory for answers by connection."""
        self._all_unsent = 0
        self._memory = 0
        self._looked = self._measured = self._gave_back = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def message(self, context: Any) -> Any:
        """The message of a call.

        Raises:
            Refusal: it does not arrive in time, or too many are arriving.
        """
        if len(self._arriving) >= self._most_slow and self._is_full():
            raise ServerOverloaded
        loop, task = asyncio.get_running_loop(), _task()
        self._arriving[task] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(EVERY, self._look)
        try:
            message = await context.read()
        except asyncio.CancelledError as error:
            if not {LATE, CROWDED}.intersection(error.args):
                raise
            task.uncancel()
            if CROWDED in error.args:
                raise ServerOverloaded from None
            raise Refusal("The request did not arrive in time.", 504) from None
        finally:
            self._arriving.pop(task, None)
        if message is grpc.aio.EOF:
            raise Refusal("Expected a message, received none.")
        return message

    def leaves(self, context: Any, size: int) -> None:
        """The running task has an answer of so many bytes, and gRPC sends it from now on."""
        peer, memory = context.peer(), EACH_CALL + EACH_BYTE * size
        self._unsent[peer] += memory
        self._all_unsent += memory
        _task().add_done_callback(partial(self._has_left, peer, memory))
        if self._all_unsent > MOST_UNSENT:
            # gRPC cannot give up a single answer.
            ((slowest, _),) = self._unsent.most_common(1)
            _hang_up(slowest)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _resident(self) -> int:
        """Bytes of memory that this process has."""
        return int(os.pread(self._statm, 128, 0).split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def _has_left(self, peer: str, memory: int, _: "asyncio.Task[Any]") -> None:
        self._all_unsent -= memory
        self._unsent[peer] -= memory
        if not self._unsent[peer]:
            del self._unsent[peer]

    def _look(self) -> None:
        """Drop what is late, and of what is slow the oldest where it is too much."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        slow = [task for task, since in self._arriving.items() if since <= self._looked]
        surplus = len(slow) - self._most_slow if self._is_full() else 0
        for at, task in enumerate(slow):
            is_late = self._arriving[task] < now - self._seconds
            if is_late or at < surplus:
                del self._arriving[task]
                task.cancel(LATE if is_late else CROWDED)
        self._looked = now
        self._timer = loop.call_later(EVERY, self._look) if self._arriving else None

    def _is_full(self) -> bool:
        """Whether messages should come no faster than they are read.

        gRPC does not say what has come of them: only the process's memory does.
        """
        now = asyncio.get_running_loop().time()
        if now > self._measured + FRESH:
            self._measured, self._memory = now, self._resident()
            if self._memory > self._most_memory and now > self._gave_back + 1:
                self._gave_back = now
                asyncio.get_running_loop().run_in_executor(None, _give_back)
        return self._memory > self._most_memory or len(self._arriving) >= self._most


def _task() -> "asyncio.Task[Any]":
    task = asyncio.current_task()
    assert task is not None
    return task


def _give_back() -> None:
    """Give the system the memory that gRPC has freed in small pieces, which glibc would keep."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def _hang_up(peer: str) -> None:
    """Close the connection to a peer, as gRPC names it: `ipv4:127.0.0.1:50000`."""
    address, _, port = unquote(peer).partition(":")[2].rpartition(":")
    wanted = (_plain(address.strip("[]")), port)
    with suppress(OSError):  # no file descriptor is left: the next answer tries again
        for file in Path("/proc/self/fd").iterdir():
            if file.is_socket():
                _hang_up_on(int(file.name), wanted)


def _hang_up_on(descriptor: int, wanted: tuple[IPv4Address | IPv6Address, str]) -> None:
    # It may be gone by now, or is a socket that listens.
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection:
        found = connection.getpeername()
        if found and (_plain(found[0]), str(found[1])) == wanted:
            connection.shutdown(socket.SHUT_RDWR)


def _plain(address: str) -> IPv4Address | IPv6Address:
    """An address as IPv4 where it is one inside of IPv6."""
    found = ip_address(address)
    return getattr(found, "ipv4_mapped", None) or found
