"""Every table in a folder: how accurate the pipeline's forecaster is, and what that costs.

    python -m benchmarks.accuracy.datasets FOLDER [--slow] [--only name,name]
        [--results build/datasets.json]

Each table (CSV, gzipped CSV, Parquet) is one set. It has its own frequency, horizon and number of
windows; the pipeline's code trains on it with its defaults and is scored beside the seasonal naive
forecasts. Results are written after every set, and a set whose results are there already, of the
same content, settings and code, is kept. A set that cannot be trained is a row with the reason.
Prints a line a set, a table, and as its last line one JSON object.
"""

import argparse
import hashlib
import json
import math
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import kalecast
from benchmarks.accuracy.figures import rounded
from benchmarks.accuracy.score import (
    Trained,
    beside,
    describe,
    own_table,
    positive,
    scores_of,
    train_as_the_pipeline,
)
from benchmarks.accuracy.tables import Given, Split, cut, read_table
from kalecast.data.series import SeriesError
from kalecast.evaluation.backtest import CLASSICAL_WEEKS, MODEL
from kalecast.evaluation.baselines import CLASSICAL, naive_among, naive_names
from kalecast.lifetime import end_in_order
from kalecast.model.backend import keras
from kalecast.results import write_results

RESULTS = Path("build/datasets.json")
SUFFIXES = (".csv", ".csv.gz", ".parquet")
CODE = ("artifact", "data", "model", "evaluation")
"""Packages whose code decides the figures: where it changes, sets are scored anew."""
SAMPLE = 10
"""Series of a set that the slow baselines forecast."""
MOST_WINDOWS = 20
SHARE = 0.1
"""Of the shortest series that is held out."""
SCORES = ("mase", "wql", "coverage_80", "coverage_95", "msis_95")
RATIOS = {"mase_ratio": "mase", "msis_ratio": "msis_95"}

Row = dict[str, Any]


class Ahead(NamedTuple):
    """How far is forecast where a step lasts so many days or more."""

    step: float
    days: float
    days_if_short: float = 0.0
    """The same, in one window, where the shortest series lasts less than `short`."""
    short: float = 0.0


AHEAD = (
    Ahead(360, 6 * 365.25),
    Ahead(85, 2 * 365.25),
    Ahead(28, 365.25),
    Ahead(7, 13 * 7, days_if_short=8 * 7, short=65 * 7),
    Ahead(1, 28),
    Ahead(1 / 24, 2, days_if_short=1, short=28),
    Ahead(0, 1),
)
"""Years, quarters, months, weeks, days, hours, and what is finer."""


def windows(series: pd.DataFrame, frequency: str) -> Given:
    """Horizon and number of windows by which series of a frequency are judged.

    Args:
        series: tidy series.
        frequency: a pandas offset alias; its steps need not be of fixed length.
    """
    stamps = pd.date_range("2020-01-01", periods=61, freq=frequency)
    step = (stamps[-1] - stamps[0]) / pd.Timedelta("1D") / 60
    shortest = int(series.groupby("unique_id").size().min())
    # Mean lengths of months and weeks may lie a hair below the round number.
    ahead = next(ahead for ahead in AHEAD if step * 1.001 >= ahead.step)
    is_short = shortest * step < ahead.short
    horizon = max(1, round((ahead.days_if_short if is_short else ahead.days) / step))
    # One window leaves a short series the most to learn from.
    count = 1 if is_short else min(MOST_WINDOWS, math.ceil(SHARE * shortest / horizon))
    return Given(horizon=horizon, origins=count)


def tables(folder: Path, only: Sequence[str] = ()) -> dict[str, Path]:
    """The tables in a folder by name, which is the file's without its suffix.

    Raises:
        SeriesError: there is none, or none of a name that is asked for, or two of one name.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*")):
        suffix = next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), None)
        if suffix and path.is_file():
            name = path.name.removesuffix(suffix)
            if name in found:
                raise SeriesError(f"Expected one table '{name}', received: {found[name]}, {path}.")
            found[name] = path
    unknown = set(only) - found.keys()
    if unknown or not found:
        raise SeriesError(
            f"Expected tables {', '.join(sorted(unknown)) or '(' + ', '.join(SUFFIXES) + ')'} in "
            f"{folder}, received: {', '.join(found) or 'none'}."
        )
    return {name: path for name, path in found.items() if not only or name in only}


class Settings(NamedTuple):
    """What is asked for, beside the sets."""

    fewer: dict[str, int]
    """Training settings otherwise than the pipeline's."""
    slow: bool = False
    sample: int = SAMPLE
    weeks: int = CLASSICAL_WEEKS

    def as_dict(self) -> dict[str, Any]:
        """Those that results depend on."""
        slow = {"slow": {"names": list(CLASSICAL), "sample": self.sample, "weeks": self.weeks}}
        return {"training": self.fewer, **(slow if self.slow else {})}


