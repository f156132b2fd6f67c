"""No false alarm: a selection of what customers send passes the gateway as it is shipped.

All of it is sent by `make benchmark-protection`.
"""

from collections import Counter
from collections.abc import Iterator

import gateway_process
import page_process
import pytest

from benchmarks.protection.benign_traffic import ALARM, KINDS, OTHER, SAME, Compared, compare

pytestmark = pytest.mark.slow

SHARE = 0.13


@pytest.fixture(scope="module")
def found(page: page_process.Page) -> Iterator[list[Compared]]:
    with gateway_process.opened(page.url) as gateway:
        yield compare(gateway.page, gateway.protected, SHARE)


@pytest.mark.parametrize("outcome", [ALARM, OTHER])
def test_nothing_benign_is_refused_or_answered_otherwise(
    found: list[Compared], outcome: str
) -> None:
    odd = [(one.app.status_code, one.gateway.status_code, one.request) for one in found
           if one.outcome == outcome]  # fmt: skip
    assert odd == []


def test_the_page_answers_as_without_the_gateway(found: list[Compared]) -> None:
    assert sum(one.outcome == SAME for one in found) > 0.9 * len(found)


def test_every_kind_was_sent(found: list[Compared]) -> None:
    kinds = Counter(one.request.kind for one in found)
    assert kinds.keys() == set(KINDS)
    assert min(kinds.values()) >= 10
    assert {one.gateway.http_version for one in found} == {"HTTP/1.1", "HTTP/2"}
