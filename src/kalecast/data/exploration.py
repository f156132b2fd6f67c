"""What series look like, in numbers: their rhythm, their missing values, their spread.

All functions take tidy frames. A series that cannot say something (constant, missing throughout,
too short) has NaN there, or 0 where nothing is the answer.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from kalecast.data.windows import fill_by_season

FEWEST_PAIRS = 24
"""Pairs of known values without which an autocorrelation says nothing."""
MOST_DECOMPOSED = 26
"""Periods of the longest kind that are decomposed: half a year of weeks."""
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
MONTH_NAMES = dict(enumerate(MONTHS, start=1))
COARSE = pd.Timedelta("2D")
"""Steps that are longer on average are no days, business days included."""

Floats = npt.NDArray[np.float64]


def choose(frame: pd.DataFrame, most: int = 9) -> list[str]:
    """Names of the series to show: all of them, or `most`, evenly from the first to the last."""
    names = [str(name) for name in frame["unique_id"].unique()]
    if len(names) <= most:
        return names
    return [names[at] for at in np.linspace(0, len(names) - 1, most).astype(int)]


def what_is_shown(frame: pd.DataFrame, names: list[str]) -> str:
    """A sentence that says which of the series are shown."""
    count = frame["unique_id"].nunique()
    if len(names) == count:
        return f"All {count} series are shown." if count > 1 else "The one series is shown."
    return f"{len(names)} of {count} series are shown: {', '.join(names)}."


def standardised(frame: pd.DataFrame) -> pd.Series:
    """Values as distances from their series' mean, in its standard deviations."""
    grouped = frame.groupby("unique_id")["y"]
    apart: pd.Series = frame["y"] - grouped.transform("mean")
    deviation = grouped.transform("std", ddof=0)
    return apart / deviation.where(deviation > 1e-12 * frame["y"].abs(), 1.0)


def day_profiles(frame: pd.DataFrame) -> pd.DataFrame:
    """Means by time of day: hours since midnight × series, in standard deviations."""
    timestamps = frame["ds"].dt
    return _means(frame, (timestamps.hour + timestamps.minute / 60).rename("hour"))


def week_profiles(frame: pd.DataFrame) -> pd.DataFrame:
    """Means by day of the week: Monday (0) to Sunday (6) × series, in standard deviations."""
    profiles = _means(frame, frame["ds"].dt.dayofweek.rename("weekday"))
    return profiles.reindex(range(7))


def year_profiles(frame: pd.DataFrame) -> pd.DataFrame:
    """Means by month: January (1) to December (12) × series, in standard deviations."""
    return _means(frame, frame["ds"].dt.month.rename("month")).reindex(range(1, 13))


def calendar_grid(one: pd.DataFrame) -> pd.DataFrame:
    """Means of one series by weekday and hour; of daily values by weekday and month.

    Of weeks, months and quarters by year and month.
    """
    if one["ds"].iloc[-1] - one["ds"].iloc[0] > COARSE * (len(one) - 1):
        grid = one["y"].groupby([one["ds"].dt.year, one["ds"].dt.month]).mean().unstack()
        return grid.rename_axis("year").rename(columns=MONTH_NAMES).rename_axis(columns="month")
    within_a_day = one["ds"].dt.normalize().duplicated().any()
    across = one["ds"].dt.hour if within_a_day else one["ds"].dt.month
    grid = one["y"].groupby([one["ds"].dt.dayofweek, across]).mean().unstack()
    grid = grid.reindex(range(7))
    grid.index = pd.Index(WEEKDAYS, name="weekday")
    if within_a_day:
        return grid.rename_axis(columns="hour")
    return grid.rename(columns=MONTH_NAMES).rename_axis(columns="month")


def autocorrelation(frame: pd.DataFrame, lags: int) -> pd.DataFrame:
    """How alike values are that lie so many steps apart: lags × series, 1 at lag 0.

    Over the pairs of which both are known; NaN where there are hardly any.
    """
    columns = {
        str(name): _autocorrelation(one["y"].to_numpy(dtype=np.float64), lags)
        for name, one in frame.groupby("unique_id", sort=False)
    }
    return pd.DataFrame(columns, index=pd.RangeIndex(lags + 1, name="lag"))


def season_strengths(frame: pd.DataFrame, periods: Mapping[str, int]) -> pd.DataFrame:
    """How much of the variation is season: 0 nothing, 1 all of what trend leaves.

    `1 - Var(remainder) / Var(season + remainder)`, not below 0, as Wang, Smith and Hyndman (Data
    Mining and Knowledge Discovery 13, 2006) and Hyndman and Athanasopoulos (Forecasting:
    Principles and Practice, 3rd edition, section 4.3) define it; the decomposition is MSTL
    (Bandara, Hyndman and Bergmeir, 2021) of each series' newest 26 periods of the longest kind.

    Args:
        frame: tidy series.
        periods: names and steps of the seasons, the shortest first, such as
            `{"day": 24, "week": 168}`.

    Returns:
        `unique_id` and a column a period; NaN where a series has not two of them.
    """
    newest = frame.groupby("unique_id").tail(MOST_DECOMPOSED * max(periods.values()))
    filled = fill_by_season(newest, min(periods.values()))
    rows = [
        {"unique_id": name, **_strengths(one["y"].to_numpy(dtype=np.float64), periods)}
        for name, one in filled.groupby("unique_id", sort=False)
    ]
    return pd.DataFrame(rows, columns=["unique_id", *periods])


