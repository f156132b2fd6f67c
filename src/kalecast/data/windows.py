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

BLOCKS = 40
"""Stretches of time that are kept out of training, over all series, so that calibration sees
enough of them."""
BLOCKS_SHARE = 0.15
"""Of a series is kept out at most, but for its newest block."""
BLOCKS_FROM = 0.3
"""Share of a series, its oldest, that has no block."""

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
    """Which windows may be cut: ranges of cutoffs, first and last inclusive, and their series.

    A series may have several ranges, which then lie side by side.
    """

    series: Integers
    first: Integers
    last: Integers

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Integers, Integers]:
        """Cutoffs at random: any series alike, then any step of it alike."""
        begins = np.flatnonzero(np.r_[True, self.series[1:] != self.series[:-1]])
        ends = np.cumsum(self.last - self.first + 1)
        before = np.r_[0, ends[:-1]]
        sizes = np.r_[before[begins[1:]], ends[-1]] - before[begins]
        chosen = rng.integers(len(begins), size=count)
        places = before[begins[chosen]] + rng.integers(0, sizes[chosen])
        ranges = np.searchsorted(ends, places, side="right")
        return self.series[ranges], self.first[ranges] + places - before[ranges]

    def spread(self, most: int) -> tuple[Integers, Integers]:
        """Some `most` cutoffs in all, evenly from the first to the last of each range."""
        each = max(1, most // len(self.series))
        grids = [
            np.unique(np.linspace(first, last, each).astype(np.int64))
            for first, last in zip(self.first, self.last, strict=True)
        ]
        series = np.repeat(self.series, [len(grid) for grid in grids])
        return series, np.concatenate(grids)


@dataclass(frozen=True)
class Split:
    """Cutoffs for training, for validation, and for training on all values after that."""

    training: Cutoffs
    validation: Cutoffs
    """Those for training where no series is long enough for others."""
    whole: Cutoffs

    def evidence(self, horizon: int) -> float:
        """How many windows that do not overlap those for validation are worth."""
        if self.validation is self.training:
            return 0.0
        return float((self.validation.last - self.validation.first + horizon).sum() / horizon)


def split_cutoffs(
    store: SeriesStore, horizon: int, validation_steps: int, minimum_history: int
) -> Split:
    """Keep blocks of steps out of every training target, for validation and calibration.

    The newest `validation_steps` of each series are one. The newest week of a few series says
    little of how wide prediction intervals must be: the fewer series there are, the more earlier
    blocks of the same length are kept out too, `BLOCKS` in all, evenly over the newer part of the
    long ones. A series too short for a block trains only; one too short for a single target is
    left out.

    Raises:
        SeriesError: no series is long enough to train on.
    """
    last = store.lengths - horizon
    long_enough = np.flatnonzero(last >= minimum_history).tolist()
    if not long_enough:
        raise SeriesError(
            f"Expected at least one series of {minimum_history + horizon} steps or more (history "
            f"{minimum_history} and horizon {horizon}), the longest of {len(store.names)} has "
            f"{int(store.lengths.max(initial=0))}."
        )
    block = max(validation_steps, horizon)
    validated = int((last - block >= minimum_history).sum())
    each = -(-BLOCKS // max(1, validated))
    training: list[tuple[int, int, int]] = []
    validation: list[tuple[int, int, int]] = []
    for series in long_enough:
        length = int(store.lengths[series])
        at = minimum_history
        for begin in _blocks(length, block, each, minimum_history + horizon):
            if begin - horizon >= at:
                training.append((series, at, begin - horizon))
            validation.append((series, begin, begin + block - horizon))
            at = begin + block
        if length - horizon >= at:
            training.append((series, at, length - horizon))
    whole = [(series, minimum_history, int(last[series])) for series in long_enough]
    trained = _cutoffs(training)
    return Split(trained, _cutoffs(validation) if validation else trained, _cutoffs(whole))


def _blocks(length: int, block: int, most: int, earliest: int) -> list[int]:
    """Where the blocks of a series begin, the last at its end."""
    newest = length - block
    if newest < earliest:
        return []
    most = min(most, int(BLOCKS_SHARE * length) // block)
    oldest = max(earliest, int(BLOCKS_FROM * length))
    if most < 2 or newest - oldest < block:
        return [newest]
    apart = max(block, (newest - oldest) // (most - 1))
    count = min(most, (newest - oldest) // apart + 1)
    return [newest - apart * back for back in range(count - 1, -1, -1)]


def _cutoffs(ranges: list[tuple[int, int, int]]) -> Cutoffs:
    return Cutoffs(*np.array(ranges, dtype=np.int64).T)


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
