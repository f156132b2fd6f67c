"""Thousands of customers at once: the local stack under load, and what they saw.

    python -m benchmarks.load.load_test [--users 5000] [--protected] [--faults]

Starts model server and app, has all users send at the same moment in several rounds (to the model
server, to the app's route, to the page's own as a browser uses it), then keeps a connection a user
open while each sends a request now and then. With `--protected` the app is reached through the
gateway, over TLS, each user from an address of their own. With `--faults` servers are killed,
ended and swapped under a lighter load. Prints tables, draws a picture, and as its last line prints
one JSON object, in which `rounds` are those of the app's route.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.load.faults import CLIENTS, all_faults
from benchmarks.load.gateway import gateway, through
from benchmarks.load.job import LimitError, allow_connections
from benchmarks.load.load_report import Results, draw, print_faults, print_rounds, without
from benchmarks.load.local_service import LocalService, ServiceError
from benchmarks.load.routes import (
    Floats,
    LoadRoute,
    api_route,
    checked,
    histories,
    model_route,
    page_route,
)
from benchmarks.load.stack import LoadError, app, copied, drive, model_server
from kalecast.artifact.contract import ContractError
from kalecast.artifact.runtime import Forecaster
from kalecast.lifetime import end_in_order
from kalecast.results import FIGURES, write_results

ROUTES = ("model", "api", "page")
NAME = "load-test"
"""Of the files that are left, where no other is given."""
TIMEOUT = 120.0
"""Seconds after which an answer counts as lost."""


def main() -> int:
    """Measure, print and draw; the exit code says whether it could be done."""
    arguments = _arguments()
    end_in_order()
    results = Results(arguments.users)
    try:
        allow_connections(arguments.users)
        with tempfile.TemporaryDirectory(prefix="kalecast-load-") as name:
            folder = Path(name)
            folder.chmod(0o755)  # nginx's workers may run as another user
            model = copied(arguments.model, folder / "models")
            measure(results, model, folder, arguments)
            print_rounds(results)
            if arguments.faults:
                print("\nfaults", flush=True)
                few = histories(CLIENTS, Forecaster(model).contract.input_length)
                results.faults = list(all_faults(model, few, folder / "faults"))
                print_faults(results.faults)
    except (ServiceError, LimitError, LoadError, ContractError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    save(results, arguments)
    print(json.dumps(without(results.as_json(), "timeline")))
    return 0


def measure(results: Results, model: Path, folder: Path, arguments: argparse.Namespace) -> None:
    """Rounds on each route, then the plateau, all against one server and one app."""
    forecaster = Forecaster(model)
    users = arguments.users
    windows = histories(users, forecaster.contract.input_length)
    batches = windows[:, np.newaxis]
    with _stack(model, windows, folder, arguments.protected) as (services, routes):
        for key in arguments.route or ROUTES:
            print(f"{users:,} at once to the {routes[key].name}", flush=True)
            job = routes[key].loaded("burst", users, rounds=arguments.rounds, timeout=TIMEOUT)
            results.rounds[key] = checked(drive(job), routes[key], batches, forecaster)
            _check(services)
        if arguments.plateau > 0:
            route = routes["api"]
            print(
                f"{users:,} open connections to the {route.name} for {arguments.plateau:g} s, "
                f"each asking every {arguments.think:g} s",
                flush=True,
            )
            load = {"seconds": arguments.plateau, "think": arguments.think, "timeout": TIMEOUT}
            job = route.loaded("plateau", users, **load)
            (results.plateau,) = checked(drive(job), route, batches, forecaster)
            _check(services)
        results.server_rss_mib, results.app_rss_mib = (one.peak_memory() for one in services[:2])


@contextmanager
def _stack(
    model: Path, windows: Floats, folder: Path, protected: bool
) -> Iterator[tuple[list[LocalService], dict[str, LoadRoute]]]:
    """Model server and app, and the gateway where one is wanted; the routes to them."""
    print("starting model server and app", flush=True)
    with model_server(model, folder / "server") as server, app([server], folder / "app") as page:
        routes = {
            "model": model_route(server, windows, folder),
            "api": api_route(page, windows, folder),
            "page": page_route(page, windows, folder),
        }
        if not protected:
            yield [server, page], routes
            return
        before = gateway(page, folder / "gateway")
        routes |= {key: through(routes[key], before) for key in ("api", "page")}
        with before.service:
            yield [server, page, before.service], routes


def _check(services: list[LocalService]) -> None:
    """What a server that ended by itself has said is worth more than what clients saw of it."""
    for service in services:
        service.check()


def save(results: Results, arguments: argparse.Namespace) -> None:
    """Picture and results, side by side."""
    cores = len(os.sched_getaffinity(0))
    title = f"{results.users:,} users on {cores} cores, the load generator's among them"
    name = arguments.name + "-protected" * arguments.protected
    picture = arguments.output / f"{name}.svg"
    draw(results, title, picture)
    command = f"make load-test USERS={results.users}"
    command += " PROTECTED=1" * arguments.protected + " FAULTS=1" * arguments.faults
    if arguments.name != NAME:
        command += f' LOAD_ARGS="--plateau {arguments.plateau:g} --name {arguments.name}"'
    written = picture.with_suffix(".json")
    write_results(written, command, results.as_json())
    print(f"\nsaved {picture} and {written}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("--users", type=int, default=5000, help="customers, each with a connection of its own")
    add("--rounds", type=int, default=3, help="times that all send at the same moment")
    add("--plateau", type=float, default=60.0, help="seconds of open connections; 0 for none")
    add("--think", type=float, default=30.0, help="seconds between two questions, on average")
    add("--model", type=Path, default=Path("models/forecaster.onnx"))
    add("--route", choices=ROUTES, action="append", help="rounds of it alone; may be repeated")
    add("--protected", action="store_true", help="through nginx and ModSecurity, over TLS")
    add("--faults", action="store_true", help="kill, end and swap servers under load, too")
    add("--output", type=Path, default=FIGURES, help="folder of picture and figures")
    add("--name", default=NAME, help="of their files")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
