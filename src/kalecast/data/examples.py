"""Examples: windows, targets and weights as the network trains on them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kalecast.data.windows import Cutoffs, Floats, Integers, SeriesStore

GAPPY = 0.5
"""Share of the training windows from which values are taken away."""
GAPPIEST = 0.5
"""The largest share of a window's values that is taken away."""
SHORTENED = 0.1
"""Share of the training windows whose beginning is taken away."""
SIZE_SHARE = 8.0
"""What an error relative to the size of a series counts beside one relative to its changes."""

Example = tuple[Floats, Floats, Floats]


@dataclass(frozen=True)
class Examples:
    """Cuts histories, targets, and weights that make series of any unit count alike."""

    store: SeriesStore
    horizon: int
    season: int
    minimum_history: int

    def cut(self, series: Integers, cutoffs: Integers) -> Example:
        """Windows as they are, and what an error of one unit counts in each.

        Returns:
            Histories `(batch, input_length)`, targets `(batch, horizon)`, weights `(batch,)`.
        """
        history = self.store.windows(series, cutoffs)
        target = self.store.targets(series, cutoffs, self.horizon)
        return history, target, _weights(history, target, self.season)

    def draw(self, cutoffs: Cutoffs, count: int, seed: tuple[int, ...]) -> Example:
        """Random windows, some made gappy or short; the same for the same seed.

        Weights are those of the windows before anything was taken away.
        """
        rng = np.random.default_rng(seed)
        history, target, weight = self.cut(*cutoffs.draw(count, rng))
        gappy = rng.random(count) < GAPPY
        history[gappy] = _with_gaps(history[gappy], self.season, rng)
        short = np.flatnonzero(rng.random(count) < SHORTENED)
        kept = rng.integers(self.minimum_history, history.shape[1] + 1, len(short))
        unknown = np.arange(history.shape[1]) < history.shape[1] - kept[:, None]
        history[short] = np.where(unknown, np.nan, history[short])
        # Of a window without a known value there is nothing to learn.
        return history, target, np.where(np.isnan(history).all(axis=1), 0.0, weight)


def _with_gaps(history: Floats, season: int, rng: np.random.Generator) -> Floats:
    """Take away single values from two windows in three, and whole seasons from the others."""
    count, length = history.shape
    share = GAPPIEST * rng.random((count, 1))
    single = rng.random((count, length)) < share
    seasons = rng.random((count, length // season + 1)) < share
    whole = np.repeat(seasons, season, axis=1)
    whole = whole[:, (start := rng.integers(season)) : start + length]
    return np.where(np.where(rng.random((count, 1)) < 1 / 3, whole, single), np.nan, history)


def _weights(history: Floats, target: Floats, season: int) -> Floats:
    """What an error of one unit counts in each window, shape `(batch,)`.

    An error counts relative to the window's mean absolute seasonal difference, as in MASE, and
    relative to the mean size of its values, as in sMAPE: by the first alone, series that hardly
    differ from day to day take all of the training, by the second those of a small level. Where
    a window is constant or has too many missing values, it counts nothing: it teaches nothing
    about how to weigh its errors.
    """
    whole = np.concatenate([history, target], axis=1)
    known = ~np.isnan(whole)
    size = _mean(np.abs(whole), known)
    difference = np.abs(whole[:, season:] - whole[:, :-season])
    scale = _mean(difference, ~np.isnan(difference))
    informative = scale > 1e-6 * size
    scale = np.where(informative, scale, 1.0)
    weights = 1.0 / scale + SIZE_SHARE / np.maximum(scale, size)
    return np.where(informative, weights, 0.0)


def _mean(values: Floats, known: npt.NDArray[np.bool_]) -> Floats:
    """Row means over known values; 0 where there are none."""
    total: Floats = np.where(known, values, 0.0).sum(axis=1)
    return total / np.maximum(known.sum(axis=1), 1)
