"""Figures of a backtest, as plain numbers for a results file.

Errors are in units of each series' mean absolute seasonal difference, as in MASE. Tables are as
`kalecast.evaluation.backtest.backtest` returns them; `known` is what `scaled` makes of one.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from kalecast.data.usable import seasonal_scale
from kalecast.data.windows import SEASONS_A_CYCLE
from kalecast.evaluation.backtest import MODEL, models_of
from kalecast.evaluation.baselines import INTERVALS

LEVELS = (0.5, 0.9, 0.99)
"""Quantiles of the absolute errors of each series that are reported."""
PEAK = 0.9
"""Values above this quantile of a series' history are its peaks."""

Chosen = list[tuple[str, pd.Timestamp]]
"""Single forecasts: a series and a cutoff each."""


def rounded(values: Any, digits: int = 4) -> Any:
    """Numbers with so many significant digits, in lists as they are; None where not finite."""
    if isinstance(values, Mapping):
        return {str(key): rounded(value, digits) for key, value in values.items()}
    if isinstance(values, list | tuple | np.ndarray | pd.Series):
        return [rounded(value, digits) for value in values]
    number = float(values)
    return float(f"{number:.{digits}g}") if np.isfinite(number) else None


def scaled(table: pd.DataFrame, history: pd.DataFrame, season: int) -> pd.DataFrame:
    """The known steps, with hours `ahead` from 1 on and what an error is measured by."""
    ahead = table.groupby(["unique_id", "cutoff"]).cumcount() + 1
    scale = table["unique_id"].map(seasonal_scale(history, season))
    return table.assign(ahead=ahead, scale=scale)[table["y"].notna()]


def by_hour(known: pd.DataFrame) -> dict[str, Any]:
    """Mean absolute error of each model at each hour ahead, and what its own bands hold."""
    ahead = known["ahead"]
    errors = {name: _error(known, name).groupby(ahead).mean() for name in _models(known)}
    held = {level: _inside(known, MODEL, level).groupby(ahead).mean() for level in INTERVALS}
    return {
        "ahead": sorted(ahead.unique().tolist()),
        "error": rounded(errors, 3),
        "coverage": rounded(held, 3),
    }


def intervals(known: pd.DataFrame) -> dict[str, Any]:
    """What each model's bands hold, and how wide they are."""

    def band(name: str, level: int) -> dict[str, float]:
        width = known[f"{name}-hi-{level}"] - known[f"{name}-lo-{level}"]
        held = _inside(known, name, level).mean()
        return {"coverage": rounded(held), "width": rounded((width / known["scale"]).mean())}

    return {
        name: {str(level): band(name, level) for level in INTERVALS}
        for name in _models(known)
        if f"{name}-lo-80" in known
    }


def by_series(known: pd.DataFrame, scores: pd.DataFrame, history: pd.DataFrame) -> list[Any]:
    """Scores of each series, how its errors are spread, and what its peaks have of them."""
    of_metric = {
        metric: part.set_index("unique_id")[models_of(scores)]
        for metric, part in scores.groupby("metric")
    }
    mase = of_metric.pop("mase")
    peaks = history.groupby("unique_id")["y"].quantile(PEAK)
    rows = []
    for name, one in known.groupby("unique_id", sort=False):
        error = _error(one, MODEL)
        is_peak = one["y"] > peaks[name]
        rows.append(
            {
                "series": str(name),
                "mase": rounded(mase.loc[name].to_dict()),
                **{metric: rounded(part[MODEL][name]) for metric, part in of_metric.items()},
                "error_quantiles": {f"{at:g}": rounded(error.quantile(at), 3) for at in LEVELS},
                "peak_hours": rounded(is_peak.mean()),
                "peak_share_of_error": rounded(error[is_peak].sum() / error.sum()),
                "peaks_above_median": rounded((one["y"] > one[MODEL])[is_peak].mean()),
            }
        )
    return rows


def by_forecast(known: pd.DataFrame) -> pd.DataFrame:
    """Each single forecast's mean error: `unique_id, cutoff, error`, the worst first."""
    error = _error(known, MODEL)
    means = error.groupby([known["unique_id"], known["cutoff"]]).mean()
    return means.rename("error").reset_index().sort_values("error", ascending=False)


def worst(known: pd.DataFrame, most: int = 3) -> Chosen:
    """Series and cutoffs of the worst forecasts, one a series."""
    ranked = by_forecast(known).drop_duplicates("unique_id").head(most)
    return list(zip(ranked["unique_id"], ranked["cutoff"], strict=True))


def typical(known: pd.DataFrame, names: list[str]) -> Chosen:
    """Of each of these series the forecast whose error is the middle one."""
    ranked = by_forecast(known).groupby("unique_id")["cutoff"]
    cutoffs = {name: ranked.get_group(name).to_list() for name in names}
    return [(name, found[len(found) // 2]) for name, found in cutoffs.items()]


def shown(
    table: pd.DataFrame, series: pd.DataFrame, chosen: Chosen, season: int
) -> list[dict[str, Any]]:
    """Chosen forecasts with the week before them, for pictures."""
    columns = {"median": MODEL} | {
        f"{side}-{level}": f"{MODEL}-{side}-{level}" for side in ("lo", "hi") for level in INTERVALS
    }
    found = []
    for name, cutoff in chosen:
        one = table[(table["unique_id"] == name) & (table["cutoff"] == cutoff)]
        before = series[(series["unique_id"] == name) & (series["ds"] <= cutoff)]
        found.append(
            {
                "series": name,
                "cutoff": str(cutoff),
                "before": rounded(before["y"].tail(SEASONS_A_CYCLE * season)),
                "actual": rounded(one["y"]),
                "naive": rounded(one["SeasonalNaiveWeek"]),
                "forecast": {key: rounded(one[column]) for key, column in columns.items()},
            }
        )
    return found


def _models(known: pd.DataFrame) -> list[str]:
    return models_of(known.drop(columns=["ahead", "scale"]))


def _error(known: pd.DataFrame, name: str) -> pd.Series:
    return (known[name] - known["y"]).abs() / known["scale"]


def _inside(known: pd.DataFrame, name: str, level: int) -> pd.Series:
    return known["y"].between(known[f"{name}-lo-{level}"], known[f"{name}-hi-{level}"])
