"""Publishing and fetching model files by URI."""

from pathlib import Path

import pytest

from kalecast.store import StoreError, fetch, keep, make_current, project_path, publish


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
