"""Quotas and how replicas share them; a file that is read again when it changes."""

import asyncio
import logging
from pathlib import Path

import pytest

from kalecast.page.callers import KEPT, Buckets, Replicas, WatchedFile
from kalecast.page.customers import Quota

SIX = Quota(per_minute=6, burst=2)


def test_at_once_as_many_as_the_burst_then_one_by_one() -> None:
    buckets = Buckets()
    assert [buckets.take("a", SIX, 100.0) for _ in range(3)] == [0, 0, pytest.approx(10)]
    assert buckets.take("a", SIX, 107.0) == pytest.approx(3)
    assert buckets.take("a", SIX, 110.0) == 0
    refusals = [buckets.take("a", SIX, 110.0) for _ in range(50)]
    assert refusals == [pytest.approx(10)] * 50, "a refusal costs nothing"
    assert buckets.take("a", SIX, 120.0) == 0
    assert buckets.take("b", SIX, 120.0) == 0, "each has a bucket of its own"
    assert sum(not buckets.take("a", SIX, 3600.0) for _ in range(100)) == 2, "no hour is saved up"


def test_a_minute_brings_what_was_promised() -> None:
    buckets = Buckets()
    taken = sum(not buckets.take("a", Quota(600, 10), at / 100) for at in range(60_00))
    assert 600 <= taken <= 610


def test_another_quota_counts_at_once() -> None:
    buckets = Buckets()
    for _ in range(1000):
        buckets.take("a", Quota(1, 1000), 0.0)
    assert buckets.take("a", Quota(60, 1), 0.0) == pytest.approx(1)
    assert buckets.take("a", Quota(60, 1), 1.0) == 0


def test_replicas_share() -> None:
    count = 4
    buckets = Buckets(lambda: count)
    assert [buckets.take("a", Quota(60, 8), 0.0) for _ in range(3)] == [0, 0, pytest.approx(4)]
    count = 1
    assert buckets.take("a", Quota(60, 8), 1.0) == 0
    assert Buckets(lambda: 50).take("a", SIX, 0.0) == 0, "one gets through however small the share"


def test_many_names_do_not_pile_up() -> None:
    buckets = Buckets()
    for at in range(5 * KEPT):
        buckets.take(f"person {at}", Quota(600, 1), float(at))
    assert len(buckets) <= KEPT


def test_replicas_as_a_number_or_a_name() -> None:
    assert Replicas("3").count == 3
    named = Replicas("localhost")
    assert named.count == 1
    asyncio.run(named.look())
    assert named.count == 1


def test_replicas_stay_where_a_name_is_not_known() -> None:
    unknown = Replicas("page.invalid")
    unknown.count = 5
    asyncio.run(unknown.look())
    assert unknown.count == 5


def test_read_again_when_changed_and_only_then(tmp_path: Path) -> None:
    path, texts = tmp_path / "number", []
    path.write_text("1")
    file = WatchedFile(path, lambda text: texts.append(text) or int(text))
    file.look()
    path.write_text("22")
    file.look()
    file.look()
    assert (file.content, texts) == (22, ["1", "22"])


def test_a_file_put_in_its_place(tmp_path: Path) -> None:
    path, other = tmp_path / "number", tmp_path / "other"
    path.write_text("1")
    file = WatchedFile(path, int)
    other.write_text("2")
    other.replace(path)
    file.look()
    assert file.content == 2


def test_a_broken_file_is_refused_once_and_the_old_content_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "number"
    path.write_text("1")
    file = WatchedFile(path, int)
    with caplog.at_level(logging.WARNING):
        for text in ("one", "\ud800", None):
            _put(path, text)
            file.look()
            file.look()
    assert file.content == 1
    assert len(caplog.records) == 3
    path.write_text("2")
    file.look()
    assert file.content == 2


def test_no_file_to_begin_with(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nothing"):
        WatchedFile(tmp_path / "nothing", int)


def _put(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink()
    else:
        path.write_text(text, errors="surrogatepass")
