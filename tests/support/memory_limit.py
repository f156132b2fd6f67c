"""Processes with the memory of a pod: in a memory cgroup, or by `RLIMIT_DATA` without one.

with memory_limit(512) as limit:
    subprocess.Popen(limit.command([PYTHON, "serve.py"]))
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

CGROUPS = Path("/sys/fs/cgroup")
VERSIONS = (
    (CGROUPS / "memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes"),
    (CGROUPS, "memory.max", "memory.peak"),
)
"""Of either version of cgroups: where they lie, and the files of the limit and of the peak."""


@dataclass(frozen=True)
class MemoryLimit:
    """What the processes started within it may take together."""

    mebibytes: int
    group: Path | None
    """None: there is no cgroup, and each process has the limit for itself."""
    peak_file: str = ""

    def command(self, command: Sequence[str | Path]) -> list[str]:
        """What starts a command within the limit, in the same process."""
        if self.group:
            first = f'echo $$ >"{self.group}/cgroup.procs"'
        else:
            first = f"ulimit -d {self.mebibytes * 1024}"
        return ["/bin/sh", "-c", f'{first} && exec "$@"', "sh", *map(str, command)]

    @property
    def peak(self) -> float:
        """Bytes that were taken at the most; not a number where it is not counted."""
        with suppress(OSError):
            if self.group:
                return int((self.group / self.peak_file).read_text())
        return float("nan")


@contextmanager
def memory_limit(mebibytes: int) -> Iterator[MemoryLimit]:
    """A limit for processes that the block starts, and ends."""
    for folder, limit_file, peak_file in VERSIONS:
        group = folder / f"kalecast-{os.getpid()}-{uuid4().hex[:8]}"
        try:
            group.mkdir()
            (group / limit_file).write_text(str(mebibytes * 2**20))
        except OSError:  # not mounted, not ours to write, or without memory's files
            with suppress(OSError):
                group.rmdir()
            continue
        try:
            yield MemoryLimit(mebibytes, group, peak_file)
        finally:
            _remove(group)
        return
    yield MemoryLimit(mebibytes, None)


def _remove(group: Path) -> None:
    """Remove a group whose last process is ending."""
    for _ in range(100):
        with suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.05)
