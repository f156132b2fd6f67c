"""Tables of series: a customer's file, rows pasted as text."""

import re
from dataclasses import replace
from pathlib import PurePath

import pandas as pd
from history import NAMELESS, History, parse_history
from rows import on_grid

from kalecast.series import SeriesError, read_series

LARGEST_FILE = 20 * 1024 * 1024
MOST_ROWS = 2_000_000
"""Rows of a file: more than a CSV of that size has, so what is refused is a Parquet file."""
SPREADSHEETS = {".xlsx", ".xls", ".xlsm", ".ods", ".numbers"}
HEADER = re.compile(r"\s*\"?(unique_id|ds|y)\"?\s*[,;\t]", re.IGNORECASE)
STAMPED = re.compile(r"\s*\d{4}-\d{2}-\d{2}[T ]?[\d:]*[^,;\t]*([,;\t])")


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


def pasted(text: str, start: str, frequency: str) -> History:
    """A history from pasted text: bare numbers, or rows of a stamp and a number.

    Raises:
        SeriesError: the text is neither.
    """
    content = text.strip()
    if HEADER.match(content):
        rows = read_series(content.encode(), "the pasted rows", MOST_ROWS)
    elif match := STAMPED.match(content):
        header = f"ds{match.group(1)}y\n"
        rows = read_series((header + content).encode(), "the pasted rows", MOST_ROWS)
    else:
        return parse_history(_point_for_comma(content), start)
    series = rows["unique_id"].unique()
    if len(series) > 1:
        raise SeriesError(
            f"Expected rows of one series, received {len(series):,}. For several, use a file."
        )
    found = on_grid(rows, frequency)
    named = "unique_id" in content[:200].lower()
    return found if named else replace(found, name=NAMELESS)


def _point_for_comma(text: str) -> str:
    """Where semicolons separate, commas are decimal: `310,5; 295` as `310.5, 295`."""
    return text.replace(",", ".").replace(";", ",") if ";" in text else text
