"""Evaluation: rolling-origin backtests beside classical baselines, and the gate.

Scores and baselines are Nixtla's (utilsforecast, statsforecast), on the table they share:
`unique_id, ds, cutoff, y` and a column a model; interval bounds are `<model>-lo-80` and so on.
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pandas as pd

from kalecast.bundle import Contract
from kalecast.runtime import Windows
from kalecast.series import SeriesError, frequency_step
from kalecast.windows import SeriesStore

MODEL = "Kalecast"
BASELINES = ("SeasonalNaiveDay", "SeasonalNaiveWeek")
LEVELS = {80: (0.1, 0.9), 95: (0.025, 0.975)}
"""Nominal coverage in percent, and the quantiles between which it lies."""

Forecast = Callable[[Windows], Windows]


class GateError(RuntimeError):
    """The network is not better than the baseline that it must beat."""


def backtest(
    forecast: Forecast,
    frame: pd.DataFrame,
    contract: Contract,
    test_windows: int,
) -> pd.DataFrame:
    """Forecast the newest hours of each series from rolling origins, a horizon apart.

    Args:
        forecast: from windows `(batch, input_length)` to `(batch, horizon, quantiles)`.
        frame: tidy series with the held-out hours at their ends.
        contract: window, horizon, season and quantiles.
        test_windows: origins a series; together they cover `test_windows * horizon` steps.

    Returns:
        `unique_id, ds, cutoff, y`, `Kalecast` with its bounds at 80 and 95 %, and a column a
        baseline. Series too short for it are left out.

    Raises:
        SeriesError: all series are too short.
    """
    frame = _long_enough(frame, contract, test_windows)
    ours = _own_forecasts(forecast, frame, contract, test_windows)
    theirs = _baseline_forecasts(frame, contract, test_windows)
    table: pd.DataFrame = ours.merge(
        theirs, on=["unique_id", "ds", "cutoff"], how="left", validate="1:1"
    )
    return table


def score_series(table: pd.DataFrame, history: pd.DataFrame, season: int) -> pd.DataFrame:
    """Scores of each series and model over all cutoffs.

    Args:
        table: as `backtest` returns it. Steps without a known value count nothing.
        history: tidy series without the held-out hours; MASE is scaled by their mean absolute
            seasonal difference (Hyndman and Koehler 2006).
        season: steps a season.

    Returns:
        `unique_id, metric` and a column a model. Metrics are `mase`, `smape` (in percent, as
        the M4 competition defines it: 0 to 200) and, for `Kalecast` alone, `coverage_80` and
        `coverage_95` (shares).
    """
    from utilsforecast.evaluation import evaluate
    from utilsforecast.losses import coverage, mase, smape

    known = table[table["y"].notna()].drop(columns="cutoff")
    models = [MODEL, *BASELINES]
    train = history[history["unique_id"].isin(known["unique_id"].unique())]
    errors = evaluate(
        known[["unique_id", "ds", "y", *models]],
        metrics=[partial(mase, seasonality=season), smape],
        train_df=train,
    )
    errors.loc[errors["metric"] == "smape", models] *= 200.0  # theirs runs from 0 to 1
    covered = [
        coverage(known, models=[MODEL], level=level).assign(metric=f"coverage_{level}")
        for level in LEVELS
    ]
    scores: pd.DataFrame = pd.concat([errors, *covered], ignore_index=True)
    return scores.replace([np.inf, -np.inf], np.nan)


def summarise(scores: pd.DataFrame) -> dict[str, float]:
    """Means over the series, as they go into the contract and the pipeline's metrics.

    Series without a score (constant ones have no MASE) are left out of that mean.
    """
    means = scores.groupby("metric")[[MODEL, *BASELINES]].mean()
    by_metric = means.to_dict(orient="index")
    naive = min(BASELINES, key=lambda name: by_metric["mase"][name])
    summary = {
        "mase": by_metric["mase"][MODEL],
        "mase_seasonal_naive": by_metric["mase"][naive],
        "smape": by_metric["smape"][MODEL],
        "smape_seasonal_naive": by_metric["smape"][naive],
        **{f"coverage_{level}": by_metric[f"coverage_{level}"][MODEL] for level in LEVELS},
    }
    return {key: round(float(value), 6) for key, value in summary.items()}


def gate(scores: Mapping[str, float], margin: float = 0.0) -> str:
    """Let a network through that beats the better of the two seasonal naive forecasts.

    Args:
        scores: as `summarise` returns them.
        margin: by how many percent its MASE must be smaller.

    Returns:
        The verdict in a sentence.

    Raises:
        GateError: it does not, by how much.
    """
    ours, naive = scores["mase"], scores["mase_seasonal_naive"]
    better = 100.0 * (1.0 - ours / naive) if naive > 0 else float("nan")
    figures = f"MASE {ours:.3f} against {naive:.3f}"
    if not better > margin:
        told = f"{abs(better):.1f} % {'better' if better > 0 else 'worse'} than"
        told = told if np.isfinite(better) else "not comparable with"
        raise GateError(
            f"Expected the network to be more than {margin:g} % better than the seasonal naive "
            f"forecast on the held-out hours; it is {told} it ({figures}). Nothing is published."
        )
    return f"The network is {better:.1f} % better than the seasonal naive forecast ({figures})."


def _long_enough(frame: pd.DataFrame, contract: Contract, test_windows: int) -> pd.DataFrame:
    needed = test_windows * contract.horizon + 2 * contract.season
    lengths = frame.groupby("unique_id")["y"].transform("size")
    kept = frame[lengths >= needed]
    if kept.empty:
        raise SeriesError(
            f"Expected at least one series of {needed} steps or more to evaluate on "
            f"{test_windows} windows of {contract.horizon} steps, the longest has "
            f"{int(lengths.max())}. Use fewer test windows or a longer history."
        )
    result: pd.DataFrame = kept.reset_index(drop=True)
    return result


def _own_forecasts(
    forecast: Forecast, frame: pd.DataFrame, contract: Contract, test_windows: int
) -> pd.DataFrame:
    store = SeriesStore.from_frame(frame, contract.input_length)
    horizon = contract.horizon
    series = np.repeat(np.arange(len(store.names)), test_windows)
    origins = np.tile(np.arange(test_windows, 0, -1) * horizon, len(store.names))
    cutoffs = store.lengths[series] - origins
    forecasts = forecast(store.windows(series, cutoffs))
    rows = pd.DataFrame(
        {
            "unique_id": np.repeat(np.array(store.names, dtype=object)[series], horizon),
            "step": (cutoffs[:, None] + np.arange(horizon)).ravel(),
            "cutoff_step": np.repeat(cutoffs - 1, horizon),
            "y": store.targets(series, cutoffs, horizon).ravel(),
        }
    )
    begins = frame.groupby("unique_id")["ds"].min()
    step = frequency_step(contract.frequency)
    start = rows["unique_id"].map(begins)
    rows["ds"] = start + rows.pop("step") * step
    rows["cutoff"] = start + rows.pop("cutoff_step") * step
    rows[MODEL] = forecasts[:, :, contract.median].ravel()
    for level, (low, high) in LEVELS.items():
        rows[f"{MODEL}-lo-{level}"] = forecasts[:, :, contract.quantiles.index(low)].ravel()
        rows[f"{MODEL}-hi-{level}"] = forecasts[:, :, contract.quantiles.index(high)].ravel()
    return rows


def _baseline_forecasts(frame: pd.DataFrame, contract: Contract, test_windows: int) -> pd.DataFrame:
    from statsforecast import StatsForecast
    from statsforecast.models import SeasonalNaive

    day, week = BASELINES
    models = [
        SeasonalNaive(contract.season, alias=day),
        SeasonalNaive(7 * contract.season, alias=week),
    ]
    table: pd.DataFrame = StatsForecast(models, freq=contract.frequency).cross_validation(
        h=contract.horizon,
        df=fill_by_season(frame, contract.season),
        n_windows=test_windows,
        step_size=contract.horizon,
    )
    # A series shorter than a week has no weekly forecast: the daily one stands in.
    table[week] = table[week].fillna(table[day])
    return table[["unique_id", "ds", "cutoff", *BASELINES]]


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
