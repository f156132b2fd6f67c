"""Tables to score forecasts on: read, laid on their grid, and split into past and held-out steps.

A table is long (`unique_id, ds, y`) or wide as the M4 competition has it: a series a row, its name
first, its values after, shorter rows padded with empty cells. Either as CSV, gzipped or not, or as
Parquet.
"""

import gzip
import io
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from kalecast.data.fitting import fit_to_data, infer_frequency
from kalecast.data.series import Sentences, SeriesError, notes, read_series, tidy
from kalecast.data.windows import hold_out
from kalecast.model.network import NetworkSettings
from kalecast.model.training import TrainingSettings

BEGINNING = pd.Timestamp("2020-01-06")
"""Wide tables carry no timestamps; they get some, from here on."""
WIDE_FREQUENCY = "h"
GZIP, PARQUET = b"\x1f\x8b", b"PAR1"
HEADER = 64 * 1024
"""Bytes of a CSV in which its header lies."""


@dataclass(frozen=True)
class Given:
    """What whoever asks wants otherwise than it is found; None is left to the data."""

    frequency: str | None = None
    season: int | None = None
    input_length: int | None = None
    horizon: int | None = None
    origins: int | None = None


@dataclass(frozen=True)
class Split:
    """Series, which of their steps are held out, and what suits the others."""

    judged: pd.DataFrame
    """Tidy series with the held-out steps at their ends."""
    history: pd.DataFrame
    """Tidy series that may be learnt from; also those that are not judged."""
    frequency: str
    origins: int
    """Forecasts a series, a horizon apart."""
    shape: NetworkSettings
    training: TrainingSettings
    left_out: tuple[str, ...]
    """Series that are not judged: less than a season and a step lies before their held-out steps,
    or the test part has them not."""

    @property
    def held_out(self) -> int:
        """Steps at each series' end that are forecast."""
        return self.origins * self.shape.horizon


def read_table(path: Path, frequency: str | None = None) -> tuple[pd.DataFrame, str]:
    """A long or wide table as tidy series, and their frequency.

    Args:
        path: of a CSV, a gzipped CSV or a Parquet file.
        frequency: a pandas offset alias; found from the timestamps where left out, and hours where
            there are none.

    Raises:
        SeriesError: it is no such table.
    """
    content = content_of(path)
    if is_wide(content):
        frequency = frequency or WIDE_FREQUENCY
        return _from_wide(content, path.name, frequency), frequency
    frame = read_series(content, path.name)
    frequency = frequency or infer_frequency(frame)
    return tidy(frame, frequency), frequency


def content_of(path: Path) -> bytes:
    """The bytes of a file, unpacked where it is gzipped.

    Raises:
        SeriesError: it cannot be read.
    """
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(GZIP) else content
    except OSError as error:  # gzip's own among them
        raise SeriesError(f"Expected a data file at '{path}': {error}.") from error


def is_wide(content: bytes) -> bool:
    """Whether a file is a wide table: none of its columns is called `y`."""
    if content.startswith(PARQUET):
        columns = list(pd.read_parquet(io.BytesIO(content)).columns)
    else:
        first = content[:HEADER].decode("utf-8-sig", errors="replace").split("\n", 1)[0]
        columns = re.split(r"[,;\t]", first.replace("\0", ""))
    return "y" not in {str(name).strip(' "\r').lower() for name in columns}


