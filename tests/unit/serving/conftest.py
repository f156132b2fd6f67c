"""Tests that are coroutines run in asyncio's event loop, as the server does."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
