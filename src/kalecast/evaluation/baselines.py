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
from kalecast.data.steps import has_cycle, period_in_words
from kalecast.data.windows import SEASONS_A_CYCLE, fill_by_season
from kalecast.lifetime import die_with_parent

NAIVE = "SeasonalNaive"
"""How the names of those begin that are in every evaluation: the last season again and, where it is
a day, the last week."""
CLASSICAL = ("MSTL-AutoETS", "MSTL-AutoARIMA", "AutoETS", "AutoTheta")
"""Slow ones, which fit a model to each series. AutoETS takes no season of more than 24 steps, and
forecasts such series without one."""

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
    season, *cycle = naive = naive_names(contract.season, contract.frequency)
    names = names or naive
    # Counted steps in place of timestamps, of which pandas' offsets move some to other days.
    step = frame.groupby("unique_id").cumcount()
    filled = fill_by_season(frame, contract.season).assign(ds=step)
    arguments = (contract, test_windows, tuple(names), cycles)
    workers = 1 if set(names) <= set(naive) else available_cores()
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
    if cycle and set(naive) <= set(names):
        # A series shorter than a cycle has no forecast by it: the season's stands in.
        for column in [str(name) for name in forecasts if str(name).startswith(cycle[0])]:
            other = season + column.removeprefix(cycle[0])
            forecasts[column] = forecasts[column].fillna(forecasts[other])
    timestamps = pd.Series(frame["ds"].to_numpy(), [frame["unique_id"], step])
    for column in ("ds", "cutoff"):
        rows = pd.MultiIndex.from_frame(forecasts[["unique_id", column]])
        forecasts[column] = timestamps.reindex(rows).to_numpy()
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

    naive = naive_names(contract.season, contract.frequency)
    made = {**dict(zip(naive, (_season, _cycle), strict=False)), **_CLASSICAL}
    forecasts: pd.DataFrame = StatsForecast(
        [made[name](name, contract) for name in names],
        freq=1,
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


def naive_names(season: int, frequency: str) -> tuple[str, ...]:
    """What the naive forecasts are called: of one season and, where it is a day, of seven.

    `SeasonalNaiveDay` and `SeasonalNaiveWeek` of hours with a season of a day; `SeasonalNaiveWeek`
    alone of days with a season of a week, `SeasonalNaiveYear` of months.
    """
    seasons = (season, SEASONS_A_CYCLE * season) if has_cycle(season, frequency) else (season,)
    return tuple(f"{NAIVE}{_span(count, frequency)}" for count in seasons)


def naive_among(names: Iterable[str]) -> list[str]:
    """Those of forecasts' names that are naive ones', of the shorter season first."""
    return [name for name in names if name.startswith(NAIVE)]


def _span(count: int, frequency: str) -> str:
    """How long so many steps last, as part of a name: `Day`, `2Weeks`, `12Hours`, `Year`."""
    return "".join(word.capitalize() for word in period_in_words(count, frequency).split())


def available_cores(limit_file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """The cores that this process may use: a container sees all of its node's, and has a few."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = limit_file.read_text().split()
        limit = math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no cgroups of version 2, or the quota `max`
        return cores or 1
    return max(1, min(cores or 1, limit))


def _season(name: str, contract: Contract) -> Any:
    from statsforecast.models import SeasonalNaive

    return SeasonalNaive(contract.season, alias=name)


def _cycle(name: str, contract: Contract) -> Any:
    from statsforecast.models import SeasonalNaive

    return SeasonalNaive(SEASONS_A_CYCLE * contract.season, alias=name)


def _mstl(name: str, contract: Contract) -> Any:
    from statsforecast.models import MSTL, AutoARIMA, AutoETS

    trend: dict[str, Any] = {"alias": name} if contract.season == 1 else {}
    kind = AutoARIMA(**trend) if name.endswith("AutoARIMA") else AutoETS(model="ZZN", **trend)
    if contract.season == 1:
        return kind
    seasons = [contract.season]
    if has_cycle(contract.season, contract.frequency):
        seasons.append(SEASONS_A_CYCLE * contract.season)
    return MSTL(seasons, trend_forecaster=kind, alias=name)


def _ets(name: str, contract: Contract) -> Any:
    from statsforecast.models import AutoETS

    return AutoETS(season_length=contract.season, alias=name)


def _theta(name: str, contract: Contract) -> Any:
    from statsforecast.models import AutoTheta

    return AutoTheta(season_length=contract.season, alias=name)


_CLASSICAL: dict[str, Callable[[str, Contract], Any]] = dict(
    zip(CLASSICAL, (_mstl, _mstl, _ets, _theta), strict=True)
)
