"""How accurate the pipeline's forecaster is, beside classical forecasts of the same run.

    python -m benchmarks.accuracy.score TRAIN [--test TEST] [--slow] [--frequency h --season 24]
        [--origins 7 --weeks 8] [--results report/figures/accuracy.json]

TRAIN is a long table (`unique_id, ds, y`) or a wide one as the M4 competition has it: a series a
row, its name first, its values after, shorter rows padded with empty cells. Without TEST the
newest horizon of each series is held out, or as many as there are origins. Trains with the
defaults of the pipeline's notebook. Prints a table, and as its last line one JSON object.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kalecast.artifact.runtime import Forecaster
from kalecast.data.frequency import frequency_of
from kalecast.data.series import SeriesError, read_series, tidy
from kalecast.data.windows import hold_out
from kalecast.evaluation.backtest import MODEL, mean_scores, own_forecasts, score_series
from kalecast.evaluation.baselines import CLASSICAL, baseline_forecasts, naive_names
from kalecast.lifetime import end_in_order
from kalecast.model.export import draft_contract, export_model
from kalecast.model.network import NetworkSettings
from kalecast.model.training import TrainingSettings, train
from kalecast.results import write_results

NAIVE2 = {"smape": 18.383, "mase": 2.395}
"""The M4 competition's published scores of its benchmark Naive2 on the hourly series."""
BEGINNING = pd.Timestamp("2020-01-06")
"""Wide tables carry no timestamps; they get some."""
SPREAD = (0.1, 0.5, 0.9)
"""Quantiles of the MASE over the series that are reported."""


def read_table(path: Path, frequency: str) -> pd.DataFrame:
    """A long or wide table as tidy series."""
    header = list(pd.read_csv(path, nrows=0).columns) if path.suffix == ".csv" else []
    if path.suffix == ".csv" and "y" not in [name.strip().lower() for name in header]:
        return _read_wide(path, frequency)
    return tidy(read_series(path), frequency)


def _read_wide(path: Path, frequency: str) -> pd.DataFrame:
    table = pd.read_csv(path, index_col=0)
    parts = []
    for name, row in table.iterrows():
        values = row.to_numpy(dtype=np.float64)
        known = np.flatnonzero(~np.isnan(values))
        if not known.size:
            raise SeriesError(f"Expected values in each row, series '{name}' has none in {path}.")
        values = values[: known[-1] + 1]
        beginning = np.array([BEGINNING], "datetime64[ns]")
        timestamps = frequency_of(frequency).timestamps(beginning, np.arange(len(values)))
        parts.append(pd.DataFrame({"unique_id": str(name), "ds": timestamps, "y": values}))
    return pd.concat(parts, ignore_index=True)


def with_test(
    history: pd.DataFrame, test: pd.DataFrame, wide: bool, frequency: str
) -> pd.DataFrame:
    """History and test part as one table; a wide test part begins where its history ends."""
    unknown = set(test["unique_id"]) - set(history["unique_id"])
    if unknown:
        raise SeriesError(f"Expected the test part's series in TRAIN too, not there: {unknown}.")
    if wide:
        known = history.groupby("unique_id")["ds"].agg(["min", "size"])
        names = test["unique_id"]
        after = names.map(known["size"]) + test.groupby("unique_id").cumcount()
        starts = names.map(known["min"]).to_numpy()
        test = test.assign(ds=frequency_of(frequency).timestamps(starts, after.to_numpy()))
    whole = pd.concat([history, test], ignore_index=True)
    return whole.sort_values(["unique_id", "ds"], kind="stable", ignore_index=True)


def train_as_the_pipeline(
    history: pd.DataFrame, arguments: argparse.Namespace
) -> tuple[Forecaster, float, int]:
    """The forecaster of a model file from the history alone; its seconds and parameters."""
    shape = NetworkSettings(
        horizon=arguments.horizon,
        season=arguments.season,
        input_length=arguments.input_length or 21 * arguments.season,
    )
    fewer = {"epochs": arguments.epochs, "steps_per_epoch": arguments.steps}
    settings = replace(TrainingSettings(), **{name: many for name, many in fewer.items() if many})
    began = time.perf_counter()
    network, _ = train(history, shape, settings)
    seconds = time.perf_counter() - began
    contract = draft_contract("benchmark", history, shape, arguments.frequency, 48)
    model_file, _ = export_model(network, contract, history)
    return Forecaster(model_file, threads=2), seconds, int(network.count_params())


