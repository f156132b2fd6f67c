"""The routes: stateless HTTP for programs, and for the page's own event and uploads.

Gradio's frontend sends its event and its uploads to addresses of Gradio's and takes the answers in
Gradio's form. But Gradio itself needs several milliseconds of processor time and a session for an
event, and it would write an upload to its disk, where the next event finds it only if it comes to
the same replica. So both are answered here, and nothing is kept between two requests.
"""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from kalecast.artifact.contract import Contract
from kalecast.data.series import SeriesError
from kalecast.data.steps import step_name
from kalecast.page import background, gradio_protocol, markup, metrics, request_bodies, words
from kalecast.page.application import Admission, json_response, problem_of, problem_response
from kalecast.page.figure import figure_json
from kalecast.page.forecasting import Forecast, forecast
from kalecast.page.gradio_protocol import Update, update
from kalecast.page.history import shown
from kalecast.page.model_server import Caller, ModelServer
from kalecast.page.outcomes import (
    BUSY,
    FAULT,
    Overloaded,
    Problem,
    ServiceDown,
    Unacceptable,
)
from kalecast.page.reading import LONG, SHORT, SHORT_FILE, Reader
from kalecast.page.request_bodies import (
    LARGEST_EVENT,
    LARGEST_FORM,
    LARGEST_REQUEST,
    PASTE,
    SAMPLE,
    SMALL,
    SMALL_CONTENT,
    Body,
    Controls,
    Found,
)
from kalecast.page.samples import Samples
from kalecast.page.tables import KEPT, is_table
from kalecast.page.upload_token import Keys, TooLarge, problem_token
from kalecast.page.words import Formatted

logger = logging.getLogger(__name__)

PREVIEW = Path(__file__).with_name("preview.png").read_bytes()

READY_AGE = 1.0
"""Seconds for which the model server counts as ready after it answered."""

Handler = Callable[["Routes", Request], Awaitable[Response]]


def answer(result: Forecast) -> dict[str, Any]:
    """A forecast as the routes answer it: column by column, quantiles by name."""
    timestamps = result.zoned_texts(1, result.horizon)
    when = {"ds": timestamps} if timestamps else {"step": list(range(1, result.horizon + 1))}
    columns = (result.values.T.round(result.decimals) + 0.0).tolist()  # no zero has a sign
    quantiles = {
        f"{q:g}": column for q, column in zip(result.contract.quantiles, columns, strict=True)
    }
    return {
        "model": {"name": result.contract.name, "version": result.contract.version},
        "forecast": {**when, **quantiles},
        "notes": words.notes(result),
    }


def guarded(handler: Handler) -> Handler:
    """The same handler, its errors as `{"detail": …}`."""

    @functools.wraps(handler)
    async def answered(routes: "Routes", request: Request) -> Response:
        try:
            return await handler(routes, request)
        except Exception as error:
            problem = problem_of(error)
            if problem.text == FAULT:
                logger.exception("%s failed", request.url.path)
            return problem_response(problem)

    return answered


