"""How accurate the pipeline's forecaster is, beside classical forecasts of the same run.

    python -m benchmarks.accuracy.score TRAIN [--test TEST] [--origins 20] [--horizon 24] [--slow]
        [--frequency h --season 24] [--weeks 8] [--results report/figures/accuracy.json]

TRAIN is a long table (`unique_id, ds, y`) or a wide one as the M4 competition has it, as CSV,
gzipped CSV or Parquet. The newest steps of each series are held out, a horizon for each origin;
or they are in TEST. Trains with the pipeline's code and defaults. Frequency, season and window
are found from the data where they are left out; for hours they are the notebook's. Prints a
table, and as its last line one JSON object.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from benchmarks.accuracy.figures import rounded
from benchmarks.accuracy.tables import Given, Split, split
from kalecast.artifact.contract import Contract
from kalecast.artifact.runtime import Forecaster
from kalecast.data.series import SeriesError, notes
from kalecast.data.steps import steps_in_words
from kalecast.evaluation.backtest import (
    MODEL,
    mean_scores,
    own_forecasts,
    pooled_scores,
    score_series,
)
from kalecast.evaluation.baselines import CLASSICAL, baseline_forecasts, naive_among, naive_names
from kalecast.lifetime import end_in_order
from kalecast.model.export import draft_contract, export_model
from kalecast.model.parameters import ParameterError
from kalecast.model.training import train
from kalecast.results import write_results

NAIVE2 = {"smape": 18.383, "mase": 2.395}
"""The M4 competition's published scores of its benchmark Naive2 on the hourly series."""
SPREAD = (0.1, 0.5, 0.9)
"""Quantiles of the MASE over the series that are reported."""
LAST_LINE = ("owa", "smape", "mase", "wql", "msis_95", "coverage_80", "coverage_95")
"""Scores of the last line, where they are written without underscores."""
KEY = ["unique_id", "ds", "cutoff"]


class Trained(NamedTuple):
    """A forecaster, and what it took."""

    forecaster: Forecaster
    seconds: float
    parameters: int


def train_as_the_pipeline(parts: Split, fewer: dict[str, Any]) -> Trained:
    """The forecaster of a model file from the history alone.

    Args:
        parts: series and what suits them.
        fewer: training settings otherwise than the pipeline's, such as `epochs`.
    """
    settings = replace(parts.training, **fewer)
    began = time.perf_counter()
    network, _ = train(parts.history, parts.shape, settings)
    seconds = time.perf_counter() - began
    contract = draft_contract(
        "benchmark", parts.history, parts.shape, parts.frequency, settings.minimum_history
    )
    model_file, _ = export_model(network, contract, parts.history)
    forecaster = Forecaster(model_file, threads=2)
    return Trained(forecaster, seconds, int(network.count_params()))


def own_table(forecaster: Forecaster, parts: Split) -> tuple[pd.DataFrame, float]:
    """The network's forecasts of the held-out steps, and their seconds."""
    began = time.perf_counter()
    table = own_forecasts(
        forecaster.forecast_windows, parts.judged, forecaster.contract, parts.origins
    )
    return table, time.perf_counter() - began


def beside(
    table: pd.DataFrame, contract: Contract, parts: Split, names: Sequence[str], weeks: int | None
) -> tuple[pd.DataFrame, dict[str, float]]:
    """A table with forecasts of baselines beside those it has, and the seconds of each.

    Args:
        table: forecasts of the series that the baselines are to forecast, too.
        contract: the network's.
        parts: series and origins.
        names: of the baselines.
        weeks: cycles of seven seasons that the slow ones see before each origin; None is all.
    """
    seconds: dict[str, float] = {}
    series = parts.judged[parts.judged["unique_id"].isin(table["unique_id"])]
    # The naive ones together: where a series is too short for the one, the other stands in.
    naive = naive_among(names)
    for group in filter(None, (naive, *([name] for name in names if name not in naive))):
        print(f"forecasting with {', '.join(group)} …", flush=True)
        began = time.perf_counter()
        seen = weeks if set(group) <= set(CLASSICAL) else None
        theirs = baseline_forecasts(series, contract, parts.origins, group, seen)
        each = (time.perf_counter() - began) / len(group)
        seconds |= dict.fromkeys(group, each)
        table = table.merge(theirs, on=KEY, validate="1:1")
    return table, seconds


