"""What a run of the pipeline gave, as a results file for the report.

    python -m benchmarks.accuracy.pipeline_results [--new] [--output report/figures]

Takes the newest whole run in runs/ that had the sample data and the notebook's parameters; where
there is none, or `--new` asks for it, the pipeline runs first. The scores are computed anew from
the run's series and its model file, and held against those that the run reported. Prints one JSON
object with the scores as its last line.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.accuracy import figures
from benchmarks.accuracy.figures import rounded
from benchmarks.accuracy.network_figures import file_of, layers_of, with_gaps, without_parts
from benchmarks.accuracy.run_folder import ANYWHERE, FinishedRun, RunError, newest_of_sample
from kalecast.artifact.runtime import Forecaster
from kalecast.artifact.store import SAMPLE
from kalecast.data import exploration
from kalecast.data.fitting import rhythms
from kalecast.data.series import describe
from kalecast.data.windows import SeriesStore
from kalecast.evaluation.backtest import (
    MODEL,
    Forecast,
    backtest,
    calibration,
    mean_scores,
    own_forecasts,
    score_series,
    summarise,
)
from kalecast.lifetime import end_in_order
from kalecast.model.export import largest_difference
from kalecast.model.network import from_bytes, predict
from kalecast.pipelines.local.local_run import PipelineError, run_here
from kalecast.project import project_path
from kalecast.results import FIGURES, write_results

COMMAND = "make benchmark-pipeline"
CLASSICAL = ["MSTL-AutoETS"]
"""Beside the naive forecasts, as in the notebook."""
TOLERANCE = 1e-3
"""By what share a score may differ from what the run reported: ONNX Runtime is not Keras."""
CARD = (
    *("name", "version", "created", "library_version", "data_fingerprint", "input_length"),
    *("horizon", "season", "frequency", "minimum_history"),
)
"""Fields of the contract that the card has as they are."""
TYPICAL = ["england_wales_demand", "victoria_demand", "sceaux_home", "fontana_17"]
"""Series of which a forecast is shown: each kind."""


def main() -> int:
    """Find a run, or make one; compute and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--new", action="store_true", help="run the pipeline first")
    parser.add_argument("--output", type=Path, default=FIGURES, help="folder for the results")
    arguments = parser.parse_args()
    try:
        run = _found(arguments.new)
        found = outcome(run)
    except (RunError, PipelineError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    write_results(arguments.output / "pipeline.json", COMMAND, found)
    print(json.dumps({"run": run.folder.name, **found["run_scores"]}))
    return 0


def _found(new: bool) -> FinishedRun:
    runs = project_path("runs")
    run = None if new else newest_of_sample(runs)
    if run is None:
        # The model that is served stays as it is.
        run_here({"model_store": str(project_path("build/models"))})
        run = newest_of_sample(runs)
    if run is None:
        raise RunError(
            f"Expected a whole run with {SAMPLE} and the notebook's parameters in {runs}."
        )
    print(f"figures of run {run.folder.name}", flush=True)
    return run


def outcome(run: FinishedRun) -> dict[str, Any]:
    """All figures of a run.

    Raises:
        RunError: they are not those that the run reported.
    """
    forecaster = Forecaster(run.handed_on("export_model", "model_file"), threads=2)
    series, history = (run.handed_on("evaluate", name) for name in ("series", "history"))
    return {
        "run": run.folder.name,
        "run_command": "make pipeline",
        "parameters": {k: v for k, v in run.parameters.items() if k not in ANYWHERE},
        "data": SAMPLE,
        "seconds": rounded(run.summary["seconds"]),
        "overhead_seconds": rounded(run.summary["overhead_seconds"], 3),
        "run_scores": run.summary["scores"],
        "steps": run.steps,
        "training": run.training,
        "exploration": explored(series, history, forecaster.contract.frequency),
        "card": carded(forecaster),
        **judged(run, forecaster, series, history),
    }


def judged(
    run: FinishedRun, forecaster: Forecaster, series: pd.DataFrame, history: pd.DataFrame
) -> dict[str, Any]:
    """Scores, errors and bands on the held-out hours; the network and its parts."""
    contract, test_windows = forecaster.contract, int(run.parameters["test_windows"])
    season = contract.season
    table = backtest(forecaster.forecast_windows, series, contract, test_windows, CLASSICAL)
    scores = score_series(table, history, season)
    _hold_against(run.summary["scores"], summarise(scores))
    known = figures.scaled(table, history, season)
    names = [name for name in TYPICAL if name in set(known["unique_id"])]
    network_bytes = run.handed_on("evaluate", "network_bytes")

    def judge(forecast: Forecast) -> dict[str, float]:
        theirs = score_series(
            own_forecasts(forecast, series, contract, test_windows), history, season
        )
        means: dict[str, float] = rounded(mean_scores(theirs).loc[MODEL].to_dict())
        return means

    return {
        "judged_on": {
            "values": len(known),
            "forecasts": len(figures.by_forecast(known)),
            "first": str(known["ds"].min()),
            "last": str(known["ds"].max()),
        },
        "scores": rounded(mean_scores(scores).to_dict("index"), 6),
        "by_hour": figures.by_hour(known),
        "calibration": {f"{at:g}": rounded(share) for at, share in calibration(table).items()},
        "intervals": figures.intervals(known),
        "by_series": figures.by_series(known, scores, history),
        "examples": figures.shown(table, series, figures.typical(known, names), season),
        "worst": figures.shown(table, series, figures.worst(known), season),
        "parts": without_parts(network_bytes, run.parameters, judge),
        "gaps": with_gaps(forecaster, judge),
        "network": networked(network_bytes, run, forecaster, series),
    }


def _hold_against(reported: dict[str, float], found: dict[str, float]) -> None:
    apart = {
        name: (value, found[name])
        for name, value in reported.items()
        if not abs(found[name] - value) <= TOLERANCE * abs(value)
    }
    if apart:
        raise RunError(
            f"Expected the scores that the run reported, received others: {apart}. The library has "
            "changed since; run the pipeline anew with NEW=1."
        )


def networked(
    network_bytes: bytes, run: FinishedRun, forecaster: Forecaster, series: pd.DataFrame
) -> dict[str, Any]:
    """The network's layers and file, and how far the file's forecasts are from the network's."""
    network = from_bytes(network_bytes)
    store = SeriesStore.from_frame(series, forecaster.contract.input_length)
    windows = store.windows(pd.RangeIndex(len(store.names)).to_numpy(), store.lengths)
    received = forecaster.forecast_windows(windows)
    difference = largest_difference(predict(network, windows), received, windows)
    return {
        **layers_of(network),
        **file_of(run.handed_on("export_model", "model_file")),
        "largest_difference": rounded(difference, 2),
    }


def explored(series: pd.DataFrame, history: pd.DataFrame, frequency: str) -> dict[str, Any]:
    """What the series look like: lengths, gaps, rhythms, spread."""
    periods = rhythms(frequency)
    gaps, strengths, scales, spreads = (
        frame.set_index("unique_id")
        for frame in (
            exploration.gap_summary(series),
            exploration.season_strengths(series, periods),
            exploration.scales(series, periods),
            exploration.spreads(series),
        )
    )
    of_day, of_week = exploration.day_profiles(series), exploration.week_profiles(series)
    described: list[Any] = list(describe(series).itertuples())
    return {
        "hours": len(series),
        "unknown": int(series["y"].isna().sum()),
        "to_learn_from": int(history["y"].notna().sum()),
        "series": [
            {
                "series": row.unique_id,
                "first": str(row.first),
                "last": str(row.last),
                "hours": int(row.steps),
                "unknown": int(row.unknown),
                "longest_gap": int(gaps.loc[row.unique_id, "longest"]),
                **rounded({"mean": row.mean, "smallest": row.smallest, "largest": row.largest}),
                "strength": rounded(strengths.loc[row.unique_id].to_dict(), 3),
                "differs": rounded(scales.loc[row.unique_id].to_dict()),
                "furthest": rounded(spreads.loc[row.unique_id, "furthest"], 3),
                "day": rounded(of_day[row.unique_id], 3),
                "week": rounded(of_week[row.unique_id], 3),
            }
            for row in described
        ],
    }


def carded(forecaster: Forecaster) -> dict[str, Any]:
    """What the model file says of itself."""
    contract = forecaster.contract
    return {
        **{name: getattr(contract, name) for name in CARD},
        "trained_on": dict(contract.trained_on),
        "quantiles": list(contract.quantiles),
        "text": contract.card,
    }


if __name__ == "__main__":
    end_in_order()
    raise SystemExit(main())
