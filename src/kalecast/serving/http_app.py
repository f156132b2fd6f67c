"""The ASGI application: finds what answers a request, sends it, counts and logs.

It is called thousands of times a second, so it speaks ASGI itself: a framework's routing and
request objects would cost more than the forecast.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from itertools import count
from secrets import token_hex
from time import perf_counter
from typing import Any

from kalecast.artifact.runtime import HistoryError
from kalecast.serving.exchange import Answer, ClientGone, Receive, Request, refused
from kalecast.serving.handlers import FORECASTS, Handlers
from kalecast.serving.refusals import Failed, Refusal
from kalecast.serving.service import Service

Send = Callable[[dict[str, Any]], Awaitable[None]]

GATEWAY = re.compile(r"^/seldon(/[^/]+){1,2}(?=/(api|v2)(/|$))")
"""What Seldon's gateways put before a path (namespace and deployment), where they leave it."""
REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
CLIENT_GONE = 499
"""As nginx counts it: the client hung up before its answer."""

logger = logging.getLogger("kalecast.access")


class HTTPApp:
    """The application.

    Args:
        service: forecasts.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._handlers = Handlers(service)
        self._log = service.configuration.access_log
        self._ids, self._id_prefix = count(), token_hex(4).encode()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
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
            given if REQUEST_ID.fullmatch(given) else self._next_id(),
        )
        try:
            answer = await self._answer(request)
        except ClientGone:
            self._finished(request, CLIENT_GONE, started)
            return
        await self._send(send, request, answer)
        self._finished(request, answer.status, started)

    async def _answer(self, request: Request) -> Answer:
        is_v2 = request.path.startswith("/v2")
        try:
            handler = self._handlers.find(request)
            return await handler(request)
        except Refusal as refusal:
            return refused(refusal, is_v2)
        except HistoryError as error:
            return refused(Refusal(str(error)), is_v2)
        except (ClientGone, asyncio.CancelledError):
            raise
        except Exception:  # whatever it is, the log has it and the sender gets a status
            logger.exception("Request %s failed", request.id.decode("latin-1"))
            return refused(Failed(), is_v2)

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

    def _next_id(self) -> bytes:
        return b"%s-%x" % (self._id_prefix, next(self._ids))


def _within(path: str) -> str:
    """A path without what a gateway put before it."""
    return GATEWAY.sub("", path) if path.startswith("/seldon/") else path


def _protocol(path: str) -> str:
    """What a request counts as: forecasts by their protocol, apart from the rest."""
    if path in FORECASTS:
        return "seldon"
    return "open-inference" if path.endswith("/infer") else "other"
