"""What several test files start from."""

import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from model_files import seasonal_naive_bytes

if TYPE_CHECKING:
    from playwright.sync_api import Browser

LONGEST = (
    *("test_execute_notebooks", "test_report", "test_notebooks", "test_benchmarks"),
    *("test_workbench_image", "test_training", "test_network", "test_check_notebooks"),
)
"""Files that take longest: they begin, so that none is left alone at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    last = len(LONGEST)
    items.sort(
        key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else last
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """CI installs what every test needs: what is skipped there has failed."""
    report = yield
    skipped = call.excinfo is not None and call.excinfo.errisinstance(pytest.skip.Exception)
    if skipped and os.environ.get("CI") == "true":
        report.outcome, report.longrepr = "failed", f"Skipped in CI: {call.excinfo.value}"
    return report


@pytest.fixture(autouse=True)
def signal_handlers() -> Iterator[None]:
    """A command that a test calls sets handlers of its own: the next test finds the usual ones."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


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
