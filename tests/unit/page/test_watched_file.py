"""A file that is read again when it changes."""

import logging
from pathlib import Path

import pytest

from kalecast.page.watched_file import WatchedFile


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


def test_a_mounted_secret_is_swapped_by_a_link(tmp_path: Path) -> None:
    path = tmp_path / "number"
    mounted(tmp_path, "2026_01", "1")
    path.symlink_to("..data/number")
    file = WatchedFile(path, int)
    mounted(tmp_path, "2026_02", "2")
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


def mounted(folder: Path, version: str, text: str) -> None:
    """Write a Secret's content as Kubernetes does: a new folder, to which a link is turned."""
    (folder / f"..{version}").mkdir()
    (folder / f"..{version}" / "number").write_text(text)
    link = folder / "..data_tmp"
    link.symlink_to(f"..{version}")
    link.replace(folder / "..data")


def _put(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink()
    else:
        path.write_text(text, errors="surrogatepass")
