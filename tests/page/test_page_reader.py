"""Reading in processes of its own: within memory and time, and without waiting for each other.

The page's modules run in the page's own environment, with functions to be read by that no customer
could mistake for benign ones.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from page_process import PYTHON

pytestmark = pytest.mark.slow

JOBS = """
import os, re, time

def length(body): return len(body)
def process(body): return os.getpid()
def memory(body): return len(b"x" * 10**9)
def texts(body): return len([str(number) for number in range(10**8)])
def lock(body): return re.fullmatch(rb"(a+)+b", b"a" * 60)
def end(body): os._exit(3)
def fault(body): raise KeyError("of ours")
def refusal(body):
    from kalecast.page.outcomes import Unacceptable
    raise Unacceptable(413, "too much")
"""

RUN = """
import asyncio, json, sys, time
import jobs
from kalecast.page.model_server import Caller
from kalecast.page.outcomes import Overloaded, Unacceptable
from kalecast.page.reading import Reader, SHORT
from kalecast.data.series import SeriesError

async def timed(reader, lane, name, body=b""):
    begin = time.monotonic()
    try:
        answer = await reader.read(lane, Caller.within(30.0), getattr(jobs, name), body)
    except (SeriesError, Unacceptable, Overloaded, RuntimeError) as error:
        answer = type(error).__name__, str(error)
    return answer, time.monotonic() - begin

async def main():
    reader = Reader()
    async with reader.ready():
        await timed(reader, SHORT, "length")
        print(json.dumps(await {}))

asyncio.run(main())
"""


def run(folder: Path, what: str) -> Any:
    """What an expression gives; of a job its answer, and the seconds that it took."""
    (folder / "jobs.py").write_text(JOBS)
    done = subprocess.run(
        [PYTHON, "-c", RUN.replace("{}", what)],
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_body_arrives_whole(tmp_path: Path) -> None:
    (length, _) = run(tmp_path, "timed(reader, SHORT, 'length', bytes(21 * 2**20))")
    assert length == 21 * 2**20


@pytest.mark.parametrize("job", ["memory", "texts", "lock", "end"])
def test_what_takes_too_much_is_ended_and_reported(tmp_path: Path, job: str) -> None:
    ((kind, text), seconds) = run(tmp_path, f"timed(reader, SHORT, '{job}')")
    assert kind == "SeriesError"
    assert text.startswith("This takes more memory or time to read than there is here.")
    assert seconds < 30


def test_who_comes_beside_it_waits_for_none_of_it(tmp_path: Path) -> None:
    together = ["lock", "length", "length", "length"]
    jobs = ", ".join(f"timed(reader, SHORT, '{job}')" for job in together)
    answers = run(tmp_path, f"asyncio.gather({jobs})")
    (locked, seconds), *others = answers
    assert locked[0] == "SeriesError"
    for length, other in others:
        assert length == 0
        assert other < seconds / 2


def test_each_has_a_process_of_its_own(tmp_path: Path) -> None:
    first, second = run(
        tmp_path,
        "asyncio.gather(timed(reader, SHORT, 'process'), timed(reader, SHORT, 'process'))",
    )
    assert first[0] != second[0]


def test_errors_arrive_as_they_were_raised(tmp_path: Path) -> None:
    (refused, _), (fault, _) = run(
        tmp_path,
        "asyncio.gather(timed(reader, SHORT, 'refusal'), timed(reader, SHORT, 'fault'))",
    )
    assert refused == ["Unacceptable", "too much"]
    assert fault == ["RuntimeError", "fault: KeyError"]


MESSAGES = """
from datetime import datetime
import numpy as np
from kalecast.page import reader_messages
from kalecast.page.history import History
from kalecast.page.request_bodies import Controls

history = History(np.array([1.5, np.nan]), datetime(2026, 1, 1, 3), "a", "A", ("noted",), -90)
controls = Controls("Your file", None, None, "a", "", "", 3.0)
line = reader_messages.dumps((controls, (history, {"choices": [["a", "a"]]})))
assert b"\\n" not in line
held, (found, update) = reader_messages.loads(line)
assert held == controls and update == {"choices": [["a", "a"]]}
assert np.array_equal(found.values, history.values, equal_nan=True)
assert (found.start, found.name, found.notes) == (history.start, "a", ("noted",))
assert found.utc_offset == -90
for bad in (b"", b"{}x", b'{"kind":"os","value":1}', b'{"kind":"History","value":[]}',
            b'{"kind":"ndarray","value":["x"]}', b'{"kind":[],"value":1}'):
    try:
        reader_messages.loads(bad)
    except ValueError:
        continue
    raise AssertionError(bad)
"""


def test_messages_hold_what_was_found_and_nothing_else() -> None:
    done = subprocess.run(
        [PYTHON, "-c", MESSAGES],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
