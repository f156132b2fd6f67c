"""What the model server says of itself as OpenAPI, held against what it does."""

import subprocess
import sys
from pathlib import Path

import pytest
import requests
from seldon_server import Server

pytestmark = pytest.mark.slow


def test_generated_requests_are_answered_as_described(server: Server, tmp_path: Path) -> None:
    described = requests.get(server.url + "/openapi.json", timeout=10).json()
    assert described["openapi"].startswith("3.")
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run"),
        server.url + "/openapi.json",
        *("--checks", "not_a_server_error,status_code_conformance"),
        *("--max-examples", "60", "--phases", "examples,coverage,fuzzing"),
        *("--seed", "7", "--no-color", "--generation-database", "none"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert server.predict({"data": {"ndarray": [[1.0] * 60]}}).ok
