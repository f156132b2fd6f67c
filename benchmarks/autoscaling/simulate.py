"""Autoscaling by simulation: 50,000 customers through a day, with 5,000 of them at once.

    python -m benchmarks.autoscaling.simulate [--seed 1] [--real]

Simulates the day with as many replicas as in quiet, with Kubernetes' HPA on CPU and with KEDA on
requests in flight; 5,000 at once out of quiet, many times, with other sizes of pods beside the
shipped ones; and what the promise costs at least. `--real` also measures what a request costs here,
and holds a burst to two real replicas against the same one simulated. Prints tables, draws pictures
and as its last line prints one JSON object.
"""

import argparse
import json
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.autoscaling.autoscalers import AUTOSCALERS
from benchmarks.autoscaling.autoscaling_report import (
    as_json,
    draw_burst,
    draw_day,
    print_bursts,
    print_days,
    print_real,
)
from benchmarks.autoscaling.reality import compare
from benchmarks.autoscaling.scenario import (
    BURSTS,
    DAY_DEMAND,
    HOUR,
    RUSH,
    Setup,
    simulate,
)
from benchmarks.autoscaling.trials import SHAPES, hold, least_core_hours, work_seconds
from benchmarks.load.job import LimitError
from benchmarks.load.local_service import ServiceError
from benchmarks.load.stack import LoadError
from kalecast.artifact.contract import ContractError
from kalecast.lifetime import die_with_parent, end_in_order
from kalecast.results import FIGURES, write_results


def main() -> int:
    """Simulate, print and draw; the exit code says whether it could be done."""
    arguments = _arguments()
    end_in_order()
    try:
        real = _real(arguments.model) if arguments.real else None
    except (ServiceError, LimitError, LoadError, ContractError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    setups = [Setup(DAY_DEMAND, autoscaler=kind, seed=arguments.seed) for kind in AUTOSCALERS]
    with ProcessPoolExecutor(initializer=die_with_parent) as pool:
        shapes = list(pool.map(partial(hold, trials=arguments.trials), SHAPES))
        print_bursts(shapes, arguments.trials)
        days = dict(zip(AUTOSCALERS, pool.map(simulate, setups), strict=True))
    least = least_core_hours(DAY_DEMAND, arguments.seed)
    work = work_seconds(len(days["keda"].arrivals)) / HOUR
    figures = as_json(days, shapes, least, work)
    print_days(figures)
    if real is not None:
        print_real(real)
    day, burst = (arguments.output / f"autoscaling-{name}.svg" for name in ("day", "burst"))
    draw_day(days, day)
    draw_burst(days, BURSTS[0], RUSH, burst)
    written = arguments.output / "autoscaling.json"
    command = "make benchmark-autoscaling" + " REAL=1" * arguments.real
    write_results(written, command, figures | {"real": real or _known(written)})
    print(f"\nsaved {day}, {burst} and {written}")
    print(json.dumps(figures | ({"real": real} if real else {})))
    return 0


def _real(model: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="kalecast-real-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's workers may run as another user
        return compare(model, folder)


def _known(path: Path) -> Any:
    """What an earlier run has measured stays on record."""
    try:
        return json.loads(path.read_text()).get("real")
    except (OSError, ValueError):
        return None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("--seed", type=int, default=1, help="of all chance")
    add("--trials", type=int, default=50, help="bursts out of quiet for each size of pods")
    add("--real", action="store_true", help="measure here, and compare with two real replicas")
    add("--model", type=Path, default=Path("models/forecaster.onnx"), help="for --real")
    add("--output", type=Path, default=FIGURES, help="folder of the pictures")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
