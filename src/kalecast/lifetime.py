"""How our processes end: in order when a signal says so, and never later than who started them.

Ctrl-C, SIGTERM and a closed terminal end a program. What it started ends with it, even where it
is killed and can do nothing about it any more.
"""

import asyncio
import contextlib
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Any

SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
# A program of its own, as what runs between fork and exec in a process with threads may hang. Its
# arguments: the parent's number, the signal's, the command.
BOUND = f"""
import ctypes, os, sys
ctypes.CDLL(None).prctl({SET_PARENT_DEATH_SIGNAL}, int(sys.argv[2]))
if os.getppid() != int(sys.argv[1]):
    sys.exit("its parent process has gone")
try:
    os.execvp(sys.argv[3], sys.argv[3:])
except OSError as error:
    sys.exit(f"{{sys.argv[3]}}: {{error.strerror}}")
"""


class ChildError(RuntimeError):
    """A child has ended, or is not ready in time; the text says which, without a full stop."""


##### Children #####


def bound(command: Sequence[str | Path], number: int = signal.SIGTERM) -> list[str]:
    """A command that gets a signal once the thread that starts it has gone, killed or not.

    Elsewhere than on Linux it is the command itself.
    """
    if sys.platform != "linux":
        return [str(part) for part in command]
    prefix = [sys.executable, "-ISc", BOUND, str(os.getpid()), str(int(number))]
    return [*prefix, *map(str, command)]


def die_with_parent(parent: int | None = None) -> None:
    """Have this process, a fork or a spawned Python, be killed once its parent has gone.

    Args:
        parent: its parent's number; of a process of `multiprocessing` it is known.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    known = multiprocessing.parent_process()
    expected = parent if parent is not None else known.pid if known else None
    if expected is not None and os.getppid() != expected:
        os.kill(os.getpid(), signal.SIGKILL)  # it had gone before


def start(command: Sequence[str | Path], **options: Any) -> subprocess.Popen[Any]:
    """Start a command that does not outlive this process; Ctrl-C reaches this process only.

    Args:
        command: program and arguments.
        options: of `subprocess.Popen`.
    """
    return subprocess.Popen(bound(command), start_new_session=True, **options)


def end(child: subprocess.Popen[Any], grace_seconds: float) -> None:
    """Send SIGTERM to a child of `start`, then kill what is left of its group."""
    if child.poll() is None:
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(grace_seconds)
    kill_group(child.pid)
    child.wait()


def kill_group(group: int) -> None:
    """Kill every process of a group, if there is any."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def require_running(children: Mapping[str, subprocess.Popen[Any]]) -> None:
    """Make sure that children, by name, still run.

    Raises:
        ChildError: one has ended.
    """
    for name, child in children.items():
        if child.poll() is not None:
            raise ChildError(f"The {name} ended with status {child.returncode}")


def await_ready(
    children: Mapping[str, subprocess.Popen[Any]],
    is_ready: Callable[[], bool],
    seconds: float,
    pause: float = 0.1,
) -> float:
    """Wait until children that serve answer.

    Args:
        children: by name, as errors name them.
        is_ready: tries once, such as `answers`.
        seconds: that it may take.
        pause: seconds between two tries.

    Returns:
        Seconds that it took.

    Raises:
        ChildError: one of them has ended, or they do not answer in time.
    """
    began = time.monotonic()
    while (waited := time.monotonic() - began) < seconds:
        require_running(children)
        if is_ready():
            return waited
        time.sleep(pause)
    raise ChildError(f"The {' and the '.join(children)} did not answer within {seconds:g} s")


def answers(port: int, path: str) -> bool:
    """Whether a server of this machine answers a GET with 200."""
    import http.client  # here, as it would be a tenth of the model server's start

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection):
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False


async def start_child(
    command: list[str],
    stdout: IO[Any] | None = None,
    stderr: IO[Any] | None = None,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> asyncio.subprocess.Process:
    """Start a command as `start` does, within an event loop."""
    return await asyncio.create_subprocess_exec(
        *bound(command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
        env=environment,
        start_new_session=True,
    )


async def end_child(child: asyncio.subprocess.Process, grace_seconds: float) -> None:
    """Send SIGTERM to a child of `start_child`, and kill its whole group if it does not."""
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
    try:
        await asyncio.wait_for(child.wait(), grace_seconds)
    except TimeoutError:
        kill_group(child.pid)
        await child.wait()


##### Signals #####


def ends() -> list[signal.Signals]:
    """The signals that end a program of ours.

    SIGINT is one even where it is ignored so far, as a shell has it in what it puts into the
    background. SIGHUP, of a closed terminal, is none where `nohup` has it ignored.
    """
    hangs_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hangs_up else [])]


def has_terminal() -> bool:
    """Whether a terminal controls this process; one that was closed does not any more."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def on_end(handler: Callable[[int, FrameType | None], Any]) -> None:
    """Have each signal that ends a program call `handler`."""
    for number in ends():
        signal.signal(number, handler)


def end_in_order() -> None:
    """Have this process leave its `with` blocks on SIGTERM, with 128 + the signal's number.

    The shell knows that number for a program that a signal ended.
    """
    on_end(lambda number, _: sys.exit(128 + number))


def ignore_ends() -> None:
    """Let no further signal interrupt the end that has begun."""
    for number in ends():
        signal.signal(number, signal.SIG_IGN)
