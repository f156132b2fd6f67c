"""A run of the pipeline that is over: what its folder tells of it."""

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import dill
import pandas as pd

from kalecast.artifact.contract import Contract
from kalecast.artifact.store import SAMPLE
from kalecast.project import project_path

ANYWHERE = frozenset({"data", "model_store"})
"""Parameters that say where something lies, and nothing of how a model is made."""

FILES = ("progress", "summary")
EPOCH = re.compile(
    r"epoch +(?P<epoch>\d+)/\d+  loss (?P<loss>[\d.]+)  "
    r"validation (?P<val_loss>[\d.]+), error (?P<val_error>[\d.]+) +(?P<seconds>\d+) s"
)
"""A line of the training's log, as `kalecast.model.training` writes it."""
KEPT = re.compile(r"^.*: epoch (?P<epoch>\d+) is kept$", re.MULTILINE)
FINISH = re.compile(r"^(?P<steps>\d+) steps to finish", re.MULTILINE)


class RunError(RuntimeError):
    """A run's folder does not tell what it should."""


@dataclass(frozen=True)
class FinishedRun:
    """The folder of a run whose steps are all done."""

    folder: Path
    progress: dict[str, Any]
    summary: dict[str, Any]

    @classmethod
    def of(cls, folder: Path) -> "FinishedRun | None":
        """The run of a folder; none where it did not come to its end."""
        try:
            parts = [json.loads((folder / f"{name}.json").read_text()) for name in FILES]
            run = cls(folder, *parts)
            done = {step["name"] for step in run.summary["steps"] if step["status"] == "done"}
            return run if done >= set(run.progress["step_names"]) else None
        except (OSError, ValueError, KeyError, TypeError):  # not there, or not whole
            return None

    def is_of_sample(self) -> bool:
        """Whether it had the sample data and the notebook's parameters."""
        parameters, defaults = self.parameters, self.progress["defaults"]
        same = all(
            value == defaults.get(name)
            for name, value in parameters.items()
            if name not in ANYWHERE
        )
        return same and project_path(str(parameters["data"])) == project_path(SAMPLE)

    @property
    def parameters(self) -> dict[str, Any]:
        """The pipeline's parameters, those that were left out too."""
        return {**self.progress["defaults"], **self.progress["parameters"]}

    @property
    def steps(self) -> list[dict[str, Any]]:
        """Each step's name, and when it began and how long it took, in seconds of the run."""
        began = self.progress["started"]
        return [
            {
                "name": step["name"],
                "began": round(step["started"] - began, 2),
                "seconds": round(step["seconds"], 2),
            }
            for step in self.summary["steps"]
        ]

    @property
    def training(self) -> dict[str, Any]:
        """The training's epochs, which of them was kept and why it ended, and its finish.

        Raises:
            RunError: the log is none of a training.
        """
        log = (self.folder / "logs" / "train.log").read_text()
        kept, finish = KEPT.search(log), FINISH.search(log)
        epochs = [_numbers(line.groupdict()) for line in EPOCH.finditer(log)]
        if not (kept and finish and epochs):
            raise RunError(f"Expected a training in {self.folder / 'logs' / 'train.log'}.")
        return {
            "epochs": epochs,
            "kept": int(kept["epoch"]),
            "ended": kept[0],
            "finish_steps": int(finish["steps"]),
        }

    @cached_property
    def series(self) -> pd.DataFrame:
        """The tidy series, held-out hours at their ends."""
        frame: pd.DataFrame = self._handed_on("evaluate", "series")
        return frame

    @cached_property
    def history(self) -> pd.DataFrame:
        """The series without the held-out hours."""
        frame: pd.DataFrame = self._handed_on("evaluate", "history")
        return frame

    @cached_property
    def contract(self) -> Contract:
        """The contract before there were scores."""
        contract: Contract = self._handed_on("evaluate", "contract")
        return contract

    @property
    def network_bytes(self) -> bytes:
        """The trained network as a `.keras` file."""
        content: bytes = self._handed_on("evaluate", "network_bytes")
        return content

    @property
    def model_file(self) -> bytes:
        """The model file that it published."""
        content: bytes = self._handed_on("export_model", "model_file")
        return content

    def _handed_on(self, step: str, name: str) -> Any:
        """What a step left for those after it. Only runs of this project are opened."""
        folder = self.folder / "marshal" / step
        table, other = folder / f"{name}_artifact.pdpkl", folder / f"{name}_artifact.dillpkl"
        if table.exists():
            return pd.read_pickle(table)
        if not other.exists():
            raise RunError(f"Expected '{name}' of step {step} in {folder}.")
        with other.open("rb") as file:
            return dill.load(file)


def newest_of_sample(runs: Path) -> FinishedRun | None:
    """The newest whole run with the sample data and the notebook's parameters, if there is one."""
    folders = sorted((path for path in runs.glob("*-*") if path.is_dir()), reverse=True)
    found = (FinishedRun.of(folder) for folder in folders)
    return next((run for run in found if run and run.is_of_sample()), None)


def _numbers(texts: dict[str, str]) -> dict[str, float]:
    return {name: int(text) if text.isdigit() else float(text) for name, text in texts.items()}
