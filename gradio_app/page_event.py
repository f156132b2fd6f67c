"""The page's one event: from its controls to what its parts show next.

Everything that a customer does ends here. The event takes all inputs and returns all outputs and
no state is kept between two of them, so any replica may answer the next one.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

import markup
import tables
import upload_token
from coalescing import Asker
from figure import figure_json
from forecast_client import ModelServer
from forecasting import Forecast, forecast
from history import History, shown
from outcomes import FAULT, Problem, Unacceptable, problem_of
from samples import Samples
from words import Told, capital, is_daily

from kalecast.bundle import Contract
from kalecast.series import SeriesError
from kalecast.steps import step_name

logger = logging.getLogger(__name__)

SAMPLE, FILE, PASTE = "Sample", "Your file", "Your numbers"

MOST_CHOICES = 500
"""Series that the list offers; the name of another can be typed."""

Update = dict[str, Any]
"""Changes to one part of the page, as Gradio's frontend takes them."""


@dataclass(frozen=True)
class Controls:
    """What the page's controls hold, in their order on the page."""

    source: str
    sample: str | None
    token: str | None
    """The upload, as `upload_token` made it."""
    series: str | None
    text: str
    start: str
    horizon: float | None

    @classmethod
    def read(cls, data: Any) -> "Controls":
        """The controls out of an event's data.

        Raises:
            Unacceptable: no page sends such data.
        """
        if not isinstance(data, list) or len(data) != 7:
            raise Unacceptable(400, f"Expected the page's seven controls, received: {shown(data)}.")
        source, sample, upload, series, text, start, horizon = data
        token = upload.get("path") if isinstance(upload, dict) else upload
        for value in (sample, token, series, text, start):
            if not isinstance(value, str | None):
                raise Unacceptable(400, f"Expected a text, received: {shown(value)}.")
        if source not in (SAMPLE, FILE, PASTE):
            raise Unacceptable(
                400, f"Expected one of the three sources, received: {shown(source)}."
            )
        if isinstance(horizon, bool) or not isinstance(horizon, int | float | None):
            raise Unacceptable(400, f"Expected a number of steps, received: {shown(horizon)}.")
        return cls(source, sample, token, series, text or "", start or "", horizon)


class PageEvent:
    """The event, with all that it needs."""

    def __init__(self, server: ModelServer, samples: Samples) -> None:
        self._server = server
        self._samples = samples
        self._about: tuple[Contract | None, list[Update]] = (None, [])

    async def __call__(
        self, controls: Controls, asker: Asker
    ) -> tuple[list[Update], Problem | None]:
        """What to show; the forecast, or a banner that says what went wrong."""
        contract, choices = None, update()
        try:
            contract = await self._server.contract()
            found, choices = await self._find(controls, contract)
            result = await forecast(self._server, asker, found, _within(controls.horizon, contract))
            known = self._known(controls, choices, result.contract)
            return [*_shown(result, controls.source), *known], None
        except Exception as error:
            problem = problem_of(error)
            if problem.text == FAULT:  # the customer gets a sentence and the log the rest
                logger.exception("A forecast failed")
        known = (
            self._known(controls, choices, contract) if contract else [*UNKNOWN, choices, update()]
        )
        return [*banner(problem.text, controls.source), *known], problem

    async def _find(self, controls: Controls, contract: Contract) -> tuple[History, Update]:
        """The history that the controls ask for, and the series to choose from."""
        if controls.source == SAMPLE:
            return self._samples.history(controls.sample, contract.frequency), update()
        # Tables may be large, and reading them must not keep the others waiting.
        if controls.source == FILE:
            return await asyncio.to_thread(_uploaded, controls, contract)
        return await asyncio.to_thread(_pasted, controls, contract), update()

    def _known(self, controls: Controls, choices: Update, contract: Contract) -> list[Update]:
        """What is shown with and without a forecast: what the model is, choices and range."""
        if self._about[0] is not contract:
            self._about = contract, _about(contract)
        steps = step_name(contract.frequency).many
        range_ = update(minimum=1, maximum=contract.horizon, label=f"{capital(steps)} ahead")
        # Only where it must change: the customer may have moved it on meanwhile.
        if (horizon := _within(controls.horizon, contract)) != controls.horizon:
            range_["value"] = horizon
        return [*self._about[1], choices, range_]


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
            f"one is unknown. Rows such as {when}, 310 work too.",
        ),
        update(placeholder=when),
    ]


def update(**changes: Any) -> Update:
    """Changes to one part of the page; none at all leave it as it is."""
    return {"__type__": "update", **changes}


UNKNOWN: list[Update] = [update()] * 4
"""What is left as it is while the model is not known: as many parts as `_about` tells of."""


def banner(text: str, source: str = "") -> list[Update]:
    """A banner instead of a forecast: an old one below it would read as the new one."""
    hidden = update(visible=False)
    return [update(value=markup.message(text, source), visible=True), hidden, hidden, hidden]


def _shown(result: Forecast, source: str) -> list[Update]:
    told = Told.of(result)
    return [
        update(visible=False),
        update(value=markup.reading(result, told, source), visible=True),
        update(value={"type": "plotly", "plot": figure_json(result, told)}, visible=True),
        update(value=markup.table(result, told), visible=True),
    ]


def _uploaded(controls: Controls, contract: Contract) -> tuple[History, Update]:
    if not controls.token:
        raise SeriesError("Please choose a CSV file first.")
    upload = upload_token.opened(controls.token)
    names = list(upload.series)
    chosen = controls.series if controls.series in upload.series else names[0]
    return upload.series[chosen].history(contract.frequency), _choices(names, chosen)


def _pasted(controls: Controls, contract: Contract) -> History:
    if not controls.text.strip():
        raise SeriesError("Please paste your numbers first, one a line or with commas.")
    return tables.pasted(controls.text, controls.start, contract.frequency)


def _choices(names: list[str], chosen: str) -> Update:
    label = "Series"
    if len(names) > MOST_CHOICES:
        label = f"Series (the first {MOST_CHOICES} of {len(names):,}; type another's name)"
    offered = [[name, name] for name in names[:MOST_CHOICES]]
    return update(choices=offered, value=chosen, label=label, visible=len(names) > 1)


def _within(horizon: float | None, contract: Contract) -> int:
    return max(1, min(int(horizon or contract.horizon), contract.horizon))
