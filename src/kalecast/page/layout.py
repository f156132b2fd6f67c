"""The page: its controls, its results, and which of them request a forecast.

What happens then is in `routes.py`. The page itself holds no state and its function numbers are
Gradio's: they are taken from the page that `build_page` returns. The look is Gradio's theme and
`page.css`: system fonts, one accent, slate around it; nothing fetched from elsewhere.
"""

from pathlib import Path
from typing import Any

import gradio as gr
import orjson

from kalecast.page import markup, words
from kalecast.page.application import problem_of
from kalecast.page.forecasting import forecast
from kalecast.page.gradio_protocol import function_number, replace_head_tags
from kalecast.page.model_server import Caller, ModelServer
from kalecast.page.reading import Reader
from kalecast.page.request_bodies import FILE, PASTE, SAMPLE
from kalecast.page.routes import answer
from kalecast.page.settings import Settings

HERE = Path(__file__).resolve().parent
CSS = HERE / "page.css"
ICON = HERE / "favicon.png"

# The gateway knows it by its hash (cluster-setup/6-protection/gateway/headers.conf). In a
# function, so that its names are its own.
HEAD = f"<script>(() => {{\n{(HERE / 'page.js').read_text()}}})();</script>"

SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica", "Arial", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

FIRST_HORIZON = 48
"""The longest horizon until the model has said how far it sees; at first, for all of it."""


def build_page(
    settings: Settings, server: ModelServer, reader: Reader, samples: list[str]
) -> tuple[gr.Blocks, int]:
    """The page as Gradio Blocks, to be mounted, and the number of its event."""
    with gr.Blocks(title="Kalecast", analytics_enabled=False, fill_width=True) as page:
        gr.Markdown(markup.part("header.html"), sanitize_html=False)
        with gr.Row(elem_id="kc-main"):
            with gr.Column(scale=1, min_width=300, elem_id="kc-controls"):
                inputs, form = _controls(samples)
                press = gr.Button("Forecast", variant="primary", elem_id="kc-forecast")
            with gr.Column(scale=3, min_width=300, elem_id="kc-results"):
                outputs = _results()
                gr.Markdown(markup.part("hints.html"), sanitize_html=False, elem_id="kc-hints")
        with gr.Accordion("About the model", open=True, elem_id="kc-about"):
            model_card = gr.Markdown(markup.card(None), sanitize_html=False)
        with gr.Accordion("For programs", open=False, elem_id="kc-programs"):
            gr.Markdown(
                markup.part(
                    "programs.md",
                    address=settings.public_url,
                    need_key=settings.customers is not None,
                    have_gradio=settings.offers_client,
                )
            )
        _, sample, upload, series, text, start, horizon = inputs
        event = gr.on(
            [page.load, press.click, sample.input, upload.upload, series.input, horizon.release],
            _answered_elsewhere,
            inputs,
            [*outputs, model_card, form, text, start, series, horizon],
            queue=False,
            show_progress="minimal",
            show_progress_on=outputs[2],
            trigger_mode="always_last",
            api_name="show",
            api_visibility="private",
        )
        if settings.offers_client:
            gr.api(_for_clients(settings, server, reader), api_name="forecast", queue=False)
    return page, function_number(event)


def _controls(samples: list[str]) -> tuple[list[Any], gr.Markdown]:
    """Where the history comes from, and how far to look; and what is said of files.

    The event says how they are called in steps of the model (`routes.Routes`). Which of the
    three sources shows is decided in `page.css` by the chosen label: Gradio would compile a
    function from text in the browser, which a strict Content-Security-Policy forbids.
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
            form = gr.Markdown(markup.file_form(None), sanitize_html=False)
    with gr.Column(min_width=0, elem_id="kc-paste"):
        text = gr.Textbox(
            label="Your numbers, the newest last",
            info=markup.NUMBERS_INFO.format(when="2026-01-31 13:00"),
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
        0, FIRST_HORIZON, value=0, step=1, label="Steps ahead", elem_id="kc-horizon"
    )
    return [source, sample, upload, series, text, start, horizon], form


def _results() -> list[Any]:
    """Banner, reading, figure and table."""
    banner = gr.Markdown(visible=False, sanitize_html=False, elem_id="kc-message")
    reading = gr.Markdown(sanitize_html=False, elem_id="kc-reading")
    plot = gr.Plot(show_label=False, elem_id="kc-plot")
    table = gr.Markdown(sanitize_html=False, elem_id="kc-table")
    return [banner, reading, plot, table]


def _answered_elsewhere(*_: Any) -> None:
    """What Gradio calls for the event where it comes by another route than `routes`.

    Raises:
        gr.Error: always.
    """
    raise gr.Error("Please use the page, or /api/forecast.", print_exception=False)


def _for_clients(settings: Settings, server: ModelServer, reader: Reader) -> Any:
    """The same forecast for programs that speak Gradio's protocol."""

    async def forecast_series(history: str, start: str = "", horizon: int = 0) -> dict[str, Any]:
        """Forecast one series.

        Args:
            history: numbers separated by commas, the newest last.
            start: the time of the first number.
            horizon: values ahead, 0 for as many as the model can.
        """
        try:
            caller = Caller.within(settings.deadline)
            body = orjson.dumps({"history": history, "start": start})
            found, _ = await reader.forecast_request(body, caller)
            return answer(await forecast(server, caller, found, horizon or None))
        except Exception as error:
            raise gr.Error(problem_of(error).text, print_exception=False) from None

    return forecast_series


def share_as(address: str) -> None:
    """Have the document say what a shared link shows: the page's own title, text and picture.

    Args:
        address: of the page, as customers type it.
    """
    replace_head_tags(markup.part("head.html", address=address))


def theme() -> gr.themes.Base:
    """The page's theme."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.blue,
        secondary_hue=gr.themes.colors.blue,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_lg,
        font=[gr.themes.Font(name) for name in SANS],
        font_mono=[gr.themes.Font(name) for name in MONO],
    ).set(**orjson.loads((HERE / "theme.json").read_bytes()))
