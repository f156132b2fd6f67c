"""The forecast page and its HTTP API.

    kalecast page

gradio_app/README.md lists the environment variables.
"""

import os

# Before Gradio is imported: it would otherwise contact two outside hosts at start.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import contextlib
import gc
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from kalecast.page.customers import CustomersError
from kalecast.page.settings import Settings
from kalecast.settings import SettingsError

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI

    from kalecast.page.admission import Admission
    from kalecast.page.application import Application
    from kalecast.page.callers import Callers
    from kalecast.page.forecast_client import ModelServer
    from kalecast.page.reading import Reader


def build_app(settings: Settings, callers: "Callers") -> "tuple[Application, Admission]":
    """The application: plain routes and the page's own, Gradio's behind them."""
    from kalecast.page import gradio_protocol, page_event, uploads
    from kalecast.page.admission import Admission
    from kalecast.page.api import PlainRoutes
    from kalecast.page.application import Application, Gradio, Route
    from kalecast.page.forecast_client import ModelServer
    from kalecast.page.gradio_internals import GradioQueue, guard_files
    from kalecast.page.layout import build_page
    from kalecast.page.reading import Reader
    from kalecast.page.samples import Samples
    from kalecast.page.theme import share_as

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
            "POST",
            shown,
            page_event.busy,
            check=callers.check_person,
            refused=page_event.refused,
        ),
        gradio_protocol.UPLOAD_PATH: Route(
            "POST", files.upload, uploads.busy, check=callers.check_person, refused=uploads.refused
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
    page: "gr.Blocks",
    settings: Settings,
    server: "ModelServer",
    callers: "Callers",
    reader: "Reader",
) -> "FastAPI":
    """Gradio's own application around a page."""
    import gradio as gr
    from fastapi import FastAPI

    from kalecast.page.tables import LARGEST_FILE
    from kalecast.page.theme import CSS, HEAD, ICON, theme

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


def main() -> int:
    """Serve until a signal ends it; the exit code says how it went."""
    # uvicorn repeats a signal that ended it: these make it, and one during the start, a clean end.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    try:
        _serve(Settings())
    except (SettingsError, CustomersError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _serve(settings: Settings) -> None:
    listener = _bind(settings.host, settings.port, "KALECAST_PAGE_PORT")
    operators = None
    if settings.metrics_port:
        operators = _bind(settings.host, settings.metrics_port, "KALECAST_METRICS_PORT")
    from kalecast.page.callers import Callers

    callers = Callers(settings)  # it, too, says at once what is wrong with its file
    import uvloop

    from kalecast.page.listeners import give_back_large_memory, raise_open_files, serve

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


def _bind(host: str, port: int, setting: str) -> socket.socket:
    """An address, taken before the slow imports, so that a used port says so at once.

    Raises:
        SettingsError: it cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise SettingsError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Choose another port with {setting}."
        ) from error
    return listener


if __name__ == "__main__":
    sys.exit(main())
