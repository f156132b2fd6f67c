"""Child processes that do not outlive this one, however it ends."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
# Loaded here: between fork and exec a child should do as little as it can.
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


async def start_child(
    command: list[str],
    stdout: IO[Any] | None = None,
    stderr: IO[Any] | None = None,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> asyncio.subprocess.Process:
    """Start a command in a process group of its own, so that Ctrl-C reaches this process only."""
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
        env=environment,
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )


async def end_child(child: asyncio.subprocess.Process, grace_seconds: float) -> None:
    """Ask a child to end, and kill its whole group if it does not."""
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
    try:
        await asyncio.wait_for(child.wait(), grace_seconds)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        await child.wait()


def _die_with_parent() -> None:
    if LIBC is not None:
        LIBC.prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
