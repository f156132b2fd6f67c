"""Results of a benchmark as a file, with what is needed to get them again."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FIGURES = Path("report/figures")
"""Where the report looks for them."""


def write_results(path: Path, command: str, results: dict[str, Any]) -> None:
    """Write results beside the command that gives them, the date and the number of cores."""
    about = {
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0)),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**about, **results}, indent=1) + "\n")
