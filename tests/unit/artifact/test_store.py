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


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where models are published to, of either kind."""
    if request.param == "folder":
        return f"file://{tmp_path}/with%20space"
    return f"s3://{request.getfixturevalue('bucket')}/team/kalecast"


def fetched(store: str, name: str) -> bytes:
    return fetch(f"{store}/{name}.onnx")


def test_publish_keeps_the_version_and_moves_the_current_file(store: str):
    first = publish(b"one", store, "forecaster", "v1")
    assert fetch(first) == b"one"
    assert publish(b"two", store + "/", "forecaster", "v2") == first
    assert fetch(first) == fetched(store, "forecaster") == b"two"
    assert fetched(store, "forecaster-v1") == b"one"


def test_a_version_can_be_kept_before_it_becomes_the_current_one(store: str):
    current = publish(b"one", store, "forecaster", "v1")
    assert fetch(keep(b"two", store, "forecaster", "v2")) == b"two"
    assert fetch(current) == b"one"
    assert make_current(b"two", store, "forecaster") == current
    assert fetch(current) == b"two"


def test_a_version_is_never_overwritten(store: str):
    publish(b"one", store, "forecaster", "v1")
    publish(b"one", store, "forecaster", "v1")  # a repeated step
    with pytest.raises(StoreError, match=r"forecaster-v1\.onnx' is there, with other content"):
        publish(b"two", store, "forecaster", "v1")
    assert fetched(store, "forecaster-v1") == fetched(store, "forecaster") == b"one"


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


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        *((uri, "Expected a model file at") for uri in ("none.onnx", "file:///no/such.onnx", ".")),
        *((f"{scheme}://a/b.onnx", "a file: or an s3: URI") for scheme in ("ftp", "gs")),
        ("file://host/models/forecaster.onnx", "of this machine"),
        ("s3:///model.onnx", "s3://bucket/models"),
    ],
)
def test_a_uri_that_leads_to_no_file_is_named(
    uri: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("KALECAST_HOME", str(tmp_path))
    with pytest.raises(StoreError, match=message):
        fetch(uri)


def test_relative_paths_are_relative_to_the_project(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("KALECAST_HOME", raising=False)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert project_path("models") == tmp_path / "models"
    assert project_path("/data/a.csv") == Path("/data/a.csv")
    monkeypatch.setenv("KALECAST_HOME", "/opt/kalecast")
    assert project_path("models") == Path("/opt/kalecast/models")
