"""A new model file takes the old one's place whole, or not at all."""

import asyncio
import shutil
from pathlib import Path

import pytest
from model_files import contract, replace_file, seasonal_naive_bytes

from kalecast.artifact.contract import ContractError
from kalecast.artifact.store import StoreError
from kalecast.serving.model import open_model
from kalecast.serving.reloading import Serving
from kalecast.serving.server import Background


@pytest.fixture
def path(model_file: Path, tmp_path: Path) -> Path:
    """A copy that a test may replace."""
    return Path(shutil.copy(model_file, tmp_path))


def test_a_new_model_is_served_after_a_reload(path: Path) -> None:
    serving, reloads = Serving.open(str(path)), []
    serving.on_reload = reloads.append
    before = serving.model
    replace_file(path, seasonal_naive_bytes(contract(version="next", horizon=48)))
    assert asyncio.run(serving.reload())
    assert serving.model is not before
    assert serving.model.contract.version == "next"
    assert serving.model.metadata["outputs"][0]["shape"] == [-1, 48, 5]
    assert reloads == [True]


@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_a_bad_model_is_left_alone(path: Path, content: bytes | None) -> None:
    serving, reloads = Serving.open(str(path)), []
    serving.on_reload = reloads.append
    before = serving.model
    if content is None:
        path.unlink()
    else:
        replace_file(path, content)
    assert not asyncio.run(serving.reload())
    assert serving.model is before
    assert reloads == [False]


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_model_that_forecasts_no_finite_numbers_is_bad(path: Path) -> None:
    path.write_bytes(seasonal_naive_bytes(offset=float("inf")))
    with pytest.raises(ContractError, match="Expected finite forecasts"):
        open_model(str(path))


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), RuntimeError("no thread")])
def test_what_goes_wrong_once_does_not_end_the_watch(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    async def steps() -> list[bool]:
        serving, reloads = Serving.open(str(path)), []
        serving.on_reload = reloads.append
        looks, version = 0, contract().version

        def fail(_: object) -> None:
            raise error

        async def look(_: float) -> None:
            nonlocal looks
            looks += 1
            if looks == 2:  # neither a process for the trial, nor a look at the file
                monkeypatch.setattr("kalecast.serving.reloading.try_out", fail)
                replace_file(path, seasonal_naive_bytes(contract(version="next")))
            if looks == 3:
                monkeypatch.setattr("kalecast.serving.reloading.state", fail)
            if looks == 5:
                assert serving.model.contract.version == version
                monkeypatch.undo()
                replace_file(path, seasonal_naive_bytes(contract(version="last")))
            if looks == 7:
                raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await serving.watch(1, look)
        assert serving.model.contract.version == "last"
        assert serving.look_age < 60
        return reloads

    assert asyncio.run(steps()) == [False, False, False, True]
    assert str(error) in caplog.text


def test_a_file_that_could_not_be_tried_is_tried_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = Serving.open(str(path))
    replace_file(path, seasonal_naive_bytes(contract(version="next")))

    async def steps() -> None:
        looks = 0

        async def look(_: float) -> None:
            nonlocal looks
            looks += 1
            if looks == 1:
                monkeypatch.setattr("kalecast.serving.reloading.try_out", _no_process)
            if looks == 2:
                monkeypatch.undo()
            if looks == 3:
                raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await serving.watch(1, look)

    asyncio.run(steps())
    assert serving.model.contract.version == "next"


def _no_process(_: bytes) -> None:
    raise BlockingIOError(11, "Resource temporarily unavailable")


def test_a_failure_to_count_a_model_does_not_end_the_watch(path: Path) -> None:
    serving = Serving.open(str(path))

    def fail(_: bool) -> None:
        raise TypeError

    serving.on_reload = fail
    replace_file(path, seasonal_naive_bytes(contract(version="next")))
    assert asyncio.run(serving.reload())
    assert serving.model.contract.version == "next"


@pytest.mark.parametrize("fails", [True, False], ids=["raises", "ends"])
def test_a_task_in_the_background_does_not_end_unseen(
    fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        if fails:
            raise ValueError("out of order")

    async def wait_for(background: Background, failed: asyncio.Event) -> None:
        background.start("The watch", work(), is_kept=True)
        await asyncio.wait_for(failed.wait(), 10)

    async def steps() -> None:
        failed = asyncio.Event()
        await wait_for(Background(failed.set), failed)

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


def test_watching_takes_up_what_changes_and_tries_a_bad_file_once(path: Path) -> None:
    looks = 0

    async def steps() -> list[bool]:
        serving, reloads = Serving.open(str(path)), []
        serving.on_reload = reloads.append

        async def look(_: float) -> None:
            nonlocal looks
            looks += 1
            if looks == 2:
                replace_file(path, b"no model")
            if looks == 5:
                replace_file(path, seasonal_naive_bytes(contract(version="next")))
            if looks == 8:
                path.unlink()
            if looks == 10:
                raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await serving.watch(1, look)
        assert serving.model.contract.version == "next"
        return reloads

    assert asyncio.run(steps()) == [False, True]


def test_nothing_to_serve_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        Serving.open(str(tmp_path / "none.onnx"))
