"""How fast a model file forecasts: windows a second on one core, by batch size.

    python -m benchmarks.accuracy.forward_pass [models/forecaster.onnx] [--seconds 2]

Prints a table, and as its last line one JSON object.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from kalecast.artifact.runtime import Forecaster

BATCH_SIZES = (1, 8, 64, 256)


def windows_a_second(forecaster: Forecaster, batch_size: int, seconds: float) -> float:
    """Forecast random windows for `seconds`, after a warm-up of a few batches."""
    shape = (batch_size, forecaster.contract.input_length)
    windows = np.random.default_rng(0).normal(1000.0, 100.0, shape)
    for _ in range(5):
        forecaster.forecast_windows(windows)
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        forecaster.forecast_windows(windows)
        count += batch_size
    return count / elapsed


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Forward passes of a model file on one core.")
    parser.add_argument("model", nargs="?", type=Path, default=Path("models/forecaster.onnx"))
    parser.add_argument("--seconds", type=float, default=2.0, help="for each batch size")
    arguments = parser.parse_args()
    forecaster = Forecaster(arguments.model, threads=1)
    speeds = {size: windows_a_second(forecaster, size, arguments.seconds) for size in BATCH_SIZES}
    print(f"{'batch':>6}  {'windows/s':>10}")
    for size, speed in speeds.items():
        print(f"{size:>6}  {speed:>10,.0f}")
    rounded = {str(size): round(speed) for size, speed in speeds.items()}
    print(json.dumps({"version": forecaster.contract.version, "windows_per_second": rounded}))


if __name__ == "__main__":
    main()
