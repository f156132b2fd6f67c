"""A model file that was changed, or that another author wrote, is not opened."""

import logging
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from model_files import contract, seasonal_naive_bytes
from seldon_server import PYTHON, REFERENCE

from kalecast.artifact import contract as contracts
from kalecast.artifact.contract import ContractError, open_session, read_contract, write_contract
from kalecast.artifact.runtime import Forecaster
from kalecast.artifact.signing import (
    SignatureError,
    keys_from,
    signed,
    unsigned,
    verify,
    with_checksum,
)
from kalecast.artifact.store import StoreError, fetch, keep, make_current, publish

KEY = b"0123456789abcdef0123456789abcdef"
OTHER = b"fedcba9876543210fedcba9876543210"


@pytest.fixture
def model() -> bytes:
    return seasonal_naive_bytes()


def test_a_model_file_is_written_with_a_checksum(model: bytes) -> None:
    assert with_checksum(unsigned(model)) == model != unsigned(model)
    assert verify(model, ())
    assert not verify(unsigned(model), ())


def test_a_signed_file_is_read_by_all_who_read_onnx(model: bytes) -> None:
    found = signed(model, [KEY])
    onnx.checker.check_model(onnx.load_from_string(found), full_check=True)
    assert read_contract(open_session(found)) == contract()
    histories = np.arange(168.0).reshape(1, -1)
    expected = Forecaster(unsigned(model)).forecast_windows(histories)
    np.testing.assert_array_equal(Forecaster(found).forecast_windows(histories), expected)


@pytest.mark.slow
@pytest.mark.parametrize("python", [PYTHON, REFERENCE], ids=["server", "wrapper"])
def test_the_servers_environments_read_a_signed_file(
    model: bytes, python: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(signed(model, [KEY]))
    opened = "kalecast.serving.model import open_model; open_model"
    if python == REFERENCE:
        opened = "kalecast.serving.stock_wrapper import ForecastModel; ForecastModel"
    subprocess.run(
        [python, "-c", f"from {opened}({str(path)!r})"],
        check=True,
        env={"KALECAST_MODEL_KEY": KEY.decode(), "PATH": ""},
    )


@pytest.mark.parametrize("keys", [(), (KEY,)], ids=["checksum", "signature"])
def test_any_changed_byte_is_found(model: bytes, keys: tuple[bytes, ...]) -> None:
    found = signed(model, keys)
    kept = unsigned(found)
    for at in (0, 100, len(kept) // 2, len(kept) - 1):
        changed = bytearray(found)
        changed[at] ^= 1
        with pytest.raises(SignatureError):
            verify(bytes(changed), keys)


def test_with_a_key_only_its_signature_counts(model: bytes) -> None:
    other = signed(model, [OTHER])
    inside = with_checksum(other + b"\x22\x00")
    for refused in (model, unsigned(model), other, inside, signed(model, [KEY]) + b"\x22\x00", b""):
        with pytest.raises(SignatureError, match="signed with the key of KALECAST_MODEL_KEY"):
            verify(refused, [KEY])
    verify(signed(other, [KEY]), [KEY])
    verify(signed(model, [KEY]), ())  # without a key, its checksum alone


def test_a_key_is_changed_while_servers_run(model: bytes) -> None:
    for file in (signed(model, [KEY]), signed(model, [OTHER])):
        verify(file, [KEY, OTHER])
    assert signed(model, [OTHER, KEY]) == signed(model, [OTHER])


def test_a_file_without_checksum_passes_and_the_log_says_so_once(
    model: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    contracts._say_unchecked.cache_clear()
    with caplog.at_level(logging.WARNING):
        open_session(unsigned(model))
        open_session(unsigned(model))
    assert [record.message for record in caplog.records] == [
        "A model file without checksum, of an older library, is used as it is."
    ]


def test_a_file_that_is_signed_again_has_one_signature(model: bytes) -> None:
    twice = signed(signed(model, [OTHER]), [KEY])
    assert twice == signed(model, [KEY])
    renewed = write_contract(twice, contract(version="next"))
    assert read_contract(open_session(renewed)).version == "next"
    keys = [entry.key for entry in onnx.load_from_string(renewed).metadata_props]
    assert keys == ["kalecast.contract", "kalecast.checksum"]


def test_keys_come_from_the_environment_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"{KEY.decode()}\n{OTHER.decode()}\n")
    assert keys_from({}) == keys_from({"KALECAST_MODEL_KEY": ""}) == ()
    assert keys_from({"KALECAST_MODEL_KEY": KEY.decode()}) == (KEY,)
    assert keys_from({"KALECAST_MODEL_KEY_FILE": str(path)}) == (KEY, OTHER)


def test_a_key_that_is_none_is_said(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("\n")
    for environment, reason in (
        ({"KALECAST_MODEL_KEY": "short"}, "at least 32 bytes in KALECAST_MODEL_KEY, received one"),
        ({"KALECAST_MODEL_KEY_FILE": str(tmp_path / "none")}, "No such file"),
        ({"KALECAST_MODEL_KEY_FILE": str(empty)}, "it is empty"),
    ):
        with pytest.raises(SignatureError, match=reason) as raised:
            keys_from(environment)
        assert "short" not in str(raised.value).replace("too short", "")


def test_what_is_published_with_a_key_is_signed(
    model: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KALECAST_MODEL_KEY", KEY.decode())
    kept = keep(model, str(tmp_path), "forecaster", "v1")
    for uri in (kept, make_current(model, str(tmp_path), "forecaster")):
        verify(fetch(uri), [KEY])
        Forecaster(fetch(uri))
    with pytest.raises(ContractError, match="without signature"):
        Forecaster(model)


def test_a_step_repeated_with_another_key_finds_its_own_version(
    model: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(model, str(tmp_path), "forecaster", "v1")
    monkeypatch.setenv("KALECAST_MODEL_KEY", OTHER.decode())
    verify(fetch(publish(model, str(tmp_path), "forecaster", "v1")), [OTHER])
    with pytest.raises(StoreError, match="with other content"):
        keep(seasonal_naive_bytes(offset=2), str(tmp_path), "forecaster", "v1")


def test_a_file_beyond_the_limit_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    with path.open("wb") as file:
        file.truncate(10 * 2**30)
    with pytest.raises(StoreError, match="at most 32 MiB"):
        fetch(str(path))
