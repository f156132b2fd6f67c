"""The application: plain routes, the page's event and uploads; Gradio behind them.

What is asked for by thousands never reaches Gradio. A dictionary finds its handler, and around
each request stand only the counts: how many are in flight, how long they took.
"""

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import api
import metrics
from admission import Admission
from outcomes import Problem, TurnedAway
from settings import Settings
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Of Gradio's addresses, which are many and more with each release, those that are needed: by the
# page in a browser, and by Gradio's client for programs.
PAGE = r"/(?:config|theme\.css|favicon\.ico|(?:assets|static)/.+)?"
CLIENT = r"/gradio_api/(?:info|queue/(?:join|data)|(?:run|call)/[\w/-]+)"

CLOSE = (b"connection", b"close")

Check = Callable[[Scope], None]
"""Looks at who asks, and raises `TurnedAway`."""


def anybody(_: Scope) -> None:
    """Let everybody ask."""


@dataclass(frozen=True)
class Route:
    """A path that is answered here."""

    method: str
    handler: Callable[[Request], Awaitable[Response]]
    busy: Callable[[], Response] = api.busy
    """The answer where there is too much to do."""
    check: Check = anybody
    refused: Callable[[Problem], Response] = api.told
    """The answer to who may not ask."""
    is_probe: bool = False
    """Whether it is answered even then."""


class Application:
    """The ASGI application.

    Args:
        routes: what is answered here, by path.
        gradio: what answers the rest that there is.
        settings: among them whether Gradio's own client may forecast, and below which path.
        check: of who asks Gradio.
        admission: how much is taken on.
    """

    def __init__(
        self,
        routes: Mapping[str, Route],
        gradio: ASGIApp,
        settings: Settings,
        check: Check,
        admission: Admission,
    ) -> None:
        self._root = settings.root_path
        self._routes = routes
        self._gradio = gradio
        self._gradios = re.compile(f"{PAGE}|{CLIENT}" if settings.offers_client else PAGE)
        self._check = check
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self._gradio(scope, receive, send)
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
            response = await _routed(route, Request(scope, receive))
        elif self._root and scope["path"] == self._root:
            response = RedirectResponse(f"{self._root}/")
        elif not self._gradios.fullmatch(scope["path"]):
            response = api.told(Problem(404, "There is no such address here."))
        elif problem := _refusal(self._check, scope):
            response = PlainTextResponse(problem.text, problem.status, problem.headers)
        else:
            await self._gradio(scope, receive, send)
            return
        await response(scope, receive, send)


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
            request.scope[metrics.TOLD] = problem.status
            return route.refused(problem)
        return await route.handler(request)
    wrong = Problem(405, f"Expected {route.method}, received {request.method[:20]}.")
    response = api.told(wrong)
    response.headers["Allow"] = route.method
    return response


def _refusal(check: Check, scope: Scope) -> Problem | None:
    try:
        check(scope)
    except TurnedAway as error:
        return error.problem
    return None
