"""How accurate the pipeline's forecaster is, beside classical forecasts of the same run.

    python benchmarks/accuracy.py TRAIN [--test TEST] [--slow] [--frequency h --season 24]

TRAIN is a long table (`unique_id, ds, y`) or a wide one as the M4 competition has it: a series a
row, its name first, its values after, shorter rows padded with empty cells. Without TEST the
newest horizon of each series is held out. Trains with the defaults of the pipeline's notebook.
Prints a table, and as its last line one JSON object.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kalecast.baselines import CLASSICAL, NAIVE, baseline_forecasts
from kalecast.evaluation import MODEL, mean_scores, own_forecasts, score_series
from kalecast.export import draft_contract, export_model
from kalecast.network import NetworkSettings
from kalecast.runtime import Forecaster
from kalecast.series import SeriesError, read_series, tidy
from kalecast.training import TrainingSettings, train
from kalecast.windows import hold_out

NAIVE2 = {"smape": 18.383, "mase": 2.395}
"""The M4 competition's published scores of its benchmark Naive2 on the hourly series."""
BEGINNING = pd.Timestamp("2020-01-06")
"""Wide tables carry no stamps; they get some."""


def read_table(path: Path, frequency: str) -> pd.DataFrame:
    """A long or wide table as tidy series."""
    header = pd.read_csv(path, nrows=0).columns if path.suffix == ".csv" else []
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
        stamps = pd.date_range(BEGINNING, periods=len(values), freq=frequency)
        parts.append(pd.DataFrame({"unique_id": str(name), "ds": stamps, "y": values}))
    return pd.concat(parts, ignore_index=True)


def with_test(
    history: pd.DataFrame, test: pd.DataFrame, wide: bool, frequency: str
) -> pd.DataFrame:
    """History and test part as one table; a wide test part begins where its history ends."""
    if wide:
        step = pd.tseries.frequencies.to_offset(frequency)
        ends = history.groupby("unique_id")["ds"].max()
        test = test.assign(ds=test["ds"] + (test["unique_id"].map(ends) + step - BEGINNING))
    unknown = set(test["unique_id"]) - set(history["unique_id"])
    if unknown:
        raise SeriesError(f"Expected the test part's series in TRAIN too, not there: {unknown}.")
    whole = pd.concat([history, test], ignore_index=True)
    return whole.sort_values(["unique_id", "ds"], kind="stable", ignore_index=True)


def train_as_the_pipeline(history: pd.DataFrame, arguments: argparse.Namespace) -> tuple[Any, ...]:
    """A model file from the history alone; its contract, seconds and parameters."""
    shape = NetworkSettings(
        horizon=arguments.horizon,
        season=arguments.season,
        input_length=arguments.input_length or 21 * arguments.season,
    )
    began = time.perf_counter()
    network, _ = train(history, shape, _defaults_but(arguments.epochs))
    seconds = time.perf_counter() - began
    contract = draft_contract("benchmark", history, shape, arguments.frequency, 48)
    model_file, _ = export_model(network, contract, history)
    if arguments.save:
        arguments.save.write_bytes(model_file)
    return Forecaster(model_file, threads=2), seconds, network.count_params()


def _defaults_but(epochs: int | None) -> TrainingSettings:
    settings = TrainingSettings()
    return replace(settings, epochs=epochs) if epochs else settings


def compare(
    whole: pd.DataFrame, history: pd.DataFrame, forecaster: Any, names: Sequence[str]
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Scores a series of the network and the baselines, and the seconds of each."""
    contract = forecaster.contract
    began = time.perf_counter()
    table = own_forecasts(forecaster.forecast_windows, whole, contract, 1)
    seconds = {MODEL: time.perf_counter() - began}
    for name in names:
        print(f"forecasting with {name} …", flush=True)
        began = time.perf_counter()
        theirs = baseline_forecasts(whole, contract, 1, [name])
        seconds[name] = time.perf_counter() - began
        table = table.merge(theirs, on=["unique_id", "ds", "cutoff"], validate="1:1")
    return score_series(table, history, contract.season), seconds


def main() -> None:
    """Train, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Formatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--slow", action="store_true", help="MSTL and Theta too: minutes")
    parser.add_argument("--frequency", default="h")
    parser.add_argument("--season", type=int, default=24)
    parser.add_argument("--horizon", type=int, default=48)
    parser.add_argument("--input-length", type=int, help="21 seasons where left out")
    parser.add_argument("--epochs", type=int, help="fewer than the pipeline's, for a quick look")
    parser.add_argument("--scores", type=Path, help="CSV to write the scores of each series to")
    parser.add_argument("--save", type=Path, help="file to write the model to")
    arguments = parser.parse_args()
    given = read_table(arguments.train, arguments.frequency)
    if arguments.test:
        test = read_table(arguments.test, arguments.frequency)
        wide = test["ds"].min() == BEGINNING
        whole, history = with_test(given, test, wide, arguments.frequency), given
    else:
        whole, (history, _) = given, hold_out(given, arguments.horizon)
    print(f"{history['unique_id'].nunique()} series, {len(history)} values to learn from")
    forecaster, train_seconds, parameters = train_as_the_pipeline(history, arguments)
    names = [*NAIVE, *CLASSICAL] if arguments.slow else NAIVE
    scores, seconds = compare(whole, history, forecaster, names)
    seconds[MODEL] += train_seconds
    if arguments.scores:
        scores.to_csv(arguments.scores, index=False)
    report(scores, seconds, train_seconds, parameters)


def report(
    scores: pd.DataFrame, seconds: dict[str, float], train_seconds: float, parameters: int
) -> None:
    """Print the table and the last line."""
    means = mean_scores(scores)
    means.insert(0, "owa", sum(means[metric] / naive for metric, naive in NAIVE2.items()) / 2)
    print(means.assign(seconds=pd.Series(seconds)).to_string(float_format="{:.3f}".format))
    ours = {name: round(float(value), 4) for name, value in means.loc[MODEL].items()}
    print(
        json.dumps(
            {
                "owa": ours["owa"],
                "smape": ours["smape"],
                "mase": ours["mase"],
                "msis95": ours["msis_95"],
                "coverage80": ours["coverage_80"],
                "coverage95": ours["coverage_95"],
                "train_seconds": round(train_seconds, 1),
                "parameters": int(parameters),
                "baselines": {
                    name: {"owa": round(float(row["owa"]), 4), "seconds": round(seconds[name], 1)}
                    for name, row in means.iterrows()
                    if name != MODEL
                },
            }
        )
    )


class _Formatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    pass


if __name__ == "__main__":
    main()
