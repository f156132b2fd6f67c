"""Baselines: the classical forecasts that the network is held against, by statsforecast."""

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from kalecast.bundle import Contract
from kalecast.windows import SEASONS_A_CYCLE

NAIVE = ("SeasonalNaiveDay", "SeasonalNaiveWeek")
"""In every evaluation: the last day again, and the last week again."""
CLASSICAL = ("MSTL-AutoETS", "MSTL-AutoARIMA", "AutoTheta")
"""Slow ones, which fit a model to each series."""

INTERVALS = {80: (0.1, 0.9), 95: (0.025, 0.975)}
"""Nominal coverage in percent, and the quantiles between which it lies."""


def baseline_forecasts(
    frame: pd.DataFrame,
    contract: Contract,
    test_windows: int,
    names: Sequence[str] = NAIVE,
    cycles: int | None = None,
) -> pd.DataFrame:
    """Forecast the newest steps of each series from rolling origins, a horizon apart.

    Args:
        frame: tidy series with the held-out steps at their ends; gaps are filled first.
        contract: horizon, season and frequency.
        test_windows: origins a series.
        names: some of `NAIVE` and `CLASSICAL`.
        cycles: so many weeks before each origin are looked at; all of them where left out.

    Returns:
        `unique_id, ds, cutoff`, a column a baseline and its bounds, `<baseline>-lo-80` and so on.
    """
    from statsforecast import StatsForecast
    from statsforecast.models import SeasonalNaive

    models = [_MODELS[name](name, contract.season) for name in names]
    forecasts: pd.DataFrame = StatsForecast(
        models,
        freq=contract.frequency,
        n_jobs=1 if set(names) <= set(NAIVE) else available_cores(),
        fallback_model=SeasonalNaive(contract.season),
    ).cross_validation(
        h=contract.horizon,
        df=fill_by_season(frame, contract.season),
        n_windows=test_windows,
        step_size=contract.horizon,
        input_size=cycles and cycles * SEASONS_A_CYCLE * contract.season,
        level=list(INTERVALS),
    )
    day, week = NAIVE
    if day in names and week in names:
        # A series shorter than a week has no weekly forecast: the daily one stands in.
        for column in [str(name) for name in forecasts if str(name).startswith(week)]:
            forecasts[column] = forecasts[column].fillna(forecasts[column.replace(week, day)])
    return forecasts.drop(columns="y")


def available_cores(limit_file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """The cores that this process may use: a container sees all of its node's, and has a few."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = limit_file.read_text().split()
        limit = math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no cgroups of version 2, or the quota `max`
        return cores or 1
    return max(1, min(cores or 1, limit))


def fill_by_season(frame: pd.DataFrame, season: int) -> pd.DataFrame:
    """Fill gaps for methods that know none: the last known value at that step of the season.

    Gaps before the first such value take the next known one of the series.
    """
    step = frame.groupby("unique_id").cumcount() % season
    by_season = frame.groupby([frame["unique_id"], step], sort=False)["y"]
    filled = frame.assign(y=by_season.ffill())
    filled["y"] = filled.groupby("unique_id")["y"].bfill()
    filled["y"] = filled.groupby("unique_id")["y"].ffill().fillna(0.0)
    return filled


def _day(name: str, season: int) -> Any:
    from statsforecast.models import SeasonalNaive

    return SeasonalNaive(season, alias=name)


def _week(name: str, season: int) -> Any:
    from statsforecast.models import SeasonalNaive

    return SeasonalNaive(SEASONS_A_CYCLE * season, alias=name)


def _mstl(name: str, season: int) -> Any:
    from statsforecast.models import MSTL, AutoARIMA, AutoETS

    trend = AutoARIMA() if name.endswith("AutoARIMA") else AutoETS(model="ZZN")
    return MSTL([season, SEASONS_A_CYCLE * season], trend_forecaster=trend, alias=name)


def _theta(name: str, season: int) -> Any:
    from statsforecast.models import AutoTheta

    return AutoTheta(season_length=season, alias=name)


_MODELS: dict[str, Callable[[str, int], Any]] = {
    **dict(zip(NAIVE, (_day, _week), strict=True)),
    **dict(zip(CLASSICAL, (_mstl, _mstl, _theta), strict=True)),
}
