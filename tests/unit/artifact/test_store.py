"""Publishing and fetching model files by URI."""

import errno
import os
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier

import pytest

from kalecast.artifact.store import StoreError, fetch, keep, make_current, publish, whole_file
from kalecast.project import project_path


def test_publish_keeps_the_version_and_moves_the_current_file(tmp_path: Path):
    store = f"file://{tmp_path}/with%20space"
    first = publish(b"one", store, "forecaster", "v1")
    assert fetch(first) == b"one"
    assert publish(b"two", store, "forecaster", "v2") == first
    assert fetch(first) == b"two"
    folder = tmp_path / "with space"
    assert (folder / "forecaster-v1.onnx").read_bytes() == b"one"
    assert sorted(path.name for path in folder.iterdir()) == [
        "forecaster-v1.onnx",
        "forecaster-v2.onnx",
        "forecaster.onnx",
    ]


def test_a_version_can_be_kept_before_it_becomes_the_current_one(tmp_path: Path):
    current = publish(b"one", str(tmp_path), "forecaster", "v1")
    assert fetch(keep(b"two", str(tmp_path), "forecaster", "v2")) == b"two"
    assert fetch(current) == b"one"
    assert make_current(b"two", str(tmp_path), "forecaster") == current
    assert fetch(current) == b"two"


def test_a_version_is_never_overwritten(tmp_path: Path):
    publish(b"one", str(tmp_path), "forecaster", "v1")
    publish(b"one", str(tmp_path), "forecaster", "v1")  # a repeated step
    with pytest.raises(StoreError, match="is there, with other content"):
        publish(b"two", str(tmp_path), "forecaster", "v1")
    assert (tmp_path / "forecaster.onnx").read_bytes() == b"one"


def outcomes_of_two(store: str, version: str) -> dict[bytes, bool]:
    """Two publishers of one version at once: each one's content, and whether it succeeded."""
    both_ready = Barrier(2)

    def published(content: bytes) -> bool:
        both_ready.wait()
        try:
            publish(content, store, "forecaster", version)
        except StoreError as error:
            assert "is there, with other content" in str(error)
            return False
        return True

    contents = [b"one" * 10_000, b"two" * 10_000]
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(contents, pool.map(published, contents), strict=True))


@pytest.mark.parametrize("links", [True, False])
def test_of_two_publishers_of_one_version_one_alone_succeeds(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(Path, "hardlink_to", no_links)
    for version in range(40):
        outcomes = outcomes_of_two(str(tmp_path), f"v{version}")
        (winner,) = (content for content, succeeded in outcomes.items() if succeeded)
        assert (tmp_path / f"forecaster-v{version}.onnx").read_bytes() == winner
        assert (tmp_path / "forecaster.onnx").read_bytes() == winner
    assert not list(tmp_path.glob(".*"))


def test_what_is_published_is_on_the_disk_first_the_file_and_then_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    done: list[str] = []
    sync, replace = os.fsync, Path.replace

    def watched_sync(number: int) -> None:
        done.append(f"sync {Path(f'/proc/self/fd/{number}').readlink().suffix}")
        sync(number)

    def watched_replace(self: Path, target: Path) -> Path:
        done.append(f"rename {target.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", watched_sync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    publish(b"one", str(tmp_path / "new"), "forecaster", "v1")
    kept = ["sync .part", "rename forecaster-v1.onnx", "sync ", "sync "]
    assert done == [*kept, "sync .part", "rename forecaster.onnx", "sync ", "sync "]


@contextmanager
def full_disk(most: int) -> Iterator[None]:
    """Files cannot grow beyond so many bytes: what a full disk does to a writer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_ends_in_a_sentence_and_leaves_the_old_model(tmp_path: Path):
    publish(b"one", str(tmp_path), "forecaster", "v1")
    with (
        full_disk(4096),
        pytest.raises(StoreError, match=r"Could not write the model file '.*forecaster-v2.onnx'"),
    ):
        publish(b"x" * 10_000, str(tmp_path), "forecaster", "v2")
    assert (tmp_path / "forecaster.onnx").read_bytes() == b"one"
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["forecaster-v1.onnx", "forecaster.onnx"]


def test_a_file_that_is_not_written_to_its_end_is_none(tmp_path: Path):
    path = tmp_path / "state"
    path.write_text("before")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_text() == "before"
    with pytest.raises(FileExistsError), whole_file(path, where_none=True) as file:
        file.write(b"another")
    assert [one.name for one in tmp_path.iterdir()] == ["state"]


@pytest.mark.parametrize("name", ["My Model/1", "../up", "", ".hidden", "a b"])
def test_a_name_that_is_no_files_is_refused(name: str, tmp_path: Path):
    with pytest.raises(StoreError, match="Expected a model name"):
        publish(b"one", str(tmp_path), name, "v1")
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_cannot_be_written_leaves_the_old_file(tmp_path: Path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StoreError, match="Could not write"):
        publish(b"x", str(tmp_path / "taken"), "forecaster", "v1")
    assert (tmp_path / "taken").read_text() == "a file"


@pytest.mark.parametrize("uri", ["none.onnx", "file:///no/such/file.onnx", "."])
def test_a_missing_file_is_named(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KALECAST_HOME", str(tmp_path))
    with pytest.raises(StoreError, match="Expected a model file at"):
        fetch(uri)


@pytest.mark.parametrize("uri", ["ftp://host/model.onnx", "gs://bucket/model.onnx"])
def test_an_unknown_scheme_is_refused(uri: str):
    with pytest.raises(StoreError, match="Expected a path, a file: or an s3: URI"):
        fetch(uri)


def test_a_file_uri_of_another_machine_is_refused():
    with pytest.raises(StoreError, match="of this machine"):
        fetch("file://host/models/forecaster.onnx")


def test_an_s3_uri_needs_a_bucket():
    with pytest.raises(StoreError, match="s3://bucket/models"):
        fetch("s3:///model.onnx")


def test_relative_paths_are_relative_to_the_project(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("KALECAST_HOME", raising=False)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert project_path("models") == tmp_path / "models"
    assert project_path("/data/a.csv") == Path("/data/a.csv")
    monkeypatch.setenv("KALECAST_HOME", "/opt/kalecast")
    assert project_path("models") == Path("/opt/kalecast/models")
