"""What tests of benchmarks share: they run them as people do."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run() -> Callable[..., dict[str, Any]]:
    """Runs a benchmark; returns the JSON object of its last line."""

    def run(module: str, *arguments: str | Path) -> dict[str, Any]:
        command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        message: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return message

    return run
