"""An HTTP server in the running event loop: uvicorn, started and stopped by hand."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from functools import partial
from typing import Any

import uvicorn

from kalecast.protocols.http1 import LimitedProtocol
from kalecast.serving.configuration import Configuration


class HTTPServer:
    """One ASGI application on one listening socket.

    Args:
        app: the application.
        listener: bound, not listening yet.
        configuration: the limits.
    """

    def __init__(self, app: Any, listener: socket.socket, configuration: Configuration) -> None:
        self._listener = listener
        self._server = _SilentServer(
            uvicorn.Config(
                app,
                loop="none",
                http=partial(LimitedProtocol, seconds=configuration.request_seconds),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=configuration.backlog,
                timeout_keep_alive=round(configuration.keep_alive_seconds),
                timeout_graceful_shutdown=round(configuration.grace_seconds),
            )
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen; returns when connections are taken."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        while not self._server.started and not self._task.done():
            await asyncio.sleep(0.002)

    async def ended(self) -> None:
        """Returns when nothing is answered any more, raises what was the cause."""
        assert self._task is not None
        await asyncio.shield(self._task)

    async def stop(self) -> None:
        """Listen no more, and answer what is in flight."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task


class _SilentServer(uvicorn.Server):
    """Leaves signals to its caller."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield
