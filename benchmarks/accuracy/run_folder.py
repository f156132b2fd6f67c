"""A run of the pipeline that is over: what its folder tells of it."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dill
import pandas as pd

from kalecast.artifact.store import SAMPLE
from kalecast.project import project_path

ANYWHERE = frozenset({"data", "model_store"})
"""Parameters that say where something lies, and nothing of how a model is made."""

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
            parts = (folder / f"{name}.json" for name in ("progress", "summary"))
            run = cls(folder, *(json.loads(path.read_text()) for path in parts))
            done = {step["name"] for step in run.summary["steps"] if step["status"] == "done"}
            return run if done >= set(run.progress["step_names"]) else None
        except (OSError, ValueError, KeyError, TypeError):  # not there, or not whole
            return None

    @property
    def parameters(self) -> dict[str, Any]:
        """The pipeline's parameters, those that were left out too."""
        return {**self.progress["defaults"], **self.progress["parameters"]}

    def is_of_sample(self) -> bool:
        """Whether it had the sample data and the notebook's parameters."""
        asked, defaults = self.parameters, self.progress["defaults"]
        same = all(asked[name] == defaults.get(name) for name in asked.keys() - ANYWHERE)
        return same and project_path(str(asked["data"])) == project_path(SAMPLE)

    @property
    def steps(self) -> list[dict[str, Any]]:
        """Each step's name, and when it began and how long it took, in seconds of the run."""
        return [
            {
                "name": step["name"],
                "began": round(step["started"] - self.progress["started"], 2),
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
        path = self.folder / "logs" / "train.log"
        log = path.read_text()
        kept, finish, epochs = KEPT.search(log), FINISH.search(log), list(EPOCH.finditer(log))
        if not (kept and finish and epochs):
            raise RunError(f"Expected a training in {path}.")
        return {
            "epochs": [_numbers(epoch.groupdict()) for epoch in epochs],
            "kept": int(kept["epoch"]),
            "ended": kept[0],
            "finish_steps": int(finish["steps"]),
        }

    def handed_on(self, step: str, name: str) -> Any:
        """What a step left for those after it. Only runs of this project are opened.

        Raises:
            RunError: it left nothing of that name.
        """
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
