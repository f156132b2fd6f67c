"""The protection's proof: attacks that others wrote, benign traffic, floods, and what it costs.

    python -m benchmarks.protection.prove [--crs-tests folder] [--only crs] [--whole]

Starts model server, app and the gateway as it is shipped, and runs each part against them. Prints
tables, and as its last line one JSON object.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.load.job import LimitError
from benchmarks.load.local_service import ServiceError
from benchmarks.load.stack import LoadError
from benchmarks.protection import (
    attack_lists,
    benign_traffic,
    cost,
    crs_replay,
    denial_of_service,
)
from benchmarks.protection.attackers import ATTACKS
from benchmarks.protection.running_stack import ProofPart, ProtectedStack, standing
from kalecast.artifact.contract import ContractError
from kalecast.lifetime import end_in_order
from kalecast.results import FIGURES, write_results

PARTS = ("crs", "lists", "benign", "cost", "dos")
"""In the order in which they run."""


def main() -> int:
    """Measure and print; the exit code says whether it could be done."""
    arguments = _arguments()
    end_in_order()
    figures: dict[str, Any] = {}
    try:
        print("starting model server, app and gateway", flush=True)
        with standing(arguments.model, arguments.whole, _gateway_options(arguments)) as stack:
            for name, measure in _parts(arguments).items():
                print(f"\n{name}", flush=True)
                part = measure(stack)
                _print(part)
                stack.check()
                figures |= part.figures
    # A ValueError: a case, a list or a configuration that cannot be read.
    except (ServiceError, LimitError, LoadError, ContractError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if arguments.paranoia == 1:  # what is not as shipped is none of the report's
        written = arguments.output / "protection.json"
        write_results(written, _command(arguments), figures)
        print(f"\nsaved {written}")
    print(json.dumps(figures))
    return 0


def _parts(arguments: argparse.Namespace) -> dict[str, Callable[[ProtectedStack], ProofPart]]:
    known: dict[str, Callable[[ProtectedStack], ProofPart]] = {
        "crs": partial(crs_replay.measure, folder=arguments.crs_tests),
        "lists": attack_lists.measure,
        "benign": benign_traffic.measure,
        "cost": cost.measure,
        "dos": partial(
            denial_of_service.measure, names=arguments.attack or (), seconds=arguments.seconds
        ),
    }
    wanted = [name for name in PARTS if name in (arguments.only or PARTS)]
    if arguments.crs_tests is None and "crs" in wanted:
        print(crs_replay.WHERE, flush=True)
        wanted.remove("crs")
    return {name: known[name] for name in wanted}


def _gateway_options(arguments: argparse.Namespace) -> Sequence[str]:
    level = str(arguments.paranoia)
    if level == "1":
        return ()
    return ("--paranoia", level, "--executing-paranoia", level, "--log-level", "info")


def _print(part: ProofPart) -> None:
    print(part.name)
    widths = [max(map(len, column)) for column in zip(*part.rows, strict=True)]
    for row in part.rows:
        # Words begin where they begin, numbers end where they end.
        cells = [
            cell.rjust(width) if at and _is_number(part.rows[-1][at]) else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print(f"  {'  '.join(cells).rstrip()}")
    for note in part.notes:
        print(f"  {note}")
    sys.stdout.flush()


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"[\d,.]+(?: ?[%a-z]+)?", cell) is not None


def _command(arguments: argparse.Namespace) -> str:
    command = "make benchmark-protection"
    if arguments.crs_tests:
        command += " CRS_TESTS=folder"
    options = [f"--only {name}" for name in arguments.only or []] + ["--whole"] * arguments.whole
    options += [f"--attack {name}" for name in arguments.attack or []]
    return command + f' PROTECTION_ARGS="{" ".join(options)}"' * bool(options)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("--crs-tests", type=Path, help="folder of the Core Rule Set's regression tests")
    add("--only", choices=PARTS, action="append", help="this part alone; may be repeated")
    add("--whole", action="store_true", help="all payloads and floods; half an hour more")
    add("--attack", choices=ATTACKS, action="append", help="of dos, this alone; may be repeated")
    add("--seconds", type=float, default=denial_of_service.SECONDS, help="of an attack of dos")
    add("--paranoia", type=int, default=1, help="another level: which benign requests it refuses")
    add("--model", type=Path, default=Path("models/forecaster.onnx"))
    add("--output", type=Path, default=FIGURES, help="folder of the results")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
