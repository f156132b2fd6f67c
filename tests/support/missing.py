"""What happens to a test whose program this machine lacks."""

from typing import NoReturn

import pytest


def missing(program: str, remedy: str) -> NoReturn:
    """Skip the test and say what to install; in CI, which installs it, the test has failed."""
    pytest.skip(f"Needs {program}: {remedy}")