def score_set(path: Path, settings: Settings) -> Row:
    """Train on a set and score it.

    Raises:
        Exception: it cannot be read, trained on or scored.
    """
    whole, frequency = read_table(path)
    parts = cut(whole, frequency, windows(whole, frequency))
    describe(parts)
    trained = train_as_the_pipeline(parts, settings.fewer)
    contract = trained.forecaster.contract
    table, own_seconds = own_table(trained.forecaster, parts)
    names = naive_names(contract.season, contract.frequency)
    table, seconds = beside(table, contract, parts, names, None)
    scored = _scored(table, parts, {MODEL: own_seconds, **seconds})
    row = {**_about(parts, trained, table), "contenders": scored}
    return {**row, **(_slow(table, parts, trained, settings) if settings.slow else {})}


def _about(parts: Split, trained: Trained, table: pd.DataFrame) -> Row:
    return {
        "frequency": parts.frequency,
        "series": int(parts.judged["unique_id"].nunique()),
        "left_out": len(parts.left_out),
        "season": parts.shape.season,
        "input_length": parts.shape.input_length,
        "horizon": parts.shape.horizon,
        "windows": parts.origins,
        "values_to_learn_from": int(parts.history["y"].notna().sum()),
        "values_forecast": int(table["y"].notna().sum()),
        "parameters": trained.parameters,
        "train_seconds": round(trained.seconds, 1),
    }


def _scored(table: pd.DataFrame, parts: Split, seconds: Mapping[str, float]) -> Row:
    """Scores of each contender, and their ratios to the better naive forecast's."""
    _, means = scores_of(table, parts.history, parts.shape.season)
    best = means.loc[naive_among(map(str, means.index))].min()
    return {
        str(name): {
            **{score: rounded(scores[score], 5) for score in SCORES},
            **{ratio: rounded(scores[of] / best[of], 5) for ratio, of in RATIOS.items()},
            **({"seconds": round(seconds[str(name)], 2)} if name in seconds else {}),
        }
        for name, scores in means.iterrows()
    }


def _slow(table: pd.DataFrame, parts: Split, trained: Trained, settings: Settings) -> Row:
    """What the slow baselines give on some of the series, beside the others on the same ones."""
    names = table["unique_id"].unique()
    picked = names[np.unique(np.linspace(0, len(names) - 1, settings.sample).astype(int))]
    some = table[table["unique_id"].isin(picked)]
    seconds: dict[str, float] = {}
    failed: dict[str, str] = {}
    contract = trained.forecaster.contract
    for name in CLASSICAL:
        try:
            some, took = beside(some, contract, parts, [name], settings.weeks)
            seconds |= took
        except Exception as error:  # a baseline that fails costs the set nothing
            failed[name] = _reason(error)
    scored = _scored(some, parts, seconds)
    sample = {"series": len(picked), "weeks_seen": settings.weeks, "contenders": scored}
    return {"sample": {**sample, **({"failed": failed} if failed else {})}}


def identity(path: Path, settings: Settings) -> Row:
    """What results of a set are good for: its content, the settings, the library and its code."""
    folder = Path(kalecast.__file__).parent
    code = hashlib.sha256()
    for source in sorted(file for part in CODE for file in (folder / part).rglob("*.py")):
        code.update(source.read_bytes())
    return {
        "fingerprint": "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()[:16],
        "library": f"{kalecast.__version__}+{code.hexdigest()[:12]}",
        "settings": settings.as_dict(),
    }


def is_kept(row: Row | None, asked: Row) -> bool:
    """Whether a row answers what is asked; it may answer more, such as slow baselines."""
    if row is None or "error" in row:
        return False
    same = all(row.get(name) == asked[name] for name in ("fingerprint", "library"))
    there = row.get("settings", {})
    return same and all(there.get(name) == value for name, value in asked["settings"].items())


def run_sets(
    found: Mapping[str, Path],
    settings: Settings,
    results: Path,
    command: str,
    score: Callable[[Path, Settings], Row] = score_set,
) -> dict[str, Row]:
    """Score the sets that are not yet scored, and write the results after each.

    Args:
        found: tables by name.
        settings: what is asked for.
        results: file with the results of earlier calls, if there are any.
        command: by which they are had.
        score: scores one set.

    Returns:
        A row a set, in their order.
    """
    rows: dict[str, Row] = json.loads(results.read_text())["sets"] if results.exists() else {}
    for name, path in found.items():
        asked = identity(path, settings)
        if is_kept(rows.get(name), asked):
            print(f"{name}: kept", flush=True)
            continue
        began = time.perf_counter()
        try:
            # A line a set on the one, what training and baselines say of themselves on the other.
            with redirect_stdout(sys.stderr):
                row = score(path, settings)
        except Exception as error:  # whatever is wrong with one set, the others go on
            if not isinstance(error, SeriesError):
                traceback.print_exc()
            row = {"error": _reason(error)}
        row |= {**asked, "seconds": round(time.perf_counter() - began, 1)}
        rows[name] = row
        write_results(results, command, {"sets": rows, **summary(rows.values())})
        print(f"{name}: {_line(row)}", flush=True)
        keras.utils.clear_session()
    return {name: rows[name] for name in found}


