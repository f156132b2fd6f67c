"""Windows: what the network sees, cut out of tidy series.

A window is `input_length` steps of history, the newest last, NaN where unknown or before the
series began; its target is the `horizon` steps that follow.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from kalecast.data.series import SeriesError

SEASONS_A_CYCLE = 7
"""Seasons after which a series repeats itself once more: the days of a week."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SeriesStore:
    """Many series end to end in one array, each led by unknown steps.

    Each series is preceded by `input_length` NaN, so that a window near its start pads itself
    and never reaches into the series before.
    """

    names: list[str]
    values: Floats
    starts: Integers
    """Where each series begins in `values`."""
    lengths: Integers
    input_length: int

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, input_length: int) -> "SeriesStore":
        """Lay out a tidy frame."""
        codes, names = pd.factorize(frame["unique_id"])
        lengths = np.bincount(codes, minlength=len(names)).astype(np.int64)
        starts = np.cumsum(lengths) - lengths + input_length * np.arange(1, len(names) + 1)
        values = np.full(int(lengths.sum()) + input_length * len(names), np.nan)
        within = np.arange(len(frame)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        values[starts[codes] + within] = frame["y"].to_numpy(dtype=np.float64)
        return cls([str(name) for name in names], values, starts, lengths, input_length)

    def windows(self, series: Integers, cutoffs: Integers) -> Floats:
        """Histories before the cutoffs.

        Args:
            series: indices into `names`, shape `(batch,)`.
            cutoffs: the first step that is no longer history, counted from each series' start.

        Returns:
            Shape `(batch, input_length)`.
        """
        ends = self.starts[series] + cutoffs
        histories: Floats = self.values[ends[:, None] + np.arange(-self.input_length, 0)]
        return histories

    def targets(self, series: Integers, cutoffs: Integers, horizon: int) -> Floats:
        """The `horizon` steps from the cutoffs on, shape `(batch, horizon)`."""
        begins = self.starts[series] + cutoffs
        targets: Floats = self.values[begins[:, None] + np.arange(horizon)]
        return targets


@dataclass(frozen=True)
class Cutoffs:
    """Which windows may be cut: for each series the first and the last cutoff, inclusive."""

    series: Integers
    first: Integers
    last: Integers

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Integers, Integers]:
        """Cutoffs at random: any series alike, then any step of it alike."""
        chosen = rng.integers(len(self.series), size=count)
        steps = rng.integers(self.first[chosen], self.last[chosen] + 1)
        return self.series[chosen], steps

    def extended(self, newer: "Cutoffs") -> "Cutoffs":
        """These, and on to the last cutoffs of `newer` where it has the series."""
        last = np.zeros(max(self.series.max(), newer.series.max()) + 1, dtype=np.int64)
        last[newer.series] = newer.last
        return Cutoffs(self.series, self.first, np.maximum(self.last, last[self.series]))

    def spread(self, each: int) -> tuple[Integers, Integers]:
        """At most `each` cutoffs a series, evenly from its first to its last."""
        grids = [
            np.unique(np.linspace(first, last, each).astype(np.int64))
            for first, last in zip(self.first, self.last, strict=True)
        ]
        series = np.repeat(self.series, [len(grid) for grid in grids])
        return series, np.concatenate(grids)


def split_cutoffs(
    store: SeriesStore, horizon: int, validation_steps: int, minimum_history: int
) -> tuple[Cutoffs, Cutoffs]:
    """Cutoffs for training and for validation.

    The newest `validation_steps` of each series are kept out of every training target. A
    series too short for both trains only; one too short for a single target is left out.

    Raises:
        SeriesError: no series is long enough to train on.
    """
    last = store.lengths - horizon
    long_enough = last >= minimum_history
    if not long_enough.any():
        raise SeriesError(
            f"Expected at least one series of {minimum_history + horizon} steps or more (history "
            f"{minimum_history} and horizon {horizon}), the longest of {len(store.names)} has "
            f"{int(store.lengths.max(initial=0))}."
        )
    train_last = last - validation_steps
    both = train_last >= minimum_history
    series = np.flatnonzero(long_enough)
    train_end = np.where(both, train_last, last)[series]
    train = Cutoffs(series, np.full(len(series), minimum_history), train_end)
    validating = np.flatnonzero(both) if both.any() else series
    first = np.where(both, train_last + horizon, last)[validating]
    return train, Cutoffs(validating, np.minimum(first, last[validating]), last[validating])


def hold_out(frame: pd.DataFrame, steps: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cut the newest `steps` off each series: what may be learnt from, and what is held out."""
    from_end = frame.groupby("unique_id").cumcount(ascending=False)
    held_out = from_end < steps
    return frame[~held_out].reset_index(drop=True), frame[held_out].reset_index(drop=True)


def require_learnable(frame: pd.DataFrame, held_out: int, needed: int) -> None:
    """Say so early where no series can be learnt from.

    Args:
        frame: tidy series.
        held_out: steps kept back at each series' end.
        needed: steps of history and target without which there is not one example.

    Raises:
        SeriesError: every series is too short, or has one value only.
    """
    grouped = frame.groupby("unique_id")["y"]
    longest = int(grouped.size().max())
    if longest < held_out + needed:
        raise SeriesError(
            f"Expected at least one series of {held_out + needed} steps or more: {held_out} are "
            f"held out (test_windows times horizon) and {needed} are needed to learn from "
            f"(minimum_history and horizon). The longest has {longest}: choose fewer test windows, "
            "a shorter horizon, or bring a longer history."
        )
    if not (grouped.nunique() > 1).any():
        raise SeriesError(
            "Expected at least one series whose values change; in each of these all known values "
            "are the same, so there is nothing to learn."
        )


def fill_by_season(frame: pd.DataFrame, season: int) -> pd.DataFrame:
    """Fill missing values for methods that take none: the last one at that step of the season.

    Those before the first such value take the next known one of the series.
    """
    step = frame.groupby("unique_id").cumcount() % season
    by_season = frame.groupby([frame["unique_id"], step], sort=False)["y"]
    filled = frame.assign(y=by_season.ffill())
    filled["y"] = filled.groupby("unique_id")["y"].bfill()
    filled["y"] = filled.groupby("unique_id")["y"].ffill().fillna(0.0)
    return filled
