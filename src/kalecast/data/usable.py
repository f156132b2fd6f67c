"""Usable: which series can be learnt from, judged on and forecast, and why the others cannot.

One series that cannot costs the others nothing: it is named before training, and left out where it
must be. Values that no forecast could have foretold, such as a counter's overflow, are named too
and count nothing in a score.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from kalecast.data.series import SeriesError
from kalecast.data.steps import steps_in_words
from kalecast.data.windows import SEASONS_A_CYCLE, hold_out, require_learnable

FAR = 100.0
"""Times the usual distance from the median beyond which a value that stands alone is an outlier."""
ABSURD = 10_000.0
"""The same for values that do not stand alone, such as a day of fill values."""
MOST_OUTLIERS = 0.05
"""Of a series' known values; where more lie so far off, they are what the series is like."""
FEWEST_CHANGES = 0.01
"""Share of steps that differ from those a season before, without which there is no scale."""
MOST_NAMED = 10

Reasons = Mapping[str, str]
"""Names of series, and what speaks against each."""


@dataclass(frozen=True)
class Lengths:
    """The pipeline's parameters by which a series is long and known enough."""

    frequency: str
    season: int
    input_length: int
    horizon: int
    minimum_history: int
    test_windows: int

    @property
    def held_out(self) -> int:
        """Steps at each series' end that the network is judged on."""
        return self.test_windows * self.horizon


def require_usable(series: pd.DataFrame, lengths: Lengths) -> list[str]:
    """Say before training what cannot be done with some of the series.

    Args:
        series: tidy series.
        lengths: what each needs.

    Returns:
        A note for each kind of use that some series do not allow, with their names and reasons.

    Raises:
        SeriesError: there is nothing to learn from, or nothing to judge a network on.
    """
    require_learnable(series, lengths.held_out, lengths.minimum_history + lengths.horizon)
    without = unjudged(series, lengths.held_out, lengths.season, lengths.frequency)
    if len(without) == series["unique_id"].nunique():
        held_out = steps_in_words(lengths.held_out, lengths.frequency)
        if set(without.values()) == {_missing_end(held_out)}:
            raise SeriesError(
                f"The newest {held_out} of every series are missing: there is nothing to judge the "
                "network on. Bring newer values, leave the missing end out, or choose more test "
                "windows."
            )
        raise SeriesError(
            f"Expected at least one series to judge the network on, by its newest {held_out} "
            f"(test_windows times horizon), received none: {_listed(without)}."
        )
    return [
        *named("Not learnt from", unlearnt(series, lengths)),
        *named("Not judged", without),
        *named("Not forecast", unanswered(series, lengths.input_length, lengths.minimum_history)),
    ]


def unlearnt(series: pd.DataFrame, lengths: Lengths) -> Reasons:
    """The series that give the network no example."""
    history, _ = hold_out(series, lengths.held_out)
    sizes = series.groupby("unique_id").size()
    known = history.groupby("unique_id")["y"].count().reindex(sizes.index, fill_value=0)
    needed = lengths.held_out + lengths.minimum_history + lengths.horizon
    return {
        **dict.fromkeys(_names(sizes, known == 0), "no value is known before the held-out ones"),
        **_too_short(sizes, needed),
    }


def unjudged(series: pd.DataFrame, held_out: int, season: int, frequency: str = "h") -> Reasons:
    """The series that say nothing of how good a network is.

    Args:
        series: tidy series with the held-out steps at their ends.
        held_out: how many these are.
        season: steps a season.
        frequency: of the steps, for the words.
    """
    history, newest = hold_out(series, held_out)
    sizes = series.groupby("unique_id").size()
    known = newest.groupby("unique_id")["y"].count()
    scale = seasonal_scale(history, season).reindex(sizes.index)
    return {
        **dict.fromkeys(
            _names(sizes, scale.isna()),
            "it hardly ever changes before the held-out steps",
        ),
        **dict.fromkeys(
            _names(sizes, known == 0),
            _missing_end(steps_in_words(held_out, frequency)),
        ),
        **_too_short(sizes, held_out + 2 * season),
    }


