"""The page's one event: from its controls to what its parts show next.

Everything that a customer does ends here. The event takes all inputs and returns all outputs and
no state is kept between two of them, so any replica may answer the next one.

Gradio's frontend sends it to an address of Gradio's and takes the answer in Gradio's form, but
Gradio itself needs several milliseconds of processor time and a session for it. So it is answered
here; Gradio goes on to serve the page itself.
"""

import asyncio
import contextlib
import logging

from starlette.requests import Request
from starlette.responses import Response

from kalecast.artifact.contract import Contract
from kalecast.data.series import SeriesError
from kalecast.data.steps import step_name
from kalecast.page import gradio_protocol, markup, metrics, request_bodies
from kalecast.page.admission import Admission
from kalecast.page.api import json_response, problem_of
from kalecast.page.coalescing import Caller
from kalecast.page.figure import figure_json
from kalecast.page.forecast_client import ModelServer
from kalecast.page.forecasting import Forecast, forecast
from kalecast.page.gradio_protocol import Update, update
from kalecast.page.outcomes import BUSY, FAULT, Overloaded, Problem, Unacceptable
from kalecast.page.reading import SHORT, Reader
from kalecast.page.request_bodies import (
    LARGEST_EVENT,
    PASTE,
    SAMPLE,
    SMALL,
    SMALL_CONTENT,
    Body,
    Controls,
    Found,
)
from kalecast.page.samples import Samples
from kalecast.page.tables import is_table
from kalecast.page.upload_token import Keys, TooLarge
from kalecast.page.words import Formatted, capital, is_daily

logger = logging.getLogger(__name__)


class PageEvent:
    """The event, with all that it needs.

    Args:
        server: the model server.
        samples: what the page offers.
        reader: of what is large.
        keys: of the tokens.
        function: the event's number on the page.
    """

    def __init__(
        self, server: ModelServer, samples: Samples, reader: Reader, keys: Keys, function: int
    ) -> None:
        self._server = server
        self._samples = samples
        self._reader = reader
        self._keys = keys
        self._function = function
        self._about: tuple[Contract | None, list[Update]] = (None, [])

    async def __call__(self, body: Body, caller: Caller) -> tuple[list[Update], Problem | None]:
        """What to show; the forecast, or a banner that says what went wrong.

        Raises:
            Unacceptable: no page sends such a body.
        """
        held = request_bodies.controls(body, self._function) if len(body) <= SMALL else None
        contract, choices = None, update()
        try:
            contract = await self._server.contract()
            held, found = await self._found(held, body, caller, contract)
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
        self, held: Controls | None, body: Body, caller: Caller, contract: Contract
    ) -> tuple[Controls, Found | SeriesError]:
        """What the controls held and the history that they choose; read elsewhere if large."""
        found: Found | SeriesError | None = None
        if held is None or held.source != SAMPLE:
            held, found = await self._customer_history(held, body, caller, contract.frequency)
        if found is None:
            found = self._samples.history(held.sample, contract.frequency), update()
        return held, found

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
        steps = step_name(contract.frequency).many
        range_ = update(minimum=1, maximum=contract.horizon, label=f"{capital(steps)} ahead")
        # Only where it must change: the customer may have moved it on meanwhile.
        if (horizon := _within(held.horizon, contract)) != held.horizon:
            range_["value"] = horizon
        return [*self._about[1], choices, range_]


class PageRoute:
    """The event's route: plain HTTP, without Gradio's machinery."""

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
            return refused(BUSY)
        except Unacceptable as error:
            # What is called an error, page.js shows.
            return json_response(gradio_protocol.failure(str(error)), error.status)
        if problem:
            request.scope[metrics.STATUS] = problem.status
        # The frontend shows the updates of good answers alone: a banner is one too.
        headers = problem.headers if problem else None
        return json_response(gradio_protocol.answer(updates), headers=headers)


def _about(contract: Contract) -> list[Update]:
    """Card, form of a file, and what one's own numbers are called, in steps of the model."""
    frequency = contract.frequency
    when = "2026-01-31" if is_daily(frequency) else "2026-01-31 13:00"
    return [
        update(value=markup.card(contract)),
        update(value=markup.file_form(contract)),
        update(
            label=f"{capital(step_name(frequency).adjective)} numbers, the newest last",
            info="One a line or separated by commas; leave a place between two commas empty where "
            f"one is missing. Rows such as {when}, 310 work too.",
        ),
        update(placeholder=when),
    ]


UNKNOWN: list[Update] = [update()] * 4
"""What is left as it is while the model is not known: as many parts as `_about` has."""


def banner(text: str, source: str = "") -> list[Update]:
    """A banner instead of a forecast: an old one below it would read as the new one."""
    hidden = update(visible=False)
    return [update(value=markup.message(text, source), visible=True), hidden, hidden, hidden]


def refused(problem: Problem) -> Response:
    """The page's banner for a request that is refused: of a 401 the frontend would show "Error"."""
    updates: list[Update] = [*banner(problem.text), *UNKNOWN, update(), update()]
    return json_response(gradio_protocol.answer(updates), headers=problem.headers)


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
