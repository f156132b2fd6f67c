"""What happens to a test whose program this machine lacks."""

import os
from typing import NoReturn

import pytest


def missing(program: str, remedy: str) -> NoReturn:
    """Skip the test and say what to install; in CI, which installs it, fail."""
    told = f"Needs {program}: {remedy}"
    if os.environ.get("CI") == "true":
        pytest.fail(told)
    pytest.skip(told)
