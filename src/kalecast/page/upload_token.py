"""Tokens: an uploaded table as a text that the browser keeps and sends back.

So no replica keeps a customer's data, any of them can answer the next event, and a request
cannot name a file, as there are none. A token is signed, and nothing of one that this page or
another replica of it did not sign is unpacked.

What is signed is compressed with gzip, and has lines: first what holds for the file, then a
series a line, each of tab-separated JSON. So one series is found without parsing the others, and
a reader of a token needs little more memory than for that series.
"""

import gzip
import hmac
import io
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NoBase64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import orjson
import pandas as pd

from kalecast.data import series
from kalecast.data.series import SeriesError
from kalecast.page.gradio_protocol import CHOOSE_AGAIN
from kalecast.page.tables import Rows, newest_rows, read_table

PREFIX = "kalecast-table-1."
PROBLEM = b"problem: "
"""How a token begins, once decoded, that holds a sentence for who sent it and is not signed."""

LARGEST_TOKEN = 4 * 1024 * 1024
LARGEST_CONTENT = 16 * 1024 * 1024
"""Bytes of a token's content: twice what the largest file makes."""
MOST_SERIES = 100_000
"""Series of a file: with more, each would have less than 40 bytes of the largest token."""
MOST_CHOICES = 500
"""Series that are offered by name; the name of another can be typed."""

LONGEST_PROBLEM = 600
MOST_NOTES = 20

SIGNATURE_BYTES = 32

Keys = Sequence[bytes]
"""The first signs; what any of them has signed is opened."""


class TooLarge(Exception):
    """A token's content is larger than was to be unpacked."""


@dataclass(frozen=True)
class Upload:
    """What an uploaded file held, and one of its series."""

    names: tuple[str, ...]
    """The first `MOST_CHOICES` of its series."""
    count: int
    """How many there are."""
    notes: tuple[str, ...]
    chosen: Rows


def token_of(content: bytes, file: str, most: int, keys: Keys) -> str:
    """The token of a file; where it is no table of series, the token says why.

    Args:
        content: the file's bytes.
        file: its name.
        most: rows kept of each series.
        keys: to sign with.
    """
    try:
        table = read_table(content, file)
        count = table["unique_id"].nunique()
        packed = _packed(table, most) if count <= MOST_SERIES else None
        token = _signed(packed, keys) if packed else ""
        if not 0 < len(token) <= LARGEST_TOKEN:
            raise SeriesError(
                f"{file} holds too much for this page: {count:,} series. Please choose a "
                "file with fewer, or request series by series as described below for programs."
            )
    except SeriesError as error:
        return problem_token(str(error))
    return token


def problem_token(text: str) -> str:
    """The token of an upload that held nothing to forecast, which says why."""
    return PREFIX + _letters(PROBLEM + text[:LONGEST_PROBLEM].encode())


def opened(token: str, wanted: str | None, keys: Keys, most: int = LARGEST_CONTENT) -> Upload:
    """What a token holds.

    Args:
        token: as the browser sent it.
        wanted: name of a series; the first one comes where there is none of that name.
        keys: of whom it may be signed.
        most: bytes that may be unpacked.

    Raises:
        SeriesError: the uploaded file was no table of series, or this is no token.
        TooLarge: there is more in it.
    """
    packed = _checked(token, keys)
    names: list[str] = []
    exactly, chosen, count = orjson.dumps(wanted), b"", 0
    lines = _lines(packed, most)
    (notes,) = orjson.loads(next(lines))
    for count, line in enumerate(lines, 1):
        name = line.partition(b"\t")[0]
        if count <= MOST_CHOICES:
            names.append(orjson.loads(name))
        if count == 1 or name == exactly:
            chosen = line
    return Upload(tuple(names), count, tuple(notes), _rows(chosen))


def _packed(table: pd.DataFrame, most: int) -> bytes | None:
    """What is signed, or nothing where it is more than a token holds."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6, mtime=0) as content:
        content.write(orjson.dumps([_notes(table)]))
        for rows in newest_rows(table, most):
            content.write(b"\n" + _line(rows))
            if content.tell() > LARGEST_CONTENT or packed.tell() > LARGEST_TOKEN:
                return None
    return packed.getvalue()


def _notes(table: pd.DataFrame) -> list[str]:
    return [note[:LONGEST_PROBLEM] for note in series.notes(table)[:MOST_NOTES]]


def _line(rows: Rows) -> bytes:
    row = orjson.dumps([rows.first, rows.steps, rows.utc_offset])
    return b"\t".join((orjson.dumps(rows.name), row, rows.values.encode()))


def _rows(line: bytes) -> Rows:
    name, row, values = line.split(b"\t")
    first, steps, utc_offset = orjson.loads(row)
    return Rows(orjson.loads(name), first, steps, values.decode(), utc_offset)


def _lines(packed: bytes, most: int) -> Iterator[bytes]:
    left = most
    with gzip.GzipFile(fileobj=io.BytesIO(packed)) as content:
        while line := content.readline(left + 1):
            left -= len(line)
            if left < 0:
                raise TooLarge
            yield line.rstrip(b"\n")


def _signed(content: bytes, keys: Keys) -> str:
    return PREFIX + _letters(hmac.digest(keys[0], content, "sha256") + content)


def _letters(content: bytes) -> str:
    return urlsafe_b64encode(content).decode().rstrip("=")


def _checked(token: str, keys: Keys) -> bytes:
    """What is signed in a token.

    Raises:
        SeriesError: it is none, or was not signed here; or it holds a sentence, then this one.
    """
    content = _decoded(token)
    if content.startswith(PROBLEM):
        text = content.removeprefix(PROBLEM).decode(errors="replace")
        raise SeriesError(text[:LONGEST_PROBLEM] or CHOOSE_AGAIN)
    signature, signed = content[:SIGNATURE_BYTES], content[SIGNATURE_BYTES:]
    if not any(hmac.compare_digest(hmac.digest(key, signed, "sha256"), signature) for key in keys):
        raise SeriesError(CHOOSE_AGAIN)
    return signed


def _decoded(token: str) -> bytes:
    if not token.startswith(PREFIX) or len(token) > LARGEST_TOKEN:
        raise SeriesError(CHOOSE_AGAIN)
    try:
        letters = token.removeprefix(PREFIX).encode("ascii")
        return urlsafe_b64decode(letters + b"=" * (-len(letters) % 4))
    except (NoBase64, UnicodeEncodeError):
        raise SeriesError(CHOOSE_AGAIN) from None
