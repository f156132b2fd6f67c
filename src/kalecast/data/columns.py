"""Columns: names, timestamps and numbers out of cells, decided by the whole column.

One cell alone often cannot be read: `1,002` is a thousand or one, `01/02/2020` is in January or in
February. What another cell of the column proves holds for all of it; what none proves is refused
with its row, as is a column in two notations. Whatever was decided is noted in the table.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import PurePath
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pandas as pd

from kalecast.data.table_files import LONGEST_TEXTS, SeriesError, Table, were

UNKNOWN = frozenset({"", "nan", "na", "n/a", "null", "none", "-"})
"""What counts as a missing value in a text column `y`, in any case of letters."""

FIRST_YEAR, LAST_YEAR = 1800, 2090
"""Years of a timestamp: what lies outside is a mark for "none", and no span overflows."""

WITH_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
WITH_POINT = re.compile(r"[+-]?\d*\.\d*(?:[eE][+-]?\d+)?")
IN_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+|[+-]?[1-9]\d{0,2}(?:\.\d{3})+")
"""A number whose separators may be those of thousands."""
WHOLE = re.compile(r"[+-]?\d+")

YEAR_LAST = re.compile(
    r"(\d{1,2})([./-])(\d{1,2})\2(\d{4})(?:[ T](\d{1,2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?))?"
)
"""A date with the year at its end: day or month, separator, the other, year, time."""
MIDNIGHT = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ]00:00(?::00(?:\.0+)?)?([Zz]|[+-]\d\d:?\d\d)")
"""A midnight with its UTC offset: day, offset."""
CHANGING_CLOCK = (
    "Timestamps are midnights of a clock that changes: they count as days, without UTC offsets."
)
OFFSET = re.compile(r"[Zz+-]")
BEHIND_DATE = 8
"""Characters of the shortest date: a sign behind them is that of a UTC offset."""
NO_OFFSET = ("Z", "z", "+00:00", "+0000", "+00", "-00:00", "-0000", "-00")

SECOND = 1_000_000_000
ROUNDED = ((60 * SECOND, SECOND), (SECOND, SECOND // 100))
"""Units that timestamps are rounded to, and how near all must be to one, in nanoseconds."""

Floats = npt.NDArray[np.float64]


def names(table: Table) -> pd.Series:
    """The names of the rows' series; that of the table where it has no column `unique_id`.

    Raises:
        SeriesError: a row has none, or one that is too long or goes over several lines.
    """
    if "unique_id" not in table.frame:
        return pd.Series(PurePath(table.name).stem, index=table.frame.index, dtype=object)
    # Each name once, however many rows share it; a missing one has the code -1.
    codes, found = pd.factorize(table.frame["unique_id"])
    texts = [_text(one) for one in found]
    most = LONGEST_TEXTS["unique_id"]
    for at, text in enumerate(texts):
        if len(text.splitlines()) > 1 or len(text.encode(errors="replace")) > most:
            row = table.row(int(np.argmax(codes == at)))
            raise SeriesError(
                f"Expected a name in one line and of at most {most:,} bytes in column "
                f"'unique_id', received: {quoted(text)} in {row}."
            )
    names = pd.Series(np.array([*texts, ""], dtype=object)[codes], index=table.frame.index)
    if (empty := _first(names == "")) is not None:
        raise SeriesError(f"Expected a name in column 'unique_id', {table.row(empty)} has none.")
    if len(set(texts)) < len(texts):
        table.notes.append("Names that differ only in the blanks around them are one series.")
    return names


def timestamps(table: Table) -> tuple[pd.Series, bool]:
    """The rows' timestamps without time zone, and whether they came with UTC offsets.

    Raises:
        SeriesError: a cell is none, is out of range, or could mean several.
    """
    column = table.frame["ds"]
    zoned = isinstance(column.dtype, pd.DatetimeTZDtype)
    if zoned:
        timestamps = column.dt.tz_convert("UTC").dt.tz_localize(None)
        local = column.dt.tz_localize(None)
        if (local == local.dt.normalize()).all() and (local - timestamps).nunique() > 1:
            table.notes.append(CHANGING_CLOCK)
            timestamps, zoned = local, False
    elif pd.api.types.is_datetime64_dtype(column.dtype):
        timestamps = column
    else:
        timestamps, zoned = _from_texts(_texts(column, "ds", table), table)
    within = (timestamps >= f"{FIRST_YEAR}-01-01") & (timestamps < f"{LAST_YEAR + 1}-01-01")
    if (bad := _first(~within)) is not None:
        raise SeriesError(
            f"Expected a date and hour such as '2026-01-31 13:00' ({FIRST_YEAR} to {LAST_YEAR}) in "
            f"column 'ds', received: {quoted(column.iloc[bad])} in {table.row(bad)}."
        )
    return timestamps.astype("datetime64[ns]"), zoned


def utc_offset(cell: Any) -> int:
    """Minutes east of UTC of a timestamp as it came, with an offset."""
    offset = pd.Timestamp(cell.strip() if isinstance(cell, str) else cell).utcoffset()
    return round((offset or timedelta()).total_seconds() / 60)


def rounded(timestamps: pd.Series, names: pd.Series, table: Table) -> pd.Series:
    """Timestamps on full minutes where all lie within a second of one, as spreadsheets and their
    converters miss them; on full seconds where all lie within a hundredth of one."""
    ticks = timestamps.to_numpy().astype(np.int64)
    for unit, near in ROUNDED:
        apart = (ticks + unit // 2) % unit - unit // 2
        if 0 < np.abs(apart).max() <= near:
            return _rounded(names, ticks, apart, table)
    return timestamps


def values(table: Table) -> Floats:
    """The rows' values, NaN where unknown.

    Raises:
        SeriesError: a cell is no finite number, or could mean several.
    """
    column = table.frame["y"]
    if pd.api.types.is_any_real_numeric_dtype(column.dtype):
        found = column.to_numpy(dtype=np.float64, na_value=np.nan)
        missing = Counter({"": int(np.isnan(found).sum())})
    else:
        texts = _texts(column, "y", table)
        numbers = Numbers(texts, lambda at: f"in {table.row(at)}", notes=table.notes)
        found = numbers.read(local=table.separator == ";")
        missing = Counter(texts[at] for at in np.flatnonzero(np.isnan(found)))
    if (bad := _first(np.isinf(found))) is not None:
        raise SeriesError(
            f"Expected finite numbers in column 'y', received: {quoted(column.iloc[bad])} in "
            f"{table.row(bad)}."
        )
    if missing.total():
        table.notes.append(_missing(missing))
    return found


@dataclass(frozen=True)
class Numbers:
    """Texts that stand for numbers."""

    texts: list[str]
    """The cells, without blanks around them."""
    place: Callable[[int], str]
    """Says where a cell stands, such as `in row 17 of sales.csv`."""
    expected: str = "a column 'y' with numbers"
    """What errors say was expected."""
    notes: list[str] = field(default_factory=list)
    """What was decided about them."""

    def read(self, local: bool = False) -> Floats:
        """The numbers, infinite ones too, NaN where unknown.

        Args:
            local: whether their author is likely to use decimal commas.

        Raises:
            SeriesError: a cell is no number, or could mean several.
        """
        if any("," in text for text in self.texts):
            return self._floats(self._with_points())
        self._check_points(local)
        return self._floats(self.texts)

    def listed(self) -> Floats:
        """The same, where commas stood between the numbers, so that points are decimal."""
        return self._floats(self.texts)

    def _floats(self, texts: list[str]) -> Floats:
        try:
            # Python reads "1_000" as a thousand; no other program does.
            if not any("_" in text for text in texts):
                return np.array([float(text or "nan") for text in texts], dtype=np.float64)
        except ValueError:
            pass
        return np.array([self._float(text, at) for at, text in enumerate(texts)])

    def _float(self, text: str, at: int) -> float:
        try:
            if "_" not in text:
                return float(text)
        except ValueError:
            if text.lower() in UNKNOWN:
                return np.nan
        self._refuse(at)

    def _with_points(self) -> list[str]:
        """The texts with points for decimal commas."""
        commas = [at for at, text in enumerate(self.texts) if "," in text]
        for at in commas:
            if not WITH_COMMA.fullmatch(self.texts[at]):
                self._refuse(at)
        proof = next((at for at in commas if not IN_THOUSANDS.fullmatch(self.texts[at])), None)
        if proof is None:
            self._refuse(commas[0], "Three digits follow every comma: decimals, or thousands?")
        for at, text in enumerate(self.texts):
            if WITH_POINT.fullmatch(text):
                self._refuse(at, f"There are decimal commas, too: {self._shown(proof)}.")
        self.notes.append(f"Commas in numbers are decimal, as in {self._shown(proof)}.")
        return [text.replace(",", ".") for text in self.texts]

    def _check_points(self, local: bool) -> None:
        """Refuse points that may separate thousands, as in `1.002` beside `999`."""
        first = None
        for at, text in enumerate(self.texts):
            if "." in text:
                if not IN_THOUSANDS.fullmatch(text):
                    return  # a decimal point, or no number at all
                first = at if first is None else first
        if first is None:
            return
        whole = [len(text.lstrip("+-")) for text in self.texts if WHOLE.fullmatch(text)]
        if max(whole, default=0) > 3:
            return  # thousands are not separated here
        if whole or local:
            self._refuse(first, "Three digits follow every point: decimals, or thousands?")
        self.notes.append(f"Points in numbers are decimal, as in {self._shown(first)}.")

    def _shown(self, at: int) -> str:
        return f"{quoted(self.texts[at])} {self.place(at)}"

    def _refuse(self, at: int, more: str = "") -> NoReturn:
        if more:
            more = f" {more} Please write all without separators of thousands and decimals alike."
        raise SeriesError(f"Expected {self.expected}, received: {self._shown(at)}.{more}")


def quoted(cell: Any) -> str:
    """A cell as an error shows it, cut to a length that fits a sentence."""
    empty = cell is None or cell is pd.NA or cell is pd.NaT or cell == ""
    text = "nothing" if empty else repr(str(cell))
    return text if len(text) <= 40 else text[:37] + "...'"


def _from_texts(texts: list[str], table: Table) -> tuple[pd.Series, bool]:
    """Timestamps, NaT where a text is none, and whether they came with UTC offsets."""
    if YEAR_LAST.fullmatch(texts[0]):
        texts = _year_first(texts, table)
    signs = [OFFSET.search(text, BEHIND_DATE) is not None for text in texts]
    zoned = signs[0]
    if zoned in signs and (not zoned) in signs:
        odd = signs.index(not zoned)
        raise SeriesError(
            "Expected the dates in column 'ds' to be all with a UTC offset or all without, "
            f"received both: {quoted(texts[0])} in {table.row(0)}, {quoted(texts[odd])} in "
            f"{table.row(odd)}."
        )
    if zoned and (days := _days_of_a_clock(texts)):
        table.notes.append(CHANGING_CLOCK)
        texts, zoned = days, False
    elif zoned and not all(text.endswith(NO_OFFSET) for text in texts):
        table.notes.append("Timestamps with UTC offsets were converted to UTC.")
    whole = pd.Series([text if len(text) >= BEHIND_DATE else None for text in texts], dtype=object)
    timestamps = pd.to_datetime(whole, format="ISO8601", errors="coerce", utc=True)
    return timestamps.dt.tz_localize(None), zoned


def _days_of_a_clock(texts: list[str]) -> list[str]:
    """The dates of midnights whose UTC offsets differ, as those of a clock that changes do.

    None of them where any is no midnight, or all have the same offset.
    """
    if not MIDNIGHT.fullmatch(texts[0]):
        return []
    found = [MIDNIGHT.fullmatch(text) for text in texts]
    days = [midnight[1] for midnight in found if midnight]
    offsets = {midnight[2] for midnight in found if midnight}
    return days if len(days) == len(texts) and len(offsets) > 1 else []


def _year_first(texts: list[str], table: Table) -> list[str]:
    """Dates such as `31.12.2002 01:00` as `2002-12-31 01:00`, where one proves what comes first."""
    parts = np.array([_two_parts(text) for text in texts])
    if (odd := _first(parts[:, 0] == 0)) is not None:
        _refuse_dates("all written in one notation", texts, [0, odd], table)
    days, months = (_first(part > 12) for part in parts.T)
    if days is not None and months is not None:
        _refuse_dates("all with the day first, or all with the month", texts, [days, months], table)
    proof = days if days is not None else months
    unclear = _first(parts[:, 0] != parts[:, 1])
    if proof is None and unclear is not None:
        _refuse_dates(
            "whose day and month are unambiguous in at least one row", texts, [unclear], table
        )
    if proof is not None:
        shows = "day" if months is None else "month"
        table.notes.append(
            f"{texts[proof]} in {table.row(proof)} shows that dates are {shows} first."
        )
    order = (4, 3, 1, 5) if months is None else (4, 1, 3, 5)
    found = (YEAR_LAST.fullmatch(text).group(*order) for text in texts)  # type: ignore[union-attr]
    return [f"{year}-{month}-{day} {time or '00:00'}" for year, month, day, time in found]


def _two_parts(text: str) -> tuple[int, int]:
    match = YEAR_LAST.fullmatch(text)
    return (int(match[1]), int(match[3])) if match else (0, 0)


def _refuse_dates(expected: str, texts: list[str], rows: Iterable[int], table: Table) -> NoReturn:
    received = ", ".join(f"{quoted(texts[at])} in {table.row(at)}" for at in rows)
    raise SeriesError(
        f"Expected dates in column 'ds' {expected}, received: {received}. Please write them as "
        "'2026-01-31 13:00'."
    )


def _rounded(
    names: pd.Series,
    ticks: npt.NDArray[np.int64],
    apart: npt.NDArray[np.int64],
    table: Table,
) -> pd.Series:
    full = ticks - apart
    # Where two of a series become one, they are different times a second apart.
    if _doubled(names, full) > _doubled(names, ticks):
        apart = np.zeros_like(apart)
    else:
        units = {3600: "hour", 60: "minute", 1: "second"}
        unit = next(units[size] for size in units if not (full % (size * SECOND)).any())
        table.notes.append(
            f"{were(int(np.count_nonzero(apart)), 'timestamp')} rounded to the full {unit} (by at "
            f"most {np.abs(apart).max() / SECOND:g} s)."
        )
    return pd.Series((ticks - apart).astype("datetime64[ns]"), index=names.index)


def _doubled(names: pd.Series, ticks: npt.NDArray[np.int64]) -> int:
    return int(pd.DataFrame({"name": names.to_numpy(), "ticks": ticks}).duplicated().sum())


def _missing(cells: Counter[str]) -> str:
    empty = cells.pop("", 0)
    parts = [f"{empty:,} empty cell{'s' if empty > 1 else ''}"] if empty else []
    parts += [f"{count:,} of '{text[:20]}'" for text, count in cells.most_common(5)]
    one = empty + cells.total() == 1
    return f"{' and '.join(parts)} in y {'is' if one else 'are'} taken as missing."


def _texts(column: pd.Series, title: str, table: Table) -> list[str]:
    """The cells as texts, none longer than what a timestamp or a number can have."""
    texts = [_text(cell) for cell in column.astype(object)]
    most = LONGEST_TEXTS[title]
    if max(map(len, texts)) > most:
        at = next(at for at, text in enumerate(texts) if len(text) > most)
        raise SeriesError(
            f"Expected at most {most} characters in column '{title}', received: "
            f"{quoted(texts[at])} in {table.row(at)}."
        )
    return texts


def _text(cell: Any) -> str:
    if isinstance(cell, str):
        return cell.strip()
    if isinstance(cell, bytes):
        try:
            return cell.decode().strip()
        except UnicodeDecodeError:
            raise SeriesError(f"Expected text in UTF-8, received: {quoted(cell)}.") from None
    empty = cell is None or cell is pd.NA or cell is pd.NaT
    return "" if empty or (isinstance(cell, float) and np.isnan(cell)) else str(cell).strip()


def _first(flags: "pd.Series | npt.NDArray[np.bool_]") -> int | None:
    """Position of the first true flag."""
    positions = np.flatnonzero(np.asarray(flags, dtype=bool))
    return int(positions[0]) if positions.size else None
