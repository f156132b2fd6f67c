"""The application: plain routes, the page's event and uploads; Gradio behind them.

What thousands request never reaches Gradio. A dictionary finds its handler, and around
each request stand only the counts: how many are in flight, how long they took. Whatever is beyond a
bound is refused at once with a sentence: thousands who hear "in a few seconds" are served better
than thousands whose requests all fail together.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kalecast.data.series import SeriesError
from kalecast.page import metrics
from kalecast.page.gradio_protocol import CLIENT_PATHS, PAGE_PATHS, QUEUED_PATHS, GradioQueue
from kalecast.page.history import shown
from kalecast.page.model_server import Caller
from kalecast.page.outcomes import (
    BUSY,
    FAULT,
    Outcome,
    Overloaded,
    Problem,
    TurnedAway,
    Unacceptable,
)
from kalecast.page.request_bodies import LARGEST_REQUEST, SMALL, check_brackets
from kalecast.page.settings import Settings

CLOSE = (b"connection", b"close")

MOST_BODY_BYTES = 48 * 1024 * 1024
"""Bytes of bodies in memory at a time: two of the largest uploads, or 10,000 forecasts'."""
KEPT_FREE = 16 * 1024 * 1024
"""Bytes more, for small bodies alone."""

Check = Callable[[Scope], None]
"""Authenticates the caller, and raises `TurnedAway`."""


def problem_of(error: Exception) -> Problem:
    """An error as a customer sees it."""
    if isinstance(error, Outcome):
        return error.problem
    return Problem(400, str(error)) if isinstance(error, SeriesError) else Problem(500, FAULT)


