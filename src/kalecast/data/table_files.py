"""Tables: CSV, Parquet and data frames, down to the three columns that make a series.

Files may come from any sender, and a small one can need much memory: Parquet keeps a number that
repeats, or a long text, once for a billion rows; a CSV's header may name a million columns. Such
files are refused before they are laid out. What is looked at stands in the file itself, so a
Parquet page that says less than it unpacks to is found by the limits of the process alone.

A CSV is read with Python's own reader: every row is held against the header, which a reader that
makes an index of a surplus field, or fills a missing one, does not let one see.
"""

import codecs
import csv
import io
import operator
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pandas as pd

LONGEST_LINE = 16 * 1024
"""Characters of a CSV's line: a line of separators becomes as many texts."""
MOST_COLUMNS = 1000
LONGEST_TEXTS = {"unique_id": 1000, "ds": 64, "y": 64}
"""What a cell may take: bytes of a name, characters of a timestamp or a number."""
BYTES_A_ROW = 128
"""What a row's three columns may take in a Parquet file before its own encoding is undone. Names
may be longer than that, as they stand there once for all rows that share them."""
TEXT_A_ALLOWED_ROW = 12
"""Bytes of text of a Parquet file for each row that it may have: for all texts together."""
LARGEST_FOOTER = 4 * 1024 * 1024
"""Bytes in which a Parquet file describes its columns; in memory they are twenty times as many."""
ROWS_AT_A_TIME = 256
"""Rows of a CSV that lie in memory with all their columns."""

BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
SEPARATORS = ",;\t"


class SeriesError(ValueError):
    """Data that are no series; the text is for the person who sent them."""


@dataclass(frozen=True)
class Table:
    """The columns of a table that make a series, and where they come from."""

    frame: pd.DataFrame
    """`ds`, `y` and, if the table has it, `unique_id`: cells as text, or typed."""
    name: str
    """What errors call the table."""
    numbers: npt.NDArray[np.int64]
    """The number of each row, the header's being 1."""
    notes: list[str] = field(default_factory=list)
    """What was done with the table."""
    separator: str = ","
    """What stands between two fields of a CSV."""

    def row(self, position: int) -> str:
        """Where a row stands, for an error: `row 17 of sales.csv`."""
        return f"row {self.numbers[position]:d} of {self.name}"


def read_table_file(content: bytes, name: str, most_rows: int | None = None) -> Table:
    """The table in a file.

    Args:
        content: the bytes of a CSV or of a Parquet file.
        name: what errors call it.
        most_rows: a file with more is refused; without it any number is read.

    Raises:
        SeriesError: it is neither, has not the columns, or would take too much memory or time.
    """
    if content[:4] == b"PAR1":
        return _read_parquet(content, name, most_rows)
    return _read_csv(content, name, most_rows)


def table_of_frame(frame: pd.DataFrame, name: str) -> Table:
    """The table in a data frame; named levels of its index are columns like the others.

    Raises:
        SeriesError: it has not the columns.
    """
    labels = frame.index.to_numpy()
    numbered = frame.index.names == [None] and np.issubdtype(labels.dtype, np.integer)
    numbers = labels + 2 if numbered else np.arange(len(frame)) + 2
    columns = [frame.iloc[:, at] for at in range(frame.shape[1])]
    for at, level in enumerate(frame.index.names):
        cells = frame.index.get_level_values(at)
        same = [
            column for column in columns if column.name == level and cells.equals(pd.Index(column))
        ]
        if level is not None and not same:
            columns.append(cells.to_series(name=level))
    found, notes = _wanted([str(column.name) for column in columns], name)
    table = pd.DataFrame({plain: columns[at].array for plain, at in found.items()})
    blank = table.isna().all(axis=1).to_numpy()
    if blank.any():
        blank &= frame.isna().all(axis=1).to_numpy()
    return _without_blank(table, numbers, blank, name, notes)


