"""Table files: CSV and Parquet into a data frame, from bytes that anybody may have sent.

A small file can ask for much: Parquet keeps a number that repeats, or a long text, once for a
billion rows; a CSV's header may name a million columns. Such files are refused before they are
read. What is looked at stands in the file itself, so a Parquet page that says less than it
unpacks to is found by the limits of the process alone.
"""

import io
import re
from collections.abc import Iterable
from typing import Any

import pandas as pd

LONGEST_LINE = 16 * 1024
"""Characters of a CSV's first two lines, from which pandas learns how many columns there are: it
takes seconds for a hundred thousand."""
LONGEST_TEXTS = {"unique_id": 1000, "ds": 64, "y": 64}
"""Bytes of a text in a Parquet file, where a million rows may share one."""
BYTES_A_ROW = sum(LONGEST_TEXTS.values())
"""What the three columns of a row may take before Parquet's own encoding is undone."""


class SeriesError(ValueError):
    """Data that are no series; the text is for the person who sent them."""


def read_table_file(content: bytes, name: str, most_rows: int | None = None) -> pd.DataFrame:
    """The table in a file.

    Args:
        content: the bytes of a CSV, as text columns, or of a Parquet file, of which only
            `unique_id`, `ds` and `y` are read.
        name: what errors call it.
        most_rows: a file with more is refused; without it any number is read.

    Raises:
        SeriesError: it is neither, or would take too much memory or time.
    """
    if content[:4] == b"PAR1":
        return _read_parquet(content, name, most_rows)
    return _read_csv(content, name, most_rows)


def _read_parquet(content: bytes, name: str, most_rows: int | None) -> pd.DataFrame:
    from pyarrow.parquet import ParquetFile

    try:
        # As dictionaries, or a text that many rows share would be there once a row.
        schema = ParquetFile(io.BytesIO(content)).schema
        paths = [schema.column(at).path for at in range(len(schema))]
        with ParquetFile(io.BytesIO(content), read_dictionary=paths) as file:
            found = [
                column for column in file.schema_arrow.names if _plain(column) in LONGEST_TEXTS
            ]
            if not {"ds", "y"} <= set(map(_plain, found)):
                return pd.DataFrame(columns=file.schema_arrow.names)
            _check_rows(file.metadata.num_rows, name, most_rows)
            _check_columns(file, name)
            table = file.read(columns=found)
        _check_texts(table, name)
        frame: pd.DataFrame = table.to_pandas()
    except SeriesError:
        raise
    except Exception as error:  # pyarrow's errors share no narrower class with pandas's
        raise SeriesError(f"Expected a whole Parquet file, {name} is damaged.") from error
    return frame


def _plain(column: str) -> str:
    return column.strip().lower()


def _check_rows(rows: int, name: str, most: int | None) -> None:
    if most is not None and rows > most:
        raise SeriesError(f"Expected at most {most:,} rows, {name} has {rows:,}.")


def _check_columns(file: Any, name: str) -> None:
    """Refuse wanted columns whose rows hold lists or take more room than names and numbers do."""
    groups = [file.metadata.row_group(at) for at in range(file.metadata.num_row_groups)]
    size = 0
    for at in range(len(file.schema)):
        column = file.schema.column(at)
        top = column.path.split(".")[0]
        if _plain(top) not in LONGEST_TEXTS:
            continue
        if column.path != top or column.physical_type == "FIXED_LEN_BYTE_ARRAY":
            raise SeriesError(
                f"Expected a text or a number a row in column '{top}' of {name}, received: "
                f"{str(file.schema_arrow.field(top).type)[:40]}."
            )
        size += sum(group.column(at).total_uncompressed_size for group in groups)
    if size > BYTES_A_ROW * (file.metadata.num_rows + 1000):
        raise SeriesError(f"Expected names, stamps and numbers, {name} unpacks to {size:,} bytes.")


def _check_texts(table: Any, name: str) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    for column, title in zip(table.itercolumns(), table.column_names, strict=True):
        if not pa.types.is_dictionary(column.type):
            continue
        most = LONGEST_TEXTS[_plain(title)]
        lengths = [pc.max(pc.binary_length(chunk.dictionary)).as_py() for chunk in column.chunks]
        longest = max(filter(None, lengths), default=0)
        if longest > most:
            raise SeriesError(
                f"Expected at most {most:,} bytes a text in column '{title}', {name} has one of "
                f"{longest:,}."
            )


def _read_csv(content: bytes, name: str, most_rows: int | None) -> pd.DataFrame:
    if not content.strip():
        raise SeriesError(f"Expected a CSV with columns 'ds' and 'y', {name} is empty.")
    if b"\0" in content:
        raise SeriesError(f"Expected a CSV, a text file; {name} is not text.")
    _check_rows(max(content.count(end) for end in (b"\n", b"\r")), name, most_rows)
    text = _decode(content)
    separator = _separator(text)
    _check_first_lines(text, separator, name)
    try:
        # As text, and blank lines kept, so that an error can quote a cell and its line.
        return pd.read_csv(
            io.StringIO(text), sep=separator, dtype=str, skip_blank_lines=False, na_filter=False
        ).replace("", None)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        reason = str(error).removeprefix("Error tokenizing data. C error: ").strip()
        raise SeriesError(
            f"Expected a CSV with columns 'ds' and 'y', {name} cannot be read as one: {reason}."
        ) from error


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        # A spreadsheet's export: only names of series can hold what UTF-8 does not.
        return content.decode("cp1252", errors="replace")


def _separator(text: str) -> str:
    header = text.lstrip("\r\n").split("\n", 1)[0]
    return max(",;\t", key=header.count)


def _check_first_lines(text: str, separator: str, name: str) -> None:
    """Refuse what would make pandas lay out columns without end: a header or first row too long."""
    lines = re.split(r"\r\n|\r|\n", text[: 2 * LONGEST_LINE + 4], maxsplit=2)[:2]
    for number, line in enumerate(lines, 1):
        if len(line) > LONGEST_LINE:
            raise SeriesError(
                f"Expected lines of at most {LONGEST_LINE:,} characters, line {number} of {name} "
                "is longer."
            )
        # A quote left open would make the line go on in the next one.
        if not all(map(_closes, _split(line, separator))):
            raise SeriesError(
                f"Expected a CSV with columns 'ds' and 'y', {name} cannot be read as one: a quote "
                f"of line {number} is not closed in that line."
            )


def _split(line: str, separator: str) -> Iterable[str]:
    """The fields of a line as pandas finds them, quotes included."""
    field = rf'"(?:[^"]|"")*+"?[^{separator}]*|[^{separator}]*'
    return re.findall(rf"(?:^|{separator})({field})", line)


def _closes(field: str) -> bool:
    return not field.startswith('"') or re.match(r'"(?:[^"]|"")*+"', field) is not None
