"""Run a step's cells in this process, as a kernel would, and keep what they show."""

import base64
import io
import sys
import time
import traceback
from dataclasses import dataclass, field
from typing import Any, TextIO

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets import Type
from traitlets.config import Config


@dataclass
class ExecutedCell:
    """A cell that ran: its source, its outputs as nbformat has them, its time and its error."""

    source: str
    outputs: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    error: BaseException | None = None


class _CellStream(io.TextIOBase):
    """Standard output or error of the cells: passed on at once and kept with the cell."""

    def __init__(self, name: str, through: TextIO) -> None:
        self._name, self._through = name, through

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._through.fileno()

    def write(self, text: str) -> int:
        self._through.write(text)
        self._through.flush()
        shell = InteractiveShell._instance
        if isinstance(shell, CellShell):
            shell.keep_text(self._name, text)
        return len(text)

    def flush(self) -> None:
        self._through.flush()


class _Publisher(DisplayPublisher):
    """`display()`."""

    def publish(  # type: ignore[override]
        self,
        data: dict[str, Any],
        metadata: Any = None,
        *,
        transient: Any = None,
        update: bool = False,
        **_: Any,
    ) -> None:
        self.shell.keep_display("display_data", data, (transient or {}).get("display_id"), update)

    def clear_output(self, wait: bool = False) -> None:
        self.shell.cell.outputs.clear()


class _LastExpression(DisplayHook):
    """The value of a cell's last expression."""

    def write_output_prompt(self) -> None:
        """A report has no prompts."""

    def write_format_data(self, format_dict: dict[str, Any], md_dict: Any = None) -> None:
        if self.shell is not None:
            self.shell.keep_display("execute_result", format_dict)

    def finish_displayhook(self) -> None:
        self._is_active = False


class CellShell(InteractiveShell):
    """An IPython shell without a terminal and without a history file."""

    display_pub_class = Type(_Publisher)
    displayhook_class = Type(_LastExpression)

    def __init__(self, **kwargs: Any) -> None:
        self.cell = ExecutedCell("")
        config = Config()
        config.HistoryManager.enabled = False
        super().__init__(config=config, colors="nocolor", **kwargs)  # type: ignore[no-untyped-call]

    def run(self, source: str) -> ExecutedCell:
        """Run one cell; an error ends up in the cell and not here."""
        self.cell = ExecutedCell(source)
        start = time.perf_counter()
        result = self.run_cell(source, store_history=True)  # type: ignore[no-untyped-call]
        self.cell.seconds = time.perf_counter() - start
        self.cell.error = result.error_before_exec or result.error_in_exec
        return self.cell

    def keep_text(self, name: str, text: str) -> None:
        """Add what a cell printed to the output before it, if that is of the same stream."""
        outputs = self.cell.outputs
        if outputs and outputs[-1].get("name") == name:
            outputs[-1]["text"] += text
        else:
            outputs.append({"output_type": "stream", "name": name, "text": text})

    def keep_display(
        self, kind: str, data: dict[str, Any], display_id: str | None = None, update: bool = False
    ) -> None:
        """Add something displayed, or put it in the place of what has the same `display_id`."""
        data = {
            mime: base64.b64encode(value).decode() if isinstance(value, bytes) else value
            for mime, value in data.items()
        }
        shown = [o for o in self.cell.outputs if display_id and o.get("display_id") == display_id]
        for output in shown:
            output["data"] = data
        if not shown and not update:
            output = {"output_type": kind, "data": data, "display_id": display_id}
            self.cell.outputs.append(output)
        text = data.get("text/plain", "")
        if not text.startswith(("<Figure", "<IPython.core.display")):
            # The log shows it as well; straight to the stream, or the report had it twice.
            print(text, file=getattr(sys.stdout, "_through", sys.__stdout__))

    def _showtraceback(self, etype: Any, evalue: Any, stb: Any) -> None:
        """Errors are reported once, by the caller of `run`."""

    def showsyntaxerror(self, *args: Any, **kwargs: Any) -> None:
        """See `_showtraceback`."""


def start_shell() -> CellShell:
    """The shell of this process, with its standard streams behind it."""
    shell = CellShell.instance()
    assert sys.__stdout__ and sys.__stderr__
    sys.stdout = _CellStream("stdout", sys.__stdout__)
    sys.stderr = _CellStream("stderr", sys.__stderr__)
    return shell


def short_traceback(error: BaseException) -> str:
    """The lines of the cells that led to an error, where it was raised, and the error."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_cell(frame.filename)]
    lines = []
    for frame in own:
        place = f"cell, line {frame.lineno}"
        lines.append(f"  {place}, in {frame.name}" if frame.name != "<module>" else f"  {place}")
        lines.append(f"    {frame.line}")
    if own and frames[-1] is not own[-1]:
        lines.append(f"  raised in {frames[-1].filename}, line {frames[-1].lineno}")
    said = [line.rstrip("\n") for line in traceback.format_exception_only(error)]
    return "\n".join([*lines, *said])


def _is_cell(filename: str) -> bool:
    return "ipython-input" in filename or "ipykernel_" in filename
