"""Markup: the parts of the page that are plain HTML, and the table of a forecast as CSV.

Gradio shows them through its Markdown component (its HTML component compiles templates in the
browser, which a strict Content-Security-Policy forbids). So no part holds an empty line, which
would end the HTML, and whatever a customer sent is escaped.
"""

import csv
import io
import re
from base64 import b64encode
from datetime import datetime
from functools import lru_cache
from html import escape

from kalecast.artifact.contract import Contract
from kalecast.data.steps import span_in_words, step_name
from kalecast.page import words
from kalecast.page.forecasting import DAY, Forecast, step_of
from kalecast.page.words import Formatted

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
SATURDAY = 5
EXAMPLE_START = datetime(2026, 1, 5)
EXAMPLE_LEAST, EXAMPLE_MOST = 56, 2016
"""Rows of each series of the example, but for those that the model needs."""

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")

TAGLINE = "What comes next in your numbers, and how sure that is."
HEADER = f'<header class="kc-header"><h1>Kalecast</h1><p>{TAGLINE}</p></header>'

HINTS = (
    '<p class="kc-hint" data-for="Sample">Press <i>Forecast</i> to see the sample.</p>'
    '<p class="kc-hint" data-for="Your file">Choose a file, or press <i>Forecast</i> where you '
    "have: its forecast comes here.</p>"
    '<p class="kc-hint" data-for="Your numbers">Paste your numbers and press <i>Forecast</i>: what '
    "comes next is shown here.</p>"
)
"""What to do where the last result is of another source than the page is turned to."""


def file_form(contract: Contract | None) -> str:
    """What a file should look like, as far as it is known for which model."""
    rows, when, enough = "a row for each time", "date and hour", "A few weeks are enough"
    if contract is not None:
        frequency = contract.frequency
        rows = f"one row {words.every(frequency)}"
        when = "date" if words.is_daily(frequency) else "date and time"
        enough = (
            f"The newest {span_in_words(contract.input_length, frequency)} count, "
            f"{span_in_words(contract.minimum_history, frequency)} are needed"
        )
    timestamp = "2026-01-31" if when == "date" else "2026-01-31 13:00"
    return f"""<div class="kc-prose"><p>A CSV file with {rows} and these columns:</p>
<table class="kc-plain"><tbody>
<tr><th><code>ds</code></th><td>{when}, such as <code>{timestamp}</code></td></tr>
<tr><th><code>y</code></th><td>the number; empty where it is missing</td></tr>
<tr><th><code>unique_id</code></th><td>name of the series; may be left out if there is one
</td></tr></tbody></table>
<p>Commas, semicolons or tabs may separate the columns. {enough}; 20 MB at most.
<a href="api/example.csv" download="example.csv">Download a small example</a>.</p></div>"""


def message(text: str, source: str) -> str:
    """A banner that says what went wrong with which of the page's sources; none for all of them."""
    of = f' data-source="{source}"' if source else ""
    return f'<div class="kc-banner" role="alert"{of}>{_text(text)}</div>'


def reading(forecast: Forecast, formatted: Formatted, source: str) -> str:
    """Headline above the figure: which series, in which clock, and the forecast in a sentence.

    Where the page is turned to another source than it names, `page.css` hides all of it.
    """
    name = forecast.history.title or forecast.history.name
    all_notes = [*filter(None, [words.clock(forecast)]), *words.notes(forecast)]
    notes = "".join(f"<p class='kc-note'>{_text(note)}</p>" for note in all_notes)
    return (
        f'<section class="kc-reading" aria-live="polite" data-source="{source}">'
        f"<h2>{_text(name)}</h2>"
        f'<p class="kc-when">{_text(words.title(forecast))}</p>'
        f'<p class="kc-sentence">{_text(words.reading(forecast, formatted))}</p>{notes}</section>'
    )


def table(forecast: Forecast, formatted: Formatted) -> str:
    """Table of the forecast, folded, with its download."""
    head = "".join(f"<th>{interval.percent} % sure</th>" for interval in forecast.intervals[::-1])
    rows = "".join(
        f"<tr><th>{label}</th><td><b>{middle}</b></td><td>{'</td><td>'.join(ranges[::-1])}</td></tr>"
        for label, middle, *ranges in zip(
            _labels(forecast), formatted.median, *formatted.intervals, strict=True
        )
    )
    steps = step_name(forecast.contract.frequency).many
    offset = forecast.history.utc_offset
    time = "Time" if offset is None else f"Time, {words.zone(offset)}"
    return (
        f'<div class="kc-details"><details><summary>All {_text(steps)} as a table</summary>'
        '<div class="kc-scroll" tabindex="0"><table class="kc-table"><thead>'
        f"<tr><th>{time}</th><th>Forecast</th>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div></details>{_download(forecast)}</div>"
    )


