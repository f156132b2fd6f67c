"""Compile an annotated notebook into a pipeline, as a click on *Compile* in JupyterLab does.

    kalecast compile [NOTEBOOK …] [--output-dir kale] [--check]

Without a name it takes each one in notebooks/ that has a `kubeflow_notebook` block. Writes
`<pipeline>.kale.py` and `<pipeline>.pipeline.yaml`. The result depends on the notebook
alone: not on the machine, its environment variables or the working directory.
"""

import argparse
import contextlib
import difflib
import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kalecast.pipelines import kale_additions
from kalecast.pipelines.local.run_folder import full_disk, is_full_disk
from kalecast.pipelines.notebooks.cells import Cell, NotebookError, read_notebook
from kalecast.pipelines.notebooks.rules import check_notebook
from kalecast.project import PROJECT

NOTEBOOK = PROJECT / "notebooks" / "forecast_pipeline.ipynb"
DIFF_LINES = 12

# Kale always writes an index into the compiled steps, by default the public one. This one holds
# nothing: a package that the step image lacks is then an error and not a download. Kale's Compile
# button reads it from the environment of JupyterLab, so start JupyterLab with
# KALE_PYPI_PROD_URL=file:///no-package-index.
PACKAGE_INDEX = "file:///no-package-index"

# What Kale's panel in JupyterLab passes with a click unless the notebook says otherwise.
PANEL_DEFAULTS = {
    "experiment_name": "default",
    "pipeline_description": "",
    "enable_caching": True,
    "volumes": [],
    "security_context": {
        "enabled": True,
        "run_as_user": 65534,
        "run_as_group": 0,
        "run_as_non_root": True,
    },
}
PANEL_ALWAYS = {"base_image": "python:3.12", "steps_defaults": [], "output_path": ""}


def compile_notebook(notebook_path: Path, output_dir: Path) -> list[Path]:
    """Compile into `output_dir` and return the files, or raise a `NotebookError`."""
    notebook = read_notebook(notebook_path)
    check_notebook(notebook)
    absolute_path, output_dir = notebook_path.resolve(), output_dir.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        with _neutral_environment(Path(scratch)):
            made = _compile(absolute_path, notebook)
        output_dir.mkdir(parents=True, exist_ok=True)
        return [Path(shutil.copyfile(file, output_dir / file.name)) for file in made]


