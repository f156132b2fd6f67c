"""The page: what a customer sees and does.

Everything that a customer does ends in one event, `show`, which takes all inputs and returns
all outputs: no state is kept between two of them, so any replica may answer the next one, and
there is one function number to know at the door.
"""

import asyncio
import logging
from dataclasses import replace
from typing import Any

import gradio as gr
import markup
import tables
import words
from api import answer
from figure import figure_json
from forecast_client import ModelServer, Refused, ServiceDown
from forecasting import Forecast, forecast
from gradio.components.plot import PlotData
from history import History, parse_numbers, parse_start
from settings import Settings

from kalecast.bundle import Contract
from kalecast.series import SeriesError

logger = logging.getLogger(__name__)

SAMPLE, FILE, PASTE = "Sample", "Your file", "Your numbers"
MOST_CHOICES = 500
"""Series that the list offers; the name of another can be typed."""

FIRST_HORIZON = 48
"""Until the model has said how far it sees."""


def build_page(settings: Settings, server: ModelServer) -> gr.Blocks:
    """The page as Gradio Blocks, to be mounted."""
    samples = _samples(settings)
    with gr.Blocks(
        title="Kalecast", analytics_enabled=False, delete_cache=(3600, 3600), fill_width=True
    ) as page:
        gr.Markdown(markup.HEADER, sanitize_html=False)
        with gr.Row(elem_id="kc-main"):
            with gr.Column(scale=1, min_width=300, elem_id="kc-controls"):
                inputs = _controls(samples)
                press = gr.Button("Forecast", variant="primary", elem_id="kc-forecast")
            with gr.Column(scale=3, min_width=300, elem_id="kc-results"):
                outputs = _results()
        with gr.Accordion("About the model", open=True, elem_id="kc-about"):
            model_card = gr.Markdown(markup.card(None), sanitize_html=False)
        with gr.Accordion("For programs", open=False, elem_id="kc-programs"):
            gr.Markdown(markup.for_programs(settings.public_url))
        _, sample, upload, series, _, _, horizon = inputs
        gr.on(
            [page.load, press.click, sample.input, upload.upload, series.input, horizon.release],
            _handler(settings, server),
            inputs,
            [*outputs, model_card, series, horizon],
            queue=False,
            show_progress="minimal",
            show_progress_on=outputs[2],
            trigger_mode="always_last",
            api_visibility="private",
        )
        gr.api(_for_clients(server), api_name="forecast", queue=False)
    return page


def _controls(samples: list[str]) -> list[Any]:
    """Where the history comes from, and how far to look.

    Which of the three sources shows is decided in `page.css` by the chosen label: Gradio would
    compile a function from text in the browser, which a strict Content-Security-Policy forbids.
    """
    source = gr.Radio(
        [SAMPLE, FILE, PASTE],
        value=SAMPLE if samples else FILE,
        label="What to forecast",
        elem_id="kc-source",
    )
    with gr.Column(min_width=0, elem_id="kc-sample"):
        sample = gr.Dropdown(
            [(words.label(name), name) for name in samples],
            value=samples[0] if samples else None,
            label="Sample series",
        )
    with gr.Column(min_width=0, elem_id="kc-file"):
        upload = gr.File(label="CSV file", height=140, elem_id="kc-upload")
        series = gr.Dropdown(
            [], label="Series", visible=False, allow_custom_value=True, elem_id="kc-series"
        )
        with gr.Accordion("What the file should look like", open=False):
            gr.Markdown(markup.FILE_FORM, sanitize_html=False)
    with gr.Column(min_width=0, elem_id="kc-paste"):
        text = gr.Textbox(
            label="Hourly numbers, the newest last",
            info="One a line or separated by commas; leave a place between two commas empty "
            "where one is unknown. Rows such as 2026-01-31 13:00, 310 work too.",
            lines=7,
            max_lines=12,
            max_length=1_000_000,
            elem_id="kc-numbers",
        )
        start = gr.Textbox(
            label="Time of the first number (optional)",
            placeholder="2026-01-31 13:00",
            max_length=40,
            elem_id="kc-start",
        )
    horizon = gr.Slider(
        1, FIRST_HORIZON, value=FIRST_HORIZON, step=1, label="Hours ahead", elem_id="kc-horizon"
    )
    # Gradio would hold the value against the range that this replica last sent. The model
    # decides the range. (A subclass would do too, but Gradio writes a file beside its module.)
    horizon.preprocess = lambda hours: hours  # type: ignore[method-assign]
    return [source, sample, upload, series, text, start, horizon]


