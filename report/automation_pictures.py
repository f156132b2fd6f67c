"""The notebook's annotations, the pipeline that Kale makes of them, and its runs."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from report.architecture import SMALL, DrawnBox, canvas, draw_arrow, draw_box
from report.shown import COLOURS, INK, TEXT_WIDTH

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
class DrawnStep:
    """A step of the compiled pipeline."""

    name: str
    artifacts: dict[str, list[str]]
    """Names of what it is given, by the step that made it."""
    resources: dict[str, str]
    cached: bool
    retries: int
    secrets: int = 0
    parameters: int = 0
    after: list[str] = field(default_factory=list)


def compiled_steps() -> list[DrawnStep]:
    """The steps of the compiled pipeline, each after those that it needs."""
    spec, platforms = yaml.load_all(
        COMPILED.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    )
    executors = spec["deploymentSpec"]["executors"]
    on_kubernetes = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    steps = [
        _step(name, task, executors[f"exec-{name}"]["container"], on_kubernetes[f"exec-{name}"])
        for name, task in spec["root"]["dag"]["tasks"].items()
    ]
    return _in_order(steps)


def step_names() -> list[str]:
    """The steps' names in order."""
    return [step.name for step in compiled_steps()]


def _step(
    name: str, task: dict[str, Any], container: dict[str, Any], pod: dict[str, Any]
) -> DrawnStep:
    given: dict[str, list[str]] = {}
    for key, source in task["inputs"].get("artifacts", {}).items():
        producer = _plain(source["taskOutputArtifact"]["producerTask"])
        given.setdefault(producer, []).append(key.removesuffix("_input_artifact"))
    return DrawnStep(
        name=_plain(name),
        artifacts=given,
        resources=container["resources"],
        cached=bool(task["cachingOptions"].get("enableCache")),
        retries=task.get("retryPolicy", {}).get("maxRetryCount", 0),
        secrets=len(pod.get("secretAsEnv", [])),
        parameters=len(task["inputs"].get("parameters", {})),
        after=[_plain(one) for one in task.get("dependentTasks", [])],
    )


def _plain(task: str) -> str:
    return task.removesuffix("-step").replace("-", "_")


def _in_order(steps: Sequence[DrawnStep]) -> list[DrawnStep]:
    done: list[DrawnStep] = []
    left = list(steps)
    while left:
        ready = next(s for s in left if set(s.after) <= {d.name for d in done})
        done.append(ready)
        left.remove(ready)
    return done


def steps_table(steps: Sequence[DrawnStep]) -> pd.DataFrame:
    """A row a step: what its pod asks for and may take, what it is given, and what is retried."""
    return pd.DataFrame(
        {
            "Step": f"`{step.name}`",
            "CPU": f"{step.resources['resourceCpuRequest']} – {step.resources['resourceCpuLimit']}",
            "Memory": f"{step.resources['resourceMemoryRequest']} – "
            f"{step.resources['resourceMemoryLimit']}",
            "Retries": step.retries,
            "Secret entries": step.secrets,
            "May be cached": "yes" if step.cached else "no",
        }
        for step in steps
    )


def tags_table() -> pd.DataFrame:
    """A row a kind of tag: what it says, an example, and on how many cells it is."""
    first: dict[str, str] = {}
    cells: Counter[str] = Counter()
    for tags in _tags_of_cells():
        of_cell = {tag.partition(":")[0]: tag for tag in reversed(tags)}
        cells.update(of_cell.keys())
        first = of_cell | first
    return pd.DataFrame(
        {"Tag": f"`{_shortened(first[kind])}`", "What it says": description, "Cells": cells[kind]}
        for kind, description in TAGS.items()
    )


def _shortened(tag: str, most: int = 34) -> str:
    return tag if len(tag) <= most else f"{tag[: most - 1]}…"


def code_lines() -> int:
    """Lines of code in the notebook, without empty ones."""
    return sum(bool(line.strip()) for cell in _code_cells() for line in cell["source"])


def lines_of(path: Path) -> int:
    """Lines of a file."""
    return len(path.read_text().splitlines())


def _code_cells() -> Iterator[dict[str, Any]]:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    return (cell for cell in cells if cell["cell_type"] == "code")


