"""Serving: two listeners on one event loop, customers' and operators', and how they end."""

import contextlib
import ctypes
import math
import resource
import signal
import socket
import time
from collections.abc import Iterator
from functools import partial
from types import FrameType

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from kalecast.page import background, metrics
from kalecast.page.admission import Admission
from kalecast.page.settings import Settings
from kalecast.protocols.http1 import LimitedProtocol

BACKLOG = 16384
"""Connections that may wait to be accepted, as thousands come at once; the kernel caps it."""

KEEP_ALIVE = 75
"""Seconds for which an idle connection is kept: longer than a balancer keeps it."""

M_MMAP_THRESHOLD, LARGE = -3, 256 * 1024
"""A parameter of glibc's `mallopt`, and bytes from which on memory is the system's own."""

DRAIN_SECONDS = 5
"""Seconds that open requests get where the page is to end at once."""


async def serve(
    application: ASGIApp,
    admission: Admission,
    settings: Settings,
    listener: socket.socket,
    operators: socket.socket | None,
) -> None:
    """Serve until a signal ends it.

    SIGTERM takes readiness away first and listens for `settings.drain` seconds more, so that a
    balancer turns elsewhere before a connection is refused; SIGINT ends at once. Either way what
    is in flight is answered.
    """
    customers = _Customers(application, admission, settings)
    counters = _Server(_config(_counters, settings, lifespan="off"))
    served = background.started(counters.serve([operators]), "counters") if operators else None
    await customers.serve([listener])
    if served:
        served.remove_done_callback(background.note_end)
        counters.should_exit = True
        await served


def raise_open_files() -> None:
    """Let this process hold as many connections as the system lets it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def give_back_large_memory() -> None:
    """Let what a large body took go back to the system with it: glibc would keep it by and by."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE)


class _Server(uvicorn.Server):
    """A server that leaves signals alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Customers(uvicorn.Server):
    """The server that signals end, and with it everything."""

    def __init__(self, application: ASGIApp, admission: Admission, settings: Settings) -> None:
        super().__init__(_config(application, settings, timeout_graceful_shutdown=DRAIN_SECONDS))
        self._admission = admission
        self._settings = settings
        self._end = math.inf

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end."""
        if sig == signal.SIGTERM and self._settings.drain and not self._admission.is_ending:
            self._admission.is_ending = True
            self._end = time.monotonic() + self._settings.drain
            self.config.timeout_graceful_shutdown = math.ceil(self._settings.deadline)
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Look whether it is time to end."""
        return await super().on_tick(counter) or time.monotonic() >= self._end


async def _counters(scope: Scope, receive: Receive, send: Send) -> None:
    """The operators' application: `/metrics` and nothing else."""
    response: Response = PlainTextResponse("Expected /metrics.\n", 404)
    if scope["path"] == "/metrics":
        counters = generate_latest(metrics.REGISTRY)
        response = Response(counters, headers={"Content-Type": CONTENT_TYPE_LATEST})
    await response(scope, receive, send)


def _config(application: ASGIApp, settings: Settings, **options: object) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        loop="uvloop",
        http=partial(LimitedProtocol, seconds=settings.deadline),
        ws="none",
        log_level="warning",
        access_log=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
        server_header=False,
        **options,
    )
