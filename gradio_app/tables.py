"""Tables of series: the samples, a customer's file, rows pasted as text."""

import re
from functools import lru_cache
from pathlib import Path

import pandas as pd
from history import MOST_VALUES, NAMELESS, History, parse_numbers, parse_start

from kalecast.series import SeriesError, read_series, tidy

LARGEST_FILE = 20 * 1024 * 1024
SPREADSHEETS = {".xlsx", ".xls", ".xlsm", ".ods", ".numbers"}
HEADER = re.compile(r"\s*\"?(unique_id|ds|y)\"?\s*[,;\t]", re.IGNORECASE)
STAMPED = re.compile(r"\s*\d{4}-\d{2}-\d{2}[T ]?[\d:]*[^,;\t]*([,;\t])")


def names(path: str | Path) -> list[str]:
    """The series of a file, in the file's order.

    Raises:
        SeriesError: the file is no table of series.
    """
    return list(_table(path)["unique_id"].unique())


def history(path: str | Path, name: str, frequency: str) -> History:
    """One series of a file on a regular grid.

    Raises:
        SeriesError: the file is no table of series, has no such one, or it is flawed.
    """
    table = _table(path)
    rows = table[table["unique_id"] == name]
    if rows.empty:
        raise SeriesError(f"There is no series '{name[:60]}' in {Path(path).name}.")
    return _history(rows, frequency)


def pasted(text: str, start: str, frequency: str) -> History:
    """A history from pasted text: bare numbers, or rows of a stamp and a number.

    Raises:
        SeriesError: the text is neither.
    """
    content = text.strip()
    if HEADER.match(content):
        rows = read_series(content.encode(), "the pasted rows")
    elif match := STAMPED.match(content):
        header = f"ds{match.group(1)}y\n"
        rows = read_series((header + content).encode(), "the pasted rows")
    else:
        return History(parse_numbers(_point_for_comma(content)), parse_start(start))
    series = rows["unique_id"].unique()
    if len(series) > 1:
        raise SeriesError(
            f"Expected rows of one series, received {len(series):,}. For several, use a file."
        )
    found = _history(rows, frequency)
    return found if "unique_id" in content[:200].lower() else _renamed(found)


def _table(path: str | Path) -> pd.DataFrame:
    """A file as `read_series` reads it; the newest few are kept, as they are asked for again."""
    path = Path(path)
    try:
        status = path.stat()
    except OSError:
        raise SeriesError("This file is not here any more. Please choose it again.") from None
    if status.st_size > LARGEST_FILE:
        raise SeriesError(f"{path.name} is larger than {LARGEST_FILE // 2**20} MB.")
    if path.suffix.lower() in SPREADSHEETS:
        raise SeriesError(
            f"{path.name} is a spreadsheet. Please save it as CSV there (Save as… or Export) "
            "and choose that file."
        )
    return _read(path, status.st_mtime_ns)


@lru_cache(maxsize=4)
def _read(path: Path, _changed: int) -> pd.DataFrame:
    return read_series(path)


def _history(rows: pd.DataFrame, frequency: str) -> History:
    grid = tidy(rows, frequency).tail(MOST_VALUES)
    return History(
        values=grid["y"].to_numpy(),
        start=grid["ds"].iloc[0].to_pydatetime(),
        name=str(grid["unique_id"].iloc[0]),
    )


def _renamed(found: History) -> History:
    return History(found.values, found.start, NAMELESS)


def _point_for_comma(text: str) -> str:
    """Where semicolons separate, commas are decimal: `310,5; 295` as `310.5, 295`."""
    return text.replace(",", ".").replace(";", ",") if ";" in text else text