def _wanted(columns: Iterable[str], name: str) -> tuple[dict[str, int], list[str]]:
    """Where the columns of a series stand, and what is said of the others."""
    titles = [column.strip() for column in columns]
    if len(titles) > MOST_COLUMNS:
        raise SeriesError(f"Expected at most {MOST_COLUMNS:,} columns, {name} has {len(titles):,}.")
    places: dict[str, list[int]] = {column: [] for column in LONGEST_TEXTS}
    for at, title in enumerate(titles):
        places.get(title.lower(), []).append(at)
    if missing := [column for column in ("ds", "y") if not places[column]]:
        raise SeriesError(
            f"Expected a column {' and a column '.join(map(repr, missing))} in {name}, "
            f"received the columns: {_listed(titles) or 'none'}."
        )
    for column, several in places.items():
        if len(several) > 1:
            received = _listed([titles[at] for at in several])
            raise SeriesError(
                f"Expected one column '{column}' in {name}, received several: {received}."
            )
    used = sorted(at for several in places.values() for at in several)
    others = [title[:30] or "a column without a name" for title in titles]
    unused = [other for at, other in enumerate(others) if at not in used]
    notes = [f"Used: {', '.join(titles[at] for at in used)}. Not used: {_some(unused)}."]
    return {column: at[0] for column, at in places.items() if at}, notes if unused else []


def _listed(titles: Iterable[str]) -> str:
    return _some([f"'{title[:30]}'" for title in titles if title])


def _some(words: Sequence[str], most: int = 8) -> str:
    more = f" and {len(words) - most:,} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def _without_blank(
    frame: pd.DataFrame,
    numbers: npt.NDArray[np.int64],
    blank: npt.NDArray[np.bool_],
    name: str,
    notes: list[str],
) -> Table:
    if blank.any():
        notes = [*notes, f"{were(int(blank.sum()), 'empty row')} skipped."]
        frame, numbers = frame[~blank].reset_index(drop=True), numbers[~blank]
    return Table(frame, name, numbers, notes)


def were(count: int, noun: str) -> str:
    """The beginning of a note: `1 row was`, `2,000 rows were`."""
    return f"1 {noun} was" if count == 1 else f"{count:,} {noun}s were"


def _read_parquet(content: bytes, name: str, most_rows: int | None) -> Table:
    from pyarrow.parquet import ParquetFile

    footer = int.from_bytes(content[-8:-4], "little")
    if LARGEST_FOOTER < footer < len(content):
        raise SeriesError(
            f"Expected a Parquet file of a few columns, {name} describes them in {footer:,} bytes."
        )
    try:
        # As dictionaries, or a text that many rows share would be there once a row.
        schema = ParquetFile(io.BytesIO(content)).schema
        paths = [schema.column(at).path for at in range(len(schema))]
        with ParquetFile(io.BytesIO(content), read_dictionary=paths) as file:
            titles = file.schema_arrow.names
            # An index without a name, as pandas writes it down.
            found, notes = _wanted([one for one in titles if not one.startswith("__index_")], name)
            wanted = {title: title.strip().lower() for title in titles}
            wanted = {title: plain for title, plain in wanted.items() if plain in found}
            _check_rows(file.metadata.num_rows, name, most_rows)
            _check_columns(file, wanted, name, most_rows)
            table = file.read(columns=list(wanted))
        _check_texts(table, wanted, name)
        # Whatever was the index of a frame is a column like the others here.
        frame: pd.DataFrame = table.to_pandas(ignore_metadata=True).rename(columns=wanted)
    except SeriesError:
        raise
    except Exception as error:  # pyarrow's errors share no narrower class with pandas's
        raise SeriesError(f"Expected a whole Parquet file, {name} is damaged.") from error
    numbers = np.arange(len(frame)) + 2
    return _without_blank(frame, numbers, frame.isna().all(axis=1).to_numpy(), name, notes)


def _check_rows(rows: int, name: str, most: int | None) -> None:
    if most is not None and rows > most:
        raise SeriesError(f"Expected at most {most:,} rows, {name} has {rows:,}.")


def _check_columns(file: Any, wanted: dict[str, str], name: str, most_rows: int | None) -> None:
    """Refuse wanted columns whose rows hold lists or take more room than names and numbers do."""
    groups = [file.metadata.row_group(at) for at in range(file.metadata.num_row_groups)]
    size = texts = 0
    for at in range(len(file.schema)):
        column = file.schema.column(at)
        top = column.path.split(".")[0]
        if top not in wanted:
            continue
        if column.path != top or column.physical_type == "FIXED_LEN_BYTE_ARRAY":
            raise SeriesError(
                f"Expected a text or a number a row in column '{top}' of {name}, received: "
                f"{str(file.schema_arrow.field(top).type)[:40]}."
            )
        here = sum(group.column(at).total_uncompressed_size for group in groups)
        size += here
        texts += here * (column.physical_type == "BYTE_ARRAY")
    most_texts = texts if most_rows is None else TEXT_A_ALLOWED_ROW * most_rows
    if size > BYTES_A_ROW * file.metadata.num_rows + 2**20 or texts > most_texts:
        raise SeriesError(
            f"Expected names, timestamps and numbers, {name} unpacks to {size:,} bytes."
        )


