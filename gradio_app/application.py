"""The application: plain routes, the page's event and uploads; Gradio behind them.

What is asked for by thousands never reaches Gradio. A dictionary finds its handler, and around
each request stand only the counts: how many are in flight, how long they took.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import api
import metrics
from admission import Admission
from outcomes import Problem
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CLOSE = (b"connection", b"close")


@dataclass(frozen=True)
class Route:
    """A path that is answered here."""

    method: str
    handler: Callable[[Request], Awaitable[Response]]
    busy: Callable[[], Response] = api.busy
    """The answer where there is too much to do."""
    is_probe: bool = False
    """Whether it is answered even then."""


class Application:
    """The ASGI application."""

    def __init__(self, routes: Mapping[str, Route], gradio: ASGIApp, admission: Admission) -> None:
        self._routes = routes
        self._gradio = gradio
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self._gradio(scope, receive, send)
            return
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
                scope[metrics.TOLD] = 503
                await (route.busy if route else api.busy)()(scope, receive, noting)
                return
            self._admission.in_flight += 1
            try:
                await self._answer(route, scope, receive, noting)
            finally:
                self._admission.in_flight -= 1
        finally:
            label = scope["path"] if route else "gradio"
            metrics.REQUESTS.labels(label, str(scope.get(metrics.TOLD, status))).inc()
            metrics.SECONDS.labels(label).observe(time.perf_counter() - start)

    async def _answer(
        self, route: Route | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if route is not None:
            response = await _by_method(route, Request(scope, receive))
        elif scope["path"].startswith("/api/") or scope["path"] == "/metrics":
            # Gradio would answer with a page.
            response = api.told(Problem(404, "There is no such address here."))
        else:
            await self._gradio(scope, receive, send)
            return
        await response(scope, receive, send)


async def _by_method(route: Route, request: Request) -> Response:
    # A HEAD is a GET whose body the server leaves out.
    if request.method == route.method or (request.method, route.method) == ("HEAD", "GET"):
        return await route.handler(request)
    wrong = Problem(405, f"Expected {route.method}, received {request.method[:20]}.")
    response = api.told(wrong)
    response.headers["Allow"] = route.method
    return response
