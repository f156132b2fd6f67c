"""What is offered over HTTP: forecasts in both protocols, health and metadata, by path."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from kalecast.artifact.runtime import Windows
from kalecast.serving import open_inference, seldon_json
from kalecast.serving.bodies import BodyReader, json_of
from kalecast.serving.exchange import Answer, ClientGone, Receive, Request
from kalecast.serving.messages import read_json
from kalecast.serving.refusals import PREDICTIONS, Refusal, only_forecasts
from kalecast.serving.served_model import ServedModel
from kalecast.serving.service import Service

OPENAPI = Path(__file__).with_name("openapi.json")

ALIVE = ("/health/ping", "/live", "/v2/health/live")
READY = ("/health/status", "/api/v1.0/health/status", "/ready", "/v2/health/ready")
METADATA = ("/metadata", "/api/v1.0/metadata")
FORECASTS = (PREDICTIONS, "/api/v0.1/predictions", "/predict")
NOT_OFFERED = (
    "/send-feedback",
    "/api/v1.0/feedback",
    "/api/v0.1/feedback",
    "/transform-input",
    "/transform-output",
    "/route",
    "/aggregate",
)

Handler = Callable[[Request], Awaitable[Answer]]
Render = Callable[[ServedModel, Windows], bytes]
Waiting = asyncio.Future[Windows]
ForecastRequest = tuple[Any, Render]
"""Histories, and what makes the answer of their forecast."""


class Handlers:
    """Finds and holds what answers a request.

    Args:
        service: forecasts.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._most = service.configuration.max_histories
        self._body = BodyReader(service.configuration)
        self._routes: dict[str, dict[str, Handler]] = {
            **{path: {"GET": self._alive} for path in ALIVE},
            **{path: {"GET": self._ready} for path in READY},
            **{path: {"GET": self._metadata} for path in METADATA},
            **{path: {"POST": self._seldon} for path in FORECASTS},
            **{path: {"POST": self._not_offered} for path in NOT_OFFERED},
            "/v2": {"GET": self._about},
            "/seldon.json": {"GET": self._openapi},
            "/openapi.json": {"GET": self._openapi},
        }
        self._routes["/predict"]["GET"] = self._seldon

    def find(self, request: Request) -> Handler:
        """What answers a request.

        Raises:
            Refusal: there is nothing at its path, or not for its method.
        """
        path = request.path
        offered = self._routes.get(path) or self._model_route(path)
        if offered is None:
            raise Refusal(
                f"There is nothing at this path. Forecasts are answered at {PREDICTIONS}.", 404
            )
        method = "GET" if request.method == "HEAD" else request.method
        if method not in offered:
            wanted = " or ".join(offered)
            raise Refusal(
                f"Expected {wanted}, received {request.method[:20]}.", 405, allowed=tuple(offered)
            )
        return offered[method]

    def _model_route(self, path: str) -> dict[str, Handler] | None:
        """Routes of the Open Inference Protocol that name a model, and maybe its version."""
        parts = path.split("/")[1:]
        if len(parts) < 3 or parts[:2] != ["v2", "models"]:
            return None
        name, rest, version = parts[2], parts[3:], ""
        if len(rest) >= 2 and rest[0] == "versions":
            version, rest = rest[1], rest[2:]
        offered: dict[str, dict[str, Handler]] = {
            "": {"GET": self._v2_metadata},
            "ready": {"GET": self._ready},
            "infer": {"POST": self._infer},
        }
        found = offered.get("/".join(rest))
        if found:
            open_inference.check_model(self._service.model.contract, name, version)
        return found

    async def _seldon(self, request: Request) -> Answer:
        def read(body: bytes) -> ForecastRequest:
            message = seldon_json.message_of(body, request.content_type, request.query)
            sent = read_json(message, self._most)
            return sent.histories, partial(seldon_json.answer, sent.form, sent.puid)

        return await self._forecast(request, read)

    async def _infer(self, request: Request) -> Answer:
        def read(body: bytes) -> ForecastRequest:
            if b"inference-header-content-length" in request.headers:
                raise Refusal("Expected tensors as JSON, received binary ones.", 415)
            sent = open_inference.read(json_of(body), self._most)
            return sent.histories, partial(open_inference.answer, sent.id)

        return await self._forecast(request, read)

    async def _forecast(self, request: Request, read: Callable[[bytes], ForecastRequest]) -> Answer:
        """The forecast, unless the client hangs up before its turn comes.

        Raises:
            ServerOverloaded: there is no room for it.
            Refusal, HistoryError: it cannot be had.
            ClientGone: nothing was computed, or the client has gone.
        """
        with self._service.room:
            body = await self._body.read(request)
            if turn := self._service.turn(len(body)):
                await turn
            model, future, render = self._submit(request, read(body))
            del body  # thousands may wait, and what they sent is in the queue as windows now
            forecast = await self._unless_gone(request, future)
        return Answer(render(model, forecast))

    def _submit(
        self, request: Request, sent: ForecastRequest
    ) -> tuple[ServedModel, Waiting, Render]:
        histories, render = sent
        model, future = self._service.submit(histories, _timeout(request.headers))
        return model, future, render

    async def _unless_gone(self, request: Request, future: Waiting) -> Windows:
        # Where the queue is short, looking costs more than computing for a client that has gone.
        watcher = None
        if self._service.is_deep:
            watcher = asyncio.ensure_future(_cancel_when_gone(request.receive, future))
        try:
            return await future
        except asyncio.CancelledError:
            if watcher is not None and watcher.done():
                raise ClientGone from None
            raise
        finally:
            if watcher is not None:
                watcher.cancel()

    async def _not_offered(self, _: Request) -> Answer:
        raise only_forecasts()

    async def _alive(self, request: Request) -> Answer:
        if request.path == "/health/ping":
            return Answer(b"pong", kind=b"text/plain; charset=utf-8")
        return Answer(b'{"live":true}')

    async def _ready(self, request: Request) -> Answer:
        if not self._service.is_ready:
            raise Refusal("The server is not ready for new requests.", 503, 1)
        if request.path.startswith("/v2"):
            return Answer(b'{"ready":true}')
        tags = self._service.model.tags
        return Answer(
            orjson.dumps({"jsonData": {"status": "ready", **tags}, "meta": {"tags": tags}})
        )

    async def _metadata(self, _: Request) -> Answer:
        return Answer(orjson.dumps(self._service.model.metadata))

    async def _v2_metadata(self, _: Request) -> Answer:
        metadata = self._service.model.metadata
        fields = {
            key: metadata[key] for key in ("name", "versions", "platform", "inputs", "outputs")
        }
        properties = {"contract": metadata["custom"]["contract"]}
        return Answer(orjson.dumps({**fields, "properties": properties}))

    async def _about(self, _: Request) -> Answer:
        return Answer(orjson.dumps(open_inference.ABOUT))

    async def _openapi(self, _: Request) -> Answer:
        return Answer(OPENAPI.read_bytes())


async def _cancel_when_gone(receive: Receive, future: Waiting) -> None:
    """Wait for the client to hang up; the body was read, so nothing else can come."""
    await receive()
    future.cancel()


def _timeout(headers: dict[bytes, bytes]) -> float | None:
    """Seconds that the sender will wait, as Envoy and so Istio send it to the servers behind."""
    text = headers.get(b"x-envoy-expected-rq-timeout-ms", b"")
    return int(text) / 1000 if text.isdigit() and len(text) < 10 else None