def _tags_of_cells() -> Iterator[list[str]]:
    return (cell["metadata"].get("tags", []) for cell in _code_cells())


def graph(steps: Sequence[DrawnStep]) -> Figure:
    """The steps from top to bottom, and what passes between them."""
    pitch, width = 0.74, 1.5
    figure, axes = canvas(4.6, pitch * len(steps) - 0.2)
    places = {
        step.name: DrawnBox(0.95, pitch * (len(steps) - 1 - at) + 0.28, width, 0.42)
        for at, step in enumerate(steps)
    }
    for step in steps:
        kind = "workshop" if step.cached else "service"
        draw_box(axes, places[step.name], step.name.replace("_", " "), "", kind)
    order = [step.name for step in steps]
    for step in steps:
        for producer, names in step.artifacts.items():
            apart = order.index(step.name) - order.index(producer)
            _passed(axes, places[producer], places[step.name], names, apart)
    return figure


def _passed(
    axes: Axes, producer: DrawnBox, consumer: DrawnBox, names: Sequence[str], apart: int
) -> None:
    words = ", ".join(names).replace("_", " ")
    if apart == 1:
        draw_arrow(axes, producer.side("bottom"), consumer.side("top"))
        y = (producer.side("bottom")[1] + consumer.side("top")[1]) / 2
        axes.text(producer.x + 0.1, y, words, va="center", fontsize=SMALL, style="italic")
        return
    # Past the steps between, in a lane of its own.
    lane = producer.side("right")[0] + 1.7 + 0.12 * apart
    begin, end = producer.side("right"), consumer.side("right")
    out, into = begin[1] - 0.08, end[1] + 0.08
    axes.plot([begin[0], lane, lane], [out, out, into], color=INK, linewidth=0.8)
    draw_arrow(axes, (lane, into), (end[0], into))
    axes.text(
        lane + 0.08, (begin[1] + end[1]) / 2, words, va="center", fontsize=SMALL, style="italic"
    )


def timeline(steps: Sequence[dict[str, Any]], whole: float) -> Figure:
    """When each step ran.

    Args:
        steps: each with `name`, and `began` and `seconds` in seconds since the run began.
        whole: seconds of the run.
    """
    figure, axes = plt.subplots(figsize=(TEXT_WIDTH, 0.32 * len(steps) + 0.7))
    plt.close(figure)
    for row, step in enumerate(steps):
        end = step["began"] + step["seconds"]
        # A step of a moment must be seen, too.
        width = max(step["seconds"], whole / 400)
        axes.barh(row, width, left=step["began"], color=COLOURS[0], height=0.55)
        before = end > 0.85 * whole
        at = step["began"] - whole / 100 if before else step["began"] + width + whole / 100
        axes.text(
            at,
            row,
            f"{step['seconds']:,.1f} s",
            va="center",
            ha="right" if before else "left",
            fontsize=SMALL,
        )
    axes.set_yticks(range(len(steps)), [step["name"].replace("_", " ") for step in steps])
    axes.invert_yaxis()
    axes.set_xlim(0, whole)
    axes.set_xlabel("seconds since the run began")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    return figure


def changes_table(parameters: int) -> pd.DataFrame:
    """What a change in the notebook asks for, and what KFP's cache makes of it.

    Args:
        parameters: how many each step gets.
    """
    rows = [
        (
            "the code of a cell",
            "the pipeline's next version; until then `make compile CHECK=1` fails",
            "that step's, and of all after it",
        ),
        (
            "a parameter, in the first cell or for one run",
            "in the first cell, yes; for one run, nothing",
            f"all: each step gets all {parameters} parameters",
        ),
        ("the image of a step", "the next version", "that step's, and of all after it"),
        ("CPU, memory, retries, secrets", "the next version", "none"),
        (
            "words between the cells",
            "nothing: the compiled files stay the same, byte for byte",
            "none",
        ),
        (
            "the library in the image, under the same name of the image",
            "nothing",
            "none, as KFP sees it",
        ),
        ("the data, under the same name", "nothing", "all: *load data* reads them each time"),
    ]
    columns = [
        "What is changed",
        "What has to be compiled",
        "Which steps' earlier results no longer count",
    ]
    return pd.DataFrame(rows, columns=columns)
