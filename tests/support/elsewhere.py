"""A server that should get no request; it counts those that come."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Elsewhere(ThreadingHTTPServer):
    """The server, on loopback."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Visit)
        self.visits = 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Visit(BaseHTTPRequestHandler):
    server: Elsewhere

    def do_GET(self) -> None:
        self.server.visits += 1
        self.send_error(404)

    do_HEAD = do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def listening() -> Iterator[Elsewhere]:
    """The server, ended afterwards."""
    server = Elsewhere()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
