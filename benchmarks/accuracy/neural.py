"""Neural baselines of neuralforecast, with their defaults, in an environment of their own.

    .venv/neural/bin/python -m benchmarks.accuracy.neural FOLDER

PyTorch and the workbench's TensorFlow do not share a process. `neural_forecasts` leaves series and
task in a folder and runs this file as a program there, which leaves its forecasts. The program
imports pandas and neuralforecast alone; so nothing else is imported at the top of this file.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from kalecast.artifact.contract import Contract

NAMES = ("NHITS", "PatchTST")
LEVELS = (80, 95)
SERIES, TASK, FORECASTS = "series.parquet", "task.json", "forecasts.parquet"


class NeuralError(RuntimeError):
    """The program ended without forecasts; says why."""


def neural_forecasts(
    series: pd.DataFrame, contract: "Contract", origins: int, name: str, steps: int | None = None
) -> pd.DataFrame:
    """Train one on all series before the first origin, and forecast from each.

    Args:
        series: tidy series with the held-out steps at their ends; missing values are filled first.
        contract: frequency, horizon and season; the window is no longer than its own.
        origins: forecasts a series, a horizon apart.
        name: of `NAMES`.
        steps: of training, where they are to be fewer than the default.

    Returns:
        `unique_id, ds, cutoff`, a column of that name and its bounds, `NHITS-lo-80` and so on.

    Raises:
        NeuralError: the environment is not installed, or training failed.
    """
    from kalecast.data.windows import fill_by_season
    from kalecast.project import PROJECT

    python = PROJECT / ".venv/neural/bin/python"
    if not python.exists():
        raise NeuralError(f"Expected the environment {python.parents[1]}: make … NEURAL=1.")
    longest = int(series.groupby("unique_id").size().max())
    known = longest - (origins + 1) * contract.horizon
    task = {
        "name": name,
        "frequency": contract.frequency,
        "horizon": contract.horizon,
        "input_size": max(contract.season, min(contract.input_length, known)),
        "origins": origins,
        "steps": steps,
    }
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        fill_by_season(series, contract.season).to_parquet(folder / SERIES, index=False)
        (folder / TASK).write_text(json.dumps(task))
        command = [str(python), "-m", "benchmarks.accuracy.neural", str(folder)]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
        if done.returncode or not (folder / FORECASTS).exists():
            said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise NeuralError(f"Expected forecasts of {name}, received: {said}")
        return pd.read_parquet(folder / FORECASTS)


def forecast(series: pd.DataFrame, task: dict[str, Any]) -> pd.DataFrame:
    """What the program does: train once, forecast from each origin."""
    from neuralforecast import NeuralForecast, models
    from neuralforecast.losses.pytorch import MQLoss

    fewer = {"max_steps": task["steps"]} if task["steps"] else {}
    model = getattr(models, task["name"])(
        h=task["horizon"],
        input_size=task["input_size"],
        loss=MQLoss(level=list(LEVELS)),  # by default they give no intervals
        accelerator="cpu",
        enable_progress_bar=False,
        logger=False,
        **fewer,
    )
    found: pd.DataFrame = NeuralForecast([model], freq=task["frequency"]).cross_validation(
        series, n_windows=task["origins"], step_size=task["horizon"]
    )
    found = found.rename(columns={f"{task['name']}-median": task["name"]})
    bounds = [f"{task['name']}-{side}-{level}" for level in LEVELS for side in ("lo", "hi")]
    return found[["unique_id", "ds", "cutoff", task["name"], *bounds]]


def main() -> None:
    """Read, forecast, write."""
    folder = Path(sys.argv[1])
    task = json.loads((folder / TASK).read_text())
    found = forecast(pd.read_parquet(folder / SERIES), task)
    found.to_parquet(folder / FORECASTS, index=False)


if __name__ == "__main__":
    main()
