"""The process that reads what customers send: it waits, and forks a child for each.

`reading.py` starts it with a socket as its standard input, over which it sends a socket for each
job. It ends when the page does.
"""

import gc
import importlib
import os
import resource
import signal
import socket
import traceback
import warnings
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from kalecast import lifetime

LESS_URGENT = 5
"""Of the scheduler's niceness: who waits for a forecast comes first."""


@dataclass(frozen=True)
class ReadJob:
    """What a child is to do."""

    memory: int
    """Bytes that it may take, beyond what all have that was there before."""
    seconds: float
    """Until when it is ended, of which it may compute `processor_seconds`."""
    processor_seconds: int
    module: str
    function: str
    arguments: tuple[Any, ...]
    size: int
    """Bytes of the body, its first argument."""

    def line(self) -> bytes:
        """The job as it is sent before its body."""
        from kalecast.page import reader_messages

        return reader_messages.dumps(astuple(self)) + b"\n"


def main() -> None:
    """Fork a child for each socket that comes, until the page has closed it."""
    # Ctrl-C is for the page, which ends in order and takes this process along.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # how a child ended is not needed
    os.nice(LESS_URGENT)
    _load()
    # Arrow's own allocator, which is not used here, has a thread that a child does without.
    warnings.simplefilter("ignore", DeprecationWarning)
    control, waiting = socket.socket(fileno=0), os.getpid()
    while True:
        _, jobs, *_ = socket.recv_fds(control, 1, 1)
        if not jobs:
            return
        if os.fork() == 0:
            control.close()
            lifetime.die_with_parent(waiting)
            _work(socket.socket(fileno=jobs[0]))
            os._exit(0)
        os.close(jobs[0])


def _load() -> None:
    """Load what a job may need, so that all children share it."""
    import pyarrow as pa
    import pyarrow.parquet

    from kalecast.page import reader_messages  # noqa: F401

    pa.set_cpu_count(1)
    # Else the first collection in each child would copy what they share.
    gc.collect()
    gc.freeze()


def _work(page: socket.socket) -> None:
    from kalecast.page import reader_messages

    with page, page.makefile("rb") as incoming:
        job = ReadJob(*reader_messages.loads(incoming.readline()))
        # These end the child from outside, whatever it is about; the page sees no answer come.
        limit = _data_bytes() + job.memory
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (job.processor_seconds, job.processor_seconds))
        signal.setitimer(signal.ITIMER_REAL, job.seconds)
        answer = _answer(job, incoming)
        if answer is not None:
            page.sendall(answer)


def _answer(job: ReadJob, incoming: BinaryIO) -> bytes | None:
    from kalecast.data.series import SeriesError
    from kalecast.page import reader_messages
    from kalecast.page.outcomes import Unacceptable

    try:
        body = bytearray(job.size)
        incoming.readinto(body)  # type: ignore[attr-defined]
        function = getattr(importlib.import_module(job.module), job.function)
        return reader_messages.dumps(function(body, *job.arguments))
    except (SeriesError, Unacceptable) as error:
        return reader_messages.dumps(error)
    except MemoryError:
        return None
    except Exception as error:
        traceback.print_exc()
        return reader_messages.dumps(RuntimeError(f"{job.function}: {type(error).__name__}"))


def _data_bytes() -> int:
    """What `RLIMIT_DATA` counts, of this process now."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmData:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
