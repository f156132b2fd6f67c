"""A file that is read again when it changes, as Secrets mounted by Kubernetes do."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0

Version = tuple[int, int, int, int]


class WatchedFile[Content]:
    """What a file holds.

    The path is followed to its end at each look: Kubernetes swaps a symbolic link in between. A
    new file that cannot be read is refused with a line in the log, and the old content stays.

    Args:
        path: of the file.
        read: makes its content out of its text.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no such file.
    """

    def __init__(self, path: Path, read: Callable[[str], Content]) -> None:
        self._path = path
        self._read = read
        self._seen: Version | None = None
        self.content: Content = self._opened()

    def look(self) -> None:
        """Take over what has changed."""
        before = self._seen
        try:
            if _version(self._path.stat()) == before:
                return
            self.content = self._opened()
        except (OSError, ValueError) as error:
            if isinstance(error, OSError):
                self._seen = None
            if self._seen != before:
                logger.error("%s: %s What was there before stays.", self._path, error)
        else:
            logger.warning("%s was read again.", self._path)

    def _opened(self) -> Content:
        with self._path.open(encoding="utf-8") as file:
            self._seen = _version(os.fstat(file.fileno()))
            return self._read(file.read())


def _version(stat: os.stat_result) -> Version:
    return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size
