"""Terminal text made fit for files: no colours, no text that a progress bar overwrote."""

import codecs
import re
import time
from collections.abc import Callable

ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.")
SHOW_PROGRESS_EVERY = 5.0


def plain(text: str) -> str:
    """`text` as it would look in the end: of an overwritten line only the last state is kept."""
    return "\n".join(_last_state(line) for line in text.split("\n"))


def _last_state(line: str) -> str:
    line = ESCAPE_SEQUENCE.sub("", line).replace("\b", "")
    states = [state for state in line.split("\r") if state.strip()]
    return states[-1] if states else ""


class LineSplitter:
    """Cuts a stream of bytes into plain lines and passes them on as they become complete.

    A progress bar rewrites its line for minutes without ending it: its state is passed on every
    few seconds.
    """

    def __init__(self, emit: Callable[[str], None]) -> None:
        self._emit = emit
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._rest = ""
        self._shown_at = time.monotonic()

    def feed(self, data: bytes, final: bool = False) -> None:
        """Take the next bytes; with `final`, pass on an unfinished line too."""
        *lines, self._rest = (self._rest + self._decode(data, final)).split("\n")
        for line in lines:
            self._pass_on(line)
        if final and self._rest:
            self._pass_on(self._rest)
            self._rest = ""
        elif "\r" in self._rest and time.monotonic() - self._shown_at > SHOW_PROGRESS_EVERY:
            self._pass_on(self._rest)
            self._rest = "\r"

    def _pass_on(self, line: str) -> None:
        self._shown_at = time.monotonic()
        state = _last_state(line)
        if state or not line.strip("\r"):
            self._emit(state)
