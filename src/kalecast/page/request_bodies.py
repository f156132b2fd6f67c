"""Request bodies: what is requested, and from which history, read out of what a customer sends.

A small body is read where it arrives; a larger one, and each file, by the same functions in the
process that `reading.py` keeps for it. So nothing is imported here that such a process does not
need.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import orjson
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from kalecast.data.series import SeriesError
from kalecast.page import tables, upload_token
from kalecast.page.gradio_protocol import UPLOAD_FIELD, Event, Update, choices, path_of, update
from kalecast.page.history import History, parse_history, shown
from kalecast.page.outcomes import Unacceptable
from kalecast.page.upload_token import LARGEST_TOKEN, MOST_CHOICES, Keys

SMALL = 32 * 1024
"""Bytes of a body that is read where it arrives: a millisecond's work."""
SMALL_CONTENT = 256 * 1024
"""Bytes that may be unpacked there out of a token."""

LARGEST_REQUEST = 512 * 1024
"""Of `/api/forecast`."""
LARGEST_TEXT = 1_000_000
"""Characters of pasted text: 20,000 rows, of 50 each."""
LARGEST_EVENT = 2 * LARGEST_TOKEN + 2 * 1024 * 1024
"""Gradio's frontend sends a file's name twice; a line's end in pasted text takes two bytes."""
LARGEST_FORM = tables.LARGEST_FILE + 64 * 1024
"""The largest file, and what a form puts around it."""

SLICE = 1024 * 1024
"""Bytes of a form that are copied at a time."""

MOST_BRACKETS = 64
"""Lists and objects in a large body, those in its texts counted too: a page sends five."""
LONGEST_START = 64
FIELDS = {"history", "start", "horizon"}

SAMPLE, FILE, PASTE = "Sample", "Your file", "Your numbers"

CHANGED = "This page has changed since you opened it. Please load it again."

Body = bytes | bytearray


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
        token = path_of(upload)
        for value in (sample, token, series, text, start):
            if not _is_text(value):
                raise Unacceptable(400, f"Expected a text, received: {shown(value)}.")
        if source not in (SAMPLE, FILE, PASTE):
            raise Unacceptable(
                400, f"Expected one of the three sources, received: {shown(source)}."
            )
        is_number = isinstance(horizon, int | float) and abs(horizon) < 2**53
        if isinstance(horizon, bool) or not (is_number or horizon is None):
            raise Unacceptable(400, f"Expected a number of steps, received: {shown(horizon)}.")
        return cls(source, sample, token, series, text or "", start or "", horizon)


Found = tuple[History, Update]
"""A history, and the change to the list of series to choose from."""


def forecast_request(body: Body) -> tuple[History, int | None]:
    """History and horizon that a program requests.

    Raises:
        SeriesError: the body holds none.
    """
    try:
        fields = _parsed(body)
    except SeriesError:
        raise
    except ValueError:
        raise SeriesError('Expected JSON such as {"history": "310, 295.5, 301.2"}.') from None
    if not isinstance(fields, dict):
        raise SeriesError(f"Expected a JSON object, received: {shown(fields)}.")
    if unknown := sorted(fields.keys() - FIELDS):
        raise SeriesError(
            f"Expected the fields history, start and horizon, received also: {shown(unknown[0])}."
        )
    history, start, horizon = (fields.get(name) for name in ("history", "start", "horizon"))
    if history is None or not _is_text(history):
        raise SeriesError(
            "Expected history as one text of numbers such as '310, 295.5, 301.2', received: "
            f"{shown(history)}."
        )
    if not _is_text(start):
        raise SeriesError(f"Expected start as a text, received: {shown(start)}.")
    if isinstance(horizon, bool) or not isinstance(horizon, int | None):
        raise SeriesError(f"Expected horizon as a whole number, received: {shown(horizon)}.")
    return parse_history(history, _start(start)), horizon


def controls(body: Body, function: int) -> Controls:
    """What the page's controls held when it sent its event.

    Args:
        body: of the event.
        function: its number on the page as it is now.

    Raises:
        Unacceptable: no page sends such a body.
    """
    try:
        fields = _parsed(body)
    except SeriesError as error:
        raise Unacceptable(400, str(error)) from None
    except ValueError:
        raise Unacceptable(400, "Expected JSON as the page sends it.") from None
    if not isinstance(fields, dict):
        raise Unacceptable(400, "Expected a JSON object as the page sends it.")
    sent = Event.read(fields)
    if sent.function != function:
        raise Unacceptable(400, CHANGED)
    return Controls.read(sent.data)


