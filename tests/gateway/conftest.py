"""What several files of the gateway's tests start from."""

from collections.abc import Iterator

import page_process
import pytest
from model_files import contract
from stand_in_server import standing_in


@pytest.fixture(scope="package")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[page_process.Page]:
    """The real page, before a model server that answers with an offset."""
    with (
        standing_in(contract(input_length=336, horizon=48), offset=20.0) as server,
        page_process.running(tmp_path_factory.mktemp("page"), server.url) as page,
    ):
        yield page
