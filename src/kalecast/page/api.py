"""The plain routes: stateless HTTP and JSON, for programs and for the page's own traffic."""

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from kalecast.data.series import SeriesError
from kalecast.page import background, markup, words
from kalecast.page.admission import Admission
from kalecast.page.forecast_client import ModelServer
from kalecast.page.forecasting import Forecast, forecast
from kalecast.page.history import shown
from kalecast.page.outcomes import (
    BUSY,
    DOWN,
    FAULT,
    Overloaded,
    Problem,
    Refused,
    ServiceDown,
    Unacceptable,
)
from kalecast.page.reading import Reader
from kalecast.page.request_bodies import LARGEST_REQUEST

logger = logging.getLogger(__name__)

PREVIEW = Path(__file__).with_name("preview.png").read_bytes()

READY_AGE = 1.0
"""Seconds for which the model server counts as ready after it answered."""

Handler = Callable[[Request], Awaitable[Response]]


def answer(result: Forecast) -> dict[str, Any]:
    """A forecast as the routes answer it: column by column, quantiles by name."""
    timestamps = result.zoned_texts(1, result.horizon)
    when = {"ds": timestamps} if timestamps else {}
    columns = (result.values.T.round(result.decimals) + 0.0).tolist()  # no zero has a sign
    quantiles = {
        f"{q:g}": column for q, column in zip(result.contract.quantiles, columns, strict=True)
    }
    return {
        "model": {"name": result.contract.name, "version": result.contract.version},
        "forecast": {**(when or {"step": list(range(1, result.horizon + 1))}), **quantiles},
        "notes": words.notes(result),
    }


class PlainRoutes:
    """The plain routes; whatever goes wrong in them is answered as JSON."""

    def __init__(self, server: ModelServer, admission: Admission, reader: Reader) -> None:
        self._server = server
        self._admission = admission
        self._reader = reader
        self.forecast = _guarded(self._forecast)
        self.model = _guarded(self._model)
        self.ready = _guarded(self._ready)

    async def _forecast(self, request: Request) -> Response:
        caller = self._admission.caller(request)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            message = f"Expected the Content-Type application/json, received: {shown(kind)}."
            raise Unacceptable(415, message)
        async with self._admission.body(request, LARGEST_REQUEST) as body:
            history, horizon = await self._reader.forecast_request(body, caller)
        return json_response(answer(await forecast(self._server, caller, history, horizon)))

    async def _model(self, _: Request) -> Response:
        return Response((await self._server.contract()).to_json(), media_type="application/json")

    async def _ready(self, _: Request) -> Response:
        if self._admission.is_ending:
            return json_response({"status": "ending"}, 503)
        contract = await self._server.contract(READY_AGE)
        return json_response(
            {"status": "ready", "model": contract.name, "version": contract.version}
        )

    async def alive(self, _: Request) -> Response:
        """The process runs, and all that it does in the background."""
        if background.ended:
            return json_response({"status": "ended: " + ", ".join(background.ended)}, 503)
        return json_response({"status": "alive"})

    async def example(self, _: Request) -> Response:
        """A small file as the page takes it, in steps of the model's, hours until it is known."""
        try:
            contract = await self._server.contract()
            example = markup.example_csv(contract.frequency, contract.minimum_history)
        except (ServiceDown, Overloaded):
            example = markup.example_csv("h", 0)
        headers = {"Content-Disposition": 'attachment; filename="example.csv"'}
        return Response(example, media_type="text/csv", headers=headers)

    async def preview(self, _: Request) -> Response:
        """The picture that a shared link shows."""
        headers = {"Cache-Control": "public, max-age=86400"}
        return Response(PREVIEW, media_type="image/png", headers=headers)


def problem_response(problem: Problem) -> Response:
    """A problem as JSON."""
    return json_response({"detail": problem.text}, problem.status, problem.headers)


def json_response(
    content: Any, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Anything as JSON."""
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


def problem_of(error: Exception) -> Problem:
    """An error as a customer sees it."""
    if isinstance(error, SeriesError | Refused):
        return Problem(400, str(error))
    if isinstance(error, Unacceptable):
        return Problem(error.status, str(error))
    if isinstance(error, Overloaded):
        return BUSY
    if isinstance(error, ServiceDown):
        return Problem(503, DOWN, 5)
    return Problem(500, FAULT)


def _guarded(handler: Handler) -> Handler:
    """The same handler, its errors as `{"detail": …}`."""

    async def guarded(request: Request) -> Response:
        try:
            return await handler(request)
        except Exception as error:
            problem = problem_of(error)
            if problem.text == FAULT:
                logger.exception("%s failed", request.url.path)
            return problem_response(problem)

    return guarded