def customer_history(
    held: Controls, frequency: str, keys: Keys, most: int = upload_token.LARGEST_CONTENT
) -> Found:
    """The history that a customer brought along, in a file or as pasted text.

    Args:
        held: by the page's controls.
        frequency: the model's.
        keys: of the tokens.
        most: bytes that a token may unpack to.

    Raises:
        SeriesError: there is none in what the controls hold.
        TooLarge: there is more in the token.
    """
    if held.source == FILE:
        return _uploaded(held, frequency, keys, most)
    return _pasted(held, frequency)


def event(
    body: Body, function: int, frequency: str, keys: Keys
) -> tuple[Controls, Found | SeriesError | None]:
    """A whole event: what the controls held, and what came of it unless that was a sample.

    Raises:
        Unacceptable: no page sends such a body.
    """
    held = controls(body, function)
    found: Found | SeriesError | None = None
    if held.source != SAMPLE:
        try:
            found = customer_history(held, frequency, keys)
        except SeriesError as error:
            found = error
    return replace(held, token=None, text=""), found


def form_token(body: bytearray, headers: list[tuple[bytes, bytes]], most: int, keys: Keys) -> str:
    """The token of the file in a form; arguments but for the form as for `upload_token.token_of`.

    Raises:
        Unacceptable: it is no such form.
    """
    file, content = asyncio.run(_file(body, Headers(raw=headers)))
    return upload_token.token_of(content, file, most, keys)


def check_brackets(body: Body) -> None:
    """Refuse JSON of more lists and objects than any request has, without parsing it.

    Raises:
        SeriesError: it has; what is small may.
    """
    if len(body) <= SMALL:
        return
    if (count := body.count(b"[") + body.count(b"{")) > MOST_BRACKETS:
        raise SeriesError(
            f"Expected JSON with at most {MOST_BRACKETS} brackets, received {count:,}: [ or {{."
        )


def _parsed(body: Body) -> Any:
    """JSON, which in memory takes little more than the body.

    Raises:
        ValueError: it is none; a SeriesError says why.
    """
    if len(body) <= SMALL:
        return orjson.loads(body)
    check_brackets(body)
    text = str(body, "utf-8")
    if isinstance(body, bytearray):  # whose memory is wanted for what is in it
        body.clear()
    # Not by orjson, which takes twelve times the body's size.
    return json.loads(text, parse_constant=_no_number)


def _no_number(name: str) -> None:
    raise ValueError(name)


def _is_text(value: Any) -> bool:
    """Whether it is one that UTF-8 can say, or none at all: JSON may escape half a character."""
    try:
        return value is None or bool(value.isascii() or value.encode())
    except (AttributeError, UnicodeEncodeError):
        return False


def _start(text: str | None) -> str:
    if text and len(text) > LONGEST_START:
        raise SeriesError(
            "Expected the time of the first number such as 2026-01-31 13:00, received: "
            f"{shown(text[:LONGEST_START])}."
        )
    return text or ""


def _uploaded(held: Controls, frequency: str, keys: Keys, most: int) -> Found:
    if not held.token:
        raise SeriesError("Please choose a CSV file first.")
    upload = upload_token.opened(held.token, held.series, keys, most)
    history = upload.chosen.history(frequency)
    notes = (*upload.notes, *history.notes)
    return replace(history, notes=notes), _choices(upload)


def _pasted(held: Controls, frequency: str) -> Found:
    if not held.text.strip():
        raise SeriesError("Please paste your numbers first, one a line or with commas.")
    if len(held.text) > LARGEST_TEXT:
        raise SeriesError(
            f"Expected at most {LARGEST_TEXT:,} characters, received {len(held.text):,}. The "
            "newest numbers are enough."
        )
    return tables.pasted(held.text, _start(held.start), frequency), update()


def _choices(upload: upload_token.Upload) -> Update:
    label = "Series"
    if upload.count > MOST_CHOICES:
        label = f"Series (the first {MOST_CHOICES} of {upload.count:,}; type another's name)"
    offered, chosen = choices(upload.names), upload.chosen.name
    return update(choices=offered, value=chosen, label=label, visible=upload.count > 1)


class _InMemory(MultiPartParser):
    spool_max_size = LARGEST_FORM  # larger ones would go to disk


async def _file(body: bytearray, headers: Headers) -> tuple[str, bytes]:
    """Name and content of the one file in a form, in whose place nothing is left."""

    async def stream() -> AsyncGenerator[bytes, None]:
        for at in range(0, len(body), SLICE):
            yield bytes(body[at : at + SLICE])
        body.clear()

    try:
        form = await _InMemory(headers, stream(), max_files=1, max_fields=1).parse()
    except (MultiPartException, KeyError) as error:
        raise Unacceptable(400, f"Expected a form with one file: {error}.") from None
    file = form.get(UPLOAD_FIELD)
    if not isinstance(file, UploadFile):
        raise Unacceptable(400, f"Expected a form with one file in its field '{UPLOAD_FIELD}'.")
    content = await file.read()
    await form.close()
    return PurePath(file.filename or "your file").name, content
