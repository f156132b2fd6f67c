"""Tokens: an uploaded table as a text that the browser keeps and sends back.

So no replica keeps a customer's data, any of them can answer the next event, and a request
cannot name a file, as there are none. What comes back is input like any other: whoever sends a
token may have made it up.
"""

import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NoBase64
from dataclasses import astuple, dataclass
from typing import Any

import orjson
from rows import LAST_NANOSECOND, Rows, newest_rows
from tables import read_table

from kalecast.series import SeriesError

PREFIX = "kalecast-table-1."

LARGEST_TOKEN = 4 * 1024 * 1024
LARGEST_CONTENT = 16 * 1024 * 1024
"""Bytes of a token's content: twice what the largest file makes."""
MOST_SERIES = 100_000
"""Series of a file: with more, each would have less than 40 bytes of the largest token."""

LONGEST_NAME = 200
LONGEST_PROBLEM = 600

CHOOSE_AGAIN = "Please choose your file again."


@dataclass(frozen=True)
class Upload:
    """What an uploaded file held."""

    file: str
    series: dict[str, Rows]


def token_of(file: str, content: bytes, most: int) -> str:
    """The token of a file; where it is no table of series, the token says why.

    Args:
        file: the file's name.
        content: its bytes.
        most: rows kept of each series.
    """
    try:
        table = read_table(content, file)
        count = table["unique_id"].nunique()
        series = newest_rows(table, most) if count <= MOST_SERIES else []
        held = orjson.dumps({"file": file[-LONGEST_NAME:], "series": [astuple(s) for s in series]})
        token = _packed(held)
        if not series or max(len(token) / LARGEST_TOKEN, len(held) / LARGEST_CONTENT) > 1:
            raise SeriesError(
                f"{file} holds too much for this page: {count:,} series. Please choose a "
                "file with fewer, or ask series by series as it says below for programs."
            )
    except SeriesError as error:
        return problem_token(str(error))
    return token


def problem_token(text: str) -> str:
    """The token of an upload that held nothing to forecast, which says why."""
    return _packed(orjson.dumps({"problem": text[:LONGEST_PROBLEM]}))


def opened(token: str) -> Upload:
    """What a token holds.

    Raises:
        SeriesError: the uploaded file was no table of series, or this is no token.
    """
    try:
        content = _unpacked(token)
        problem = content.get("problem")
        series = [_rows(*fields) for fields in content.get("series", [])[:MOST_SERIES]]
        upload = Upload(str(content.get("file"))[:LONGEST_NAME], {s.name: s for s in series})
    except (ValueError, TypeError, AttributeError, zlib.error):
        raise SeriesError(CHOOSE_AGAIN) from None
    if problem or not series:
        raise SeriesError(str(problem or CHOOSE_AGAIN)[:LONGEST_PROBLEM])
    return upload


def _rows(name: Any, first: Any, steps: Any, values: Any) -> Rows:
    if not (isinstance(name, str) and isinstance(values, str)):
        raise TypeError("expected texts")
    for number in (first, *([] if isinstance(steps, str) else [steps])):
        if not isinstance(number, int) or abs(number) > LAST_NANOSECOND:
            raise TypeError("expected nanoseconds")
    return Rows(name, first, steps, values)


def _packed(content: bytes) -> str:
    return PREFIX + urlsafe_b64encode(zlib.compress(content)).decode().rstrip("=")


def _unpacked(token: str) -> Any:
    """The content of a token, none of it held to be true.

    Raises:
        ValueError, zlib.error: it is no token, or one too large.
    """
    if not token.startswith(PREFIX) or len(token) > LARGEST_TOKEN:
        raise ValueError("no token")
    packed = token.removeprefix(PREFIX).encode()
    try:
        compressed = urlsafe_b64decode(packed + b"=" * (-len(packed) % 4))
    except NoBase64 as error:
        raise ValueError("no token") from error
    inflated = zlib.decompressobj()
    # Bounded, as a few bytes may ask for gigabytes.
    content = inflated.decompress(compressed, LARGEST_CONTENT)
    if not inflated.eof:
        raise ValueError("cut off, or too large")
    return orjson.loads(content)
