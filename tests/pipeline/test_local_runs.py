"""The pipeline run from a notebook: its lines, its failure, its end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from model_files import contract, seasonal_naive_bytes

from kalecast.artifact.runtime import Forecaster
from kalecast.pipelines.local.local_run import (
    Outcome,
    PipelineError,
    overrides,
    publish_to_serve,
    run_here,
)

SCORES = {"mase": 0.5, "mase_seasonal_naive": 1.0, "coverage_80": 0.81, "coverage_95": 0.94}


def runner(folder: Path, source: str) -> list[str]:
    """A program in the place of the pipeline's."""
    path = folder / "runner.py"
    path.write_text(source)
    return [str(path)]


def test_lines_are_reported_as_they_come_and_the_last_one_is_the_outcome(tmp_path: Path):
    source = (
        "import json, sys\n"
        "print(sys.argv[3:], flush=True)\n"
        "print('to the terminal', file=sys.stderr, flush=True)\n"
        f"print(json.dumps({{'model': 'm.onnx', 'scores': {SCORES}, 'seconds': 2.5}}))\n"
    )
    lines: list[str] = []
    outcome = run_here({"epochs": 2, "data": "a b.csv"}, lines.append, runner(tmp_path, source))
    assert outcome == Outcome("m.onnx", SCORES, 2.5)
    assert lines == [
        "['--param', 'epochs=2', '--param', 'data=a b.csv']",
        "to the terminal",
    ]


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (
            '{"error": {"step": "load_data", "type": "SeriesError", "message": "no y"}}',
            "Step load_data: SeriesError: no y",
        ),
        ("error: Expected a parameter", "Expected a parameter"),
        ("", "It ended without a word."),
    ],
)
def test_a_failure_is_the_steps_own_message(last: str, message: str, tmp_path: Path):
    failing = runner(tmp_path, f"import sys\nprint({last!r}) if {last!r} else 0\nsys.exit(1)\n")
    with pytest.raises(PipelineError) as failed:
        run_here({}, lambda line: None, failing)
    assert str(failed.value) == message


def test_an_unknown_parameter_is_said(tmp_path: Path):
    with pytest.raises(PipelineError, match="nonsense"):
        run_here({"nonsense": 1}, lambda line: None)


SLEEPING = """
import os, time
print(os.getpid(), flush=True)
print("working", flush=True)
time.sleep(60)
"""


def test_an_interruption_ends_the_run_and_goes_on(tmp_path: Path):
    message: list[str] = []

    def interrupt(line: str) -> None:
        message.append(line)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_here({}, interrupt, runner(tmp_path, SLEEPING))
    assert not psutil.pid_exists(int(message[0]))


def test_a_signal_to_the_kernel_alone_ends_the_run_too(tmp_path: Path):
    script = (
        "import signal\n"
        "from functools import partial\n"
        "from kalecast.pipelines.local.local_run import run_here\n"
        # Where tests run in a shell's background, Python would go on ignoring it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"run_here({{}}, partial(print, flush=True), {runner(tmp_path, SLEEPING)!r})"
    )
    kernel = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert kernel.stdout is not None
    child = int(kernel.stdout.readline())
    os.kill(kernel.pid, signal.SIGINT)
    _, errors = kernel.communicate(timeout=30)
    assert "KeyboardInterrupt" in errors
    assert not psutil.pid_exists(child)


def test_the_verdict_says_how_much_better_or_worse():
    better = Outcome("m", SCORES, 1.0).verdict()
    worse = Outcome("m", {**SCORES, "mase": 1.1}, 1.0).verdict()
    assert "0.500" in better
    assert "50 % less" in better
    assert "10 % more" in worse


def test_overrides_are_pairs():
    assert overrides(" epochs=2  width=32 ") == {"epochs": "2", "width": "32"}
    assert overrides("") == {}
    with pytest.raises(ValueError, match="'epochs'"):
        overrides("epochs 2")


def test_a_model_of_any_name_is_the_one_that_is_served(tmp_path: Path):
    named = tmp_path / "mine.onnx"
    named.write_bytes(seasonal_naive_bytes(contract(name="mine")))
    served = publish_to_serve(Outcome(str(named), SCORES, 1.0))
    assert served == str(tmp_path / "forecaster.onnx")
    assert Forecaster(served).contract.name == "mine"
