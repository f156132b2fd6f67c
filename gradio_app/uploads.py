"""Uploads: Gradio's two routes for them, answered without keeping anything.

Gradio (6.31) would write an upload to its disk, where the next event finds it only if it comes
to the same replica. Here its file becomes a token (`upload_token.py`), which the browser takes
for the file's path and sends back with each event.

Two of Gradio's habits have to be taken away as well, for the events that it still answers. It
checks the paths in a request only after its own `launch()`, which a mounted page never calls: a
request naming `/etc/passwd` as its upload would have it copied to where Gradio serves files
from, and read. And it fetches addresses that a request names as files.
"""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path, PurePath

import gradio as gr
from admission import Admission
from api import json_response
from forecast_client import ModelServer
from gradio.blocks import Block
from outcomes import BUSY, BUSY_SECONDS, Overloaded, Problem, ServiceDown, Unacceptable
from reading import Reader
from rows import KEPT
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import Response
from tables import LARGEST_FILE
from upload_token import CHOOSE_AGAIN, problem_token

PATH = "/gradio_api/upload"
PROGRESS_PATH = "/gradio_api/upload_progress"

LARGEST_BODY = LARGEST_FILE + 64 * 1024
"""The largest file, and what a form puts around it."""

SLICE = 256 * 1024
"""Bytes of a form that are looked through before others get their turn."""


class Uploads:
    """The routes."""

    def __init__(self, server: ModelServer, admission: Admission) -> None:
        self._server = server
        self._admission = admission
        self._reader = Reader()

    async def upload(self, request: Request) -> Response:
        """Take a file; the answer is the list of one token."""
        try:
            async with self._admission.body(request, LARGEST_BODY) as body:
                file, content = await _file(request, body)
                token = await self._reader.token(file, content, await self._kept())
        except Overloaded:
            return busy()
        except Unacceptable as error:
            return Response(str(error), error.status, media_type="text/plain")
        return json_response([token])

    async def progress(self, _: Request) -> Response:
        """How far an upload is: another replica may be taking it, so it is always done."""
        return Response('data: {"msg": "done"}\n\n', media_type="text/event-stream")

    async def _kept(self) -> int:
        try:
            return max(KEPT, (await self._server.contract()).input_length)
        except (ServiceDown, Overloaded):
            return KEPT


def busy() -> Response:
    """The answer where there is too much to do: a token that says so, as a page shows no other."""
    return refused(Problem(503, BUSY, BUSY_SECONDS))


def refused(problem: Problem) -> Response:
    """Such a token for who may not ask."""
    return json_response([problem_token(problem.text)], headers=problem.headers)


class _InMemory(MultiPartParser):
    spool_max_size = LARGEST_BODY  # larger ones would go to disk


async def _file(request: Request, body: bytes) -> tuple[str, bytes]:
    """Name and content of the one file in a form.

    Raises:
        Unacceptable: it is no such form.
    """

    async def stream() -> AsyncGenerator[bytes, None]:
        for at in range(0, len(body), SLICE):
            yield body[at : at + SLICE]
            await asyncio.sleep(0)

    try:
        form = await _InMemory(request.headers, stream(), max_files=1, max_fields=1).parse()
    except (MultiPartException, KeyError) as error:
        raise Unacceptable(400, f"Expected a form with one file: {error}.") from None
    file = form.get("files")
    if not isinstance(file, UploadFile):
        raise Unacceptable(400, "Expected a form with one file in its field 'files'.")
    return PurePath(file.filename or "your file").name, await file.read()


def guard_files(page: gr.Blocks) -> None:
    """Let requests that Gradio answers name no files at all."""
    page.has_launched = True  # Gradio's own check asks for this
    Block.async_move_resource_to_block_cache = _refused  # type: ignore[assignment]


async def _refused(_: Block, named: str | Path | None) -> None:
    """Refuse the path that a request names.

    Raises:
        gr.Error: there is one; Gradio answers with this text alone.
    """
    if named is not None:
        raise gr.Error(CHOOSE_AGAIN, print_exception=False)
