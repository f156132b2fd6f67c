"""Tables of series: a customer's file, rows pasted as text, and the newest rows as they are kept.

`Rows`, as samples are kept and uploads travel, are not on a grid yet, as the grid's step is the
model's and another model may come; but most lie on one already, and then no table library is needed
to make a history of them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import PurePath
from typing import Any

import numpy as np
import orjson
import pandas as pd

from kalecast.data.frequency import frequency_of
from kalecast.data.series import SPARSEST, SeriesError, notes, read_series, tidy
from kalecast.data.table_files import LONGEST_LINE
from kalecast.page.history import MOST_VALUES, NAMELESS, History, parse_history

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

KEPT = 1008
"""Rows kept of a series, where the model does not look further back: six weeks of hours."""

EPOCH = datetime(1970, 1, 1)
LAST_NANOSECOND = 2**63 - 1


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


@dataclass(frozen=True)
class Rows:
    """Rows of one series, in the order of their timestamps."""

    name: str
    first: int
    """The first timestamp, in nanoseconds since 1970."""
    steps: int | str
    """Nanoseconds from each row to the next: one number if always the same, else a JSON list."""
    values: str
    """A JSON list, null where unknown. Text, so that only the series that is wanted is parsed."""
    utc_offset: int | None = None
    """Minutes east of UTC of the newest timestamp as the file had it; None where it had none."""

    def history(self, frequency: str) -> History:
        """The series on the grid of a model's frequency.

        Raises:
            SeriesError: the rows do not lie on that grid, or are none.
        """
        values = _array(self.values, np.float64)
        if not values.size:
            raise SeriesError("Expected rows of data, received none.")
        step = frequency_of(frequency).step
        known = np.count_nonzero(~np.isnan(values))
        if step is not None and self.steps == step.value and known >= SPARSEST * len(values):
            start = EPOCH + timedelta(microseconds=self.first // 1000)
            return History(values, start, self.name, utc_offset=self.utc_offset)
        return replace(on_grid(self._table(values), frequency), utc_offset=self.utc_offset)

    def _table(self, values: np.ndarray[Any, Any]) -> pd.DataFrame:
        count = len(values) - 1
        steps = (
            np.full(count, self.steps)
            if isinstance(self.steps, int)
            else _array(self.steps, np.int64)
        )
        span = abs(self.first) + np.abs(steps.astype(np.float64)).sum()
        if len(steps) != count or span >= LAST_NANOSECOND:
            raise SeriesError("Expected a timestamp for each row.")
        timestamps = self.first + np.r_[0, np.cumsum(steps)]
        ds = timestamps.astype(np.int64).astype("datetime64[ns]")
        return pd.DataFrame({"unique_id": self.name, "ds": ds, "y": values})


def on_grid(table: pd.DataFrame, frequency: str) -> History:
    """A history of the rows of one series, as `kalecast.data.series` lays them on a grid.

    Raises:
        SeriesError: they do not lie on one.
    """
    grid = tidy(table, frequency).tail(MOST_VALUES)
    name = str(grid["unique_id"].iloc[0])
    return History(
        values=grid["y"].to_numpy(),
        start=grid["ds"].iloc[0].to_pydatetime(),
        name=name,
        notes=tuple(notes(grid)),
        utc_offset=grid.attrs.get("utc_offsets", {}).get(name),
    )


def newest_rows(table: pd.DataFrame, most: int) -> Iterator[Rows]:
    """The newest rows of each series of a table, in the order in which the series come.

    Args:
        table: as `kalecast.data.series.read_series` returns it.
        most: rows kept of each.
    """
    codes, names = pd.factorize(table["unique_id"])
    timestamps = table["ds"].to_numpy().astype("datetime64[ns]").astype(np.int64)
    order = np.lexsort((timestamps, codes))
    ends = np.flatnonzero(np.diff(codes[order])) + 1
    parts = zip(
        names,
        np.split(timestamps[order], ends),
        np.split(table["y"].to_numpy()[order], ends),
        strict=True,
    )
    offsets = table.attrs.get("utc_offsets", {})
    for name, timestamps, values in parts:
        yield _rows(str(name), timestamps[-most:], values[-most:], offsets.get(name))


def _rows(
    name: str, timestamps: np.ndarray[Any, Any], values: np.ndarray[Any, Any], offset: int | None
) -> Rows:
    steps = np.diff(timestamps)
    same = bool(steps.size and (steps == steps[0]).all())
    step = int(steps[0]) if same else _json(steps)
    return Rows(name, int(timestamps[0]), step, _json(values), offset)


def _json(array: np.ndarray[Any, Any]) -> str:
    content: bytes = orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY)
    return content.decode()


def _array(text: str, kind: type[np.generic]) -> Any:
    """A list of numbers out of a text that may come from anywhere.

    Raises:
        SeriesError: it is none.
    """
    try:
        array = np.array(orjson.loads(text), dtype=kind)
    except (TypeError, ValueError, OverflowError):
        raise SeriesError("Expected a list of numbers.") from None
    if array.ndim != 1 or not array.size <= MOST_VALUES:
        raise SeriesError(f"Expected a list of at most {MOST_VALUES:,} numbers.")
    return array
