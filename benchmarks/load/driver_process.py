"""The load driver, run in a process of its own: no library of ours slows it or is slowed."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.load.job import Job
from benchmarks.load.stack import SERVER_PYTHON
from kalecast.lifetime import end, start
from kalecast.project import PROJECT

DRIVER = ("-m", "benchmarks.load.driver")


class LoadError(RuntimeError):
    """The driver could not do its job; it has said why."""


def drive(job: Job, during: Callable[[], None] | None = None) -> dict[str, Any]:
    """Do a job; returns its outcome, as `driver.py` tells.

    Args:
        job: what to do.
        during: called meanwhile, in this process.

    Raises:
        LoadError: it could not be done.
    """
    # The server's environment has uvloop.
    python = SERVER_PYTHON if Path(SERVER_PYTHON).exists() else sys.executable
    driver = start(
        [python, *DRIVER], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert driver.stdin is not None
        driver.stdin.write(job.to_json())
        driver.stdin.close()
        driver.stdin = None
        if during is not None:
            during()
        output, _ = driver.communicate()
    finally:
        end(driver, 0)
    if driver.returncode != 0:
        raise LoadError(f"The load driver ended with status {driver.returncode}.")
    outcome = _read(output)
    for warning in outcome["warnings"]:
        if warning not in _warned:
            print(f"    {warning}", flush=True)
            _warned.add(warning)
    return outcome


def _read(output: str) -> dict[str, Any]:
    try:
        outcome: dict[str, Any] = json.loads(output)
    except json.JSONDecodeError as error:
        received = output[max(0, error.pos - 60) : error.pos + 60]
        raise LoadError(f"Expected the driver's outcome, received: {received!r}") from error
    return outcome


_warned: set[str] = set()
"""What was said once."""
