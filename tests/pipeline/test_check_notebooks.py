"""Notebooks are checked without running them: what would break the pipeline names its cell."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from toy_notebooks import Cell, write_notebook

from kalecast.pipelines.check_notebooks import main, problems
from kalecast.pipelines.compile_notebook import compile_notebook

PROJECT = Path(__file__).resolve().parents[2]


PIPELINE = PROJECT / "notebooks" / "forecast_pipeline.ipynb"
PARAMETERS: Cell = ("scale = 2", ["pipeline-parameters", "parameters"])
MAKES: Cell = ("x = 1", ["step:a"])


def message(tmp_path: Path, cells: list[Cell]) -> str:
    """What is wrong with a pipeline of these cells, freshly compiled where it compiles."""
    path = write_notebook(tmp_path / "toy.ipynb", cells)
    if not problems(path, tmp_path / "out")[0].startswith("cell"):
        compile_notebook(path, tmp_path / "out")
    return "\n".join(problems(path, tmp_path / "out"))


def plain(tmp_path: Path, *sources: str) -> str:
    """What is wrong with a notebook that is no pipeline."""
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(notebook, tmp_path / "plain.ipynb")
    return "\n".join(problems(tmp_path / "plain.ipynb", tmp_path))


def test_the_project_has_nothing_to_mend(capsys):
    assert main([]) == 0
    assert capsys.readouterr().out.endswith(" 0 with problems.\n")


def renamed(old: str, new: str) -> Callable[[Any], None]:
    def mutate(notebook: Any) -> None:
        cell = next(c for c in notebook.cells if c.cell_type == "code" and old in c.source)
        cell.source = cell.source.replace(old, new, 1)

    return mutate


def without_tag(tag: str) -> Callable[[Any], None]:
    def mutate(notebook: Any) -> None:
        cell = next(c for c in notebook.cells if tag in c.metadata.get("tags", []))
        cell.metadata["tags"].remove(tag)

    return mutate


def with_output(notebook: Any) -> None:
    cell = next(c for c in notebook.cells if "step:train" in c.metadata.get("tags", []))
    cell.outputs = [nbformat.v4.new_output("stream", text="done")]


def with_skipped_factor(notebook: Any) -> None:
    place = next(i for i, c in enumerate(notebook.cells) if c.cell_type == "code") + 1
    skipped = nbformat.v4.new_code_cell("factor = 2", metadata={"tags": ["skip"]})
    notebook.cells.insert(place, skipped)
    next(
        c for c in notebook.cells if "step:train" in c.metadata.get("tags", [])
    ).source += "\nprint(factor)"


@pytest.mark.parametrize(
    ("mutate", "cell", "part"),
    [
        (renamed("history, held_out =", "hist, held_out ="), 7, "'hist' meant"),
        (renamed("contract = draft", "draft = draft"), 9, "uses 'contract'"),
        (renamed("epochs = 20", "epochs = [20]"), 3, "epochs = [20]"),
        (without_tag("pipeline-parameters"), 3, "['pipeline-parameters', 'parameters']"),
        (without_tag("parameters"), 3, "papermill"),
        (without_tag("step:query"), 23, "'step:deploy'"),
        (without_tag("prev:train"), 11, "no 'prev:' tag leads"),
        (without_tag("pipeline-metrics"), 25, "where it belongs"),
        (with_output, 9, "has an output"),
        (with_skipped_factor, 10, "uses 'factor', which cell 4 (factor = 2) makes"),
        (renamed('"notebooks/data', '"/home/ann/data'), 3, "a path of one machine"),
    ],
)
def test_names_the_notebook_and_the_cell(mutate, cell, part, tmp_path, capsys):
    notebook = nbformat.read(PIPELINE, as_version=4)
    mutate(notebook)
    nbformat.write(notebook, tmp_path / "changed.ipynb")
    assert main([str(tmp_path / "changed.ipynb")]) == 1
    first = capsys.readouterr().out.splitlines()[0]
    assert f"changed.ipynb: cell {cell} (" in first
    assert part in first


def test_reports_a_pipeline_that_was_not_compiled_again(tmp_path):
    path = write_notebook(tmp_path / "toy.ipynb", [PARAMETERS, MAKES])
    compile_notebook(path, tmp_path / "out")
    assert problems(path, tmp_path / "out") == []
    write_notebook(path, [("scale = 3", PARAMETERS[1]), MAKES])
    (problem,) = problems(path, tmp_path / "out")
    assert f'make compile NOTEBOOK="{os.path.relpath(path, PROJECT)}"' in problem
    assert "scale: int = 3" in problem


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([MAKES, ("print(x)", ["step:b"])], "no 'prev:' tag leads from 'b'"),
        ([MAKES, ("y = 2", ["step:b"]), ("print(x)", ["step:c", "prev:b"])], "in step 'a'"),
        ([("import math", ["step:a"]), ("math.pi", ["step:b", "prev:a"])], "import it here too"),
        ([("print(x)", ["step:a"]), ("x = 1", ["step:b", "prev:a"])], "only below it, by cell 2"),
        ([("def f():\n    return lost", ["functions"]), MAKES], "cell 1 (def f():): uses 'lost'"),
        ([MAKES, ("print(y)", ["pipeline-metrics"])], "cell 2 (print(y)): uses 'y'"),
        ([PARAMETERS, ("scale = 3", ["step:a"])], "assigns the pipeline parameter 'scale'"),
        ([PARAMETERS, ("for scale in [3]:\n    pass", ["step:a"])], "assigns the pipeline"),
        ([("[z for z in 'ab']", ["step:a"]), ("print(z)", ["step:b", "prev:a"])], "uses 'z'"),
        ([("def f():\n    z = 1", ["step:a"]), ("print(z)", ["step:b", "prev:a"])], "uses 'z'"),
        ([("z: int", ["step:a"]), ("print(z)", ["step:b", "prev:a"])], "uses 'z'"),
        ([("return 1", ["step:a"])], "cell 1 (return 1): 'return' outside function"),
        ([("nonlocal x", ["step:a"])], "cell 1 (nonlocal x): nonlocal declaration not allowed"),
    ],
)
def test_a_name_that_a_step_will_not_have(cells, expected, tmp_path):
    assert expected in message(tmp_path, cells)


@pytest.mark.parametrize(
    "cells",
    [
        [PARAMETERS, ("x = scale", ["step:a"])],
        [MAKES, ("y = x", ["step:a"]), ("print(y)", ["step:b", "prev:a"])],
        [MAKES, ("y = 2", ["step:b", "prev:a"]), ("print(x, y)", ["step:c", "prev:b"])],
        [("import math", ["imports"]), ("y = math.pi", ["step:a"])],
        [
            ("def f(n):\n    return n * x", ["functions"]),
            ("x = 3\nprint(f(2), [i for i in range(x)])", ["step:a"]),
        ],
        [("display(1)\nwith open('a') as file:\n    pass\nprint(file, __name__)", ["step:a"])],
        [
            ("if (n := 3):\n    pass\nfor i, (j, *k) in []:\n    pass", ["step:a"]),
            ("n, i, j, k", ["step:b", "prev:a"]),
        ],
        [
            ("def f():\n    global q\n    q = 1", ["functions"]),
            ("f()", ["step:a"]),
            ("q", ["step:a"]),
        ],
        [("import os.path\nawait os.sleep(0)", ["step:a"]), ("os.path", ["step:a"])],
        [("match 1:\n    case [y, *z]:\n        pass", ["step:a"]), ("y, z", ["step:b", "prev:a"])],
        [MAKES, ("unknown_to_all()", ["skip"]), ("y = x", ["step:b", "prev:a"])],
        [("x = float(1)", ["step:a"]), ("print(x)", ["pipeline-metrics"])],
    ],
)
def test_names_that_a_step_has(cells, tmp_path):
    assert message(tmp_path, cells) == ""


def test_in_a_notebook_that_is_no_pipeline_names_come_from_above(tmp_path):
    assert (
        plain(
            tmp_path, "import math\nx = 1", "%%time\ny = x\n!ls", "%time z = y", "print(math.pi, z)"
        )
        == ""
    )
    assert "cell 1 (print(x)): uses 'x', which is made only below" in plain(
        tmp_path, "print(x)", "x = 1"
    )
    assert "cell 2 (totl)" in plain(tmp_path, "total = 1", "totl")
    assert "'total' meant" in plain(tmp_path, "total = 1", "totl")
    assert "cell 2 (y = ()" in plain(tmp_path, "x = 1", "y = (")


@pytest.mark.parametrize(
    "path",
    [
        "/home/ann/a.csv",
        "~/a.csv",
        "C:\\data\\a.csv",
        "C:/Users/ann/a.csv",
        "/tmp/a",
        "/data/a.csv",
        "file:///home/ann/a.csv",
    ],
)
def test_a_path_of_one_machine_is_reported(path, tmp_path):
    assert "cell 1" in plain(tmp_path, f"data = {path!r}")
    assert "a path of one machine" in plain(tmp_path, f"data = {path!r}")


@pytest.mark.parametrize(
    "text",
    ["/api/v1.0/predictions", "notebooks/data/a.csv", "a/tmp/b", "~", "/data/items", r"C:\d+"],
)
def test_what_only_looks_like_one(text, tmp_path):
    assert plain(tmp_path, f"data = {text!r}") == ""


def test_what_is_no_notebook_is_reported_with_its_name(tmp_path, monkeypatch, capsys):
    (tmp_path / "other.ipynb").write_text("hello")
    monkeypatch.chdir(tmp_path)
    assert main(["other.ipynb", "none.ipynb"]) == 1
    message = capsys.readouterr().out
    assert "other.ipynb: Expected a Jupyter notebook" in message
    assert "none.ipynb: Expected a notebook" in message


def test_an_empty_cell_needs_no_tag(tmp_path):
    assert message(tmp_path, [MAKES, ("", []), ("# a note", [])]) == ""


def test_what_is_no_python_is_not_read_as_such(tmp_path):
    notebook = nbformat.v4.new_notebook(metadata={"language_info": {"name": "R"}})
    notebook.cells = [nbformat.v4.new_code_cell("library(forecast)\nx <- 1")]
    nbformat.write(notebook, tmp_path / "r.ipynb")
    assert problems(tmp_path / "r.ipynb", tmp_path) == []
