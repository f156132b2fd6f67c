"""The application: plain routes, the page's event and uploads; Gradio behind them.

What thousands request never reaches Gradio. A dictionary finds its handler, and around
each request stand only the counts: how many are in flight, how long they took.
"""

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kalecast.data.series import SeriesError
from kalecast.page import api, metrics
from kalecast.page.admission import Admission
from kalecast.page.gradio_internals import GradioQueue
from kalecast.page.gradio_protocol import CLIENT_PATHS, PAGE_PATHS, QUEUED_PATHS
from kalecast.page.outcomes import BUSY, Overloaded, Problem, TurnedAway, Unacceptable
from kalecast.page.request_bodies import LARGEST_REQUEST, check_brackets

CLOSE = (b"connection", b"close")

Check = Callable[[Scope], None]
"""Authenticates the caller, and raises `TurnedAway`."""


def allow_all(_: Scope) -> None:
    """Let every request in."""


@dataclass(frozen=True)
class Route:
    """A path that is answered here."""

    method: str
    handler: Callable[[Request], Awaitable[Response]]
    check: Check = allow_all
    refused: Callable[[Problem], Response] = api.problem_response
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
                refused = route.refused if route else api.problem_response
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
            response = api.problem_response(Problem(404, "There is no such address here."))
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
            await api.problem_response(api.problem_of(error))(scope, receive, send)


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
    response = api.problem_response(wrong)
    response.headers["Allow"] = route.method
    return response


def _refusal(check: Check, scope: Scope) -> Problem | None:
    try:
        check(scope)
    except TurnedAway as error:
        return error.problem
    return None