def forecast_csv(forecast: Forecast) -> str:
    """The forecast as a CSV: `unique_id, ds, median, lower_80, upper_80, …`.

    Without timestamps the column `step` counts from now instead of `ds`. Days are written without a
    time, where they came without an offset from UTC.
    """
    intervals = forecast.intervals[::-1]
    sides = [f"{side}_{interval.percent}" for interval in intervals for side in ("lower", "upper")]
    columns = [
        forecast.median,
        *(side for interval in intervals for side in (interval.lower, interval.upper)),
    ]
    timestamps = forecast.zoned_texts(1, forecast.horizon)
    if timestamps and forecast.by_day and forecast.history.utc_offset is None:
        timestamps = tuple(timestamp[:10] for timestamp in timestamps)
    when = timestamps or range(1, forecast.horizon + 1)
    row = ",".join(["{}"] * 2 + [f"{{:.{forecast.decimals}f}}"] * len(columns)).format
    name = _csv_cell(forecast.history.name)
    if _is_near_zero(forecast):
        columns = [column.round(forecast.decimals) + 0.0 for column in columns]  # no -0.000000
    cells = zip(when, *(column.tolist() for column in columns), strict=True)
    head = ",".join(["unique_id", "ds" if timestamps else "step", "median", *sides])
    return "\n".join([head, *(row(name, *cell) for cell in cells), ""])


def _is_near_zero(forecast: Forecast) -> bool:
    """Whether a value would be written as a zero with a sign."""
    values = forecast.values
    return bool(((values < 0) & (values > -(10.0**-forecast.decimals))).any())


def card(contract: Contract | None) -> str:
    """The model's card: which, from what, how good, and what it cannot do."""
    if contract is None:
        return '<p class="kc-note">What the model is appears once the service answers.</p>'
    facts = {
        "Model": f"{contract.name}, version {contract.version}",
        "Trained": words.trained_when(contract),
        "Learned from": words.trained_on(contract),
        "Made for": f"one value {words.every(contract.frequency)}",
        "Looks back": span_in_words(contract.input_length, contract.frequency)
        + f" (at least {span_in_words(contract.minimum_history, contract.frequency)} needed)",
        "Looks ahead": span_in_words(contract.horizon, contract.frequency),
    }
    rows = "".join(
        f"<div><dt>{_text(key)}</dt><dd>{_text(value)}</dd></div>" for key, value in facts.items()
    )
    limits = "".join(f"<li>{_text(limit)}</li>" for limit in words.LIMITS)
    return (
        f'<div class="kc-card"><dl>{rows}</dl><div><h3>How good it is</h3>'
        f"<p>{_text(words.quality(contract))} {_text(words.coverage(contract))}</p>"
        f"<h3>What it cannot do</h3><ul>{limits}</ul></div></div>"
    )


KEY_STATUSES = """
- `401`: no key that holds; `KALECAST_KEY` in the example is yours.
- `429`: more than your quota for a minute (rate limit); `Retry-After` says when to go on."""


def for_programs(address: str, *, need_key: bool, have_gradio: bool) -> str:
    """The API for programs, with examples that run as they stand.

    Args:
        address: of the page.
        need_key: whether programs need one.
        have_gradio: whether Gradio's own API forecasts, too.
    """
    statuses = KEY_STATUSES if need_key else ""
    gradio = _with_gradio(address) if have_gradio else ""
    key = ' -H "Authorization: Bearer $KALECAST_KEY"' if need_key else ""
    shell = (
        f"curl -s --retry 5 {address}/api/forecast{key} -H 'Content-Type: application/json' \\\n"
        '  -d "{\\"history\\": \\"$(seq -s, 1 336)\\", \\"start\\": \\"2026-01-01 00:00\\"}"'
    )
    return f"""Over plain HTTP, one request a forecast:

```bash
{shell}
```

- `history` is one text: numbers separated by commas or spaces, the newest last, `nan` or nothing \
between two commas where one is missing.
- `start` is the time of the first number, `horizon` how many values ahead; both may be left out.
- The answer's `forecast` has a column for each quantile, `0.5` is the forecast itself, and `ds`, \
the times, with the offset from UTC that `start` came with, or `step` without a start. `notes` \
says what to know about the history.
- `GET /api/model` describes the model; its `frequency` is the time from one number to the next.

Errors are described in words, in the field `detail` of the answer's JSON:

- `400`: the history, start or horizon is not as above, or the body is no such JSON.
- `413`, `415`: the body is larger than 512 KB, or not sent as `application/json`.{statuses}
- `503`: too many requests, or the service is not answering. Try again after as many seconds as \
the header `Retry-After` says, as `curl --retry` does by itself.{gradio}"""


