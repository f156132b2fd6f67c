"""Small annotated notebooks for the tests of compiling and running."""

from pathlib import Path
from typing import Any

import nbformat

Cell = tuple[str, list[str]]

# Two steps that pass a number, with a parameter and a metric.
SUM_CELLS: list[Cell] = [
    ("rows = 3\nscale = 0.5\nlabel = 'plain'\nloud = False", ["pipeline-parameters", "parameters"]),
    ("import json", ["imports"]),
    ("def total(values):\n    return float(sum(values))", ["functions"]),
    ("values = [scale * i for i in range(rows)]\nprint('rows', rows, label, loud)", ["step:load"]),
    ("score_sum = total(values)\nprint('sum', score_sum)", ["step:add", "prev:load"]),
    ("print(score_sum)", ["pipeline-metrics"]),
]

# A first step that sleeps, with a child that sleeps too, and says so.
SLEEPY_CELLS: list[Cell] = [
    (
        "import subprocess, time\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "print('asleep')\n"
        "time.sleep(600)\n"
        "done = 1",
        ["step:sleep"],
    ),
    ("print(done)", ["step:after", "prev:sleep"]),
]


def write_notebook(path: Path, cells: list[Cell], **metadata: Any) -> Path:
    """Write a notebook of (source, tags) cells; `metadata` joins Kale's block."""
    notebook = nbformat.v4.new_notebook()
    # JupyterLab has the user choose which kernel to take where a notebook names none.
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)"}
    name = path.stem.replace("_", "-")
    notebook.metadata["kubeflow_notebook"] = {
        "pipeline_name": name,
        "experiment_name": "toys",
        "pipeline_description": "A toy",
        **metadata,
    }
    for number, (source, tags) in enumerate(cells):
        cell = nbformat.v4.new_code_cell(source, id=f"cell-{number}")
        cell.metadata["tags"] = tags
        notebook.cells.append(cell)
    nbformat.write(notebook, path)
    return path
