"""The forecast page and its HTTP API.

    python gradio_app/app.py

README.md beside this file lists the environment variables.
"""

import os

# Before Gradio is imported: it would otherwise contact two outside hosts at start.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import contextlib
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from settings import Settings, SettingsError

if TYPE_CHECKING:
    from fastapi import FastAPI

BACKLOG = 4096
"""Connections that may wait: thousands come at once."""

LAST_WORDS = 5
"""Seconds that open requests get when the page is ended."""


def build_app(settings: Settings) -> "FastAPI":
    """The application: plain routes, and the page mounted beside them."""
    import gradio as gr
    from api import add_routes
    from fastapi import FastAPI
    from forecast_client import ModelServer
    from page import build_page
    from tables import LARGEST_FILE
    from theme import CSS, HEAD, ICON, theme
    from uploads import guard_uploads

    server = ModelServer(settings.model_server)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with server:
            yield

    # The interactive documentation would load its scripts from elsewhere.
    app = FastAPI(title="Kalecast", lifespan=lifespan, openapi_url=None)
    add_routes(app, server)
    page = build_page(settings, server)
    gr.mount_gradio_app(
        app,
        page,
        path="/",
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
    guard_uploads(page)
    return app


def main() -> int:
    """Serve until told to end; the exit code says how it went."""
    # uvicorn repeats a signal that ended it: these make it, and one during the start, a clean end.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    try:
        settings = Settings.from_environment()
        listener = _bind(settings)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    import uvicorn

    config = uvicorn.Config(
        build_app(settings),
        log_level="warning",
        access_log=False,
        backlog=BACKLOG,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=LAST_WORDS,
        server_header=False,
    )
    print(f"Kalecast page at http://{settings.host}:{settings.port}", flush=True)
    uvicorn.Server(config).run(sockets=[listener])
    return 0


def _bind(settings: Settings) -> socket.socket:
    """The page's address, taken before the slow imports, so that a used port says so at once.

    Raises:
        SettingsError: it cannot be had.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        raise SettingsError(
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}. "
            "Choose another port with KALECAST_PAGE_PORT."
        ) from error
    return listener


if __name__ == "__main__":
    sys.exit(main())
