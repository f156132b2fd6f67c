"""Series: the long table `unique_id, ds, y`, read, checked and laid on a regular grid.

Errors are for the person whose data it is: they name the row, the column, what was expected
and what was received. What happens to flawed data is settled here, once:

| flaw | outcome |
|---|---|
| a step without a row, or a row without a value | a missing value: NaN, which the network takes |
| the same timestamp twice with the same value | one of them is kept |
| the same timestamp twice with different values | `SeriesError` |
| text in `y`, infinite values, timestamps that are no dates of 1800 to 2090 | `SeriesError` |
| numbers or dates that are ambiguous | `SeriesError`, unless another row proves one |
| timestamps with UTC offsets | converted to UTC; mixed with timestamps without: `SeriesError` |
| midnights whose UTC offsets differ, as clocks change | the days of that clock, without offsets |
| timestamps within a second of full minutes, as spreadsheets write them | rounded |
| timestamps off the grid, or finer than the frequency | `SeriesError` |
| a series coarser than the frequency, or hardly known | left out and noted; alone: `SeriesError` |

Whatever is done with a table without refusing it is said in its `notes`.

Files may come from any sender. How they are opened, and what is refused unread because it would
take too much memory or time, is in `table_files`; how cells are read, in `columns`.
"""

import hashlib
import re
from pathlib import Path, PurePosixPath
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from kalecast.artifact.store import fetch_data
from kalecast.data import columns
from kalecast.data.frequency import (
    BUSINESS_DAYS,
    Frequency,
    frequency_of,
    infer_frequency,
    length_in_words,
    rhythms,
)
from kalecast.data.steps import span_in_words, step_in_words
from kalecast.data.table_files import SeriesError as SeriesError  # noqa: PLC0414
from kalecast.data.table_files import Table, read_table_file, table_of_frame, were
from kalecast.project import project_path

SPARSEST = 0.1
"""A series with a smaller share of known steps is refused: its timestamps are likely wrong."""

FEWEST_ON_A_GRID = 8
"""Known values from which on a coarser grid, on which all of them lie, is no accident."""


def read_series(
    source: str | Path | bytes | pd.DataFrame,
    name: str | None = None,
    most_rows: int | None = None,
) -> pd.DataFrame:
    """Read a long table of series.

    Args:
        source: the path of a CSV or Parquet file, a file's bytes, or a data frame. Columns are
            `ds`, `y` and, unless it is one series alone, `unique_id`, also as named levels of
            a frame's index; others are ignored. A CSV may be separated by commas, semicolons or
            tabs, and be in UTF-8 or, with its byte-order mark, UTF-16.
        name: what errors call the source, and what a single series without `unique_id` is
            named after. The file's name where left out.
        most_rows: a file with more rows is refused unread.

    Returns:
        Columns `unique_id` (text), `ds` (timestamps without time zone), `y` (float64, NaN
        where unknown), in the order of the source. What was done with them is in `notes`; where
        timestamps came with UTC offsets, `attrs["utc_offsets"]` has the minutes east of UTC of
        each series' newest row.

    Raises:
        SeriesError: the source cannot be read as such a table.
    """
    name = name or (Path(source).name if isinstance(source, str | Path) else "the table")
    table = _read_table(source, name, most_rows)
    if table.frame.empty:
        raise SeriesError(f"Expected rows of data below the header, received none in {name}.")
    series = columns.names(table)
    timestamps, zoned = columns.timestamps(table)
    timestamps = columns.rounded(timestamps, series, table)
    frame = pd.DataFrame({"unique_id": series, "ds": timestamps, "y": columns.values(table)})
    offsets = _newest_offsets(frame, table) if zoned else {}
    frame.attrs = {"notes": Sentences(table.notes), "utc_offsets": Offsets(offsets)}
    return frame


class Sentences(list[str]):
    """Notes of a frame; shared by its copies, as pandas copies attributes at every step."""

    def __deepcopy__(self, memo: object) -> Self:
        """The same."""
        return self