def compare(
    whole: pd.DataFrame,
    history: pd.DataFrame,
    forecaster: Any,
    names: Sequence[str],
    arguments: argparse.Namespace,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Scores a series of the network and the baselines, and the seconds of each.

    Args:
        whole: tidy series with the held-out steps at their ends.
        history: without them.
        forecaster: the network's.
        names: of the baselines.
        arguments: of them `origins`, and `weeks` that the slow baselines see before each.
    """
    contract = forecaster.contract
    began = time.perf_counter()
    table = own_forecasts(forecaster.forecast_windows, whole, contract, arguments.origins)
    seconds = {MODEL: time.perf_counter() - began}
    for name in names:
        print(f"forecasting with {name} …", flush=True)
        began = time.perf_counter()
        seen = arguments.weeks if name in CLASSICAL else None
        theirs = baseline_forecasts(whole, contract, arguments.origins, [name], seen)
        seconds[name] = time.perf_counter() - began
        table = table.merge(theirs, on=["unique_id", "ds", "cutoff"], validate="1:1")
    return score_series(table, history, contract.season), seconds


def main() -> None:
    """Train, compare and print."""
    arguments = _arguments()
    whole, history = _parts(arguments)
    known = int(history["y"].notna().sum())
    print(f"{history['unique_id'].nunique()} series, {len(history)} values to learn from")
    forecaster, train_seconds, parameters = train_as_the_pipeline(history, arguments)
    naive = naive_names(forecaster.contract.season, forecaster.contract.frequency)
    names = (*naive, *CLASSICAL) if arguments.slow else naive
    scores, seconds = compare(whole, history, forecaster, names, arguments)
    seconds[MODEL] += train_seconds
    about = {"train_seconds": round(train_seconds, 1), "parameters": parameters}
    if arguments.results:
        results = {
            "data": arguments.train.name,
            "series": int(history["unique_id"].nunique()),
            "origins": arguments.origins,
            "horizon": arguments.horizon,
            "weeks_seen_by_slow": arguments.weeks,
            "values_to_learn_from": known,
            "values_forecast": int(whole["y"].notna().sum()) - known,
            **about,
            "contenders": contenders(scores, seconds),
        }
        write_results(arguments.results, arguments.command, results)
    report(scores, seconds, about)


def contenders(scores: pd.DataFrame, seconds: dict[str, float]) -> dict[str, Any]:
    """Of each contender its mean scores, its seconds, and how its MASE is spread.

    `beaten` is the share of the series of which the network's MASE is smaller. OWA means
    something for the hourly M4 series alone.
    """
    mase = scores[scores["metric"] == "mase"].set_index("unique_id")
    return {
        str(name): {
            **{str(metric): round(float(value), 4) for metric, value in row.items()},
            "mase_quantiles": {f"{at:g}": round(mase[name].quantile(at), 4) for at in SPREAD},
            "beaten": round(float((mase[MODEL] < mase[name]).mean()), 4),
            "seconds": round(seconds[str(name)], 1),
        }
        for name, row in with_owa(mean_scores(scores)).iterrows()
    }


def with_owa(means: pd.DataFrame) -> pd.DataFrame:
    """Mean scores with the M4 competition's overall weighted average as their first column."""
    ratios = [means[metric] / naive for metric, naive in NAIVE2.items()]
    return pd.concat([pd.concat(ratios, axis=1).mean(axis=1).rename("owa"), means], axis=1)


def _parts(arguments: argparse.Namespace) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All series, and what of them may be learnt from."""
    given = read_table(arguments.train, arguments.frequency)
    if not arguments.test:
        return given, hold_out(given, arguments.origins * arguments.horizon)[0]
    test = read_table(arguments.test, arguments.frequency)
    wide = test["ds"].min() == BEGINNING
    return with_test(given, test, wide, arguments.frequency), given


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Formatter)
    add = parser.add_argument
    add("train", type=Path)
    add("--test", type=Path)
    add("--slow", action="store_true", help="MSTL and Theta too: minutes")
    add("--frequency", default="h")
    add("--season", type=int, default=24)
    add("--horizon", type=int, default=48)
    add("--origins", type=int, default=1, help="forecasts a series, a horizon apart")
    add("--weeks", type=int, help="what the slow ones see before each origin; all where left out")
    add("--input-length", type=int, help="21 seasons where left out")
    add("--epochs", type=int, help="fewer than the pipeline's, for a quick look")
    add("--steps", type=int, help="an epoch, fewer than the pipeline's, for a quick look")
    add("--results", type=Path, help="file to leave the results in, for the report")
    add("--command", default=f"python {' '.join(sys.argv)}", help="that gave them")
    arguments = parser.parse_args()
    if arguments.test and arguments.origins > 1:
        parser.error("Expected one origin where the held-out steps are in a file of their own.")
    return arguments


def report(scores: pd.DataFrame, seconds: dict[str, float], about: dict[str, float]) -> None:
    """Print the table and the last line."""
    means = with_owa(mean_scores(scores))
    print(means.assign(seconds=pd.Series(seconds)).to_string(float_format="{:.3f}".format))
    ours = {str(name).replace("_", ""): round(mean, 4) for name, mean in means.loc[MODEL].items()}
    baselines = {
        name: {"owa": round(means["owa"][name], 4), "seconds": round(seconds[name], 1)}
        for name in map(str, means.index)
        if name != MODEL
    }
    print(json.dumps({**ours, **about, "baselines": baselines}))


class _Formatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    pass


if __name__ == "__main__":
    end_in_order()
    main()