def _check_texts(table: Any, wanted: dict[str, str], name: str) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    for column, title in zip(table.itercolumns(), table.column_names, strict=True):
        if not pa.types.is_dictionary(column.type):
            continue
        most = LONGEST_TEXTS[wanted[title]]
        lengths = [pc.max(pc.binary_length(chunk.dictionary)).as_py() for chunk in column.chunks]
        longest = max(filter(None, lengths), default=0)
        if longest > most:
            raise SeriesError(
                f"Expected at most {most:,} bytes a text in column '{title}', {name} has one of "
                f"{longest:,}."
            )


def _read_csv(content: bytes, name: str, most_rows: int | None) -> Table:
    if not content.strip():
        raise SeriesError(f"Expected a CSV with columns 'ds' and 'y', {name} is empty.")
    text, notes = _as_utf8(content, name)
    if b"\0" in text:
        raise SeriesError(f"Expected a CSV, a text file; {name} is not text.")
    _check_rows(_line_ends(text), name, most_rows)
    # A blank line may be one of separators, as spreadsheets write them.
    blank = text[: len(text) - len(text.lstrip(b" \r\n" + SEPARATORS.encode()))]
    begin = max(blank.rfind(b"\n"), blank.rfind(b"\r")) + 1
    csv_text = _Csv(text[begin:].rstrip(b"\r\n"), name, _line_ends(text[:begin]))
    found, said = _wanted(csv_text.header, name)
    columns, numbers = csv_text.columns(list(found.values()))
    frame = pd.DataFrame(dict(zip(found, columns, strict=True)), dtype=object)
    notes += said
    if csv_text.blank:
        notes.append(f"{were(csv_text.blank, 'empty row')} skipped.")
    return Table(frame, name, numbers, notes, csv_text.separator)


def _as_utf8(content: bytes, name: str) -> tuple[bytes, list[str]]:
    """The same text as UTF-8 without a mark, and what is said of its encoding."""
    mark = next((mark for mark in BYTE_ORDER_MARKS if content.startswith(mark)), b"")
    try:
        if mark and mark != codecs.BOM_UTF8:
            return content.decode(BYTE_ORDER_MARKS[mark]).encode(), []
        content.decode()
        return content.removeprefix(mark), []
    except UnicodeError:
        pass
    try:
        if not mark:
            return content.decode("cp1252").encode(), [_read_as_western(content, name)]
    except UnicodeError:
        pass
    raise SeriesError(
        f"Expected text in UTF-8, {name} is in another encoding. Please save it as CSV UTF-8."
    )


def _read_as_western(content: bytes, name: str) -> str:
    """A note of an encoding that is guessed: a spreadsheet's export of western Europe."""
    at = next(at for at, byte in enumerate(content) if byte > 127)
    before, after = content[max(0, at - 30) : at], content[at : at + 30]
    ends = re.compile(r"[,;\t\r\n\"]")
    word = ends.split(before.decode("cp1252"))[-1] + ends.split(after.decode("cp1252"))[0]
    return (
        f"{name} is not in UTF-8 and is read as Windows-1252 (western Europe), for instance "
        f"'{word}'. If that looks wrong, save the file as CSV UTF-8."
    )


def _line_ends(text: bytes) -> int:
    return text.count(b"\n") + text.count(b"\r") - text.count(b"\r\n")