class Routes:
    """The plain routes, and those of the page itself: its one event, and its uploads.

    The event takes all inputs of the page and returns all its outputs.

    Args:
        server: the model server.
        admission: how much is taken on.
        reader: of what is large.
        samples: what the page offers.
        keys: of the uploads' tokens.
        function: the event's number on the page.
    """

    def __init__(  # noqa: PLR0913 - each of them is another part of the page
        self,
        server: ModelServer,
        admission: Admission,
        reader: Reader,
        *,
        samples: Samples,
        keys: Keys,
        function: int,
    ) -> None:
        self._server = server
        self._admission = admission
        self._reader = reader
        self._samples = samples
        self._keys = keys
        self._function = function
        self._about: tuple[Contract | None, list[Update]] = (None, [])

    @guarded
    async def forecast(self, request: Request) -> Response:
        """Forecast the history of a program's request."""
        caller = self._admission.caller(request)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            message = f"Expected the Content-Type application/json, received: {shown(kind)}."
            raise Unacceptable(415, message)
        async with self._admission.body(request, LARGEST_REQUEST) as body:
            history, horizon = await self._reader.forecast_request(body, caller)
        return json_response(answer(await forecast(self._server, caller, history, horizon)))

    @guarded
    async def model(self, _: Request) -> Response:
        """The model's contract."""
        return Response((await self._server.contract()).to_json(), media_type="application/json")

    @guarded
    async def ready(self, _: Request) -> Response:
        """The model server answers too, and the page is not about to end."""
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

    async def event(self, request: Request) -> Response:
        """From the page's controls to what its parts show next."""
        try:
            caller = self._admission.caller(request)
            async with self._admission.body(request, LARGEST_EVENT) as body:
                updates, problem = await self._updates(body, caller)
        except Overloaded:
            request.scope[metrics.STATUS] = 503
            return event_refused(BUSY)
        except Unacceptable as error:
            # What is called an error, page.js shows.
            return json_response(gradio_protocol.failure(str(error)), error.problem.status)
        if problem:
            request.scope[metrics.STATUS] = problem.status
        # The frontend shows the updates of good answers alone: a banner is one too.
        headers = problem.headers if problem else None
        return json_response(gradio_protocol.answer(updates), headers=headers)

    async def upload(self, request: Request) -> Response:
        """Make a token of a file; the browser takes it for a path, and sends it with each event."""
        try:
            caller = self._admission.caller(request)
            async with self._admission.body(request, LARGEST_FORM) as body:
                lane = LONG if len(body) > SHORT_FILE else SHORT
                arguments = request.headers.raw, await self._rows_kept(), self._keys
                token = await self._reader.read(
                    lane, caller, request_bodies.form_token, body, *arguments
                )
        except SeriesError as error:
            token = problem_token(str(error))
        except Overloaded:
            return upload_refused(BUSY)
        except Unacceptable as error:
            return Response(str(error), error.problem.status, media_type="text/plain")
        return json_response(gradio_protocol.upload_answer(token))

    async def progress(self, _: Request) -> Response:
        """How far an upload is: another replica may be taking it, so it is always done."""
        return Response(gradio_protocol.PROGRESS_DONE, media_type=gradio_protocol.PROGRESS_TYPE)

    async def _rows_kept(self) -> int:
        try:
            return max(KEPT, (await self._server.contract()).input_length)
        except (ServiceDown, Overloaded):
            return KEPT

    async def _updates(self, body: Body, caller: Caller) -> tuple[list[Update], Problem | None]:
        """What to show; the forecast, or a banner that says what went wrong.

        Raises:
            Unacceptable: no page sends such a body.
        """
        held = request_bodies.controls(body, self._function) if len(body) <= SMALL else None
        contract, choices = None, update()
        try:
            contract = await self._server.contract()
            held, found = await self._found(held, body, caller, contract.frequency)
            if isinstance(found, SeriesError):
                raise found
            history, choices = found
            horizon = _within(held.horizon, contract)
            result = await forecast(self._server, caller, history, horizon)
            known = self._known(held, choices, result.contract)
            return [*_shown(result, held.source), *known], None
        except Unacceptable:
            raise
        except Exception as error:
            problem = problem_of(error)
            if problem.text == FAULT:  # the customer gets a sentence and the log the rest
                logger.exception("A forecast failed")
        known = [*UNKNOWN, choices, update()]
        if held and contract:
            known = self._known(held, choices, contract)
        return [*banner(problem.text, held.source if held else ""), *known], problem

    async def _found(
        self, held: Controls | None, body: Body, caller: Caller, frequency: str
    ) -> tuple[Controls, Found | SeriesError]:
        """What the controls held and the history that they choose; read elsewhere if large."""
        if held is None or held.source != SAMPLE:
            held, found = await self._customer_history(held, body, caller, frequency)
            if found is not None:
                return held, found
        return held, (self._samples.history(held.sample, frequency), update())

    async def _customer_history(
        self, held: Controls | None, body: Body, caller: Caller, frequency: str
    ) -> tuple[Controls, Found | SeriesError | None]:
        if held is not None:
            with contextlib.suppress(TooLarge):
                bounds = held, frequency, self._keys, SMALL_CONTENT
                if held.source == PASTE and not is_table(held.text):  # quicker than a thread's turn
                    return held, request_bodies.customer_history(*bounds)
                return held, await asyncio.to_thread(request_bodies.customer_history, *bounds)
        arguments = self._function, frequency, self._keys
        return await self._reader.read(SHORT, caller, request_bodies.event, body, *arguments)

    def _known(self, held: Controls, choices: Update, contract: Contract) -> list[Update]:
        """What is shown with and without a forecast: what the model is, choices and range."""
        if self._about[0] is not contract:
            self._about = contract, _about(contract)
        steps = words.capital(step_name(contract.frequency).many)
        range_ = update(minimum=1, maximum=contract.horizon, label=f"{steps} ahead")
        # Only where it must change: the customer may have moved it on meanwhile.
        if (horizon := _within(held.horizon, contract)) != held.horizon:
            range_["value"] = horizon
        return [*self._about[1], choices, range_]


def _about(contract: Contract) -> list[Update]:
    """Card, form of a file, and what one's own numbers are called, in steps of the model."""
    frequency = contract.frequency
    when = "2026-01-31" if words.is_daily(frequency) else "2026-01-31 13:00"
    return [
        update(value=markup.card(contract)),
        update(value=markup.file_form(contract)),
        update(
            label=f"{words.capital(step_name(frequency).adjective)} numbers, the newest last",
            info=markup.NUMBERS_INFO.format(when=when),
        ),
        update(placeholder=when),
    ]


UNKNOWN: list[Update] = [update()] * 4
"""What is left as it is while the model is not known: as many parts as `_about` has."""


def banner(text: str, source: str = "") -> list[Update]:
    """A banner instead of a forecast: an old one below it would read as the new one."""
    hidden = update(visible=False)
    return [update(value=markup.message(text, source), visible=True), hidden, hidden, hidden]


def event_refused(problem: Problem) -> Response:
    """A banner for an event that is refused: of a 401 the frontend would show "Error"."""
    updates: list[Update] = [*banner(problem.text), *UNKNOWN, update(), update()]
    return json_response(gradio_protocol.answer(updates), headers=problem.headers)


def upload_refused(problem: Problem) -> Response:
    """A token that says why an upload is refused, as a page shows no other answer."""
    token = problem_token(problem.text)
    return json_response(gradio_protocol.upload_answer(token), headers=problem.headers)


def _shown(result: Forecast, source: str) -> list[Update]:
    formatted = Formatted.of(result)
    return [
        update(visible=False),
        update(value=markup.reading(result, formatted, source), visible=True),
        update(value=gradio_protocol.plotly(figure_json(result, formatted)), visible=True),
        update(value=markup.table(result, formatted), visible=True),
    ]


def _within(horizon: float | None, contract: Contract) -> int:
    return max(1, min(int(horizon or contract.horizon), contract.horizon))