class Offsets(dict[str, int]):
    """Minutes east of UTC by series; shared by a frame's copies, too."""

    def __deepcopy__(self, memo: object) -> Self:
        """The same."""
        return self


def notes(frame: pd.DataFrame) -> list[str]:
    """What reading and tidying did with a table: used, ignored, rounded, taken as missing."""
    return list(frame.attrs.get("notes", []))


def load_series(data: str | Path) -> pd.DataFrame:
    """`read_series` of the file that a notebook's or command's `data` names.

    Args:
        data: a path as `kalecast.artifact.store.project_path` takes it, or an `s3:` URI.

    Raises:
        SeriesError: the file cannot be read as a table of series, or it is another URI.
        StoreError: an `s3:` URI leads to no file that can be fetched.
    """
    scheme = re.match(r"\s*([A-Za-z][\w+.-]+):", str(data))
    if scheme and scheme[1] != "s3":
        # An address given by a user is not fetched from inside the cluster.
        raise SeriesError(f"Expected a path or an s3: URI as data, received: '{str(data)[:60]}'.")
    if isinstance(data, str) and data.startswith("s3:"):
        return read_series(fetch_data(data), name=PurePosixPath(data).name)
    return read_series(project_path(data))


def tidy(frame: pd.DataFrame, frequency: str = "h") -> pd.DataFrame:
    """Lay series on a regular grid from each one's first to its last timestamp.

    Args:
        frame: as `read_series` returns it.
        frequency: a pandas offset alias as `frequency.frequency_of` takes it, such as `h` or `MS`.

    Returns:
        The same columns, sorted by `unique_id` and `ds`, one row a step, NaN for missing values.
        Series whose values lie on a coarser grid, or that hardly have any, are left out;
        `attrs["notes"]` says which and why, after the notes of `frame`.

    Raises:
        SeriesError: conflicting duplicates, timestamps off the grid, or no series is left.
    """
    steps_apart = frequency_of(frequency)
    frame = frame.sort_values(["unique_id", "ds"], kind="stable", ignore_index=True)
    frame = _without_duplicates(frame)
    series, names = pd.factorize(frame["unique_id"])
    first = np.flatnonzero(np.r_[True, series[1:] != series[:-1]])
    starts = frame["ds"].to_numpy()[first]
    position, off_grid = steps_apart.positions(frame["ds"].to_numpy(), starts[series])
    _check_grid(frame, off_grid, first, steps_apart)
    lengths = position[np.r_[first[1:] - 1, len(frame) - 1]] + 1
    flaws = {
        **_sparse(frame, series, lengths, names),
        **_coarse(frame, series, position, names, steps_apart),
    }
    if len(flaws) == len(names):
        raise SeriesError(flaws[min(flaws)])
    if flaws:
        kept = frame[~np.isin(series, list(flaws))]
        left_out = [f"Left out: {flaws[at]}" for at in sorted(flaws)]
        kept.attrs = {**frame.attrs, "notes": Sentences([*notes(frame), *left_out])}
        return tidy(kept, frequency)
    said = Sentences(notes(frame))
    if absent := int(lengths.sum()) - len(frame):
        said.append(f"{were(absent, 'missing row')} filled with missing values.")
    offsets = np.r_[0, np.cumsum(lengths)]
    values = np.full(offsets[-1], np.nan)
    values[offsets[series] + position] = frame["y"].to_numpy()
    steps = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    grid = pd.DataFrame(
        {
            "unique_id": np.repeat(names.to_numpy(dtype=object), lengths),
            "ds": steps_apart.timestamps(np.repeat(starts, lengths), steps),
            "y": values,
        }
    )
    grid.attrs = {**frame.attrs, "notes": said}
    return grid


def fingerprint(frame: pd.DataFrame) -> str:
    """A digest of a tidy frame's content: the same for the same series, wherever they lay."""
    hashes = pd.util.hash_pandas_object(frame[["unique_id", "ds", "y"]], index=False)
    return "sha256:" + hashlib.sha256(hashes.to_numpy().tobytes()).hexdigest()[:16]


