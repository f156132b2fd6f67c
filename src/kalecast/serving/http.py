"""HTTP: the ASGI application with both protocols' forecasts, health and metadata, and its limits.

It is called thousands of times a second, so it speaks ASGI itself: a framework's routing and
request objects would cost more than the forecast.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from secrets import token_hex
from time import perf_counter
from typing import Any

import orjson

from kalecast.artifact.runtime import Windows
from kalecast.serving import open_inference, seldon_json
from kalecast.serving.configuration import Configuration
from kalecast.serving.messages import read_json, shown
from kalecast.serving.model import ServedModel
from kalecast.serving.refusals import PREDICTIONS, Refusal, ServerOverloaded, only_forecasts
from kalecast.serving.service import Service, refusal_of

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

GATEWAY = re.compile(r"^/seldon(/[^/]+){1,2}(?=/(api|v2)(/|$))")
"""What Seldon's gateways put before a path (namespace and deployment), where they leave it."""
REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
CLIENT_GONE = 499
"""As nginx counts it: the client hung up before its answer."""
UNREAD = (408, 413)
"""Refused with a part of the body still to come: the connection is of no more use."""
REASONS = {
    500: "MICROSERVICE_INTERNAL_ERROR",
    503: "MICROSERVICE_NOT_READY",
    504: "MICROSERVICE_TIMEOUT",
}
"""Of refusals in Seldon's status format."""
LATE = "late"
"""Why a task is cancelled that waits too long for its body."""

logger = logging.getLogger("kalecast.access")


@dataclass(slots=True)
class Request:
    """What a handler needs to know of a request."""

    method: str
    path: str
    query: bytes
    headers: dict[bytes, bytes]
    receive: Callable[[], Awaitable[dict[str, Any]]]
    id: bytes


@dataclass(slots=True)
class Answer:
    """What goes back."""

    body: bytes
    status: int = 200
    kind: bytes = b"application/json"
    headers: Iterable[tuple[bytes, bytes]] = ()


class ClientGone(Exception):
    """The client does not wait for the answer any more."""


Send = Callable[[dict[str, Any]], Awaitable[None]]
Handler = Callable[[Request], Awaitable[Answer]]
Render = Callable[[ServedModel, Windows], bytes]
ForecastRequest = tuple[Any, Render]
"""Histories, and what makes the answer of their forecast."""


