"""What tests of the page start from: a stand-in for the model server, and a page in front of it."""

from collections.abc import Iterator

import page_process
import pytest
from page_process import Page
from stand_in_server import StandInServer, standing_in


@pytest.fixture(scope="module")
def model_server() -> Iterator[StandInServer]:
    with standing_in() as server:
        yield server


@pytest.fixture(scope="module")
def page(
    request: pytest.FixtureRequest,
    model_server: StandInServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Page]:
    """A page with the settings that the test file names in `SETTINGS`."""
    settings = getattr(request.module, "SETTINGS", {})
    folder = tmp_path_factory.mktemp("page")
    with page_process.running(folder, model_server.url, **settings) as page:
        yield page