def summary(rows: Iterable[Row]) -> dict[str, Any]:
    """Over all sets: the geometric means of each contender's ratios to the better naive forecast.

    Of the slow baselines these are ratios on their samples of the series.
    """
    rows = list(rows)
    good = [row for row in rows if "error" not in row]
    ours = [row["contenders"][MODEL] for row in good]
    others = {
        name: [found[name] for row in good if name in (found := _slow_ones(row))]
        for name in CLASSICAL
    }
    return {
        "scored": len(good),
        "failed": len(rows) - len(good),
        **_geometric(ours),
        "baselines": {
            name: {"sets": len(scores), **_geometric(scores)}
            for name, scores in others.items()
            if scores
        },
    }


def _slow_ones(row: Row) -> Row:
    found: Row = row.get("sample", {}).get("contenders", {})
    return found


def _geometric(scores: Sequence[Row]) -> dict[str, float | None]:
    means = {}
    for ratio in RATIOS:
        known = [one[ratio] for one in scores if one[ratio]]  # none where naive ones have no error
        means[ratio] = rounded(np.exp(np.mean(np.log(known))), 5) if known else None
    return means


def _reason(error: BaseException) -> str:
    return f"{error}" if isinstance(error, SeriesError) else f"{type(error).__name__}: {error}"


def _naive(row: Row, score: str) -> float:
    """The better naive forecast's."""
    contenders = row["contenders"]
    return min(contenders[name][score] or math.nan for name in naive_among(contenders))


def _line(row: Row) -> str:
    if "error" in row:
        return f"not scored. {row['error']}"
    ours = row["contenders"][MODEL]
    return (
        f"MASE {ours['mase']:.3f} against {_naive(row, 'mase'):.3f}, wQL {ours['wql']:.4f}, "
        f"intervals hold {ours['coverage_80']:.1%} and {ours['coverage_95']:.1%}, "
        f"{row['seconds']:.0f} s"
    )


def show(rows: Mapping[str, Row]) -> None:
    """Print the sets as a table, the slow baselines as another, and why sets are not scored."""
    good = {name: row for name, row in rows.items() if "error" not in row}
    shown, slow = [], []
    for name, row in good.items():
        ours = row["contenders"][MODEL]
        shown.append(
            {
                "set": name,
                **{column: row[column] for column in ("frequency", "series", "horizon", "windows")},
                **{"MASE": ours["mase"], "naive": _naive(row, "mase"), "ratio": ours["mase_ratio"]},
                **{"wQL": ours["wql"], "80 %": ours["coverage_80"], "95 %": ours["coverage_95"]},
                **{"MSIS": ours["msis_95"], "MSIS naive": _naive(row, "msis_95")},
                **{"train s": row["train_seconds"], "forecast s": ours["seconds"]},
            }
        )
        slow += [
            {"set": name, "series": row["sample"]["series"], "contender": contender, **scores}
            for contender, scores in _slow_ones(row).items()
            if contender in (MODEL, *CLASSICAL)
        ]
    for table in (shown, slow):
        if table:
            print("\n" + pd.DataFrame(table).to_string(index=False, float_format="{:.3f}".format))
    for name, row in rows.items():
        failed = row.get("sample", {}).get("failed", {})
        for contender, reason in failed.items():
            print(f"{name}, {contender}: {reason}")
        if "error" in row:
            print(f"{name}: {row['error']}")


def main() -> int:
    """Score, print, and leave the results."""
    arguments = _arguments()
    fewer = {"epochs": arguments.epochs, "steps_per_epoch": arguments.steps}
    settings = Settings(
        {name: many for name, many in fewer.items() if many},
        slow=arguments.slow,
        sample=arguments.sample,
        weeks=arguments.weeks,
    )
    try:
        found = tables(arguments.folder, [name for name in arguments.only.split(",") if name])
    except SeriesError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rows = run_sets(found, settings, arguments.results, arguments.command)
    show(rows)
    print(json.dumps({"results": str(arguments.results), **summary(rows.values())}))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("folder", type=Path)
    add("--slow", action="store_true", help=f"{', '.join(CLASSICAL)} too, on some of the series")
    add("--sample", type=positive, default=SAMPLE, help="so many of them, %(default)s if left out")
    add("--weeks", type=positive, default=CLASSICAL_WEEKS, help="cycles of seven seasons they see")
    add("--only", default="", help="names of sets, separated by commas")
    add("--epochs", type=positive, help="fewer than the pipeline's, for a quick look")
    add("--steps", type=positive, help="an epoch, fewer than the pipeline's, for a quick look")
    add("--results", type=Path, default=RESULTS)
    add("--command", default=f"python {' '.join(sys.argv)}", help="that gave them")
    return parser.parse_args()


if __name__ == "__main__":
    end_in_order()
    raise SystemExit(main())
