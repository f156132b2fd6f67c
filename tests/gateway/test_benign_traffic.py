"""No false alarm: a selection of what customers send passes the gateway as it is shipped.

All of it is sent by `make benchmark-protection`.
"""

from collections import Counter
from collections.abc import Iterator

import gateway_process
import page_process
import pytest
from model_files import contract
from stand_in_server import standing_in

from benchmarks.protection.benign_traffic import ALARM, OTHER, SAME, Found, compare

pytestmark = pytest.mark.slow

SHARE = 0.13


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Found]:
    with (
        standing_in(contract(input_length=336, horizon=48), offset=20.0) as model_server,
        page_process.running(tmp_path_factory.mktemp("page"), model_server.url) as page,
        gateway_process.opened(page.url) as gateway,
    ):
        yield compare(gateway.page, gateway.protected, SHARE)


def message(found: Found, outcome: str) -> list[tuple[str, str, int, int, str]]:
    return [
        (one.request.method, one.request.path, one.app.status, one.gateway.status, str(one.request))
        for one in found.of(outcome)
    ]


def test_nothing_benign_is_refused(found: Found) -> None:
    assert message(found, ALARM) == []


def test_the_page_answers_as_without_the_gateway(found: Found) -> None:
    assert message(found, OTHER) == []
    assert found.count(SAME) > 0.9 * len(found.compared)


def test_every_kind_was_sent(found: Found) -> None:
    kinds = Counter(one.request.kind for one in found.compared)
    assert min(kinds.values()) >= 10
    assert len(kinds) == 7
    assert {one.request.is_http2 for one in found.compared} == {True, False}