def unanswered(series: pd.DataFrame, input_length: int, minimum_history: int) -> Reasons:
    """The series that a model does not take: too short, or its newest values all missing."""
    sizes = series.groupby("unique_id").size()
    known = series.groupby("unique_id").tail(input_length).groupby("unique_id")["y"].count()
    return {
        **dict.fromkeys(
            _names(sizes, known == 0), f"its newest {input_length:,} values are missing"
        ),
        **_too_short(sizes, minimum_history),
    }


def named(kind: str, reasons: Reasons) -> list[str]:
    """One note for all of a kind, or none: «Not judged: 'a' (its newest 48 hours are missing)»."""
    return [f"{kind}: {_listed(reasons)}."] if reasons else []


def seasonal_scale(history: pd.DataFrame, season: int) -> pd.Series:
    """Mean absolute difference from a season before, by series; what errors are measured in.

    Outliers do not carry it. A series whose seasons repeat each other exactly is measured in its
    differences from step to step. NaN where there are none either: it hardly ever changes.
    """
    values = without_outliers(history, season)
    seasonal, steps = (_mean_change(values, history, apart) for apart in (season, 1))
    return seasonal.fillna(steps)


def _mean_change(values: pd.Series, history: pd.DataFrame, apart: int) -> pd.Series:
    """Mean absolute difference of values so many steps apart, NaN where they hardly differ."""
    names = history["unique_id"]
    difference = values.groupby(names).diff(apart).abs()
    changes = (difference > 0).where(difference.notna()).astype(float)
    return difference.groupby(names).mean().where(changes.groupby(names).mean() >= FEWEST_CHANGES)


def without_outliers(series: pd.DataFrame, season: int) -> pd.Series:
    """The values of tidy series, NaN in place of outliers."""
    cleaned = [
        np.where(outliers(values.to_numpy(), season), np.nan, values.to_numpy())
        for _, values in series.groupby("unique_id", sort=False)["y"]
    ]
    joined = np.concatenate(cleaned) if cleaned else np.empty(0)
    return pd.Series(joined, index=series.index, name="y")


def outliers(values: npt.NDArray[np.float64], season: int) -> npt.NDArray[np.bool_]:
    """Flags of values that nothing in a series' own past could foretell.

    These lie `FAR` from all others, and neither the steps beside them nor their hour on the days
    and in the weeks beside are like them, as the network sees it in its windows; or they are few
    and absurd.
    """
    apart = values - np.nanmedian(values) if np.isfinite(values).any() else values
    size = np.nan_to_num(np.abs(apart))
    usual = np.median(size[size > 0]) if (size > 0).any() else 1.0
    if size.max(initial=0.0) <= FAR * usual:
        return np.zeros(len(values), dtype=bool)
    far, absurd = (
        flags & (flags.sum() <= MOST_OUTLIERS * np.isfinite(values).sum())
        for flags in (size > FAR * usual, size > ABSURD * usual)
    )
    found: npt.NDArray[np.bool_] = absurd | (far & _stands_alone(np.nan_to_num(apart), season))
    return found


def _stands_alone(apart: npt.NDArray[np.float64], season: int) -> npt.NDArray[np.bool_]:
    alone = np.ones(len(apart), dtype=bool)
    for distance in (1, season, SEASONS_A_CYCLE * season):
        if distance < len(apart):
            alike = np.abs(apart[distance:] - apart[:-distance])
            alone[distance:] &= alike >= 0.5 * np.abs(apart[distance:])
            alone[:-distance] &= alike >= 0.5 * np.abs(apart[:-distance])
    return alone


def _missing_end(held_out: str) -> str:
    return f"its newest {held_out} are missing"


def _too_short(sizes: pd.Series, needed: int) -> Reasons:
    short = sizes[sizes < needed]
    return {
        str(name): f"it has {size:,} values, {needed:,} are needed" for name, size in short.items()
    }


def _names(sizes: pd.Series, flags: pd.Series) -> list[str]:
    return [str(name) for name in sizes.index[flags.to_numpy()]]


def _listed(reasons: Reasons) -> str:
    """Reasons by name; series of one reason together, and not all of many."""
    shown = [f"'{name}' ({reason})" for name, reason in list(reasons.items())[:MOST_NAMED]]
    left = len(reasons) - len(shown)
    return "; ".join(shown) + (f"; and {left:,} more" if left else "")
