"""What memory training takes on series that do not fit into it.

    python -m benchmarks.accuracy.training_memory [--series 10000] [--hours 10000] [--epochs 3]
        [--steps 100]

Generates a Parquet file piece by piece, maps it from disk and trains on it with the pipeline's
defaults but for the epochs and their steps. Prints the peak memory of each stage (resident set,
pages of the mapped file included), and as its last line one JSON object.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import numpy as np
import pyarrow as pa
from pyarrow.parquet import ParquetWriter

from kalecast.data.large_series import map_parquet
from kalecast.lifetime import end_in_order
from kalecast.model.network import NetworkSettings
from kalecast.model.training import TrainingSettings, train

SERIES_AT_A_TIME = 50


def generate(target: Path, series: int, hours: int) -> None:
    """Days, weeks and noise at scales from 0.01 to 10,000, a series after the other."""
    rng = np.random.default_rng(0)
    hour = np.arange(hours)
    timestamps = np.datetime64("2020-01-01", "h") + hour
    schema = pa.schema([("unique_id", pa.string()), ("ds", pa.timestamp("s")), ("y", pa.float64())])
    with ParquetWriter(target, schema) as writer:
        for first in range(0, series, SERIES_AT_A_TIME):
            count = min(SERIES_AT_A_TIME, series - first)
            phase, scale = rng.uniform(0, 6, (count, 1)), 10.0 ** rng.uniform(-2, 4, (count, 1))
            day = np.sin(hour * 2 * np.pi / 24 + phase) * (1 + 0.5 * (hour // 24 % 7 < 5))
            values = scale * (3 + day + 0.3 * rng.standard_normal((count, hours)))
            names = np.repeat([f"series_{first + at:05d}" for at in range(count)], hours)
            columns = [names, np.tile(timestamps, count).astype("datetime64[s]"), values.ravel()]
            writer.write_table(pa.table(columns, schema=schema))


def peak_mib() -> float:
    """The largest resident set of this process so far."""
    return getrusage(RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Generate, map, train and print."""
    parser = argparse.ArgumentParser(description="Peak memory of training from disk.")
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--hours", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=TrainingSettings().steps_per_epoch)
    arguments = parser.parse_args()
    shape = NetworkSettings()

    def stage(name: str, began: float) -> None:
        seconds = time.perf_counter() - began
        print(f"{name:>10}  {seconds:6.0f} s  peak {peak_mib():,.0f} MiB", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        source, values = Path(folder) / "series.parquet", Path(folder) / "values"
        began = time.perf_counter()
        generate(source, arguments.series, arguments.hours)
        stage("generate", began)
        began = time.perf_counter()
        store = map_parquet(source, values, shape.input_length)
        stage("map", began)
        began = time.perf_counter()
        settings = TrainingSettings(epochs=arguments.epochs, steps_per_epoch=arguments.steps)
        _, losses = train(store, shape, settings)
        stage("train", began)
        mapped = values.stat().st_size
    outcome = {
        "series": arguments.series,
        "hours": arguments.hours,
        "peak_mib": round(peak_mib()),
        "values_mib": round(mapped / 2**20),
        "val_loss": round(float(losses["val_loss"].min()), 4),
    }
    print(json.dumps(outcome))


if __name__ == "__main__":
    end_in_order()
    main()