def describe(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a series: first and last timestamp, steps, unknown steps, mean, smallest, largest."""
    grouped = frame.groupby("unique_id", sort=True)
    return grouped.agg(
        first=("ds", "min"),
        last=("ds", "max"),
        steps=("y", "size"),
        unknown=("y", lambda y: int(y.isna().sum())),
        mean=("y", "mean"),
        smallest=("y", "min"),
        largest=("y", "max"),
    ).reset_index()


def pick(frame: pd.DataFrame, name: str = "") -> pd.DataFrame:
    """One series of a frame: the one of that name, or the first.

    Raises:
        SeriesError: there is none of that name.
    """
    names = frame["unique_id"].unique()
    if name and name not in names:
        some = ", ".join(f"'{other}'" for other in names[:8]) + (", …" if len(names) > 8 else "")
        raise SeriesError(f"Expected the name of one of the series ({some}), received: '{name}'.")
    return frame[frame["unique_id"] == (name or names[0])].reset_index(drop=True)


def _read_table(
    source: str | Path | bytes | pd.DataFrame, name: str, most_rows: int | None
) -> Table:
    if isinstance(source, pd.DataFrame):
        return table_of_frame(source, name)
    if isinstance(source, bytes):
        return read_table_file(source, name, most_rows)
    try:
        content = Path(source).read_bytes()
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise SeriesError(f"Expected a data file at '{source}': {reason}.") from error
    return read_table_file(content, name, most_rows)


def _newest_offsets(frame: pd.DataFrame, table: Table) -> dict[str, int]:
    codes, found = pd.factorize(frame["unique_id"])
    order = np.lexsort((frame["ds"].to_numpy(), codes))
    newest = order[np.r_[np.flatnonzero(np.diff(codes[order])), len(order) - 1]]
    cells = table.frame["ds"]
    return {str(found[codes[at]]): columns.utc_offset(cells.iloc[at]) for at in newest}


def _without_duplicates(frame: pd.DataFrame) -> pd.DataFrame:
    again = frame.duplicated(["unique_id", "ds"], keep=False)
    if not again.any():
        return frame
    doubled = frame[again]
    # A known value beside an unknown one at the same timestamp is no conflict: the known one stays.
    distinct = doubled.groupby(["unique_id", "ds"], sort=False)["y"].nunique()
    conflicts = distinct[distinct > 1]
    if len(conflicts):
        raise SeriesError(_in_conflict(doubled, conflicts))
    known_first = frame.sort_values(["unique_id", "ds", "y"], na_position="last")
    kept = known_first.drop_duplicates(["unique_id", "ds"], ignore_index=True)
    unknown = int(frame["y"].isna().sum() - kept["y"].isna().sum())
    same = len(frame) - len(kept) - unknown
    said = [f"{were(same, 'repeated row')} kept once, as the values are the same."] * (same > 0)
    if unknown:
        said.append(f"{were(unknown, 'empty value')} dropped beside another row of that time.")
    kept.attrs = {**frame.attrs, "notes": Sentences([*notes(frame), *said])}
    return kept


def _in_conflict(doubled: pd.DataFrame, conflicts: pd.Series) -> str:
    """What is to be said of timestamps with several values."""
    unique_id, timestamp = conflicts.index[0]
    here = (doubled["unique_id"] == unique_id) & (doubled["ds"] == timestamp)
    received = ", ".join(repr(float(value)) for value in doubled.loc[here, "y"].dropna()[:3])
    hours = pd.DatetimeIndex(conflicts.index.get_level_values("ds")).floor("h").unique()
    one_a_day = len(hours) == len(hours.floor("D").unique())
    clocks = (
        "If clocks went back then (the end of daylight saving time), write timestamps with their "
        "UTC offset, or in UTC. Else keep"
    )
    return (
        f"Expected one value at each timestamp, series {columns.quoted(unique_id)} has several at "
        f"{timestamp}: {received}. {clocks if one_a_day and hours.hour.max() <= 3 else 'Keep'} "
        f"one, or sum or average them. (Timestamps like this: {len(conflicts)}.)"
    )


def _check_grid(
    frame: pd.DataFrame,
    off_grid: npt.NDArray[np.bool_],
    first: npt.NDArray[np.intp],
    frequency: Frequency,
) -> None:
    off = np.flatnonzero(off_grid)
    if not off.size:
        return
    row = frame.iloc[off[0]]
    expected = f"Expected one value every {step_in_words(frequency.alias)}"
    if frequency.step is None and not frequency.months and row["ds"].dayofweek >= BUSINESS_DAYS:
        raise SeriesError(
            f"{expected}, Monday to Friday, series '{row['unique_id']}' has one on "
            f"{row['ds']:%A} {row['ds']}. The frequency of data with weekends is D."
        )
    if off[0] in first:
        raise SeriesError(
            f"{expected}, at its first or last day or at one that each has (1 to 28), series "
            f"'{row['unique_id']}' begins at {row['ds']}. Write the first day."
        )
    before = frame["ds"].iloc[off[0] - 1]
    raise SeriesError(
        f"{expected}, series '{row['unique_id']}' has one at {before} and the next at {row['ds']}, "
        f"{_counted(row['ds'] - before)} later. Bring it to one value every "
        f"{step_in_words(frequency.alias)} first (sum or average)."
    )


def _counted(length: pd.Timedelta) -> str:
    words = length_in_words(length)
    return words if words[0].isdigit() else f"{'an' if words == 'hour' else 'a'} {words}"


def _sparse(
    frame: pd.DataFrame,
    series: npt.NDArray[np.intp],
    lengths: npt.NDArray[np.int64],
    names: pd.Index,
) -> dict[int, str]:
    """The series with hardly any known step, and what is to be said of each."""
    known = np.bincount(series, weights=frame["y"].notna().to_numpy(), minlength=len(names))
    flaws = {}
    for at in np.flatnonzero(known < SPARSEST * lengths).tolist():
        rows = np.flatnonzero(series == at)
        first, last = frame["ds"].iloc[rows[0]], frame["ds"].iloc[rows[-1]]
        flaws[at] = (
            f"Expected a value at most steps from the first timestamp to the last, series "
            f"'{names[at]}' has {int(known[at])} known values in {int(lengths[at])} steps "
            f"({first} to {last}). Are the timestamps or the frequency wrong?"
        )
    return flaws


def _coarse(
    frame: pd.DataFrame,
    series: npt.NDArray[np.intp],
    position: npt.NDArray[np.int64],
    names: pd.Index,
    frequency: Frequency,
) -> dict[int, str]:
    """The series whose known values all lie several steps apart, and what is to be said of each."""
    known = frame["y"].notna().to_numpy()
    held, at = np.unique(series[known], return_index=True)
    if not held.size:
        return {}
    counts = np.diff(np.r_[at, known.sum()])
    since_first = position[known] - np.repeat(position[known][at], counts)
    apart = np.gcd.reduceat(since_first, at)
    coarse = np.flatnonzero((apart > 1) & (counts >= FEWEST_ON_A_GRID))
    flaws = {}
    for one in coarse.tolist():
        rows = frame[known & (series == held[one])]
        found, remedy = _apart(rows, int(apart[one]), frequency)
        flaws[int(held[one])] = (
            f"Expected one value every {step_in_words(frequency.alias)}, series "
            f"'{names[held[one]]}' has one every {found}, from {rows['ds'].iloc[0]} on. {remedy}"
        )
    return flaws


def _apart(rows: pd.DataFrame, apart: int, frequency: Frequency) -> tuple[str, str]:
    """How far the values of a series lie apart that is coarser than expected, and what to do."""
    words = span_in_words(apart, frequency.alias)
    if frequency.step:
        words = length_in_words(rows["ds"].diff().mode().iloc[0])
    try:
        found = infer_frequency(rows)
        name, season = next(iter(rhythms(found).items()))
    except SeriesError as error:
        return words, str(error)
    if frequency_of(found).length >= frequency.length * apart:
        words = step_in_words(found)
    # Whether a year is seen depends on more than the frequency: `fitting` says it.
    seen = "" if name == "year" else f" season={season}"
    return words, f"For such data: frequency={found}{seen}."
