"""Benchmarks end with one JSON object; what they measure is not asserted."""

import json
import subprocess
import sys
from pathlib import Path

from model_files import seasonal_naive_bytes

ROOT = Path(__file__).parent.parent


def test_forward_pass(tmp_path: Path):
    model = tmp_path / "forecaster.onnx"
    model.write_bytes(seasonal_naive_bytes())
    done = subprocess.run(
        [sys.executable, "benchmarks/forward_pass.py", str(model), "--seconds", "0.01"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert set(outcome["windows_per_second"]) == {"1", "8", "64", "256"}