class HTTPApp:
    """The application: finds what answers a request, sends it, counts and logs.

    Args:
        service: forecasts.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._most = service.configuration.max_histories
        self._log = service.configuration.access_log
        self._bodies = Bodies(service.configuration)
        self._ids, self._id_prefix = count(), token_hex(4).encode()
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

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        """Answer a request."""
        started = perf_counter()
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request = Request(
            scope["method"],
            _within(scope["path"]),
            scope["query_string"],
            headers,
            receive,
            given if REQUEST_ID.fullmatch(given) else b"%s-%x" % (self._id_prefix, next(self._ids)),
        )
        try:
            answer = await self._answer(request)
        except ClientGone:
            self._finished(request, CLIENT_GONE, started)
            return
        await self._send(send, request, answer)
        self._finished(request, answer.status, started)

    async def _answer(self, request: Request) -> Answer:
        try:
            return await self._handler(request)(request)
        except ClientGone:
            raise
        except Exception as error:
            described = f"Request {request.id.decode('latin-1')} failed"
            # No name for it: its traceback has this frame, which would hold it in a cycle.
            return _refused(refusal_of(error, described), request.path.startswith("/v2"))

    async def _send(self, send: Send, request: Request, answer: Answer) -> None:
        headers = [
            (b"content-type", answer.kind),
            (b"content-length", str(len(answer.body)).encode()),
            (b"x-request-id", request.id),
            *answer.headers,
        ]
        if self._service.is_ending:
            # A kept connection would send its next request to a server that is gone.
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    def _finished(self, request: Request, code: int, started: float) -> None:
        seconds = perf_counter() - started
        self._service.metrics.answered(_protocol(request.path), code, seconds)
        # A line for each that finds no room would cost more than the refusal; they are counted.
        is_error = code >= 400 and code != 503
        if self._log == "all" or (self._log == "errors" and is_error):
            logger.info(
                "%s %s",
                request.method,
                request.path[:80],
                extra={
                    "request": request.id.decode("latin-1"),
                    "status": code,
                    "milliseconds": round(seconds * 1000, 1),
                },
            )

    # Routes

    def _handler(self, request: Request) -> Handler:
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
            raise Refusal(
                f"Expected {' or '.join(offered)}, received {request.method[:20]}.",
                405,
                {"allow": ", ".join(offered)},
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

    async def _not_offered(self, _: Request) -> Answer:
        raise only_forecasts()

    async def _alive(self, request: Request) -> Answer:
        if request.path == "/health/ping":
            return Answer(b"pong", kind=b"text/plain; charset=utf-8")
        return Answer(b'{"live":true}')

    async def _ready(self, request: Request) -> Answer:
        if not self._service.is_ready:
            raise Refusal("The server is not ready for new requests.", 503, {"retry-after": "1"})
        if request.path.startswith("/v2"):
            return Answer(b'{"ready":true}')
        tags = self._service.model.tags
        return _json({"jsonData": {"status": "ready", **tags}, "meta": {"tags": tags}})

    async def _metadata(self, _: Request) -> Answer:
        return _json(self._service.model.metadata)

    async def _v2_metadata(self, _: Request) -> Answer:
        metadata = dict(self._service.model.metadata)
        return _json({"properties": metadata.pop("custom"), **metadata})

    async def _about(self, _: Request) -> Answer:
        return _json(open_inference.ABOUT)

    async def _openapi(self, _: Request) -> Answer:
        return Answer(OPENAPI.read_bytes())

    # Forecasts

    async def _seldon(self, request: Request) -> Answer:
        def read(body: bytes) -> ForecastRequest:
            content_type = request.headers.get(b"content-type", b"").decode("latin-1")
            message = seldon_json.message_of(body, content_type, request.query)
            sent = read_json(message, self._most)
            return sent.histories, partial(seldon_json.answer, sent.form, sent.puid)

        return await self._forecast(request, read)

    async def _infer(self, request: Request) -> Answer:
        def read(body: bytes) -> ForecastRequest:
            if b"inference-header-content-length" in request.headers:
                raise Refusal("Expected tensors as JSON, received binary ones.", 415)
            histories, identifier = open_inference.read(seldon_json.json_of(body), self._most)
            return histories, partial(open_inference.answer, identifier)

        return await self._forecast(request, read)

    async def _forecast(self, request: Request, read: Callable[[bytes], ForecastRequest]) -> Answer:
        """The forecast, unless the client hangs up before its turn comes.

        Raises:
            ServerOverloaded: there is no room for it.
            Refusal, HistoryError: it cannot be had.
            ClientGone: nothing was computed, or the client has gone.
        """
        with self._service.room:
            body = await self._bodies.read(request)
            if turn := self._service.turn(len(body)):
                await turn
            model, future, render = self._submit(request, read(body))
            del body  # thousands may wait, and what they sent is in the queue as windows now
            forecast = await self._unless_gone(request, future)
        return Answer(render(model, forecast))

    def _submit(
        self, request: Request, sent: ForecastRequest
    ) -> tuple[ServedModel, asyncio.Future[Windows], Render]:
        histories, render = sent
        model, future = self._service.submit(histories, _timeout(request.headers))
        return model, future, render

    async def _unless_gone(self, request: Request, future: asyncio.Future[Windows]) -> Windows:
        # Where the queue is short, looking costs more than computing for a client that has gone.
        watcher = None
        if self._service.is_deep:
            watcher = asyncio.ensure_future(_cancel_when_gone(request, future))
        try:
            return await future
        except asyncio.CancelledError:
            if watcher is not None and watcher.done():
                raise ClientGone from None
            raise
        finally:
            if watcher is not None:
                watcher.cancel()


class Bodies:
    """Reads requests' bodies: none larger than it may be, nor all together.

    Args:
        limits: what they are.
    """

    def __init__(self, limits: Configuration) -> None:
        self._limits = limits
        self._held = 0

    async def read(self, request: Request) -> bytes:
        """A request's body, within limits whatever its header says.

        Raises:
            Refusal: it is too large or compressed, there is no room for it, or it does not
                arrive in time.
            ClientGone: the client hung up meanwhile.
        """
        self._check_head(request.headers)
        body = bytearray()
        # What `asyncio.timeout` does, at a third of its cost.
        task = asyncio.current_task()
        assert task is not None
        late = asyncio.get_running_loop().call_later(
            self._limits.request_seconds, task.cancel, LATE
        )
        try:
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                body += message["body"]
                self._held += len(message["body"])
                if len(body) > self._limits.max_body:
                    raise self._too_large()
                if self._held > self._limits.max_bodies:
                    raise ServerOverloaded
                if not message.get("more_body"):
                    return bytes(body)
        except asyncio.CancelledError as error:
            if LATE not in error.args:
                raise
            task.uncancel()
            raise Refusal("The request did not arrive in time.", 408) from None
        finally:
            late.cancel()
            self._held -= len(body)

    def _check_head(self, headers: dict[bytes, bytes]) -> None:
        coding = headers.get(b"content-encoding", b"identity").strip().lower()
        if coding not in (b"identity", b""):
            raise Refusal(
                "Expected a body as it is, without Content-Encoding, received: "
                f"{shown(coding.decode('latin-1'))}.",
                415,
                {"accept-encoding": "identity", "connection": "close"},
            )
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit() or int(declared[:20]) > self._limits.max_body:
            raise self._too_large()

    def _too_large(self) -> Refusal:
        most = self._limits.max_body
        return Refusal(f"Expected a request of at most {most} bytes, received a larger one.", 413)


def _json(content: Any) -> Answer:
    return Answer(orjson.dumps(content))


def _refused(refusal: Refusal, is_v2: bool) -> Answer:
    """A refusal as its protocol has it: Seldon's status, or the Open Inference Protocol's error."""
    headers = [(name.encode(), value.encode()) for name, value in refusal.headers.items()]
    if refusal.status in UNREAD:
        headers.append((b"connection", b"close"))
    reason = REASONS.get(refusal.status, "MICROSERVICE_BAD_DATA")
    status = {"status": 1, "info": str(refusal), "code": -1, "reason": reason}
    content = {"error": str(refusal)} if is_v2 else {"status": status}
    return Answer(orjson.dumps(content), refusal.status, headers=headers)


def _within(path: str) -> str:
    """A path without what a gateway put before it."""
    return GATEWAY.sub("", path) if path.startswith("/seldon/") else path


def _protocol(path: str) -> str:
    """What a request counts as: forecasts by their protocol, apart from the rest."""
    if path in FORECASTS:
        return "seldon"
    return "open-inference" if path.endswith("/infer") else "other"


async def _cancel_when_gone(request: Request, future: asyncio.Future[Windows]) -> None:
    """Wait for the client to hang up; the body was read, so nothing else can come."""
    await request.receive()
    future.cancel()


def _timeout(headers: dict[bytes, bytes]) -> float | None:
    """Seconds that the sender will wait, as Envoy and so Istio send it to the servers behind."""
    text = headers.get(b"x-envoy-expected-rq-timeout-ms", b"")
    return int(text) / 1000 if text.isdigit() and len(text) < 10 else None
