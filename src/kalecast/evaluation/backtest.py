"""Evaluation: rolling-origin backtests beside classical baselines, and the gate.

Scores and baselines are Nixtla's (utilsforecast, statsforecast), on the table they share:
`unique_id, ds, cutoff, y` and a column a model; interval bounds are `<model>-lo-80` and so on.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist

import numpy as np
import pandas as pd

from kalecast.artifact.contract import Contract
from kalecast.artifact.runtime import Windows
from kalecast.data.frequency import frequency_of
from kalecast.data.series import Sentences, SeriesError
from kalecast.data.steps import steps_in_words
from kalecast.data.usable import named, seasonal_scale, unjudged, without_outliers
from kalecast.data.windows import SeriesStore
from kalecast.evaluation.baselines import INTERVALS, baseline_forecasts, naive_among

MODEL = "Kalecast"
CLASSICAL_WEEKS = 8
"""What the slow baselines see before each origin."""

EXACT = 0.01
"""MASE that a naive forecast without any error counts as having, in percentages of it."""

BOUND = re.compile(r"-(?:lo|hi)-\d+$")

DECILES = tuple(tenth / 10 for tenth in range(1, 10))
"""Quantiles over which the weighted quantile loss is a mean, as in GIFT-Eval."""

Forecast = Callable[[Windows], Windows]


class GateError(RuntimeError):
    """The network is not better than the baseline that it must beat."""


def backtest(
    forecast: Forecast,
    frame: pd.DataFrame,
    contract: Contract,
    test_windows: int,
    classical: Sequence[str] = (),
) -> pd.DataFrame:
    """Forecast the newest steps of each series from rolling origins, a horizon apart.

    Args:
        forecast: from windows `(batch, input_length)` to `(batch, horizon, quantiles)`.
        frame: tidy series with the held-out steps at their ends.
        contract: window, horizon, season and quantiles.
        test_windows: origins a series; together they cover `test_windows * horizon` steps.
        classical: further baselines beside the naive ones, such as `MSTL-AutoETS`. They look at
            the newest eight weeks, because they are slow.

    Returns:
        `unique_id, ds, cutoff, y`, `Kalecast` and the baselines, each with its bounds at 80 and
        95 % (`Kalecast-lo-80` and so on). Series too short for it, or missing where they would be
        judged, are left out, and outliers count as missing; its notes say which.

    Raises:
        SeriesError: all series are left out.
    """
    without = unjudged(frame, test_windows * contract.horizon, contract.season, contract.frequency)
    frame = _judged(frame, contract, test_windows)
    cleaned = frame.assign(y=without_outliers(frame, contract.season))
    # The network gets the series as it is: that it bears outliers is a part of what is judged.
    ours = own_forecasts(forecast, frame, contract, test_windows).drop(columns="y")
    table = ours.merge(cleaned[["unique_id", "ds", "y"]], on=["unique_id", "ds"], how="left")
    table = _beside(table, baseline_forecasts(cleaned, contract, test_windows))
    if classical:
        slow = baseline_forecasts(cleaned, contract, test_windows, classical, CLASSICAL_WEEKS)
        table = _beside(table, slow)
    said = [*named("Not judged", without), *_outliers_in_words(frame, cleaned)]
    table.attrs["notes"] = Sentences(said)
    return table


def own_forecasts(
    forecast: Forecast, frame: pd.DataFrame, contract: Contract, test_windows: int
) -> pd.DataFrame:
    """The network's part of `backtest`."""
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
    start = rows["unique_id"].map(begins).to_numpy()
    grid = frequency_of(contract.frequency)
    rows["ds"] = grid.timestamps(start, rows.pop("step").to_numpy())
    rows["cutoff"] = grid.timestamps(start, rows.pop("cutoff_step").to_numpy())
    rows[MODEL] = forecasts[:, :, contract.median].ravel()
    for level, (low, high) in INTERVALS.items():
        rows[f"{MODEL}-lo-{level}"] = forecasts[:, :, contract.quantiles.index(low)].ravel()
        rows[f"{MODEL}-hi-{level}"] = forecasts[:, :, contract.quantiles.index(high)].ravel()
    return rows


