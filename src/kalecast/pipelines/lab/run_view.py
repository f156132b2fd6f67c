"""What the folder of a run holds, put together for the page and for Kale's panel."""

import json
import shlex
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kalecast.artifact.store import MODELS, SAMPLE, SERVED
from kalecast.pipelines.local import run_folder
from kalecast.project import project_path

REQUEST = "run.json"  # what was requested; runs of `make pipeline` have none
TERMINAL = "terminal.txt"  # what `make pipeline` would have shown
STEP_STATES = {"running": "RUNNING", "done": "SUCCEEDED", "failed": "FAILED", "stopped": "CANCELED"}
STOPPED = ("SIGINT", "SIGTERM", "SIGHUP")
OPEN_STATES = ("PENDING", "RUNNING", "CANCELING")
LINES = 20
KINDS: dict[str, type[Any]] = {
    "steps": list,
    "step_names": list,
    "parameters": dict,
    "defaults": dict,
    "scores": dict,
    "error": dict,
    "started": float,
}
STEP_KEYS = frozenset({"name", "status", "seconds", "started", "error", "scores"})


def view_run(folder: Path, queued: str | None) -> dict[str, Any]:
    """All about one run.

    Args:
        folder: its folder.
        queued: its state if it is in the queue.
    """
    request, progress = _read(folder / REQUEST), _read(folder / run_folder.PROGRESS)
    summary = _read(folder / run_folder.SUMMARY)
    state = queued or _state(folder, summary)
    is_open = state in OPEN_STATES
    steps = summary.get("steps") or progress.get("steps") or []
    given = {**progress, **summary}.get("parameters") or {}
    return {
        "run_id": folder.name,
        "state": state,
        "is_open": is_open,
        "can_stop": queued in ("PENDING", "RUNNING"),
        "pipeline": request.get("pipeline") or _pipeline({**progress, **summary}) or folder.name,
        "created_at": request.get("created_at") or _created(folder, progress),
        "seconds": _seconds(summary, progress, is_open),
        "parameters": {**progress.get("defaults", {}), **given},
        "given": sorted(given),
        "scores": summary.get("scores") or _scores(steps),
        "model": summary.get("model"),
        "show": show_command(summary.get("model"), given),
        "error": None if is_open else _error(folder, state, summary),
        "steps": _steps(folder, steps, progress.get("step_names", []), is_open),
        "folder": str(folder),
    }


def show_command(model: str | None, parameters: dict[str, Any]) -> str | None:
    """What shows a model on a page, where `make run` by itself shows another.

    Args:
        model: the path of its file, or a URI.
        parameters: those that the run was given.
    """
    store = Path(model or "").parent
    served = model is not None and Path(model).name == f"{SERVED}.onnx"
    if not served or not store.is_relative_to(project_path(".")) or store == project_path(MODELS):
        return None
    data = str(parameters.get("data", SAMPLE))
    of_data = "" if data == SAMPLE else f"DATA={shlex.quote(data)} "
    return f"make run {of_data}STORE={shlex.quote(str(store.relative_to(project_path('.'))))}"


def _read(file: Path) -> dict[str, Any]:
    """What a run has left in a file; nothing where it is not whole."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if _is_record(content) else {}


def _is_record(content: Any) -> bool:
    """Whether content is what runs write: a bad disk may have left anything."""
    if not isinstance(content, dict):
        return False
    typed = all(isinstance(content.get(name, kind()), kind) for name, kind in KINDS.items())
    steps = content.get("steps", [])
    error = content.get("error", {"type": None})
    return typed and "type" in error and all(_is_step(step) for step in steps)


def _is_step(step: Any) -> bool:
    return isinstance(step, dict) and step.keys() >= STEP_KEYS and step["status"] in STEP_STATES


def _state(folder: Path, summary: dict[str, Any]) -> str:
    if summary:
        error = summary.get("error", {"type": None})
        return (
            "CANCELED" if error["type"] in STOPPED else "FAILED" if error["type"] else "SUCCEEDED"
        )
    if run_folder.is_running(folder):
        return "RUNNING"
    return "FAILED" if _has_begun(folder) else "CANCELED"


def _has_begun(folder: Path) -> bool:
    return any((folder / sign).is_file() for sign in (TERMINAL, run_folder.PROGRESS))


def _pipeline(run: dict[str, Any]) -> str:
    return str(run.get("pipeline", "")).removesuffix(".yaml").removesuffix(".pipeline")


def _created(folder: Path, progress: dict[str, Any]) -> str:
    try:  # the name that a run gets, see run_folder
        named = datetime.strptime(folder.name[:15], "%Y%m%d-%H%M%S").timestamp()
    except ValueError:
        named = folder.stat().st_mtime
    return datetime.fromtimestamp(progress.get("started", named), UTC).isoformat()


def _seconds(summary: dict[str, Any], progress: dict[str, Any], is_open: bool) -> float | None:
    if is_open and progress:
        return time.time() - float(progress["started"])
    return summary.get("seconds")


def _scores(steps: list[dict[str, Any]]) -> dict[str, float]:
    return {name: value for step in steps for name, value in step["scores"].items()}


def _error(folder: Path, state: str, summary: dict[str, Any]) -> dict[str, Any] | None:
    """What went wrong; where the run could not say it, the end of what it printed."""
    if summary or state == "SUCCEEDED":
        return summary.get("error")
    message = "It was never started: JupyterLab was closed first."
    if _has_begun(folder):
        message = _last_lines(folder) or "It ended without a message."
    return {"step": None, "type": "RunEnded", "message": message}


def _last_lines(folder: Path) -> str:
    try:
        printed = (folder / TERMINAL).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(printed.splitlines()[-LINES:])


def _steps(
    folder: Path, steps: list[dict[str, Any]], names: list[str], is_open: bool
) -> list[dict[str, Any]]:
    """The steps that began, then those that are to come or never came."""
    begun = [step["name"] for step in steps]
    state = "PENDING" if is_open else "SKIPPED"
    to_come = [{"name": name, "state": state} for name in names if name not in begun]
    return [_step(folder, step, is_open) for step in steps] + to_come


def _step(folder: Path, step: dict[str, Any], is_open: bool) -> dict[str, Any]:
    name, is_running = step["name"], step["status"] == "running"
    seconds = step["seconds"]
    if is_running and is_open:
        seconds = time.time() - float(step["started"])
    return {
        "name": name,
        "state": STEP_STATES[step["status"]] if is_open or not is_running else "FAILED",
        "started": step["started"],
        "seconds": seconds,
        "error": step["error"],
        "has_report": (folder / "reports" / f"{name}.html").is_file(),
    }