def _results() -> list[Any]:
    """Banner, reading, figure and table."""
    banner = gr.Markdown(visible=False, sanitize_html=False, elem_id="kc-message")
    reading = gr.Markdown(sanitize_html=False, elem_id="kc-reading")
    plot = gr.Plot(show_label=False, elem_id="kc-plot")
    table = gr.Markdown(sanitize_html=False, elem_id="kc-table")
    return [banner, reading, plot, table]


def _handler(settings: Settings, server: ModelServer) -> Any:
    """The page's one event."""

    async def show(  # noqa: PLR0913, PLR0917 - one a control
        source: str,
        sample: str | None,
        upload: str | None,
        series: str | None,
        text: str | None,
        start: str | None,
        horizon: float,
    ) -> list[Any]:
        choices: Any = gr.skip()
        contract = None
        try:
            contract = await server.contract()
            if source == FILE:
                names = await asyncio.to_thread(_names, upload)
                series = series if series in names else names[0]
                choices = _choices(names, series)
            found = await asyncio.to_thread(
                _history, settings, contract, source, sample, upload, series, text, start
            )
            result = await forecast(server, found, _within(horizon, contract))
            shown = await asyncio.to_thread(_shown, result)
            return [*shown, markup.card(result.contract), choices, _range(horizon, result.contract)]
        except (SeriesError, Refused) as error:
            problem = str(error)
        except ServiceDown as error:
            logger.warning("The model server does not answer: %s", error)
            problem = words.DOWN
        except Exception:  # whatever it is, the customer gets a sentence and the log the rest
            logger.exception("A forecast failed")
            problem = words.FAULT
        known = [markup.card(contract), choices, _range(horizon, contract)]
        return [*_problem(problem), *(known if contract else [gr.skip(), choices, gr.skip()])]

    return show


def _for_clients(server: ModelServer) -> Any:
    """The same forecast for programs that speak Gradio's protocol."""

    async def forecast_series(history: str, start: str = "", horizon: int = 0) -> dict:
        """Forecast one hourly series.

        Args:
            history: numbers separated by commas, the newest last.
            start: the time of the first number.
            horizon: hours ahead, 0 for as many as the model can.
        """
        try:
            found = History(parse_numbers(history), parse_start(start))
            return answer(await forecast(server, found, horizon or None))
        except (SeriesError, Refused) as error:
            raise gr.Error(str(error), print_exception=False) from None
        except ServiceDown:
            raise gr.Error(words.DOWN, print_exception=False) from None

    return forecast_series


def _samples(settings: Settings) -> list[str]:
    """Names of the sample series; none if there is no such file, the page goes on without."""
    try:
        return tables.names(settings.sample_data)[:MOST_CHOICES]
    except SeriesError as error:
        logger.warning("The page offers no samples: %s", error)
        return []


def _names(upload: str | None) -> list[str]:
    if not upload:
        raise SeriesError("Please choose a CSV file first.")
    return tables.names(upload)


def _history(  # noqa: PLR0913, PLR0917 - one a control
    settings: Settings,
    contract: Contract,
    source: str,
    sample: str | None,
    upload: str | None,
    series: str | None,
    text: str | None,
    start: str | None,
) -> History:
    """The history that the controls ask for."""
    if source == FILE:
        return tables.history(upload or "", series or "", contract.frequency)
    if source == PASTE:
        if not (text or "").strip():
            raise SeriesError("Please paste your numbers first, one a line or with commas.")
        return tables.pasted(text or "", start or "", contract.frequency)
    if sample is None:
        raise SeriesError("Please choose a sample series first.")
    found = tables.history(settings.sample_data, sample, contract.frequency)
    return replace(found, title=words.label(sample))


def _choices(names: list[str], chosen: str) -> Any:
    label = "Series"
    if len(names) > MOST_CHOICES:
        label = f"Series (the first {MOST_CHOICES} of {len(names):,}; type another's name)"
    return gr.Dropdown(names[:MOST_CHOICES], value=chosen, label=label, visible=len(names) > 1)


def _range(horizon: float, contract: Contract | None) -> Any:
    if contract is None:
        return gr.skip()
    return gr.Slider(maximum=contract.horizon, value=_within(horizon, contract))


def _within(horizon: float | None, contract: Contract) -> int:
    return max(1, min(int(horizon or contract.horizon), contract.horizon))


def _shown(result: Forecast) -> list[Any]:
    plot = PlotData(type="plotly", plot=figure_json(result))
    return [
        gr.Markdown(visible=False),
        gr.Markdown(markup.reading(result), visible=True),
        gr.Plot(plot, visible=True),
        gr.Markdown(markup.table(result), visible=True),
    ]


def _problem(text: str) -> list[Any]:
    """A banner instead of a forecast: an old one below it would read as the new one."""
    return [
        gr.Markdown(markup.message(text), visible=True),
        gr.Markdown(visible=False),
        gr.Plot(visible=False),
        gr.Markdown(visible=False),
    ]