def models_of(table: pd.DataFrame) -> list[str]:
    """The forecasts that a table holds, the network's first."""
    others = {"unique_id", "ds", "cutoff", "y", "metric"}
    names = [str(name) for name in table if name not in others and not BOUND.search(str(name))]
    return sorted(names, key=lambda name: name != MODEL)


def score_series(table: pd.DataFrame, history: pd.DataFrame, season: int) -> pd.DataFrame:
    """Scores of each series and model over all cutoffs.

    Args:
        table: as `backtest` returns it. Steps without a known value count nothing.
        history: tidy series without the held-out steps; MASE and MSIS are scaled by their mean
            absolute seasonal difference (Hyndman and Koehler 2006), as `usable.seasonal_scale`
            has it.
        season: steps a season.

    Returns:
        `unique_id, metric` and a column a model. Metrics are `mase`, `smape` (in percent, as the
        M4 competition defines it: 0 to 200), `coverage_80` and `coverage_95` (shares) and
        `msis_95` (the mean scaled interval score of the 95 % interval, Gneiting and Raftery 2007).
    """
    from utilsforecast.evaluation import evaluate
    from utilsforecast.losses import coverage, mae, smape, winkler_score

    known = table[table["y"].notna()].drop(columns="cutoff")
    models = models_of(known)
    errors = evaluate(known[["unique_id", "ds", "y", *models]], metrics=[mae, smape]).set_index(
        "unique_id"
    )
    scale = seasonal_scale(history, season)
    of_metric = {metric: part[models] for metric, part in errors.groupby("metric")}
    scaled = of_metric["mae"].div(scale, axis=0).loc[of_metric["mae"].index]
    scores = {"mase": scaled, "smape": of_metric["smape"] * 200.0}  # theirs ends at 1
    for level in INTERVALS:
        scores[f"coverage_{level}"] = coverage(known, models, level).set_index("unique_id")
    winkler = winkler_score(known, models, 95).set_index("unique_id")
    scores["msis_95"] = winkler.div(scale, axis=0).loc[winkler.index]
    parts = [part.assign(metric=metric).reset_index() for metric, part in scores.items()]
    joined: pd.DataFrame = pd.concat(parts, ignore_index=True)
    return joined[["unique_id", "metric", *models]].replace([np.inf, -np.inf], np.nan)


def mean_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Means over the series: a row a model, a column a metric.

    Series without a score (constant ones have no MASE) are left out of that mean.
    """
    means: pd.DataFrame = scores.groupby("metric", sort=False)[models_of(scores)].mean().T
    return means


def pooled_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Scores over all values of all series together, where those of `score_series` are a series'.

    Args:
        table: as `backtest` returns it. Steps without a known value count nothing.

    Returns:
        A row a model. `wql` is the weighted quantile loss: the mean over `DECILES` of twice the
        pinball loss, summed, over the sum of the absolute values; NaN where all of these are 0.
        `coverage_80` and `coverage_95` are the shares of the values that lie in the intervals.
    """
    known = table[table["y"].notna()]
    size = known["y"].abs().sum() or np.nan
    rows = {}
    for name in models_of(known):
        losses = [_pinball(known["y"], _decile(known, name, q), q).sum() for q in DECILES]
        held = {
            f"coverage_{level}": known["y"]
            .between(known[f"{name}-lo-{level}"], known[f"{name}-hi-{level}"])
            .mean()
            for level in INTERVALS
        }
        rows[name] = {"wql": 2.0 * np.mean(losses) / size, **held}
    return pd.DataFrame.from_dict(rows, orient="index")


def _pinball(values: pd.Series, forecasts: pd.Series, quantile: float) -> pd.Series:
    missed = values - forecasts
    loss: pd.Series = (quantile * missed).clip(lower=(quantile - 1.0) * missed)
    # A forecast that is not there must not make the sum smaller.
    return loss.fillna(np.inf)


def _decile(table: pd.DataFrame, name: str, quantile: float) -> pd.Series:
    """A quantile between a forecast's median and its 80 % interval.

    Interpolated along the quantiles of a normal distribution on either side of the median: those
    of the classical forecasts, whose intervals are normal, come out as they are.
    """
    normal = NormalDist()
    share = abs(normal.inv_cdf(quantile) / normal.inv_cdf(INTERVALS[80][0]))
    bound = table[f"{name}-{'lo' if quantile < 0.5 else 'hi'}-80"]
    found: pd.Series = table[name] + share * (bound - table[name])
    return found


