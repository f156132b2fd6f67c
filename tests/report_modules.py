"""The report's modules in a test; those of benchmarks have some of the same names."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

REPORT = Path(__file__).parent.parent / "report"


@contextmanager
def report_modules(*names: str) -> Iterator[SimpleNamespace]:
    """Modules of report/ by the last part of their name; the process forgets them afterwards."""
    own = [path.stem for path in REPORT.glob("*.py")]
    before = {name: sys.modules.pop(name) for name in own if name in sys.modules}
    sys.path.insert(0, str(REPORT))
    try:
        loaded = {name.split(".")[-1]: importlib.import_module(name) for name in names}
        yield SimpleNamespace(**loaded)
    finally:
        sys.path.remove(str(REPORT))
        for name in list(sys.modules):
            if name in own or name.split(".")[0] == "making":
                del sys.modules[name]
        sys.modules.update(before)
