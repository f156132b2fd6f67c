"""What several test files start from."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from model_files import seasonal_naive_bytes

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """A headless browser for all tests of a file."""
    from chromium import launched

    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model file, the same for all tests of a file."""
    path = tmp_path_factory.mktemp("models") / "forecaster.onnx"
    path.write_bytes(seasonal_naive_bytes())
    return path
