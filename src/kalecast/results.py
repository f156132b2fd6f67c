"""Results of a benchmark as a file, with what is needed to get them again."""

import json
import os
import platform
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FIGURES = Path("report/figures")
"""Where the report looks for them."""

_BEGAN = time.monotonic()
"""When the command that measures was started, or nearly so."""


def write_results(path: Path, command: str, results: dict[str, Any]) -> None:
    """Write results beside the command that gives them, the date, the machine and the time.

    Whoever reads the file meanwhile finds the one before or this one, whole.
    """
    about = {
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0)),
        "machine": machine(),
        "took_seconds": round(time.monotonic() - _BEGAN),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(json.dumps({**about, **results}, indent=1) + "\n")
    draft.replace(path)


def machine(cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, Any]:
    """What is measured on: `cpu` (its model), `cores` that may be used, `memory_gib`, software."""
    text = cpuinfo.read_text() if cpuinfo.is_file() else ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, flags=re.MULTILINE)
    marks = re.compile(r"\((R|TM)\)|\b(CPU|Processor)\b", flags=re.IGNORECASE)
    return {
        "cpu": " ".join(marks.sub(" ", model[1]).split()) if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": _system(),
        "python": platform.python_version(),
    }


def _system() -> str:
    kernel = f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}"
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {kernel}"
    except OSError:
        return kernel
