"""Building: the application put together out of its parts, and served.

Gradio is imported here, which takes seconds: `app` does it when all that it checks is right.
"""

import os

# Before Gradio is imported: it would otherwise contact two outside hosts at start.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import contextlib
import gc
import socket
from collections.abc import AsyncIterator

import gradio as gr
import uvloop
from fastapi import FastAPI

from kalecast.page import gradio_protocol, page_event, uploads
from kalecast.page.admission import Admission
from kalecast.page.api import PlainRoutes
from kalecast.page.application import Application, Gradio, Route
from kalecast.page.callers import Callers
from kalecast.page.forecast_client import ModelServer
from kalecast.page.gradio_internals import GradioQueue, guard_files
from kalecast.page.layout import build_page
from kalecast.page.listeners import give_back_large_memory, raise_open_files, serve
from kalecast.page.reading import Reader
from kalecast.page.samples import Samples
from kalecast.page.settings import Settings
from kalecast.page.tables import LARGEST_FILE
from kalecast.page.theme import CSS, HEAD, ICON, share_as, theme


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
    raise_open_files()
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
    reader, keys = Reader(), settings.token_keys
    page, function = build_page(settings, server, reader, samples.names)
    plain = PlainRoutes(server, admission, reader)
    files = uploads.Uploads(server, admission, reader, keys)
    event = page_event.PageEvent(server, samples, reader, keys, function)
    shown = page_event.PageRoute(event, admission)
    routes = {
        "/api/forecast": Route("POST", plain.forecast, check=callers.check_program),
        "/api/model": Route("GET", plain.model, check=callers.program),
        "/api/example.csv": Route("GET", plain.example),
        "/preview.png": Route("GET", plain.preview),
        "/health": Route("GET", plain.alive, is_probe=True),
        "/ready": Route("GET", plain.ready, is_probe=True),
        gradio_protocol.EVENT_PATH: Route(
            "POST", shown, check=callers.check_person, refused=page_event.refused
        ),
        gradio_protocol.UPLOAD_PATH: Route(
            "POST", files.upload, check=callers.check_person, refused=uploads.refused
        ),
        gradio_protocol.PROGRESS_PATH: Route("GET", files.progress, check=callers.person),
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