def summarise(scores: pd.DataFrame) -> dict[str, float]:
    """The mean scores that go into the contract and the pipeline's metrics."""
    of_model = mean_scores(scores).to_dict(orient="index")
    ours = of_model[MODEL]
    naive = min(
        (of_model[name] for name in naive_among(models_of(scores))), key=lambda means: means["mase"]
    )
    summary = {
        "mase": ours["mase"],
        "mase_seasonal_naive": naive["mase"],
        "smape": ours["smape"],
        "smape_seasonal_naive": naive["smape"],
        **{f"coverage_{level}": ours[f"coverage_{level}"] for level in INTERVALS},
        "msis_95": ours["msis_95"],
        "msis_95_seasonal_naive": naive["msis_95"],
    }
    return {key: float(value) for key, value in summary.items()}


def calibration(table: pd.DataFrame) -> pd.Series:
    """For each quantile that the network gives, the share of actual values below it."""
    known = table[table["y"].notna()]
    quantiles = {0.5: MODEL}
    for level, (low, high) in INTERVALS.items():
        quantiles |= {low: f"{MODEL}-lo-{level}", high: f"{MODEL}-hi-{level}"}
    # A value on the quantile counts half: half the mass of a floor such as zero lies on either.
    shares = {
        quantile: float(((known["y"] < known[name]) + 0.5 * (known["y"] == known[name])).mean())
        for quantile, name in quantiles.items()
    }
    return pd.Series(shares).sort_index()


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
    better = 100.0 * (naive - ours) / (naive or EXACT)
    figures = f"MASE {_figure(ours)} against {_figure(naive)}"
    if not better > margin:
        comparison = f"{abs(better):.1f} % {'better' if better > 0 else 'worse'} than"
        comparison = comparison if np.isfinite(better) and naive else "not comparable with"
        raise GateError(
            f"Expected the network to be more than {margin:g} % better than the seasonal naive "
            f"forecast on the held-out steps; it is {comparison} it ({figures}). "
            "Nothing is published."
        )
    if not better > 0:
        return (
            f"The network is not better than the seasonal naive forecast ({figures}), which the "
            f"margin of {margin:g} % allows."
        )
    return f"The network is {better:.1f} % better than the seasonal naive forecast ({figures})."


def _figure(score: float) -> str:
    """Three decimals, or as many digits of a score that has none there."""
    return f"{score:.3f}" if score >= 0.01 or not score else f"{score:.3g}"


def _judged(frame: pd.DataFrame, contract: Contract, test_windows: int) -> pd.DataFrame:
    """The series that are long enough, and known where they are judged."""
    held_out = test_windows * contract.horizon
    needed = held_out + 2 * contract.season
    lengths = frame.groupby("unique_id")["y"].transform("size")
    if not (lengths >= needed).any():
        raise SeriesError(
            f"Expected at least one series of {needed} steps or more to evaluate on "
            f"{test_windows} windows of {contract.horizon} steps, the longest has "
            f"{int(lengths.max())}. Use fewer test windows or a longer history."
        )
    newest = frame.groupby("unique_id").cumcount(ascending=False) < held_out
    known = (frame["y"].notna() & newest).groupby(frame["unique_id"]).transform("any")
    kept = frame[(lengths >= needed) & known]
    if kept.empty:
        raise SeriesError(
            f"The newest {steps_in_words(held_out, contract.frequency)} of every series are "
            "missing: there is nothing to judge on."
        )
    result: pd.DataFrame = kept.reset_index(drop=True)
    return result


def _outliers_in_words(frame: pd.DataFrame, cleaned: pd.DataFrame) -> list[str]:
    """What was taken for missing in judging, series by series."""
    taken = frame[frame["y"].notna() & cleaned["y"].isna()]
    reasons = {
        str(name): f"{len(one):,}, the first {one['y'].iloc[0]:.6g} at {one['ds'].iloc[0]}"
        for name, one in taken.groupby("unique_id")
    }
    return named("Outliers, which count nothing in the scores", reasons)


def _beside(table: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    joined: pd.DataFrame = table.merge(
        others, on=["unique_id", "ds", "cutoff"], how="left", validate="1:1"
    )
    return joined
