"""Our model server beside Seldon Core's own and MLServer, and beside ONNX Runtime alone.

    python -m benchmarks.serving.compare [--repetitions 3] [--stock 1x1 1x16]

One after the other, in turn, as often as there are repetitions, each server is started, queried
by 64 connections as fast as it answers, by thousands at the same moment, and for batches of
windows. Prints a table of medians and as its last line one JSON object. Stock settings are
`workers x threads`; ratios are to the best of them in each measure, errors left aside.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.load.job import LimitError, Shape, allow_connections
from benchmarks.load.local_service import ServiceError
from benchmarks.load.routes import LoadRoute, checked, histories, is_right
from benchmarks.load.stack import ROOT, LoadError, copied, drive
from benchmarks.serving.bare_loop import BATCH, arrangements, bare_windows_a_second
from benchmarks.serving.contenders import OURS, Contender, mlserver, ours, stock
from kalecast.artifact.contract import ContractError
from kalecast.artifact.runtime import Forecaster
from kalecast.lifetime import end_in_order
from kalecast.results import FIGURES, write_results

CONNECTIONS = 64
BATCH_CONNECTIONS = 8
WARM_UP = 1.0
"""Seconds of load before anything is measured."""

TIMEOUT = 120.0
"""Seconds after which an answer counts as lost."""

MEASURES = ("cold_start", "requests_per_second", "burst_seconds", "windows_per_second", "errors")

Figures = dict[str, float]
"""A value a measure."""


def main() -> int:
    """Measure and print; the exit code says whether it could be done."""
    arguments = _arguments()
    end_in_order()
    try:
        allow_connections(arguments.users)
        figures = measure(arguments)
    except (ServiceError, LimitError, LoadError, ContractError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print_table(figures, arguments.users)
    summary = outcome(figures)
    write_results(arguments.output / "serving.json", "make benchmark-serving", summary)
    print(json.dumps(summary))
    return 0


def measure(arguments: argparse.Namespace) -> dict[str, Figures]:
    """Medians by contender, those of the bare loop among them."""
    runs: dict[str, list[Figures]] = {}
    with tempfile.TemporaryDirectory(prefix="kalecast-serving-") as name:
        folder = Path(name)
        model = copied(arguments.model, folder / "models")
        bench = Bench(model, folder, arguments.users, arguments.seconds)
        contenders = _contenders(model, arguments)
        for repetition in range(1, arguments.repetitions + 1):
            for contender in contenders:
                print(f"{repetition}/{arguments.repetitions}  {contender.name}", flush=True)
                runs.setdefault(contender.name, []).append(bench.measure(contender))
            for arrangement in arrangements():
                print(f"{repetition}/{arguments.repetitions}  {arrangement.name}", flush=True)
                speed = bare_windows_a_second(model, arrangement, arguments.seconds)
                runs.setdefault(arrangement.name, []).append({"windows_per_second": speed})
    return {name: _medians(of_one) for name, of_one in runs.items()}


class Bench:
    """What every contender is put through.

    Args:
        model: the file that all serve.
        folder: for bodies and logs.
        users: that send a request at the same moment.
        seconds: of each load that is not a burst.
    """

    def __init__(self, model: Path, folder: Path, users: int, seconds: float) -> None:
        self._forecaster = Forecaster(model)
        self._folder = folder
        self._users = users
        self._seconds = seconds
        length = self._forecaster.contract.input_length
        windows = histories(max(users, BATCH * BATCH_CONNECTIONS), length)
        self._singles = windows[:users, np.newaxis]
        self._batches = windows[: BATCH * BATCH_CONNECTIONS].reshape(-1, BATCH, length)

    def measure(self, contender: Contender) -> Figures:
        """Start it, load it, end it.

        Raises:
            ServiceError: it does not start, or dies.
        """
        service = contender.start(self._folder / contender.name.replace(" ", "-"))
        single = contender.route(service, self._singles, self._folder)
        batched = contender.route(service, self._batches, self._folder)
        body = Path(single.job.bodies).read_bytes().split(b"\n", 1)[0]

        def answers() -> bool:
            status, answer = service.request("POST", single.job.path, body)
            return status == 200 and is_right(single, answer, self._singles[0], self._forecaster)

        def load(route: LoadRoute, shape: Shape, clients: int, seconds: float) -> dict[str, Any]:
            job = route.loaded(shape, clients, seconds=seconds, timeout=TIMEOUT)
            sent = self._singles if route is single else self._batches
            return checked(drive(job), route, sent, self._forecaster)[0]

        try:
            began = time.monotonic()
            service.start()
            service.wait(answers)
            cold_start = time.monotonic() - began
            load(single, "steady", CONNECTIONS, WARM_UP)
            steady = load(single, "steady", CONNECTIONS, self._seconds)
            burst = load(single, "burst", self._users, 0.0)
            batch = load(batched, "steady", BATCH_CONNECTIONS, self._seconds)
            service.check()
        finally:
            service.kill()  # the stock server does not end on SIGTERM
        kinds = sum((Counter(one["kinds"]) for one in (steady, burst, batch)), Counter[str]())
        for kind, count in kinds.items():
            print(f"    {count:,} {kind}", flush=True)
        return {
            "cold_start": cold_start,
            "requests_per_second": steady["ok"] / steady["seconds"],
            "burst_seconds": burst["seconds"],
            "windows_per_second": BATCH * batch["ok"] / batch["seconds"],
            "errors": kinds.total(),
        }


def print_table(figures: dict[str, Figures], users: int) -> None:
    """A line a contender."""
    titles = ("cold start s", "requests/s", f"{users:,} in s", "windows/s", "errors")
    digits = (2, 0, 2, 0, 0)
    print(f"\n{'':22} {' '.join(f'{title:>12}' for title in titles)}")
    for name, of_one in figures.items():
        cells = (
            f"{of_one[key]:,.{places}f}" if key in of_one else "-"
            for key, places in zip(MEASURES, digits, strict=True)
        )
        print(f"{name:22} {' '.join(f'{cell:>12}' for cell in cells)}")


def outcome(figures: dict[str, Figures]) -> dict[str, Any]:
    """Ratios of ours to the best stock setting and to the bare loop, and all figures."""
    mine = figures[OURS]
    stocks = [of_one for name, of_one in figures.items() if name.startswith("stock")]
    bare = {name: of_one for name, of_one in figures.items() if name.startswith("bare")}
    limit = max(bare, key=lambda name: bare[name]["windows_per_second"])
    throughput = mine["requests_per_second"] / max(s["requests_per_second"] for s in stocks)
    burst = min(s["burst_seconds"] for s in stocks) / mine["burst_seconds"]
    batched = mine["windows_per_second"] / bare[limit]["windows_per_second"]
    return {
        "throughput_over_stock": round(throughput, 2),
        "burst_over_stock": round(burst, 2),
        "batched_over_bare": round(batched, 3),
        "cold_start_seconds": round(mine["cold_start"], 2),
        "errors": int(mine["errors"]),
        "bare": limit,
        "figures": {
            name: {key: round(value, 3) for key, value in of_one.items()}
            for name, of_one in figures.items()
        },
    }


def _contenders(model: Path, arguments: argparse.Namespace) -> list[Contender]:
    found = [ours(model), *(stock(model, *settings) for settings in arguments.stock)]
    if (arguments.mlserver / "bin" / "mlserver").exists():
        found.append(mlserver(model, arguments.mlserver))
    else:
        print("MLServer is left out: make benchmark-serving installs it.", flush=True)
    return found


def _medians(runs: Iterable[Figures]) -> Figures:
    runs = list(runs)
    return {key: median(run[key] for run in runs) for key in runs[0]}


def _settings(text: str) -> tuple[int, int]:
    """Workers and threads out of a text such as 2x16."""
    workers, threads = map(int, text.split("x"))
    return workers, threads


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Our model server beside others.")
    add = parser.add_argument
    add("model", nargs="?", type=Path, default=Path("models/forecaster.onnx"))
    add("--users", type=int, default=5000, help="that send a request at the same moment")
    add("--seconds", type=float, default=4.0, help="of each load that is not a burst")
    add("--repetitions", type=int, default=3)
    settings = [(1, 1), (1, 16), (2, 1), (2, 16)]
    add("--stock", type=_settings, nargs="+", default=settings, metavar="WORKERSxTHREADS")
    add("--output", type=Path, default=FIGURES, help="folder for the results")
    add("--mlserver", type=Path, default=ROOT / ".venv/mlserver", help="its environment")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
