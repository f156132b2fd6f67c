"""Uploads: Gradio's two routes for them, answered without keeping anything.

Gradio (6.31) would write an upload to its disk, where the next event finds it only if it comes
to the same replica. Here its file becomes a token (`upload_token.py`), which the browser takes
for the file's path and sends back with each event.
"""

from starlette.requests import Request
from starlette.responses import Response

from kalecast.data.series import SeriesError
from kalecast.page import gradio_protocol, request_bodies
from kalecast.page.admission import Admission
from kalecast.page.api import json_response
from kalecast.page.forecast_client import ModelServer
from kalecast.page.outcomes import BUSY, Overloaded, Problem, ServiceDown, Unacceptable
from kalecast.page.reading import LONG, SHORT, SHORT_FILE, Reader
from kalecast.page.request_bodies import LARGEST_FORM
from kalecast.page.rows import KEPT
from kalecast.page.upload_token import Keys, problem_token


class Uploads:
    """The routes."""

    def __init__(
        self, server: ModelServer, admission: Admission, reader: Reader, keys: Keys
    ) -> None:
        self._server = server
        self._admission = admission
        self._reader = reader
        self._keys = keys

    async def upload(self, request: Request) -> Response:
        """Take a file; the answer is the list of one token."""
        try:
            caller = self._admission.caller(request)
            async with self._admission.body(request, LARGEST_FORM) as body:
                lane = LONG if len(body) > SHORT_FILE else SHORT
                arguments = request.headers.raw, await self._kept(), self._keys
                token = await self._reader.read(
                    lane, caller, request_bodies.form_token, body, *arguments
                )
        except SeriesError as error:
            token = problem_token(str(error))
        except Overloaded:
            return refused(BUSY)
        except Unacceptable as error:
            return Response(str(error), error.status, media_type="text/plain")
        return json_response(gradio_protocol.upload_answer(token))

    async def progress(self, _: Request) -> Response:
        """How far an upload is: another replica may be taking it, so it is always done."""
        return Response(gradio_protocol.PROGRESS_DONE, media_type=gradio_protocol.PROGRESS_TYPE)

    async def _kept(self) -> int:
        try:
            return max(KEPT, (await self._server.contract()).input_length)
        except (ServiceDown, Overloaded):
            return KEPT


def refused(problem: Problem) -> Response:
    """A token that says why an upload is refused, as a page shows no other answer."""
    token = problem_token(problem.text)
    return json_response(gradio_protocol.upload_answer(token), headers=problem.headers)