def json_response(
    content: Any, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Anything as JSON."""
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


def problem_response(problem: Problem) -> Response:
    """A problem as JSON."""
    return json_response({"detail": problem.text}, problem.status, problem.headers)


def allow_all(_: Scope) -> None:
    """Let every request in."""


@dataclass(frozen=True)
class Route:
    """A path that is answered here."""

    method: str
    handler: Callable[[Request], Awaitable[Response]]
    check: Check = allow_all
    refused: Callable[[Problem], Response] = problem_response
    """The answer to a caller who may not, and where there is too much to do."""
    is_probe: bool = False
    """Whether it is answered even there."""


@dataclass(frozen=True)
class Gradio:
    """What answers the rest that there is."""

    answer: ASGIApp
    check: Check
    """Of its caller."""
    queue: GradioQueue | None
    """Where its own client may forecast."""


class Admission:
    """The requests that are being answered."""

    def __init__(self, settings: Settings) -> None:
        self.in_flight = 0
        self.is_ending = False
        """Whether an end was requested; the page still answers, but keeps no connection."""
        self._most = settings.most_in_flight
        self._seconds = settings.deadline
        self._body_bytes = 0
        metrics.IN_FLIGHT.set_function(lambda: self.in_flight)

    @property
    def is_full(self) -> bool:
        """Whether another request is one too many."""
        return self.in_flight >= self._most

    def caller(self, request: Request) -> Caller:
        """The client of a request, as one that waits for its answer."""
        client = request.client.host if request.client else ""
        return Caller.within(self._seconds, request.is_disconnected, client)

    @asynccontextmanager
    async def body(self, request: Request, largest: int) -> AsyncIterator[bytes]:
        """A request's body, which counts against what is in memory until the block ends.

        Raises:
            Unacceptable: it is compressed, or larger than `largest` bytes, whatever its header
                says, or did not come in time.
            Overloaded: too many bytes are in memory already.
        """
        coding = request.headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("identity", ""):
            message = f"Expected a body without Content-Encoding, received: {shown(coding)}."
            raise Unacceptable(415, message)
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._seconds):
                async for part in request.stream():
                    parts.append(part)
                    size += len(part)
                    self._body_bytes += len(part)
                    self._check(size, largest)
            # In few copies, as it may be large.
            whole = parts[0] if len(parts) == 1 else b"".join(parts)
            parts.clear()
        except TimeoutError:
            raise Unacceptable(408, f"Expected a body within {self._seconds:g} s.") from None
        except ClientDisconnect:
            raise Unacceptable(400, "Expected a whole body.") from None
        else:
            yield whole
        finally:
            self._body_bytes -= size

    def _check(self, size: int, largest: int) -> None:
        if size > largest:
            limit = f"{largest // 2**20} MB" if largest >= 2**20 else f"{largest // 2**10} KB"
            raise Unacceptable(413, f"Expected a body of at most {limit}.")
        # The largest of all must not keep the many small ones out.
        if self._body_bytes > MOST_BODY_BYTES + (KEPT_FREE if size <= SMALL else 0):
            metrics.REFUSALS.labels("bodies").inc()
            raise Overloaded("too many bytes of bodies")


class Application:
    """The ASGI application.

    Args:
        routes: what is answered here, by path.
        gradio: what answers the rest.
        root: the path below which all is, empty for none.
        admission: how much is taken on.
    """

    def __init__(
        self,
        routes: Mapping[str, Route],
        gradio: Gradio,
        root: str,
        admission: Admission,
    ) -> None:
        self._root = root
        self._routes = routes
        self._gradio = gradio
        self._gradios = re.compile(f"{PAGE_PATHS}|{CLIENT_PATHS}" if gradio.queue else PAGE_PATHS)
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self._gradio.answer(scope, receive, send)
            return
        if self._root:
            scope = _below(self._root, scope)
        route = self._routes.get(scope["path"])
        start, status = time.perf_counter(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self._admission.is_ending:
                    message = {**message, "headers": [*message["headers"], CLOSE]}
            await send(message)

        try:
            if self._admission.is_full and not (route and route.is_probe):
                metrics.REFUSALS.labels("in flight").inc()
                scope[metrics.STATUS] = 503
                refused = route.refused if route else problem_response
                await refused(BUSY)(scope, receive, noting)
                return
            self._admission.in_flight += 1
            try:
                await self._answer(route, scope, receive, noting)
            finally:
                self._admission.in_flight -= 1
        finally:
            label = scope["path"] if route else "gradio"
            metrics.REQUESTS.labels(label, str(scope.get(metrics.STATUS, status))).inc()
            metrics.SECONDS.labels(label).observe(time.perf_counter() - start)

    async def _answer(
        self, route: Route | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if route is not None:
            response = await _routed(route, Request(scope, receive))
        elif self._root and scope["path"] == self._root:
            response = RedirectResponse(f"{self._root}/")
        elif not self._gradios.fullmatch(scope["path"]):
            response = problem_response(Problem(404, "There is no such address here."))
        elif problem := _refusal(self._gradio.check, scope):
            response = PlainTextResponse(problem.text, problem.status, problem.headers)
        elif scope["method"] in ("GET", "HEAD"):  # of which Gradio reads no body
            await self._gradio.answer(scope, receive, send)
            return
        else:
            await self._pass_on(scope, receive, send)
            return
        await response(scope, receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let Gradio answer a request whose body is within bounds."""
        try:
            async with self._admission.body(Request(scope, receive), LARGEST_REQUEST) as body:
                check_brackets(body)
                queue = self._gradio.queue
                if queue and QUEUED_PATHS.match(scope["path"]) and queue.is_full():
                    metrics.REFUSALS.labels("Gradio's queue").inc()
                    raise Overloaded("too many events in Gradio's queue")
                await self._gradio.answer(scope, _replayed(body, receive), send)
        except (SeriesError, Unacceptable, Overloaded) as error:
            await problem_response(problem_of(error))(scope, receive, send)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The messages of a request whose body has been read."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


def _below(root: str, scope: Scope) -> Scope:
    """A request without the path that the page is below; a proxy may have taken it away itself."""
    if not scope["path"].startswith(root + "/"):
        return scope
    raw = scope["raw_path"].removeprefix(root.encode("ascii"))
    return {**scope, "path": scope["path"].removeprefix(root), "raw_path": raw}


async def _routed(route: Route, request: Request) -> Response:
    # A HEAD is a GET whose body the server leaves out.
    if request.method == route.method or (request.method, route.method) == ("HEAD", "GET"):
        if problem := _refusal(route.check, request.scope):
            request.scope[metrics.STATUS] = problem.status
            return route.refused(problem)
        return await route.handler(request)
    wrong = Problem(405, f"Expected {route.method}, received {request.method[:20]}.")
    response = problem_response(wrong)
    response.headers["Allow"] = route.method
    return response


def _refusal(check: Check, scope: Scope) -> Problem | None:
    try:
        check(scope)
    except TurnedAway as error:
        return error.problem
    return None
