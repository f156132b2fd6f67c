"""Building: the application put together out of its parts, and served.

Two listeners on one event loop, customers' and operators'. Gradio is imported here, which takes
seconds: `app` does it when all that it checks is right.
"""

import os

# Before Gradio is imported: it would otherwise contact two outside hosts at start.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import contextlib
import ctypes
import gc
import math
import signal
import socket
import time
from collections.abc import AsyncIterator
from functools import partial
from types import FrameType

import gradio as gr
import uvicorn
import uvloop
from fastapi import FastAPI
from starlette.types import ASGIApp

from kalecast.page import gradio_protocol, metrics
from kalecast.page.application import Admission, Application, Gradio, Route
from kalecast.page.callers import Callers
from kalecast.page.gradio_protocol import GradioQueue, guard_files
from kalecast.page.layout import CSS, HEAD, ICON, build_page, share_as, theme
from kalecast.page.model_server import ModelServer
from kalecast.page.reading import Reader
from kalecast.page.routes import Routes, event_refused, upload_refused
from kalecast.page.samples import Samples
from kalecast.page.settings import Settings
from kalecast.page.tables import LARGEST_FILE
from kalecast.protocols.counters import counters_app
from kalecast.protocols.http1 import LoopServer, limited_config
from kalecast.protocols.sockets import allow_many_connections

M_MMAP_THRESHOLD, LARGE = -3, 256 * 1024
"""A parameter of glibc's `mallopt`, and bytes from which on memory is the system's ours."""

DRAIN_SECONDS = 5
"""Seconds that open requests get where the page is to end at once."""


def run(
    settings: Settings, callers: Callers, listener: socket.socket, operators: socket.socket | None
) -> None:
    """Build the application and serve it until a signal ends it.

    Args:
        settings: of the page.
        callers: who may call it.
        listener: bound for customers.
        operators: bound for operators, where they have one.
    """
    allow_many_connections()
    give_back_large_memory()
    application, admission = build_app(settings, callers)
    # What is there now stays: looking through it for garbage would stop the page for 0.1 s. And
    # requests leave no cycles behind, but thousands of them are many objects to look through.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    print(f"Kalecast page at http://{settings.host}:{settings.port}", flush=True)
    uvloop.run(serve(application, admission, settings, listener, operators))


def build_app(settings: Settings, callers: Callers) -> tuple[Application, Admission]:
    """The application: plain routes and the page's own, Gradio's behind them."""
    server = ModelServer(settings)
    admission = Admission(settings)
    samples = Samples(settings.sample_data)
    reader = Reader()
    page, function = build_page(settings, server, reader, samples.names)
    ours = Routes(
        server, admission, reader, samples=samples, keys=settings.token_keys, function=function
    )
    program = partial(callers.program, spends=True)
    person = partial(callers.person, spends=True)
    routes = {
        "/api/forecast": Route("POST", ours.forecast, check=program),
        "/api/model": Route("GET", ours.model, check=callers.program),
        "/api/example.csv": Route("GET", ours.example),
        "/preview.png": Route("GET", ours.preview),
        "/health": Route("GET", ours.alive, is_probe=True),
        "/ready": Route("GET", ours.ready, is_probe=True),
        gradio_protocol.EVENT_PATH: Route("POST", ours.event, check=person, refused=event_refused),
        gradio_protocol.UPLOAD_PATH: Route(
            "POST", ours.upload, check=person, refused=upload_refused
        ),
        gradio_protocol.PROGRESS_PATH: Route("GET", ours.progress, check=callers.person),
    }
    guard_files(page)
    share_as(settings.public_url)
    queue = GradioQueue(page) if settings.offers_client else None
    mounted = _mounted(page, settings, server, callers, reader)
    gradio = Gradio(mounted, callers.visitor, queue)
    application = Application(routes, gradio, settings.root_path, admission)
    return application, admission


def _mounted(
    page: gr.Blocks,
    settings: Settings,
    server: ModelServer,
    callers: Callers,
    reader: Reader,
) -> FastAPI:
    """Gradio's own application around a page."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with server, callers.followed(), reader.ready():
            yield

    # The interactive documentation would load its scripts from elsewhere.
    app = FastAPI(title="Kalecast", lifespan=lifespan, openapi_url=None)
    return gr.mount_gradio_app(
        app,
        page,
        path="/",
        root_path=settings.root_path or None,
        theme=theme(),
        css_paths=[CSS],
        head=HEAD,
        favicon_path=str(ICON),
        max_file_size=LARGEST_FILE,
        show_error=False,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        pwa=False,
    )


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
    counters = None
    if operators:
        counters = LoopServer(
            _config(counters_app(metrics.REGISTRY), settings, lifespan="off"), operators
        )
        await counters.start()
    await customers.serve([listener])
    if counters:
        await counters.stop()


def give_back_large_memory() -> None:
    """Let what a large body took go back to the system with it: glibc would keep it by and by."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE)


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


def _config(application: ASGIApp, settings: Settings, **options: object) -> uvicorn.Config:
    return limited_config(
        application, settings.deadline, loop="uvloop", log_level="warning", **options
    )