def pipeline_notebooks(folder: Path = PROJECT / "notebooks") -> list[Path]:
    """The notebooks of a folder that are pipelines.

    Raises:
        NotebookError: one of them cannot be read, or two would compile into the same files.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.ipynb")):
        block = {} if ".ipynb_checkpoints" in path.parts else read_notebook(path).metadata
        name = block.get("kubeflow_notebook", {}).get("pipeline_name")
        if name in found:
            raise NotebookError(
                f"Expected a 'pipeline_name' of its own, received {name!r}, which is that of "
                f"{found[name].name}, too."
            )
        if "kubeflow_notebook" in block:
            found[name] = path
    return list(found.values())


def remedy(notebook_path: Path) -> str:
    """The command that compiles a notebook anew."""
    return f'make compile NOTEBOOK="{os.path.relpath(notebook_path, PROJECT)}"'


def check_compile(notebook_path: Path, output_dir: Path) -> list[str]:
    """The lines of a report on each file that a fresh compile would change; none when fresh."""
    report = []
    with tempfile.TemporaryDirectory() as fresh:
        for new in compile_notebook(notebook_path, Path(fresh)):
            old = output_dir / new.name
            if not old.is_file():
                report.append(f"{os.path.relpath(old)}: missing")
            elif old.read_bytes() != new.read_bytes():
                report.append(
                    f"{os.path.relpath(old)}: differs from what "
                    f"{os.path.relpath(notebook_path)} compiles to"
                )
                report += _short_diff(old, new)
    return report


def _short_diff(old: Path, new: Path) -> list[str]:
    lines = list(
        difflib.unified_diff(
            old.read_text().splitlines(),
            new.read_text().splitlines(),
            f"{old.name} as it is",
            f"{old.name} as it would be",
            lineterm="",
            n=1,
        )
    )
    left_out = len(lines) - DIFF_LINES
    return lines[:DIFF_LINES] + ([f"… {left_out} more lines"] if left_out > 0 else [])


@contextlib.contextmanager
def _neutral_environment(scratch: Path) -> Iterator[None]:
    """Take away everything of this machine that Kale and KFP would write into a compile."""
    environment, folder, tempdir = dict(os.environ), Path.cwd(), tempfile.tempdir
    for name in environment:
        if name.startswith(("KALE_", "KFP_")):
            del os.environ[name]
    os.environ["KALE_PYPI_PROD_URL"] = PACKAGE_INDEX
    tempfile.tempdir = str(scratch)  # Kale leaves its temporary folders behind
    os.chdir(scratch)  # Kale writes into .kale in the working directory
    try:
        yield
    finally:
        os.chdir(folder)
        tempfile.tempdir = tempdir
        os.environ.clear()
        os.environ.update(environment)


def _compile(notebook_path: Path, notebook: Any) -> list[Path]:
    """What `kale.rpc.nb.compile_notebook`, the function behind the button, does."""
    kale_additions.install()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Kale's own string escapes
        from kale import Compiler, NotebookProcessor
        from kale.common import kfputils
    logging.disable(logging.WARNING)
    settings = {**PANEL_DEFAULTS, **notebook.metadata["kubeflow_notebook"], **PANEL_ALWAYS}

    def processor() -> Any:
        try:
            return NotebookProcessor(str(notebook_path), dict(settings))
        except (ValueError, TypeError) as error:
            raise NotebookError(f"'kubeflow_notebook': {error}") from error

    whole = processor()
    try:
        pipeline = whole.run()
        imports_and_functions = whole.get_imports_and_functions()
        script = Path(Compiler(pipeline, imports_and_functions).compile())
        kfputils.compile_pipeline(str(script), pipeline.config.pipeline_name)
    except Exception as error:  # Kale raises many kinds, all mean that it cannot take the notebook
        raise NotebookError(_blame(processor, notebook, error)) from error
    finally:
        logging.disable(logging.NOTSET)
    return sorted(file for file in script.parent.iterdir() if file.is_file())


def _blame(processor: Any, notebook: Any, error: Exception) -> str:
    """Kale's message and the first cell with which it appears."""
    message = " ".join(str(error).split()) or type(error).__name__
    if "Task is missing" in message:
        return "Expected at least one cell with a tag 'step:…', received: none."
    for number, cell in enumerate(notebook.cells, start=1):
        attempt = processor()
        attempt.notebook.cells = attempt.notebook.cells[:number]
        try:
            attempt.run()
        except Exception as same:
            if type(same) is type(error):
                return f"{Cell(number, cell)}: {message}"
    return message


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit code is 0, 1 for a stale compile or 2 for a wrong notebook."""
    parser = argparse.ArgumentParser(description="Compile an annotated notebook with Kale.")
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK")
    parser.add_argument("--output-dir", type=Path, default=PROJECT / "kale")
    parser.add_argument("--check", action="store_true", help="compare only, exit 1 on a difference")
    options = parser.parse_args(arguments)
    try:
        notebooks = options.notebooks or pipeline_notebooks()
    except NotebookError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    work = _check if options.check else _write
    exit_code = 0
    for notebook in notebooks:
        try:
            exit_code = max(exit_code, work(notebook, options.output_dir))
        except NotebookError as error:
            print(f"error: {notebook}: {error}", file=sys.stderr)
            exit_code = 2
        except OSError as error:
            if not is_full_disk(error):
                raise
            print(f"error: {full_disk(error)}", file=sys.stderr)
            return 1
    return exit_code


def _check(notebook_path: Path, output_dir: Path) -> int:
    """Check whether a compile would change something; the exit code."""
    report = check_compile(notebook_path, output_dir)
    mend = [f"Mend it with: {remedy(notebook_path)}"]
    print("\n".join([*report, *mend] if report else [f"{notebook_path.name}: fresh"]))
    return 1 if report else 0


def _write(notebook_path: Path, output_dir: Path) -> int:
    """Compile, and name the files; the exit code."""
    for file in compile_notebook(notebook_path, output_dir):
        print(os.path.relpath(file))
    return 0


if __name__ == "__main__":
    sys.exit(main())
