"""What several test files start from."""

from pathlib import Path

import pytest
from model_files import seasonal_naive_bytes


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model file, the same for all tests of a file."""
    path = tmp_path_factory.mktemp("models") / "forecaster.onnx"
    path.write_bytes(seasonal_naive_bytes())
    return path
