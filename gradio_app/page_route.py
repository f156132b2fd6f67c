"""The page's own route: its event over plain HTTP, without Gradio's machinery.

Gradio's frontend sends each event to this address and takes the answer in this form, and Gradio
itself needs several milliseconds of processor time and a session for it. So the page's one event
is answered here; Gradio goes on to serve the page itself.
"""

import metrics
import orjson
from admission import Admission
from api import json_response
from outcomes import BUSY, BUSY_SECONDS, Overloaded, Problem, Unacceptable
from page_event import UNKNOWN, Controls, PageEvent, Update, banner, update
from starlette.requests import Request
from starlette.responses import Response
from upload_token import LARGEST_TOKEN

PATH = "/gradio_api/run/predict"

LARGEST_BODY = 2 * LARGEST_TOKEN + 6 * 1024 * 1024
"""Gradio's frontend sends a file's name twice; pasted text may take six bytes a character."""

CHANGED = "This page has changed since you opened it. Please load it again."


class PageRoute:
    """The route, for the function number that the built page gave to its event."""

    def __init__(self, function: int, event: PageEvent, admission: Admission) -> None:
        self._function = function
        self._event = event
        self._admission = admission

    async def __call__(self, request: Request) -> Response:
        """Answer one event."""
        try:
            asker = self._admission.asker(request)
            async with self._admission.body(request, LARGEST_BODY) as body:
                controls = self._controls(body)
            updates, problem = await self._event(controls, asker)
        except Overloaded:
            request.scope[metrics.TOLD] = 503
            return busy()
        except Unacceptable as error:
            # What is called an error, page.js shows.
            return json_response({"error": str(error)}, error.status)
        if problem:
            request.scope[metrics.TOLD] = problem.status
        # The frontend shows the updates of good answers alone: a banner is one too.
        return json_response({"data": updates}, headers=problem.headers if problem else None)

    def _controls(self, body: bytes) -> Controls:
        try:
            event = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise Unacceptable(400, "Expected JSON as the page sends it.") from None
        if not isinstance(event, dict):
            raise Unacceptable(400, "Expected a JSON object as the page sends it.")
        if event.get("fn_index") != self._function:
            raise Unacceptable(400, CHANGED)
        return Controls.read(event.get("data"))


def busy() -> Response:
    """The page's banner where there is too much to do, without a look at the request."""
    return refused(Problem(503, BUSY, BUSY_SECONDS))


def refused(problem: Problem) -> Response:
    """The page's banner for who may not ask: of a 401 the frontend would show the word "Error"."""
    updates: list[Update] = [*banner(problem.text), *UNKNOWN, update(), update()]
    return json_response({"data": updates}, headers=problem.headers)