def split(train: Path, test: Path | None = None, given: Given = Given()) -> Split:
    """Read a table, and the part that follows it where that is a file of its own.

    Args:
        train: the table, with the steps that are to be held out where `test` is left out.
        test: the next steps of its series, as many of each.
        given: without a horizon it is the pipeline's for such series, and without origins there
            is one; where there is a test part both are as it bears.

    Raises:
        SeriesError: these are no tables, do not belong together, or leave nothing to judge on.
    """
    whole, frequency = read_table(train, given.frequency)
    if test is None:
        horizon = given.horizon or _fitted(whole, frequency, given)[0].horizon
        return cut(whole, frequency, replace(given, horizon=horizon))
    later, _ = read_table(test, frequency)
    steps = int(later.groupby("unique_id").size().min())
    horizon = given.horizon or steps // (given.origins or 1)
    origins = given.origins or max(1, steps // max(1, horizon))
    if not 0 < origins * horizon <= steps:
        raise SeriesError(
            f"Expected a test part of {origins * horizon} steps a series or more ({origins} "
            f"origins, horizon {horizon}), received: {steps} of the shortest."
        )
    joined = with_test(whole, later, is_wide(content_of(test)), frequency)
    joined = joined[joined["unique_id"].isin(later["unique_id"])].reset_index(drop=True)
    return cut(joined, frequency, replace(given, horizon=horizon, origins=origins), whole)


def with_test(
    history: pd.DataFrame, test: pd.DataFrame, wide: bool, frequency: str
) -> pd.DataFrame:
    """History and test part as one table; a wide test part begins where its history ends.

    Raises:
        SeriesError: the test part has other series, or does not follow the history.
    """
    unknown = set(test["unique_id"]) - set(history["unique_id"])
    if unknown:
        raise SeriesError(f"Expected the test part's series in TRAIN too, not there: {unknown}.")
    ends = history.groupby("unique_id")["ds"].max()
    if wide:
        parts = [
            one.assign(ds=pd.date_range(ends[name], periods=len(one) + 1, freq=frequency)[1:])
            for name, one in test.groupby("unique_id", sort=False)
        ]
        test = pd.concat(parts, ignore_index=True)
    early = test[test["ds"] <= test["unique_id"].map(ends)]
    if len(early):
        raise SeriesError(
            f"Expected a test part that follows TRAIN, received: '{early['unique_id'].iloc[0]}' "
            f"at {early['ds'].iloc[0]}, which TRAIN has, too."
        )
    whole = pd.concat([history, test], ignore_index=True)
    whole.attrs = {"notes": Sentences([*notes(history), *notes(test)])}
    return tidy(whole, frequency)


def cut(
    whole: pd.DataFrame, frequency: str, given: Given, history: pd.DataFrame | None = None
) -> Split:
    """Hold steps out, and find what suits the others.

    Args:
        whole: tidy series.
        frequency: theirs.
        given: of it the horizon, and what else is wanted.
        history: what may be learnt from; all but the held-out steps where left out.

    Raises:
        SeriesError: the series are too short.
    """
    horizon, origins = given.horizon or 1, given.origins or 1
    if history is None:
        history = hold_out(whole, origins * horizon)[0]
    if history.empty:
        raise SeriesError(
            f"Expected a series of more than {origins * horizon} steps ({origins} origins, horizon "
            f"{horizon}), the longest has {int(whole.groupby('unique_id').size().max())}."
        )
    shape, training = _fitted(history, frequency, given)
    sizes = history.groupby("unique_id").size().reindex(whole["unique_id"].unique(), fill_value=0)
    judged = whole[whole["unique_id"].map(sizes) > shape.season].reset_index(drop=True)
    if judged.empty:
        raise SeriesError(
            f"Expected a series with more than a season ({shape.season} steps) before its held-out "
            f"{origins * horizon} steps, the longest has {int(sizes.max())}."
        )
    left_out = {*map(str, history["unique_id"]), *map(str, whole["unique_id"])}
    left_out -= set(map(str, judged["unique_id"]))
    return Split(judged, history, frequency, origins, shape, training, tuple(sorted(left_out)))


def _fitted(
    history: pd.DataFrame, frequency: str, given: Given
) -> tuple[NetworkSettings, TrainingSettings]:
    """What suits series: for hours the notebook's defaults, else what the data themselves say."""
    shape, training = NetworkSettings(), TrainingSettings()
    hourly = pd.tseries.frequencies.to_offset(frequency) == pd.tseries.frequencies.to_offset("h")
    if not hourly:
        found = {
            name: int(v)
            for name, v in fit_to_data(history, frequency).parameters.items()
            if name != "frequency"
        }
        shape = replace(
            shape,
            input_length=found["input_length"],
            horizon=found["horizon"],
            season=found["season"],
        )
        training = replace(
            training,
            minimum_history=found["minimum_history"],
            validation_steps=found["validation_steps"],
            batch_size=found["batch_size"],
        )
    season, horizon = given.season or shape.season, given.horizon or shape.horizon
    window = given.input_length or shape.input_length // shape.season * season
    shape = replace(shape, season=season, horizon=horizon, input_length=window)
    least = min(training.minimum_history, window)
    steps = max(training.validation_steps, horizon)
    return shape, replace(training, minimum_history=least, validation_steps=steps)


def _from_wide(content: bytes, name: str, frequency: str) -> pd.DataFrame:
    file = io.BytesIO(content)
    table = pd.read_parquet(file) if content.startswith(PARQUET) else pd.read_csv(file)
    table = table.set_index(table.columns[0]) if isinstance(table.index, pd.RangeIndex) else table
    parts = []
    for series, row in table.iterrows():
        values = row.to_numpy(dtype=np.float64)
        known = np.flatnonzero(~np.isnan(values))
        if not known.size:
            raise SeriesError(f"Expected values in each row, series '{series}' has none in {name}.")
        values = values[: known[-1] + 1]
        timestamps = pd.date_range(BEGINNING, periods=len(values), freq=frequency)
        parts.append(pd.DataFrame({"unique_id": str(series), "ds": timestamps, "y": values}))
    return pd.concat(parts, ignore_index=True)
