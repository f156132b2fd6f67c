"""Series larger than memory: from a Parquet file to a store mapped from disk."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from kalecast.data.series import SeriesError, read_series, tidy
from kalecast.data.windows import SeriesStore

ROWS_AT_A_TIME = 1_000_000


def map_parquet(source: Path, target: Path, input_length: int, frequency: str = "h") -> SeriesStore:
    """Read a Parquet file piece by piece into a file of values, and map that.

    Memory holds a piece of the table at a time, and of the values what is looked at.

    Args:
        source: columns `unique_id, ds, y`; the rows of each series stand together.
        target: the file of values, made anew; about 8 bytes a step.
        input_length: the network's.
        frequency: a pandas offset alias, as `tidy` takes it.

    Returns:
        A store as `SeriesStore.from_frame` makes it, backed by `target`.

    Raises:
        SeriesError: the file cannot be read, has other columns, or a series in several places.
    """
    names: list[str] = []
    lengths: list[int] = []
    lead = np.full(input_length, np.nan)
    with target.open("wb") as file:
        for whole in _whole_series(source):
            for name, values in tidy(whole, frequency).groupby("unique_id", sort=False)["y"]:
                lead.tofile(file)
                values.to_numpy(dtype=np.float64).tofile(file)
                names.append(str(name))
                lengths.append(len(values))
    if len(set(names)) < len(names):
        again = next(name for at, name in enumerate(names) if name in names[:at])
        raise SeriesError(
            f"Expected the rows of each series to stand together in {source.name}, series "
            f"'{again}' begins again further down. Sort by unique_id and ds."
        )
    counts = np.array(lengths, dtype=np.int64)
    starts = np.cumsum(counts) - counts + input_length * np.arange(1, len(counts) + 1)
    return SeriesStore(names, np.memmap(target, np.float64, "r"), starts, counts, input_length)


def _whole_series(source: Path) -> Iterator[pd.DataFrame]:
    """The table in pieces that end where a series ends."""
    begun: pd.DataFrame | None = None
    for piece in _pieces(source):
        table = piece if begun is None else pd.concat([begun, piece], ignore_index=True)
        names = table["unique_id"].to_numpy()
        changes = np.flatnonzero(names[1:] != names[:-1])
        ends = int(changes[-1]) + 1 if changes.size else 0
        if ends:
            yield table[:ends]
        begun = table[ends:]
    if begun is not None:
        yield begun


def _pieces(source: Path) -> Iterator[pd.DataFrame]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    row = 0
    try:
        with ParquetFile(source) as file:
            missing = [name for name in ("unique_id", "ds", "y") if name not in file.schema.names]
            if missing:
                raise SeriesError(f"Expected a column '{missing[0]}' in {source.name}.")
            for batch in file.iter_batches(ROWS_AT_A_TIME, columns=["unique_id", "ds", "y"]):
                # Whatever was the index of a frame is a column like the others here.
                piece = batch.to_pandas(ignore_metadata=True)
                piece.index = pd.RangeIndex(row, row + len(piece))
                row += len(piece)
                if len(piece):
                    yield read_series(piece, source.name)
    except (ArrowException, OSError) as error:
        raise SeriesError(f"Expected a whole Parquet file, {source.name}: {error}") from error