def gaps(frame: pd.DataFrame) -> pd.DataFrame:
    """Runs of missing values, the longest first: `unique_id, first, last, steps`."""
    unknown = frame["y"].isna()
    another = frame["unique_id"] != frame["unique_id"].shift()
    run = ((unknown != unknown.shift()) | another).cumsum()
    found = frame[unknown].groupby(run[unknown], sort=False)
    table = found.agg(
        unique_id=("unique_id", "first"),
        first=("ds", "min"),
        last=("ds", "max"),
        steps=("ds", "size"),
    )
    return table.sort_values("steps", ascending=False, kind="stable", ignore_index=True)


def gap_summary(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a series: steps, missing values, their share in percent, runs of them, the longest."""
    grouped = frame.groupby("unique_id", sort=False)["y"]
    summary = pd.DataFrame({"steps": grouped.size()})
    summary["unknown"] = summary["steps"] - grouped.count()
    summary["percent"] = 100 * summary["unknown"] / summary["steps"]
    found = gaps(frame).groupby("unique_id")["steps"]
    summary["gaps"] = found.size().reindex(summary.index, fill_value=0)
    summary["longest"] = found.max().reindex(summary.index, fill_value=0)
    return summary.reset_index()


def seasonal_differences(frame: pd.DataFrame, steps: int) -> pd.Series:
    """What each value differs from the one so many steps before; NaN where either is missing."""
    differences: pd.Series = frame.groupby("unique_id", sort=False)["y"].diff(steps)
    return differences


def scales(frame: pd.DataFrame, periods: Mapping[str, int]) -> pd.DataFrame:
    """By what the errors of each series are measured, and how well it repeats itself.

    Returns:
        `unique_id`, and for each period the mean absolute difference from the value one period
        before. Where the week's is smaller than the day's, last week predicts better than
        yesterday.
    """
    table = {
        name: seasonal_differences(frame, steps)
        .abs()
        .groupby(frame["unique_id"], sort=False)
        .mean()
        for name, steps in periods.items()
    }
    return pd.DataFrame(table).rename_axis("unique_id").reset_index()


def spreads(frame: pd.DataFrame) -> pd.DataFrame:
    """Where the values of each series lie, and which of them lies furthest off.

    Returns:
        `unique_id, median, spread, furthest, at`: the mean absolute distance from the median; the
        largest such distance, in spreads, and its timestamp (NaN and NaT for a constant series).
    """
    grouped = frame.groupby("unique_id", sort=False)["y"]
    apart = (frame["y"] - grouped.transform("median")).abs()
    by_series = apart.groupby(frame["unique_id"], sort=False)
    table = pd.DataFrame({"median": grouped.median(), "spread": by_series.mean()})
    varies = table["spread"] > 0
    table["furthest"] = by_series.max() / table["spread"].where(varies)
    kept = apart[frame["unique_id"].map(varies)]
    rows = kept.groupby(frame["unique_id"], sort=False).idxmax()
    table["at"] = pd.Series(frame["ds"].loc[rows].to_numpy(), index=rows.index)
    return table.rename_axis("unique_id").reset_index()


def _means(frame: pd.DataFrame, by: pd.Series) -> pd.DataFrame:
    names = frame["unique_id"].unique()
    means = standardised(frame).groupby([by, frame["unique_id"]]).mean().unstack()
    return means.reindex(columns=names)


def _autocorrelation(values: Floats, lags: int) -> Floats:
    known = ~np.isnan(values)
    result = np.full(lags + 1, np.nan)
    if known.sum() < FEWEST_PAIRS:
        return result
    apart = np.where(known, values - values[known].mean(), 0.0)
    if np.abs(apart).max() <= 1e-12 * np.abs(values[known]).max():
        return result  # a constant is like itself at any lag, or at none
    reach = min(lags, len(values) - 1)
    products, pairs = _lagged(apart, reach), np.rint(_lagged(known.astype(float), reach))
    enough = pairs >= FEWEST_PAIRS
    mean = products / np.maximum(pairs, 1.0)
    result[: reach + 1] = np.where(enough, mean / mean[0], np.nan)
    return result


def _lagged(values: Floats, lags: int) -> Floats:
    """Sums of products of values that lie 0, 1, … `lags` steps apart."""
    size = 2 ** int(np.ceil(np.log2(2 * len(values))))
    spectrum = np.fft.rfft(values, size)
    sums: Floats = np.fft.irfft(spectrum * spectrum.conj(), size)[: lags + 1]
    return sums


def _strengths(values: Floats, periods: Mapping[str, int]) -> dict[str, float]:
    from statsforecast.mstl import mstl

    fitting = {name: steps for name, steps in periods.items() if 1 < steps <= len(values) // 2}
    strengths = dict.fromkeys(periods, np.nan)
    if not fitting:
        return strengths
    parts = mstl(values, list(fitting.values()))
    remainder = parts["remainder"].to_numpy()
    for name, steps in fitting.items():
        column = "seasonal" if len(fitting) == 1 else f"seasonal{steps}"
        seasonal = parts[column].to_numpy()
        strengths[name] = _strength(seasonal, remainder, values)
    return strengths


def _strength(seasonal: Floats, remainder: Floats, values: Floats) -> float:
    both = float(np.var(seasonal + remainder))
    if both <= 1e-20 * float(np.mean(values**2)):
        return 0.0  # what is left of a constant is rounding
    return max(0.0, 1.0 - float(np.var(remainder)) / both)
