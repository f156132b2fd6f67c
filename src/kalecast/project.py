"""The project's folder, which holds notebooks, data, models and runs."""

import os
from pathlib import Path

HOME_VARIABLE = "KALECAST_HOME"


def project_path(path: str | Path) -> Path:
    """A path as JupyterLab's file browser shows it, made absolute.

    Relative paths are relative to the project's folder: the one that the environment's
    `KALECAST_HOME` names, else the nearest one above the working directory that holds
    `notebooks/` and `pyproject.toml`, else the working directory. So a notebook finds its data
    whichever folder it is executed from.
    """
    path = Path(path).expanduser()
    return path if path.is_absolute() else _home() / path


def _home() -> Path:
    return _named() or _around(Path.cwd()) or Path.cwd()


def _named() -> Path | None:
    named = os.environ.get(HOME_VARIABLE)
    return Path(named).resolve() if named else None


def _around(here: Path) -> Path | None:
    """The nearest project's folder at or above another."""
    return next((folder for folder in (here, *here.parents) if _is_project(folder)), None)


def _is_project(folder: Path) -> bool:
    return (folder / "pyproject.toml").is_file() and (folder / "notebooks").is_dir()


PROJECT = _named() or _around(Path.cwd()) or _around(Path(__file__).resolve()) or Path.cwd()
"""Where the commands look for what belongs to the project: its compiled pipelines, manifests and
environments. From outside of any project it is the checkout that this file belongs to."""
