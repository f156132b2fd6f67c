"""Stands in for what is behind the gateway: an HTTP server on a free port."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Received(NamedTuple):
    """A request as it came."""

    path: str
    headers: list[tuple[str, str]]
    body: bytes


class Answer(NamedTuple):
    """What is sent back."""

    body: bytes = b"{}"
    status: int = 200
    headers: dict[str, str] = {}  # noqa: RUF012 - nobody changes it


@contextmanager
def answering(answer: Callable[[Received], Answer | None]) -> Iterator[str]:
    """Answer every request, and the gateway's own at /ready; yields `host:port`.

    Args:
        answer: what to answer; None ends the connection instead.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            received = Received(self.path, self.headers.items(), body)
            sent = Answer() if self.path == "/ready" else answer(received)
            if sent is None:
                self.close_connection = True
                return
            self.send_response(sent.status)
            for name, value in {**sent.headers, "Content-Length": str(len(sent.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(sent.body if self.command != "HEAD" else b"")

        do_POST = do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