def scores_of(
    table: pd.DataFrame, history: pd.DataFrame, season: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores a series, and over all of them: a row a contender.

    Over all are means over the series, but for `wql` and the coverages, which are over all values
    of all series together; `owa` means something for the hourly M4 series alone.
    """
    scores = score_series(table, history, season)
    means, pooled = mean_scores(scores), pooled_scores(table)
    means = means.assign(**{str(name): pooled[name] for name in pooled})
    ratios = [means[metric] / naive for metric, naive in NAIVE2.items()]
    means.insert(0, "owa", pd.concat(ratios, axis=1).mean(axis=1))
    return scores, means


def contenders(
    scores: pd.DataFrame, means: pd.DataFrame, seconds: dict[str, float]
) -> dict[str, Any]:
    """Of each contender its scores, its seconds, and how its MASE is spread.

    `beaten` is the share of the series of which the network's MASE is smaller.
    """
    mase = scores[scores["metric"] == "mase"].set_index("unique_id")
    return {
        str(name): {
            **{str(metric): rounded(value, 5) for metric, value in row.items()},
            "mase_quantiles": {f"{at:g}": round(mase[name].quantile(at), 4) for at in SPREAD},
            "beaten": round(float((mase[MODEL] < mase[name]).mean()), 4),
            "seconds": round(seconds[str(name)], 1),
        }
        for name, row in means.iterrows()
    }


def last_line(means: pd.DataFrame, seconds: dict[str, float], trained: Trained) -> dict[str, Any]:
    """What the command says of itself to other programs."""

    def of(name: str) -> dict[str, Any]:
        return {score.replace("_", ""): rounded(means.loc[name, score], 5) for score in LAST_LINE}

    baselines = {
        name: {**of(name), "seconds": round(seconds[name], 1)}
        for name in map(str, means.index)
        if name != MODEL
    }
    cost = {"train_seconds": round(trained.seconds, 1), "parameters": trained.parameters}
    return {**of(MODEL), **cost, "baselines": baselines}


def main() -> int:
    """Train, compare and print."""
    arguments = _arguments()
    try:
        _score(arguments)
    except (SeriesError, ParameterError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _score(arguments: argparse.Namespace) -> None:
    given = Given(**{name: getattr(arguments, name) for name in vars(Given())})
    parts = split(arguments.train, arguments.test, given)
    describe(parts)
    fewer = {"epochs": arguments.epochs, "steps_per_epoch": arguments.steps}
    trained = train_as_the_pipeline(parts, {name: many for name, many in fewer.items() if many})
    contract = trained.forecaster.contract
    table, own_seconds = own_table(trained.forecaster, parts)
    naive = naive_names(contract.season, contract.frequency)
    names = naive if arguments.slow is None else [*naive, *(arguments.slow or CLASSICAL)]
    table, seconds = beside(table, contract, parts, names, arguments.weeks)
    seconds[MODEL] = own_seconds + trained.seconds
    scores, means = scores_of(table, parts.history, contract.season)
    if arguments.results:
        results = {
            "data": arguments.train.name,
            "series": int(parts.history["unique_id"].nunique()),
            "origins": parts.origins,
            "horizon": contract.horizon,
            "weeks_seen_by_slow": arguments.weeks,
            "values_to_learn_from": int(parts.history["y"].notna().sum()),
            "values_forecast": int(table["y"].notna().sum()),
            "train_seconds": round(trained.seconds, 1),
            "parameters": trained.parameters,
            "contenders": contenders(scores, means, seconds),
        }
        write_results(arguments.results, arguments.command, results)
    print(means.assign(seconds=pd.Series(seconds)).to_string(float_format="{:.3f}".format))
    print(json.dumps(last_line(means, seconds, trained)))


def describe(parts: Split) -> None:
    """Print what is learnt from and judged on, and what was done with the table."""
    for note in notes(parts.judged):
        print(note)
    series, values = parts.history["unique_id"].nunique(), len(parts.history)
    ahead = steps_in_words(parts.shape.horizon, parts.frequency)
    seen = steps_in_words(parts.shape.input_length, parts.frequency)
    print(
        f"{series} series, {values} values to learn from; {parts.origins} x {ahead} ahead are "
        f"judged; season {parts.shape.season}, window {seen}"
    )
    if parts.left_out:
        print(f"not judged: {len(parts.left_out)} series, such as '{parts.left_out[0]}'")


def positive(text: str) -> int:
    """A whole number above 0, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"Expected a whole number above 0, received: {text!r}.")
    return int(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("train", type=Path)
    add("--test", type=Path)
    add(
        "--slow",
        nargs="*",
        choices=CLASSICAL,
        help="these too, or all where none is named: minutes",
    )
    add("--frequency", help="as the timestamps show it where left out; of wide tables hours")
    add("--season", type=positive, help="steps; that of the frequency where left out")
    add("--horizon", type=positive, help="steps; the pipeline's where left out")
    add("--origins", type=positive, help="forecasts a series, a horizon apart; 1 where left out")
    add("--weeks", type=positive, help="what the slow ones see before each origin; else all")
    add("--input-length", type=positive, help="steps; as suits the data where left out")
    add("--epochs", type=positive, help="fewer than the pipeline's, for a quick look")
    add("--steps", type=positive, help="an epoch, fewer than the pipeline's, for a quick look")
    add("--known", help=argparse.SUPPRESS)
    add("--results", type=Path, help="file to leave the results in, for the report")
    add("--command", default=f"python {' '.join(sys.argv)}", help="that gave them")
    arguments = parser.parse_args()
    if arguments.known:
        parser.error(
            "Expected no covariates (KNOWN=), as this version has none, received: "
            f"{arguments.known!r}."
        )
    return arguments


if __name__ == "__main__":
    end_in_order()
    raise SystemExit(main())
