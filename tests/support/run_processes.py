"""The processes of a run: whether it left any behind."""

import time
from pathlib import Path


def processes_of(folder: Path) -> list[str]:
    """The processes whose environment names this run's folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def assert_no_process_left(folder: Path) -> None:
    deadline = time.monotonic() + 10
    while processes_of(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_of(folder) == []
