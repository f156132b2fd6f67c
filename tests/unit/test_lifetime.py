"""Processes that end when they should: children with their starters, programs with signals."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from kalecast.lifetime import ChildError, answers, await_ready, bound, end, start
from kalecast.protocols.sockets import free_ports

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 30.0

STARTS = {
    "start": "child = start(['sleep', '60'])",
    "start_child": "child = asyncio.run(start_child(['sleep', '60']))",
    "die_with_parent": (
        "child = multiprocessing.get_context('fork').Process(target=wait)\nchild.start()"
    ),
}
STARTER = """
import asyncio, multiprocessing, time
from kalecast.lifetime import *
def wait():
    die_with_parent()
    time.sleep(60)
{}
print(child.pid, flush=True)
time.sleep(60)
"""
SHELL_OF_TWO = "trap '' TERM; sleep 60 & echo $!; while true; do sleep 1; done"
ENDED = """
import signal, time
from kalecast.lifetime import *
end_in_order()
print([end.name for end in ends()], flush=True)
time.sleep(60)
"""


def soon(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + SECONDS
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return held


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def python(source: str, ignored: signal.Signals | None = None) -> subprocess.Popen[str]:
    """A program, started as a shell does that has a signal ignored."""
    trap = f"trap '' {ignored.name.removeprefix('SIG')}; " if ignored else ""
    # The tests may run under nohup themselves, and a shell cannot undo that.
    shell = ["env", "--default-signal=HUP", "bash", "-c", f'{trap}exec "$@"', "bash"]
    command = [*shell, sys.executable, "-c", source]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize("kind", STARTS)
def test_a_child_ends_with_its_starter_though_that_is_killed(kind: str) -> None:
    starter = python(STARTER.format(STARTS[kind]))
    child = int(first_line(starter))
    assert not is_gone(child)
    starter.kill()
    starter.wait()
    assert soon(lambda: is_gone(child))


def test_a_command_whose_starter_has_gone_already_does_not_begin() -> None:
    command = bound(["echo", "begun"])
    command[command.index(str(os.getpid()))] = "1"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stdout == ""


def test_what_cannot_be_started_is_named() -> None:
    child = start(["no-such-program"], stderr=subprocess.PIPE, text=True)
    assert child.communicate()[1] == "no-such-program: No such file or directory\n"


def test_a_child_that_does_not_end_is_killed_with_all_that_it_started() -> None:
    child = start(["bash", "-c", SHELL_OF_TWO], stdout=subprocess.PIPE, text=True)
    other = int(first_line(child))
    end(child, 0.1)
    assert child.returncode == -signal.SIGKILL
    assert soon(lambda: is_gone(other))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_a_program_in_a_shells_background_too(number: signal.Signals) -> None:
    program = python(ENDED, ignored=signal.SIGINT)
    first_line(program)
    program.send_signal(number)
    assert program.wait(SECONDS) == 128 + number


def test_nohup_is_heeded() -> None:
    program = python(ENDED, ignored=signal.SIGHUP)
    assert first_line(program) == "['SIGINT', 'SIGTERM']\n"
    program.send_signal(signal.SIGTERM)
    assert program.wait(SECONDS) == 128 + signal.SIGTERM


STARTS_CHILDREN = re.compile(r"\.(Popen|create_subprocess_(exec|shell)|fork|spawnv)\(")
ELSEWHERE = {
    "src/kalecast/lifetime.py": "the one place",
    "src/kalecast/page/reading.py": "ends with the socket to the page",
    "src/kalecast/page/reader_process.py": "a fork, likewise",
    "src/kalecast/pipelines/local/step_process.py": "a fork, with a signal of its own",
    "benchmarks/cluster_test/in_pod/load_clients.py": "in a pod, whose end ends it",
}


def test_no_program_starts_children_by_itself() -> None:
    rooms = ("src", "seldon", "gradio_app", "benchmarks", "report")
    ours = [file for room in rooms for file in (ROOT / room).rglob("*.py")]
    found = {file for file in ours if STARTS_CHILDREN.search(file.read_text())}
    assert {str(file.relative_to(ROOT)) for file in found} == set(ELSEWHERE)


SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/ready" else 503)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_a_child_that_serves_is_awaited() -> None:
    (port,) = free_ports(1)
    child = start([sys.executable, "-c", SERVER, str(port)], stderr=subprocess.DEVNULL)
    try:
        assert 0 <= await_ready({"page": child}, lambda: answers(port, "/ready"), SECONDS) < SECONDS
        assert not answers(port, "/other")
        with pytest.raises(ChildError, match=r"The page did not answer within 0\.01 s$"):
            await_ready({"page": child}, lambda: False, 0.01)
    finally:
        end(child, SECONDS)
    with pytest.raises(ChildError, match="The page ended with status "):
        await_ready({"page": child}, lambda: True, SECONDS)
