"""Tables of series: a customer's file, rows pasted as text."""

import re
from dataclasses import replace
from pathlib import PurePath

import pandas as pd

from kalecast.data.series import SeriesError, read_series
from kalecast.data.table_files import LONGEST_LINE
from kalecast.page.history import NAMELESS, History, parse_history
from kalecast.page.rows import on_grid

LARGEST_FILE = 20 * 1024 * 1024
MOST_ROWS = 1_000_000
"""Rows of a file: what a CSV of that size has with 20 bytes a row."""
SPREADSHEETS = {".xlsx", ".xls", ".xlsm", ".ods", ".numbers"}
COLUMNS = {"unique_id", "ds", "y"}
TIMESTAMPED = re.compile(
    r"\"?(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4})(?!\d)"
)
"""How a row begins that has a date first."""
SEPARATOR = re.compile(r"[,;\t]")
START_UNUSED = "The rows have timestamps of their own; the time of the first number is not used."


def read_table(content: bytes, name: str) -> pd.DataFrame:
    """A file as `read_series` reads it.

    Raises:
        SeriesError: it is no table of series.
    """
    if PurePath(name).suffix.lower() in SPREADSHEETS:
        raise SeriesError(
            f"{name} is a spreadsheet. Please save it as CSV there (Save as… or Export) "
            "and choose that file."
        )
    return read_series(content, name, MOST_ROWS)


def is_table(text: str) -> bool:
    """Whether pasted text is rows with a header or a timestamp, and not bare numbers."""
    first = _first_line(text)
    return _has_names(first) or bool(_separator_of_timestamp(first))


def pasted(text: str, start: str, frequency: str) -> History:
    """A history from pasted text: bare numbers, or rows of a timestamp and a number.

    Raises:
        SeriesError: the text is neither.
    """
    text = text.lstrip("\ufeff")
    first = _first_line(text)
    if not _has_names(first):
        separator = _separator_of_timestamp(first)
        if not separator:
            return parse_history(text, start)
        text = f"ds{separator}y\n{text}"
    rows = read_series(text.encode(errors="replace"), "the pasted rows", MOST_ROWS)
    series = rows["unique_id"].unique()
    if len(series) > 1:
        raise SeriesError(
            f"Expected rows of one series, received {len(series):,}. For several, use a file."
        )
    found = on_grid(rows, frequency)
    if start.strip():
        found = replace(found, notes=(*found.notes, START_UNUSED))
    named = "unique_id" in first.lower()
    return found if named else replace(found, name=NAMELESS)


def _first_line(text: str) -> str:
    return next(iter(text.lstrip("\ufeff").lstrip()[:LONGEST_LINE].splitlines()), "")


def _has_names(line: str) -> bool:
    """Whether a line names a column of a table of series."""
    lower = line.lower()
    if not any(column in lower for column in COLUMNS):  # a thousand numbers need no closer look
        return False
    return not COLUMNS.isdisjoint(field.strip(' "') for field in SEPARATOR.split(lower))


def _separator_of_timestamp(line: str) -> str:
    """What follows the timestamp that a line begins with; empty where it begins with none."""
    separator = SEPARATOR.search(line)
    return separator[0] if separator and TIMESTAMPED.match(line) else ""
