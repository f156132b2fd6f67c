"""A stand-in for the model server: Seldon's protocol around a model file, in this process.

The page's tests take it instead of the real server because it starts at once, can be stopped
and started again on its port, and can be made to change its model.
"""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from model_files import contract, seasonal_naive_bytes

from kalecast.artifact.contract import Contract
from kalecast.artifact.runtime import Forecaster, HistoryError


@dataclass
class Behaviour:
    """How forecasts are answered; as a healthy server does where nothing is changed."""

    pause: float = 0.0
    """Seconds before each answer."""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hangs_up: bool = False
    """Whether it closes the connection instead of answering."""
    refuses: Callable[[list[float | None]], bool] = lambda _: False
    """Which histories it refuses, and with them the whole request."""


class StandInServer:
    """A model server that can be stopped, started again, given another model and troubled."""

    def __init__(
        self,
        wanted: Contract | None = None,
        offset: float = 1.0,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.host, self.port = host, port
        self.behaviour = Behaviour()
        self.batches: list[int] = []
        """Histories in each request for forecasts so far."""
        self.connections: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None
        self.serve(wanted or contract(), offset)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def serve(self, wanted: Contract, offset: float = 1.0) -> None:
        """Answer from such a model from now on."""
        self.forecaster = Forecaster(seasonal_naive_bytes(wanted, offset))

    def start(self) -> None:
        """Listen, on the same port each time."""
        owner = self

        class Handler(_Handler):
            stand_in = owner

        ThreadingHTTPServer.allow_reuse_address = True
        self._server = ThreadingHTTPServer((self.host, self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Hang up, and refuse connections until started again."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    stand_in: StandInServer
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.stand_in.connections.add(self.connection)

    def finish(self) -> None:
        self.stand_in.connections.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def do_GET(self) -> None:
        held = self.stand_in.forecaster.contract
        if self.path != "/metadata":
            self._answer(404, _failure("There is nothing here.", 404))
            return
        self._answer(200, {"name": held.name, "custom": {"contract": held.to_json()}})

    def do_POST(self) -> None:
        forecaster = self.stand_in.forecaster
        held, behaviour = forecaster.contract, self.stand_in.behaviour
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/api/v1.0/predictions":
            self._answer(404, _failure("There is nothing here.", 404))
            return
        histories = json.loads(content)["data"]["ndarray"]
        self.stand_in.batches.append(len(histories))
        time.sleep(behaviour.pause)
        if behaviour.hangs_up:
            self.close_connection = True
            return
        if behaviour.status != 200:
            self._answer(behaviour.status, _failure("Trouble.", behaviour.status))
            return
        try:
            if any(map(behaviour.refuses, histories)):
                raise HistoryError("Expected another history.")
            forecast = forecaster.forecast(histories)
        except (HistoryError, KeyError, ValueError) as error:
            self._answer(400, _failure(str(error), 400))
            return
        names = [f"q{quantile:g}" for quantile in held.quantiles]
        tags = {"model_name": held.name, "model_version": held.version}
        data = {"names": names, "ndarray": forecast.tolist()}
        self._answer(200, {"data": data, "meta": {"tags": tags}})

    def _answer(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in self.stand_in.behaviour.headers.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _failure(info: str, code: int) -> dict[str, Any]:
    status = {"code": code, "info": info, "reason": "BAD_REQUEST", "status": "FAILURE"}
    return {"status": status}


@contextmanager
def standing_in(
    wanted: Contract | None = None, offset: float = 1.0, **where: Any
) -> Iterator[StandInServer]:
    """A stand-in that listens, stopped afterwards."""
    server = StandInServer(wanted, offset, **where)
    server.start()
    try:
        yield server
    finally:
        server.stop()
