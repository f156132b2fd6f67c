"""Chapter 5: the notebook's annotations, the pipeline that Kale makes of them, and its runs."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import yaml
from matplotlib.figure import Figure

from report.shown import COLOURS, TEXT_WIDTH

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks" / "forecast_pipeline.ipynb"
COMPILED = ROOT / "kale" / "forecast-pipeline.pipeline.yaml"
PYTHON = ROOT / "kale" / "forecast-pipeline.kale.py"

TAGS = {
    "pipeline-parameters": "the cell's values become the pipeline's parameters",
    "parameters": "the same for papermill, which runs the notebook in CI",
    "step": "the cell belongs to this step",
    "prev": "the step comes after that one",
    "image": "the container image in which the step runs",
    "limit": "CPU, memory, retries",
    "cache": "the step is run each time, and its result never taken from an earlier run",
    "secret": "an entry of a Kubernetes Secret as an environment variable",
    "pipeline-metrics": "what the cell prints are the run's metrics",
}
"""What each kind of tag says; Kale's words, and ours for `limit:` of CPU, memory and retries."""


@dataclass(frozen=True)
class CompiledStep:
    """A step of the compiled pipeline."""

    name: str
    artifacts: dict[str, list[str]]
    """Names of what it is given, by the step that made it."""
    resources: dict[str, str]
    cached: str
    """Whether its result may be taken from an earlier run: yes or no."""
    retries: int
    secrets: int
    parameters: int
    after: list[str]

    @property
    def title(self) -> str:
        """Its name for readers."""
        return self.name.replace("_", " ")


def compiled_steps() -> list[CompiledStep]:
    """The steps of the compiled pipeline, each after those that it needs."""
    spec, platforms = yaml.load_all(
        COMPILED.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    )
    executors = spec["deploymentSpec"]["executors"]
    on_kubernetes = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    steps = {
        _plain(name): _step(
            name, task, executors[f"exec-{name}"]["container"], on_kubernetes[f"exec-{name}"]
        )
        for name, task in spec["root"]["dag"]["tasks"].items()
    }
    order = TopologicalSorter({name: step.after for name, step in steps.items()})
    return [steps[name] for name in order.static_order()]


def _step(
    name: str, task: dict[str, Any], container: dict[str, Any], pod: dict[str, Any]
) -> CompiledStep:
    given: dict[str, list[str]] = {}
    for key, source in task["inputs"].get("artifacts", {}).items():
        producer = _plain(source["taskOutputArtifact"]["producerTask"])
        given.setdefault(producer, []).append(key.removesuffix("_input_artifact"))
    return CompiledStep(
        name=_plain(name),
        artifacts=given,
        resources=container["resources"],
        cached="yes" if task["cachingOptions"].get("enableCache") else "no",
        retries=task.get("retryPolicy", {}).get("maxRetryCount", 0),
        secrets=len(pod.get("secretAsEnv", [])),
        parameters=len(task["inputs"].get("parameters", {})),
        after=[_plain(one) for one in task.get("dependentTasks", [])],
    )


def _plain(task: str) -> str:
    return task.removesuffix("-step").replace("-", "_")


def graph(steps: Sequence[CompiledStep]) -> str:
    """The steps from top to bottom and what passes between them, in Graphviz's language."""
    lines = [
        f'{step.name} [label="{step.title}" fillcolor="{colour}"]'
        for step in steps
        for colour in ["#e3ebf3" if step.cached == "yes" else "#f7e8dc"]
    ]
    lines += [
        f'{producer} -> {step.name} [label="  {words}" weight={weight}]'
        for before, step in pairwise(steps)
        for producer, names in step.artifacts.items()
        for words in [", ".join(names).replace("_", " ")]
        for weight in [9 if producer == before.name else 1]  # the next step stands right below
    ]
    return "\n".join(("digraph {", "ranksep=0.9 node [width=6]", *lines, "}"))


def tags_table() -> pd.DataFrame:
    """A row a kind of tag: what it says, an example, and on how many cells it is."""
    first: dict[str, str] = {}
    cells: Counter[str] = Counter()
    for tags in tags_of_cells():
        of_cell = {tag.partition(":")[0]: tag for tag in reversed(tags)}
        cells.update(of_cell.keys())
        first = of_cell | first
    return pd.DataFrame(
        {"Tag": f"`{_shortened(first[kind])}`", "What it says": description, "Cells": cells[kind]}
        for kind, description in TAGS.items()
    )


def _shortened(tag: str, most: int = 34) -> str:
    return tag if len(tag) <= most else f"{tag[: most - 1]}…"


def tags_of_cells() -> Iterator[list[str]]:
    """The tags of each cell with code."""
    return (cell["metadata"].get("tags", []) for cell in _code_cells())


def code_lines() -> int:
    """Lines of code in the notebook, without empty ones."""
    return sum(bool(line.strip()) for cell in _code_cells() for line in cell["source"])


def _code_cells() -> Iterator[dict[str, Any]]:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    return (cell for cell in cells if cell["cell_type"] == "code")


def lines_of(path: Path) -> int:
    """Lines of a file."""
    return len(path.read_text().splitlines())


def timeline(steps: Sequence[dict[str, Any]], whole: float) -> Figure:
    """When each step ran.

    Args:
        steps: each with `name`, and `began` and `seconds` in seconds since the run began.
        whole: seconds of the run.
    """
    figure, axes = plt.subplots(figsize=(TEXT_WIDTH, 0.32 * len(steps) + 0.7))
    for row, step in enumerate(steps):
        # a step of a moment must be seen, too
        width = max(step["seconds"], whole / 400)
        axes.barh(row, width, left=step["began"], color=COLOURS[0], height=0.55)
        is_late = step["began"] + step["seconds"] > 0.85 * whole
        at = step["began"] - whole / 100 if is_late else step["began"] + width + whole / 100
        side = "right" if is_late else "left"
        axes.text(at, row, f"{step['seconds']:,.1f} s", va="center", ha=side, fontsize=8.5)
    axes.set_yticks(range(len(steps)), [step["name"].replace("_", " ") for step in steps])
    axes.invert_yaxis()
    axes.set(xlim=(0, whole), xlabel="seconds since the run began")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    return figure
