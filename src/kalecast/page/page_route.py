"""The page's own route: its event over plain HTTP, without Gradio's machinery.

Gradio's frontend sends each event to this address and takes the answer in this form, and Gradio
itself needs several milliseconds of processor time and a session for it. So the page's one event
is answered here; Gradio goes on to serve the page itself.
"""

from starlette.requests import Request
from starlette.responses import Response

from kalecast.page import metrics
from kalecast.page.admission import Admission
from kalecast.page.api import json_response
from kalecast.page.outcomes import BUSY, BUSY_SECONDS, Overloaded, Problem, Unacceptable
from kalecast.page.page_event import UNKNOWN, PageEvent, banner
from kalecast.page.request_bodies import LARGEST_EVENT, Update, update

PATH = "/gradio_api/run/predict"


class PageRoute:
    """The route."""

    def __init__(self, event: PageEvent, admission: Admission) -> None:
        self._event = event
        self._admission = admission

    async def __call__(self, request: Request) -> Response:
        """Answer one event."""
        try:
            caller = self._admission.caller(request)
            async with self._admission.body(request, LARGEST_EVENT) as body:
                updates, problem = await self._event(body, caller)
        except Overloaded:
            request.scope[metrics.STATUS] = 503
            return busy()
        except Unacceptable as error:
            # What is called an error, page.js shows.
            return json_response({"error": str(error)}, error.status)
        if problem:
            request.scope[metrics.STATUS] = problem.status
        # The frontend shows the updates of good answers alone: a banner is one too.
        return json_response({"data": updates}, headers=problem.headers if problem else None)


def busy() -> Response:
    """The page's banner where there is too much to do, without a look at the request."""
    return refused(Problem(503, BUSY, BUSY_SECONDS))


def refused(problem: Problem) -> Response:
    """The page's banner for a refused caller: of a 401 the frontend would show "Error"."""
    updates: list[Update] = [*banner(problem.text), *UNKNOWN, update(), update()]
    return json_response({"data": updates}, headers=problem.headers)
