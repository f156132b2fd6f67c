"""The model server as it starts by itself, shared by all tests that change nothing of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from model_files import seasonal_naive_bytes
from seldon_server import Server, serving

from kalecast.artifact.runtime import Forecaster


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    path = tmp_path_factory.mktemp("models") / "forecaster.onnx"
    path.write_bytes(seasonal_naive_bytes())
    # What it logs of refusals would fill a pipe that none reads.
    with serving(path, KALECAST_ACCESS_LOG="off") as running:
        yield running


@pytest.fixture(scope="session")
def forecaster() -> Forecaster:
    """The model file that it serves."""
    return Forecaster(seasonal_naive_bytes())


@pytest.fixture
def own_model(model_file: Path, tmp_path: Path) -> Path:
    """A model file that a test may replace."""
    path = tmp_path / model_file.name
    path.write_bytes(model_file.read_bytes())
    return path
