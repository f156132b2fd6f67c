"""A new model file takes the old one's place whole, or not at all."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from model_files import contract, replace_file, seasonal_naive_bytes

from kalecast.serving.reloading import Serving
from kalecast.serving.server import Background


@pytest.fixture
def path(model_file: Path, tmp_path: Path) -> Path:
    """A copy that a test may replace."""
    return Path(shutil.copy(model_file, tmp_path))


@pytest.fixture
def serving(path: Path) -> Serving:
    """The model in use, whose reloads are noted."""
    opened = Serving.open(str(path))
    opened.reloads = []  # type: ignore[attr-defined]
    opened.on_reload = opened.reloads.append  # type: ignore[attr-defined]
    return opened


def watched(serving: Serving, **looks: Callable[[], object]) -> list[bool]:
    """Watch, with something done before some of the looks (`look_2`); the outcomes of reloads."""
    count = 0

    async def look(_: float) -> None:
        nonlocal count
        count += 1
        looks.pop(f"look_{count}", lambda: None)()
        if count > 9:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(serving.watch(1, look))
    assert not looks
    return serving.reloads  # type: ignore[attr-defined,no-any-return]


def publish(path: Path, version: str) -> None:
    replace_file(path, seasonal_naive_bytes(contract(version=version)))


def test_watching_takes_up_what_changes_and_tries_a_bad_file_once(
    path: Path, serving: Serving
) -> None:
    reloads = watched(
        serving,
        look_2=lambda: replace_file(path, b"no model"),
        look_5=lambda: publish(path, "next"),
        look_8=path.unlink,
    )
    assert serving.model.contract.version == "next"
    assert reloads == [False, True]


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), RuntimeError("no thread")])
def test_what_goes_wrong_once_does_not_end_the_watch(
    path: Path,
    serving: Serving,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    def fail(_: object) -> None:
        raise error

    def no_process() -> None:
        monkeypatch.setattr("kalecast.serving.reloading.try_out", fail)
        publish(path, "next")

    def all_is_well() -> None:
        assert serving.model.contract.version == contract().version
        monkeypatch.undo()
        publish(path, "last")

    reloads = watched(
        serving,
        look_2=no_process,
        look_3=lambda: monkeypatch.setattr("kalecast.serving.reloading.state", fail),
        look_5=all_is_well,
    )
    assert serving.model.contract.version == "last"
    assert serving.look_age < 60
    assert reloads == [False, False, False, True]
    assert str(error) in caplog.text


def test_a_file_that_could_not_be_tried_is_tried_again(
    path: Path, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_process(_: bytes) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("kalecast.serving.reloading.try_out", no_process)
    publish(path, "next")
    assert watched(serving, look_2=monkeypatch.undo) == [False, True]
    assert serving.model.contract.version == "next"


def test_a_failure_to_count_a_model_does_not_end_the_watch(path: Path, serving: Serving) -> None:
    def fail(_: bool) -> None:
        raise TypeError

    serving.on_reload = fail
    publish(path, "next")
    assert asyncio.run(serving.reload())
    assert serving.model.contract.version == "next"


@pytest.mark.parametrize("fails", [True, False], ids=["raises", "ends"])
def test_a_task_in_the_background_does_not_end_unseen(
    fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        if fails:
            raise ValueError("out of order")

    async def steps() -> None:
        failed = asyncio.Event()
        background = Background(failed.set)
        background.start("The watch", work(), is_kept=True)
        await asyncio.wait_for(failed.wait(), 10)

    asyncio.run(steps())
    assert "The watch ended" in caplog.text
    assert ("out of order" in caplog.text) is fails


def test_a_task_that_was_to_end_ends_quietly(caplog: pytest.LogCaptureFixture) -> None:
    async def steps() -> bool:
        failed = asyncio.Event()
        background = Background(failed.set)
        background.start("A reload", asyncio.sleep(0))
        background.start("The watch", asyncio.sleep(3600), is_kept=True)
        await asyncio.sleep(0.01)
        background.close()
        await asyncio.sleep(0.01)
        return failed.is_set()

    assert not asyncio.run(steps())
    assert not caplog.text
