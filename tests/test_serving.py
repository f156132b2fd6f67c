"""A new model file takes the old one's place whole, or not at all."""

import asyncio
import shutil
from pathlib import Path

import pytest
from model_files import contract, replace_file, seasonal_naive_bytes
from serving import Serving, open_model

from kalecast.bundle import BundleError
from kalecast.store import StoreError


@pytest.fixture
def path(model_file: Path, tmp_path: Path) -> Path:
    """A copy that a test may replace."""
    return Path(shutil.copy(model_file, tmp_path))


def test_a_new_model_is_served_after_a_reload(path: Path) -> None:
    serving, told = Serving.open(str(path)), []
    serving.on_reload = told.append
    before = serving.model
    replace_file(path, seasonal_naive_bytes(contract(version="next", horizon=48)))
    assert asyncio.run(serving.reload())
    assert serving.model is not before
    assert serving.model.contract.version == "next"
    assert serving.model.metadata["outputs"][0]["shape"] == [-1, 48, 5]
    assert told == [True]


@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_a_bad_model_is_left_alone(path: Path, content: bytes | None) -> None:
    serving, told = Serving.open(str(path)), []
    serving.on_reload = told.append
    before = serving.model
    if content is None:
        path.unlink()
    else:
        replace_file(path, content)
    assert not asyncio.run(serving.reload())
    assert serving.model is before
    assert told == [False]


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_model_that_forecasts_no_finite_numbers_is_bad(path: Path) -> None:
    path.write_bytes(seasonal_naive_bytes(offset=float("inf")))
    with pytest.raises(BundleError, match="Expected finite forecasts"):
        open_model(str(path))


def test_watching_takes_up_what_changes_and_tries_a_bad_file_once(path: Path) -> None:
    looks = 0

    async def steps() -> list[bool]:
        serving, told = Serving.open(str(path)), []
        serving.on_reload = told.append

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
        return told

    assert asyncio.run(steps()) == [False, True]


def test_nothing_to_serve_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        Serving.open(str(tmp_path / "none.onnx"))
