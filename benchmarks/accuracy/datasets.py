"""Every table in a folder: how accurate the pipeline's forecaster is, and what that costs.

    python -m benchmarks.accuracy.datasets FOLDER [--slow] [--neural] [--only name,name]
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
from benchmarks.accuracy.contest import RATIOS, SAMPLE, Contest, Row, Settings, reason_of
from benchmarks.accuracy.figures import rounded
from benchmarks.accuracy.neural import NAMES as NEURAL
from benchmarks.accuracy.score import describe, positive, train_as_the_pipeline
from benchmarks.accuracy.tables import Given, cut, read_table
from kalecast.data.series import SeriesError
from kalecast.evaluation.backtest import CLASSICAL_WEEKS, MODEL
from kalecast.evaluation.baselines import CLASSICAL, naive_among
from kalecast.lifetime import end_in_order
from kalecast.model.backend import keras
from kalecast.results import write_results

RESULTS = Path("build/datasets.json")
SUFFIXES = (".csv", ".csv.gz", ".parquet")
CODE = ("artifact", "data", "model", "evaluation")
"""Packages whose code decides the figures: where it changes, sets are scored anew."""
SCORING = ("contest.py", "score.py", "tables.py")
"""The same of the modules beside this one."""
MOST_WINDOWS = 20
SHARE = 0.1
"""Of the shortest series that is held out."""


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
    timestamps = pd.date_range("2020-01-01", periods=61, freq=frequency)
    step = (timestamps[-1] - timestamps[0]) / pd.Timedelta("1D") / 60
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
        SeriesError: there is none, or none of a name that is requested, or two of one name.
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


def score_set(path: Path, settings: Settings) -> Row:
    """Train on a set and score it.

    Raises:
        Exception: it cannot be read, trained on or scored.
    """
    whole, frequency = read_table(path)
    parts = cut(whole, frequency, windows(whole, frequency))
    describe(parts)
    contest = Contest(parts, train_as_the_pipeline(parts, settings.fewer), settings)
    table = contest.first()
    sample = {"sample": contest.sampled(table)} if settings.slow else {}
    if settings.neural:
        table = contest.with_neural(table)
    scored = contest.scored(table)
    return {**contest.about(table), "contenders": scored, **sample, "lacking": contest.lacking}


def identity(path: Path, settings: Settings) -> Row:
    """What results of a set are good for: its content, the settings, the library and its code."""
    library = Path(kalecast.__file__).parent
    sources = sorted(file for part in CODE for file in (library / part).rglob("*.py"))
    code = hashlib.sha256()
    for source in (*sources, *(Path(__file__).with_name(name) for name in SCORING)):
        code.update(source.read_bytes())
    return {
        "fingerprint": "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()[:16],
        "library": f"{kalecast.__version__}+{code.hexdigest()[:12]}",
        "settings": settings.as_dict(),
    }


def is_kept(row: Row | None, requested: Row) -> bool:
    """Whether a row answers what is requested; it may answer more, such as slow baselines."""
    if row is None or "error" in row:
        return False
    same = all(row.get(name) == requested[name] for name in ("fingerprint", "library"))
    there = row.get("settings", {})
    return same and all(there.get(name) == value for name, value in requested["settings"].items())


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
        settings: what is requested.
        results: file with the results of earlier calls, if there are any.
        command: by which they are had.
        score: scores one set.

    Returns:
        A row a set, in their order.
    """
    rows: dict[str, Row] = json.loads(results.read_text())["sets"] if results.exists() else {}
    for name, path in found.items():
        requested = identity(path, settings)
        if is_kept(rows.get(name), requested):
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
            row = {"error": reason_of(error)}
        row |= {**requested, "seconds": round(time.perf_counter() - began, 1)}
        rows[name] = row
        write_results(results, command, {"sets": rows, **summary(rows.values())})
        print(f"{name}: {_line(row)}", flush=True)
        keras.utils.clear_session()
    return {name: rows[name] for name in found}


def summary(rows: Iterable[Row]) -> dict[str, Any]:
    """Over all sets: the geometric means of each contender's ratios to the better naive forecast.

    Of the classical baselines these are ratios on their samples of the series.
    """
    rows = list(rows)
    good = [row for row in rows if "error" not in row]
    ours = [row["contenders"][MODEL] for row in good]
    others = {
        name: [found[name] for row in good if name in (found := _others(row))]
        for name in (*CLASSICAL, *NEURAL)
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


def _others(row: Row) -> Row:
    """Scores of the baselines that are not in every row: of the classical ones on a sample."""
    everywhere = {name: row["contenders"][name] for name in NEURAL if name in row["contenders"]}
    sampled = row.get("sample", {}).get("contenders", {})
    return {**{name: sampled[name] for name in CLASSICAL if name in sampled}, **everywhere}


def _geometric(scores: Sequence[Row]) -> dict[str, float | None]:
    means = {}
    for ratio in RATIOS:
        known = [one[ratio] for one in scores if one[ratio]]  # none where naive ones have no error
        means[ratio] = rounded(np.exp(np.mean(np.log(known))), 5) if known else None
    return means


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
    """Print the sets as a table, their other baselines as one more, and what is not scored."""
    good = {name: row for name, row in rows.items() if "error" not in row}
    shown, others = [], []
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
        others += _other_lines(name, row)
    for table in (shown, others):
        if table:
            print("\n" + pd.DataFrame(table).to_string(index=False, float_format="{:.3f}".format))
    for name, row in rows.items():
        for contender, reason in row.get("lacking", {}).items():
            print(f"{name}, {contender}: {reason}")
        if "error" in row:
            print(f"{name}: {row['error']}")


def _other_lines(name: str, row: Row) -> list[Row]:
    """The baselines that are not in every row, and the network on the sample of the classical."""
    sample = row.get("sample", {"series": row["series"], "contenders": {}})
    sampled = sample["contenders"]
    ours = {MODEL: sampled[MODEL]} if MODEL in sampled else {}
    return [
        {
            "set": name,
            "series": row["series"] if contender in NEURAL else sample["series"],
            "contender": contender,
            **scores,
        }
        for contender, scores in {**ours, **_others(row)}.items()
    ]


def main() -> int:
    """Score, print, and leave the results."""
    arguments = _arguments()
    fewer = {"epochs": arguments.epochs, "steps_per_epoch": arguments.steps}
    settings = Settings(
        {name: many for name, many in fewer.items() if many},
        slow=arguments.slow,
        sample=arguments.sample,
        weeks=arguments.weeks,
        neural=arguments.neural,
        neural_steps=arguments.neural_steps,
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
    add("--neural", action="store_true", help=f"{', '.join(NEURAL)} too: hours without a GPU")
    add("--neural-steps", type=positive, help="of their training, fewer than their defaults")
    add("--only", default="", help="names of sets, separated by commas")
    add("--epochs", type=positive, help="fewer than the pipeline's, for a quick look")
    add("--steps", type=positive, help="an epoch, fewer than the pipeline's, for a quick look")
    add("--results", type=Path, default=RESULTS)
    add("--command", default=f"python {' '.join(sys.argv)}", help="that gave them")
    return parser.parse_args()


if __name__ == "__main__":
    end_in_order()
    raise SystemExit(main())
