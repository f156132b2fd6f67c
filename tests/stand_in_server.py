"""A stand-in for the model server: Seldon's protocol around a model file, in this process.

The page's tests take it instead of the real server because it starts at once, can be stopped
and started again on its port, and can be told to change its model.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from model_files import contract, seasonal_naive_bytes

from kalecast.bundle import Contract
from kalecast.runtime import Forecaster, HistoryError


class StandInServer:
    """A model server that can be stopped, started again and given another model."""

    def __init__(self, wanted: Contract | None = None, offset: float = 1.0) -> None:
        self.port = 0
        self.asked = 0
        """Forecasts asked for so far."""
        self._server: ThreadingHTTPServer | None = None
        self.serve(wanted or contract(), offset)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def serve(self, wanted: Contract, offset: float = 1.0) -> None:
        """Answer from such a model from now on."""
        self.forecaster = Forecaster(seasonal_naive_bytes(wanted, offset))

    def start(self) -> None:
        """Listen, on the same port each time."""
        owner = self

        class Handler(_Handler):
            stand_in = owner

        ThreadingHTTPServer.allow_reuse_address = True
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections until started again."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class _Handler(BaseHTTPRequestHandler):
    stand_in: StandInServer

    def do_GET(self) -> None:
        held = self.stand_in.forecaster.contract
        if self.path != "/metadata":
            self._answer(404, _failure("There is nothing here.", 404))
            return
        self._answer(200, {"name": held.name, "custom": {"contract": held.to_json()}})

    def do_POST(self) -> None:
        self.stand_in.asked += 1
        forecaster = self.stand_in.forecaster
        held = forecaster.contract
        content = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            forecast = forecaster.forecast(json.loads(content)["data"]["ndarray"])
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
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _failure(info: str, code: int) -> dict[str, Any]:
    status = {"code": code, "info": info, "reason": "BAD_REQUEST", "status": "FAILURE"}
    return {"status": status}


@contextmanager
def standing_in(wanted: Contract | None = None, offset: float = 1.0) -> Iterator[StandInServer]:
    """A stand-in that listens, stopped afterwards."""
    server = StandInServer(wanted, offset)
    server.start()
    try:
        yield server
    finally:
        server.stop()
