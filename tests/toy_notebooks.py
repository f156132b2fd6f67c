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


def write_notebook(path: Path, cells: list[Cell], **metadata: Any) -> Path:
    """Write a notebook of (source, tags) cells; `metadata` joins Kale's block."""
    notebook = nbformat.v4.new_notebook()
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