class _Csv:
    """The text of a CSV: a row a line, the first of them the header."""

    def __init__(self, text: bytes, name: str, above: int) -> None:
        """Find separator and header.

        Args:
            text: UTF-8, from the header on.
            name: what errors call it.
            above: lines before the header.
        """
        self._text, self._name = text, name
        self._check_lines(above)
        self._blank = array("q")
        line, self._begin = next(self._lines(), ""), 1
        # What Excel writes, and reads, above the header.
        declared = line.rstrip("\r\n").removeprefix("sep=") if line.startswith("sep=") else ""
        if len(declared) == 1 and declared in SEPARATORS:
            line, self._begin = next(islice(self._lines(), 1, None), ""), 2
        self._above = above + self._begin
        self.separator, self.header = self._header(line, declared)

    @property
    def blank(self) -> int:
        """Empty rows that were skipped."""
        return len(self._blank)

    def columns(self, wanted: list[int]) -> tuple[list[list[str]], npt.NDArray[np.int64]]:
        """Cells of the columns at these places, and the rows' numbers.

        Raises:
            SeriesError: a row has other fields than the header, or goes on in the next line.
        """
        lines = islice(self._lines(), self._begin, None)
        rows = self._fields(lines, self.separator)
        columns: list[list[str]] = [[] for _ in wanted]
        cells_of = operator.itemgetter(*wanted)
        count = 0
        while chunk := self._chunk(rows, count):
            whole = self._whole(chunk, count, wanted)
            count += len(chunk)
            for column, cells in zip(
                columns, zip(*map(cells_of, whole), strict=True), strict=False
            ):
                shared: dict[str, str] = {}
                column.extend(map(shared.setdefault, cells, cells))
        numbers = np.delete(np.arange(count), self._blank) + self._above + 1
        return columns, numbers

    def _lines(self) -> Iterator[str]:
        return io.TextIOWrapper(io.BytesIO(self._text), "utf-8", newline="")

    def _check_lines(self, above: int) -> None:
        if max(map(len, self._lines()), default=0) <= LONGEST_LINE:
            return
        lines = enumerate(self._lines(), above + 1)
        number = next(number for number, line in lines if len(line) > LONGEST_LINE)
        raise SeriesError(
            f"Expected lines of at most {LONGEST_LINE:,} characters, line {number} of "
            f"{self._name} is longer."
        )

    def _header(self, line: str, declared: str) -> tuple[str, list[str]]:
        """Separator and names of the columns; the separator is what finds `ds` and `y`."""
        likely = sorted(declared or SEPARATORS, key=line.count, reverse=True)
        found: dict[str, list[str]] = {
            one: next(self._fields([line], one, strict=False), []) for one in likely
        }
        for separator, titles in found.items():
            if {"ds", "y"} <= {title.strip().lower() for title in titles}:
                return separator, self._split(line, separator, self._above)
        return likely[0], self._split(line, likely[0], self._above)

    @staticmethod
    def _fields(lines: Iterable[str], separator: str, strict: bool = True) -> Any:
        return csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=strict)

    def _split(self, line: str, separator: str, number: int) -> list[str]:
        try:
            return next(self._fields([line], separator), [])
        except csv.Error:
            raise SeriesError(
                f"Expected a CSV with columns 'ds' and 'y', {self._name} cannot be read as one: "
                f"a quote of line {number} is not closed at the end of its field."
            ) from None

    def _chunk(self, rows: Any, before: int) -> list[list[str]]:
        """The next rows. Each is one line: a stray quote would swallow the rows up to the next."""
        try:
            chunk = list(islice(rows, ROWS_AT_A_TIME))
            if rows.line_num == before + len(chunk):
                return chunk
        except csv.Error:
            pass
        for number, line in enumerate(islice(self._lines(), self._begin + before, None), 1):
            self._split(line, self.separator, self._above + before + number)
        raise SeriesError(f"Expected a row in each line of {self._name}.")

    def _whole(self, chunk: list[list[str]], before: int, wanted: list[int]) -> list[list[str]]:
        """The rows that are not blank, each with the header's fields."""
        width, last = len(self.header), max(wanted)
        if all(len(row) == width and row[last] for row in chunk):
            return chunk
        whole = []
        for at, row in enumerate(chunk, before):
            if not any(map(str.strip, row)):
                self._blank.append(at)
                continue
            # An empty field at the end is a separator too many; what else is short or long shifts.
            if row[width:] not in ([], [""]) or len(row) <= last:
                self._refuse(row, self._above + at + 1)
            whole.append(row)
        return whole

    def _unquoted(self, row: list[str]) -> bool:
        return self.separator == "," and len(row) > len(self.header)

    def _refuse(self, row: list[str], number: int) -> NoReturn:
        fields = "1 field" if len(row) == 1 else f"{len(row):,} fields"
        raise SeriesError(
            f"Expected in each row of {self._name} the fields of its header, row {number} has "
            f"{fields}, the header {len(self.header):,}."
            + (" Decimal commas need quotes around the number." * self._unquoted(row))
        )