def _with_gradio(address: str) -> str:
    python = (
        "from gradio_client import Client\n"
        'history = ",".join(str(hour % 24) for hour in range(672))\n'
        f'client = Client("{address}", verbose=False)\n'
        'answer = client.predict(history, "2026-01-01 00:00", 24, api_name="/forecast")\n'
        'print(answer["forecast"]["0.5"])'
    )
    return f"""

In Python with Gradio's client, which is slower (for thousands of forecasts use the address above):

```python
{python}
```

Its arguments are the same three, a horizon of `0` for as far as the model can. An error is raised \
as `gradio_client.exceptions.AppError` with the same sentence."""


@lru_cache(maxsize=4)
def example_csv(frequency: str, needed: int) -> str:
    """A small file of the right form: two series over two weeks or more, with a missing value.

    Args:
        frequency: of the model.
        needed: rows that the model needs of each series.
    """
    step, by_day = step_of(frequency), words.is_daily(frequency)
    count = max(EXAMPLE_LEAST, 2 * needed, min(14 * DAY // step, EXAMPLE_MOST))
    rows = ["unique_id,ds,y"]
    for name, base, swing in (("office", 42.0, 30.0), ("bakery", 18.0, 12.0)):
        for at in range(count):
            timestamp = EXAMPLE_START + at * step
            open_now = 8 <= timestamp.hour < 18 if name == "office" else 3 <= timestamp.hour < 12
            quiet = 0.25 if timestamp.weekday() >= SATURDAY else 1.0
            value = base + (swing * quiet if open_now or by_day else 0.0) + (at * 7 % 11) / 10
            text = "" if (name, at) == ("bakery", count * 2 // 3) else f"{value:.1f}"
            ds = timestamp.isoformat(" ", "minutes")[: 10 if by_day else 16]
            rows.append(f"{name},{ds},{text}")
    return "\n".join(rows) + "\n"


def _download(forecast: Forecast) -> str:
    """A link that holds its file itself: nothing to keep, clean up or find on the server."""
    stem = re.sub(r"[^\w.-]+", "-", forecast.history.name).strip("-.")[:60] or "series"
    content = b64encode(forecast_csv(forecast).encode()).decode()
    return (
        f'<a class="kc-button" download="{escape(stem)}-forecast.csv" '
        f'href="data:text/csv;charset=utf-8;base64,{content}">Download as CSV</a>'
    )


def _labels(forecast: Forecast) -> tuple[str, ...]:
    """The steps' names in the table, as HTML: a narrow screen leaves the month out."""
    timestamps = forecast.timestamps(1, forecast.horizon)
    if timestamps is None:
        return _step_labels(forecast.horizon, forecast.contract.frequency)
    return _timestamp_labels(timestamps, forecast.by_day)


# Most forecasts begin at the same time, or at none.
@lru_cache(maxsize=64)
def _step_labels(horizon: int, frequency: str) -> tuple[str, ...]:
    return tuple(_text(step) for step in words.ahead(horizon, frequency))


@lru_cache(maxsize=64)
def _timestamp_labels(timestamps: tuple[datetime, ...], by_day: bool) -> tuple[str, ...]:
    if by_day:
        return tuple(f"{DAYS[s.weekday()]} {s.day} {MONTHS[s.month - 1]}" for s in timestamps)
    return tuple(
        f'{DAYS[s.weekday()]} {s.day}<span class="kc-month"> {MONTHS[s.month - 1]}</span>, '
        f"{s.hour:02}:{s.minute:02}"
        for s in timestamps
    )


def _csv_cell(text: str) -> str:
    """A name as a cell that no spreadsheet takes for a formula, or for several cells."""
    if text.startswith(FORMULA_STARTS):
        text = "'" + text
    # Where a decimal comma is usual, a spreadsheet splits at semicolons, too, but not in quotes.
    is_plain = re.fullmatch(r"[\w .:/-]*", text)
    cell = io.StringIO()
    writer = csv.writer(
        cell, lineterminator="", quoting=csv.QUOTE_MINIMAL if is_plain else csv.QUOTE_ALL
    )
    writer.writerow([text])
    return cell.getvalue()


def _text(text: str) -> str:
    """Text for HTML inside Markdown: escaped, on one line."""
    return escape(re.sub(r"[^\S\u00a0]+", " ", text).strip()).replace(" %", "\u00a0%")
