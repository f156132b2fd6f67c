"""The protection's proof: attacks that others wrote, benign traffic, floods, and what it costs.

    python -m benchmarks.protection.prove [--crs-tests folder] [--only crs] [--whole]

Starts model server, app and the gateway as it is shipped, and runs each part against them. Prints
tables, and as its last line one JSON object.
"""

import argparse
import importlib
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.load.job import LimitError
from benchmarks.load.local_service import ServiceError
from benchmarks.load.stack import LoadError
from benchmarks.protection.running_stack import ProofPart, ProtectedStack, standing
from kalecast.artifact.contract import ContractError
from kalecast.lifetime import end_in_order
from kalecast.results import FIGURES, write_results

MODULES = {
    "crs": "benchmarks.protection.crs_replay",
    "lists": "benchmarks.protection.attack_lists",
    "benign": "benchmarks.protection.benign_traffic",
    "cost": "benchmarks.protection.cost",
    "dos": "benchmarks.protection.denial_of_service",
}
"""The parts, in the order in which they run."""

Measure = Callable[[ProtectedStack], ProofPart]


class MissingPart(RuntimeError):
    """A part cannot be run; the text says which."""


def main() -> int:
    """Measure and print; the exit code says whether it could be done."""
    arguments = _arguments()
    end_in_order()
    try:
        parts = dict(_parts(arguments.only or list(MODULES), arguments.crs_tests))
        with tempfile.TemporaryDirectory(prefix="kalecast-protection-") as name:
            folder = Path(name)
            folder.chmod(0o755)  # nginx's workers may run as another user
            found = _measured(parts, arguments.model.resolve(), folder, arguments.whole)
    except (ServiceError, LimitError, LoadError, ContractError, MissingPart, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ValueError as error:  # a case, a list or a configuration that cannot be read
        print(f"error: {error}", file=sys.stderr)
        return 1
    figures: dict[str, Any] = {}
    for part in found:
        figures |= part.figures
    written = arguments.output / "protection.json"
    write_results(written, _command(arguments), figures)
    print(f"\nsaved {written}")
    print(json.dumps(figures))
    return 0


def _parts(wanted: Sequence[str], crs_tests: Path | None) -> Iterator[tuple[str, Measure]]:
    for name, module in MODULES.items():
        if name not in wanted:
            continue
        measure = _loaded(module).measure
        if name != "crs":
            yield name, measure
        elif crs_tests is not None:
            yield name, partial(measure, folder=crs_tests)
        else:
            print(_loaded(module).WHERE, flush=True)


def _loaded(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingPart(
            f"Expected the module {error.name} for the part {module}, found none"
        ) from error


def _measured(parts: dict[str, Measure], model: Path, folder: Path, whole: bool) -> list[ProofPart]:
    print("starting model server, app and gateway", flush=True)
    found = []
    with standing(model, folder, whole) as stack:
        for name, measure in parts.items():
            print(f"\n{name}", flush=True)
            part = measure(stack)
            _print(part)
            for service in (stack.server, stack.app, stack.protected.service):
                service.check()
            found.append(part)
    return found


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
    return command + f' PROTECTION_ARGS="{" ".join(options)}"' * bool(options)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("--crs-tests", type=Path, help="folder of the Core Rule Set's regression tests")
    add("--only", choices=list(MODULES), action="append", help="this part alone; may be repeated")
    add("--whole", action="store_true", help="all payloads and floods; half an hour more")
    add("--model", type=Path, default=Path("models/forecaster.onnx"))
    add("--output", type=Path, default=FIGURES, help="folder of the results")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
