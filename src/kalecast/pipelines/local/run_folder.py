"""The folder of one run, and what the run writes about itself in it.

progress.json   while it works: its parameters, the names of its steps, how each went so far
summary.json    in the end: the outcome as well
running         locked by the run's process as long as that lives
logs/, reports/, marshal/, ipython/
"""

import errno
import fcntl
import json
import secrets
from datetime import datetime
from pathlib import Path
from typing import IO, Any

PROGRESS, SUMMARY, RUNNING = "progress.json", "summary.json", "running"


def new_run_folder(runs_dir: Path) -> Path:
    """Make an empty folder named after the time at which the run was requested."""
    name = f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    folder = runs_dir.resolve() / name
    folder.mkdir(parents=True)
    return folder


def make_subfolders(folder: Path) -> None:
    """Make the folders that a run writes into."""
    for part in ("logs", "reports", "marshal", "ipython"):
        (folder / part).mkdir(exist_ok=True)


def hold(folder: Path) -> IO[str]:
    """Mark the run as running until this process ends, however it ends.

    The caller keeps the file: closing it takes the mark away.
    """
    file = (folder / RUNNING).open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def is_running(folder: Path) -> bool:
    """Whether a process holds the run."""
    try:
        with (folder / RUNNING).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def is_full_disk(error: BaseException) -> bool:
    """Whether an error says that a file could not be written for want of room."""
    no_room = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    # NumPy says "8192 requested and 0 written" and no number.
    return isinstance(error, OSError) and (error.errno in no_room or "written" in str(error))


def full_disk(error: BaseException | None = None) -> str:
    """A sentence on a disk that has no room left."""
    name = getattr(error, "filename2", None) or getattr(error, "filename", None)
    return (
        f"The disk has no room for {repr(str(name)) if name else 'what the run writes'}. Make "
        "room, such as by removing old folders in runs/, and run it again."
    )


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file that readers see whole or not at all."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    draft.replace(path)
