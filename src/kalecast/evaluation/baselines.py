"""Baselines: the classical forecasts that the network is held against, by statsforecast."""

import math
import multiprocessing
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

from kalecast.artifact.contract import Contract
from kalecast.data.steps import UNITS, step_seconds
from kalecast.data.windows import SEASONS_A_CYCLE, fill_by_season
from kalecast.lifetime import die_with_parent

NAIVE = "SeasonalNaive"
"""How the names of the two begin that are in every evaluation: the last season again, and the last
cycle of seven seasons."""
CLASSICAL = ("MSTL-AutoETS", "MSTL-AutoARIMA", "AutoTheta")
"""Slow ones, which fit a model to each series."""

INTERVALS = {80: (0.1, 0.9), 95: (0.025, 0.975)}
"""Nominal coverage in percent, and the quantiles between which it lies."""


def baseline_forecasts(
    frame: pd.DataFrame,
    contract: Contract,
    test_windows: int,
    names: Sequence[str] = (),
    cycles: int | None = None,
) -> pd.DataFrame:
    """Forecast the newest steps of each series from rolling origins, a horizon apart.

    Args:
        frame: tidy series with the held-out steps at their ends; missing values are filled first.
        contract: horizon, season and frequency.
        test_windows: origins a series.
        names: some of `naive_names` and `CLASSICAL`; the naive ones where left out.
        cycles: so many cycles of seven seasons before each origin are looked at; all of them
            where left out.

    Returns:
        `unique_id, ds, cutoff`, a column a baseline and its bounds, `<baseline>-lo-80` and so on.
    """
    season, cycle = naive_names(contract.season, contract.frequency)
    names = names or (season, cycle)
    filled = fill_by_season(frame, contract.season)
    arguments = (contract, test_windows, tuple(names), cycles)
    workers = 1 if set(names) <= {season, cycle} else available_cores()
    shares = _shares(filled, workers)
    if len(shares) == 1:
        forecasts = _cross_validate(filled, *arguments)
    else:
        # Spawned, not forked, as statsforecast's own `n_jobs` does it: beside Keras this process
        # has threads, and a fork of it may wait for ever for a lock that one of them held.
        with ProcessPoolExecutor(
            len(shares), multiprocessing.get_context("spawn"), initializer=die_with_parent
        ) as pool:
            parts = [pool.submit(_cross_validate, share, *arguments) for share in shares]
            forecasts = pd.concat([part.result() for part in parts], ignore_index=True)
    if season in names and cycle in names:
        # A series shorter than a cycle has no forecast by it: the season's stands in.
        for column in [str(name) for name in forecasts if str(name).startswith(cycle)]:
            other = season + column.removeprefix(cycle)
            forecasts[column] = forecasts[column].fillna(forecasts[other])
    return forecasts.drop(columns="y")


def _shares(frame: pd.DataFrame, count: int) -> list[pd.DataFrame]:
    """The series in so many shares of whole series, or fewer where there are fewer series."""
    series = frame["unique_id"].unique()
    share = frame["unique_id"].map(
        {name: i * count // len(series) for i, name in enumerate(series)}
    )
    return [part for _, part in frame.groupby(share)]


def _cross_validate(
    frame: pd.DataFrame,
    contract: Contract,
    test_windows: int,
    names: Sequence[str],
    cycles: int | None,
) -> pd.DataFrame:
    """Forecast series without missing values, in this process."""
    from statsforecast import StatsForecast
    from statsforecast.models import SeasonalNaive

    season, cycle = naive_names(contract.season, contract.frequency)
    made = {season: _season, cycle: _cycle, **_CLASSICAL}
    forecasts: pd.DataFrame = StatsForecast(
        [made[name](name, contract.season) for name in names],
        freq=contract.frequency,
        fallback_model=SeasonalNaive(contract.season),
    ).cross_validation(
        h=contract.horizon,
        df=frame,
        n_windows=test_windows,
        step_size=contract.horizon,
        input_size=cycles and cycles * SEASONS_A_CYCLE * contract.season,
        level=list(INTERVALS),
    )
    return forecasts


def naive_names(season: int, frequency: str) -> tuple[str, str]:
    """What the naive forecasts of one season and of seven are called.

    `SeasonalNaiveDay` and `SeasonalNaiveWeek` of hours with a season of a day,
    `SeasonalNaiveWeek` and `SeasonalNaive7Weeks` of days with a season of a week.
    """
    once, again = (_span(count, frequency) for count in (season, SEASONS_A_CYCLE * season))
    return f"{NAIVE}{once}", f"{NAIVE}{again}"


def naive_among(names: Iterable[str]) -> list[str]:
    """Those of forecasts' names that are naive ones', of the shorter season first."""
    return [name for name in names if name.startswith(NAIVE)]


def _span(count: int, frequency: str) -> str:
    """How long so many steps last, as part of a name: `Day`, `7Weeks`, `12Hours`."""
    seconds = count * step_seconds(frequency)
    for unit, size in UNITS.items():
        if seconds and seconds % size == 0:
            number = seconds // size
            return unit.capitalize() if number == 1 else f"{number}{unit.capitalize()}s"
    return f"{count}Steps"


def available_cores(limit_file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """The cores that this process may use: a container sees all of its node's, and has a few."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = limit_file.read_text().split()
        limit = math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no cgroups of version 2, or the quota `max`
        return cores or 1
    return max(1, min(cores or 1, limit))


def _season(name: str, season: int) -> Any:
    from statsforecast.models import SeasonalNaive

    return SeasonalNaive(season, alias=name)


def _cycle(name: str, season: int) -> Any:
    from statsforecast.models import SeasonalNaive

    return SeasonalNaive(SEASONS_A_CYCLE * season, alias=name)


def _mstl(name: str, season: int) -> Any:
    from statsforecast.models import MSTL, AutoARIMA, AutoETS

    trend = AutoARIMA() if name.endswith("AutoARIMA") else AutoETS(model="ZZN")
    return MSTL([season, SEASONS_A_CYCLE * season], trend_forecaster=trend, alias=name)


def _theta(name: str, season: int) -> Any:
    from statsforecast.models import AutoTheta

    return AutoTheta(season_length=season, alias=name)


_CLASSICAL: dict[str, Callable[[str, int], Any]] = dict(
    zip(CLASSICAL, (_mstl, _mstl, _theta), strict=True)
)
