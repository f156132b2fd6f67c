"""Markup: the parts of the page that are plain HTML, and the table of a forecast as CSV.

Their templates are in `templates/`. Gradio shows them through its Markdown component (its HTML
component compiles templates in the browser, which a strict Content-Security-Policy forbids). So no
part holds an empty line, which would end the HTML, and whatever a customer sent is escaped.
"""

import csv
import io
import re
from base64 import b64encode
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from kalecast.artifact.contract import Contract
from kalecast.data.frequency import frequency_of
from kalecast.data.steps import span_in_words, step_name
from kalecast.page import words
from kalecast.page.forecasting import DAY, Forecast
from kalecast.page.words import Formatted

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
SATURDAY = 5
EXAMPLE_START = datetime(2026, 1, 5)
EXAMPLE_LEAST, EXAMPLE_MOST = 56, 2016
"""Rows of each series of the example, but for those that the model needs."""

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")

TAGLINE = "What comes next in your numbers, and how sure that is."

NUMBERS_INFO = (
    "One a line or separated by commas; leave a place between two commas empty where one is "
    "missing. Rows such as {when}, 310 work too."
)


def _line(text: str) -> Markup:
    """Text for HTML inside Markdown: escaped, on one line."""
    line = escape(re.sub(r"[^\S\u00a0]+", " ", text).strip())
    return Markup(line.replace(" %", "\u00a0%"))


_environment = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=select_autoescape(["html"]),
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
    auto_reload=False,  # which would look at the file for each part
)
_environment.filters["line"] = _line
_environment.globals["tagline"] = TAGLINE


def part(template: str, **given: Any) -> str:
    """A part of the page.

    Args:
        template: its file's name.
        given: what the template names.
    """
    return _environment.get_template(template).render(given)


def file_form(contract: Contract | None) -> str:
    """What a file should look like, as far as it is known for which model."""
    rows, when, enough = "a row for each time", "date and hour", "The newest rows are enough"
    if contract is not None:
        frequency = contract.frequency
        rows = f"one row {words.every(frequency)}"
        when = "date" if words.is_daily(frequency) else "date and time"
        enough = (
            f"The newest {span_in_words(contract.input_length, frequency)} count, "
            f"{span_in_words(contract.minimum_history, frequency)} are needed"
        )
    timestamp = "2026-01-31" if when == "date" else "2026-01-31 13:00"
    return part("file_form.html", rows=rows, when=when, enough=enough, timestamp=timestamp)


def message(text: str, source: str) -> str:
    """A banner that says what went wrong with which of the page's sources; none for all of them."""
    return part("message.html", text=text, source=source)


def reading(forecast: Forecast, formatted: Formatted, source: str) -> str:
    """Headline above the figure: which series, in which clock, and the forecast in a sentence.

    Where the page is turned to another source than it names, `page.css` hides all of it.
    """
    return part(
        "reading.html",
        source=source,
        name=forecast.history.title or forecast.history.name,
        title=words.title(forecast),
        sentence=words.reading(forecast, formatted),
        notes=[*filter(None, [words.clock(forecast)]), *words.notes(forecast)],
    )


def table(forecast: Forecast, formatted: Formatted) -> str:
    """Table of the forecast, folded, with its download."""
    # Not in the template, which takes three times as long for each of so many cells.
    rows = "".join(
        f"<tr><th>{label}</th><td><b>{middle}</b></td><td>{'</td><td>'.join(ranges[::-1])}</td></tr>"
        for label, middle, *ranges in zip(
            _labels(forecast), formatted.median, *formatted.intervals, strict=True
        )
    )
    offset = forecast.history.utc_offset
    return part(
        "table.html",
        steps=step_name(forecast.contract.frequency).many,
        time="Time" if offset is None else f"Time, {words.zone(offset)}",
        percents=[interval.percent for interval in forecast.intervals[::-1]],
        rows=rows,
        file=re.sub(r"[^\w.-]+", "-", forecast.history.name).strip("-.")[:60] or "series",
        content=b64encode(forecast_csv(forecast).encode()).decode(),
    )


def card(contract: Contract | None) -> str:
    """The model's card: which, from what, how good, and what it cannot do."""
    if contract is None:
        return part("card.html", facts={})
    frequency = contract.frequency
    back = span_in_words(contract.input_length, frequency)
    needed = span_in_words(contract.minimum_history, frequency)
    facts = {
        "Model": f"{contract.name}, version {contract.version}",
        "Trained": words.trained_when(contract),
        "Learned from": words.trained_on(contract),
        "Made for": f"one value {words.every(frequency)}",
        "Looks back": f"{back} (at least {needed} needed)",
        "Looks ahead": span_in_words(contract.horizon, frequency),
    }
    quality, coverage = words.quality(contract), words.coverage(contract)
    return part("card.html", facts=facts, quality=quality, coverage=coverage)


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


@lru_cache(maxsize=4)
def example_csv(frequency: str, needed: int) -> str:
    """A small file of the right form: two series over two weeks or more, with a missing value.

    Args:
        frequency: of the model.
        needed: rows that the model needs of each series.
    """
    grid, by_day = frequency_of(frequency), words.is_daily(frequency)
    count = max(EXAMPLE_LEAST, 2 * needed, min(14 * DAY // grid.length, EXAMPLE_MOST))
    start = EXAMPLE_START.replace(day=31 if grid.at_end else 1) if grid.months else EXAMPLE_START
    timestamps = grid.datetimes(start, 0, count)
    rows = ["unique_id,ds,y"]
    for name, base, swing in (("office", 42.0, 30.0), ("bakery", 18.0, 12.0)):
        for at, timestamp in enumerate(timestamps):
            open_now = 8 <= timestamp.hour < 18 if name == "office" else 3 <= timestamp.hour < 12
            quiet = 0.25 if timestamp.weekday() >= SATURDAY else 1.0
            value = base + (swing * quiet if open_now or by_day else 0.0) + (at * 7 % 11) / 10
            text = "" if (name, at) == ("bakery", count * 2 // 3) else f"{value:.1f}"
            ds = timestamp.isoformat(" ", "minutes")[: 10 if by_day else 16]
            rows.append(f"{name},{ds},{text}")
    return "\n".join(rows) + "\n"


def _labels(forecast: Forecast) -> tuple[str, ...]:
    """The steps' names in the table, as HTML: a narrow screen leaves the month out."""
    timestamps = forecast.timestamps(1, forecast.horizon)
    if timestamps is None:
        return _step_labels(forecast.horizon, forecast.contract.frequency)
    if forecast.by_month:
        return tuple(f"{MONTHS[s.month - 1]} {s.year}" for s in timestamps)
    return _timestamp_labels(timestamps, forecast.by_day)


# Most forecasts begin at the same time, or at none.
@lru_cache(maxsize=64)
def _step_labels(horizon: int, frequency: str) -> tuple[str, ...]:
    return tuple(_line(step) for step in words.ahead(horizon, frequency))


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
