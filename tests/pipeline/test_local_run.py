"""Running a compiled pipeline on this machine, as a user does and from a notebook."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from model_files import contract, seasonal_naive_bytes
from run_processes import assert_no_process_left, processes_of
from toy_notebooks import SLEEPY_CELLS, SUM_CELLS, Cell, write_notebook

from kalecast.artifact.runtime import Forecaster
from kalecast.pipelines.compile_notebook import compile_notebook
from kalecast.pipelines.compiled_pipeline import ParameterError, parse_parameters
from kalecast.pipelines.local.local_run import (
    Outcome,
    PipelineError,
    overrides,
    publish_to_serve,
    run_here,
)
from kalecast.pipelines.local.step_report import harmless_html
from kalecast.pipelines.local.terminal_text import LineSplitter, plain

PROJECT = Path(__file__).resolve().parents[2]
RUN = (sys.executable, "-m", "kalecast.pipelines.local.run_pipeline")
Compiled = Callable[[str, list[Cell]], Path]

slow = pytest.mark.slow


@dataclass
class Run:
    """A run that works or has ended; its folder is the newest in `runs`."""

    process: subprocess.Popen[str]
    runs: Path
    output: str = ""
    errors: str = ""

    def end(self) -> "Run":
        self.output, self.errors = self.process.communicate()
        return self

    def until(self, line: str) -> None:
        assert self.process.stdout is not None
        assert line in (printed.rstrip("\n") for printed in self.process.stdout)

    @property
    def exit_code(self) -> int:
        return self.process.wait()

    @property
    def folder(self) -> Path:
        return max(self.runs.iterdir())

    @property
    def outcome(self) -> dict[str, Any]:
        return json.loads(self.output.splitlines()[-1])

    def log(self, step: str) -> str:
        return (self.folder / "logs" / f"{step}.log").read_text()

    def report(self, step: str) -> str:
        return (self.folder / "reports" / f"{step}.html").read_text()

    def summary(self) -> dict[str, Any]:
        return json.loads((self.folder / "summary.json").read_text())


def start(pipeline: Path, runs: Path, *arguments: str) -> Run:
    command = [*RUN, str(pipeline), "--runs-dir", str(runs), *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return Run(subprocess.Popen(command, cwd=PROJECT, text=True, **pipes), runs)


@pytest.fixture
def run_cells(tmp_path: Path) -> Callable[..., Run]:
    """Run a pipeline of these cells to its end."""

    def run(cells: list[Cell]) -> Run:
        _, pipeline = compile_notebook(write_notebook(tmp_path / "toy.ipynb", cells), tmp_path)
        return start(pipeline, tmp_path / "runs").end()

    return run


@slow
def test_passes_values_and_parameters_and_reports_what_came_out(
    compiled: Compiled, tmp_path: Path
) -> None:
    given = ("--param", "rows=5", "loud=true", "--param", "label=two words")
    result = start(compiled("toy", SUM_CELLS), tmp_path, *given).end()
    assert result.exit_code == 0, result.errors
    assert result.outcome["scores"] == {"score_sum": 5.0}
    assert result.outcome["model"] is None
    assert 0 < result.outcome["overhead_seconds"] <= result.outcome["seconds"]
    assert "load | rows 5 two words True" in result.output
    assert "[2/2] add ... " in result.output
    assert result.log("load") == "rows 5 two words True\n"
    assert "sum 5.0" in result.report("add")
    assert "\x1b" not in result.output
    assert [step["name"] for step in result.summary()["steps"]] == ["load", "add"]
    assert result.summary()["parameters"] == {"rows": 5, "loud": True, "label": "two words"}


@slow
def test_two_runs_at_once_and_a_stale_file_do_not_mix(compiled: Compiled, tmp_path: Path) -> None:
    stale = Path("/tmp/marshal/values_artifact.npy")
    made = not stale.exists()
    if made:
        stale.parent.mkdir(exist_ok=True)
        stale.write_bytes(b"stale")
    try:
        toy = compiled("toy", SUM_CELLS)
        both = [start(toy, tmp_path / str(n), "--param", f"rows={n}") for n in (4, 9)]
        scores = [run.end().outcome["scores"]["score_sum"] for run in both]
    finally:
        if made:
            stale.unlink()
    assert scores == [3.0, 18.0]


@slow
def test_cells_behave_as_in_a_kernel(run_cells: Callable[..., Run]) -> None:
    cells = [
        (
            "import asyncio, os, sys\n"
            "from IPython.display import HTML, display\n"
            "await asyncio.sleep(0)\n"
            "get_ipython().run_line_magic('precision', '2')\n"
            "print('<script>alert(1)</script>')\n"
            "print('to stderr', file=sys.stderr)\n"
            "display(HTML('<table onclick=\"x()\"><tr><td>7</td></tr></table>'\n"
            "             '<script>x()</script>'))\n"
            "os.system('echo from a child')\n"
            "text = '''two\n  lines'''\n"
            "3.14159",
            ["step:show"],
        ),
        ("'not shown';", ["step:show"]),
        (
            "import matplotlib.pyplot as plt\n"
            "_ = plt.plot([1, 2])\n"
            "print(repr(text), os.environ['KALECAST_HOME'] == os.getcwd())\n"
            "import os.path\n"
            "from pathlib import Path\n"
            "model_path = Path(os.environ['KALECAST_RUN_DIR']) / 'a model.onnx'\n"
            "model_uri = model_path.as_uri()",
            ["step:deploy", "prev:show"],
        ),
        ("import os\nprint('got', model_uri, len(text))", ["step:query", "prev:deploy"]),
    ]
    cells[2] = ("import os\n" + cells[2][0], cells[2][1])
    result = run_cells(cells)
    assert result.exit_code == 0, result.output + result.errors
    log, report = result.log("show"), result.report("show")
    for text in ("to stderr", "from a child", "3.14", "<script>alert(1)</script>"):
        assert text in log
    assert "<script" not in report
    assert "&lt;script&gt;alert(1)" in report
    assert "<table><tr><td>7</td></tr></table>" in report
    assert '<pre class="stdout">3.14</pre>' in report
    assert "'not shown'" not in log
    assert "data:image/png;base64," in result.report("deploy")
    assert "'two\\n  lines' True" in result.log("deploy")
    assert result.outcome["model"] == str(result.folder / "a model.onnx")


@slow
def test_output_appears_while_the_step_works(compiled: Compiled, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    source = (
        "import time\nfrom pathlib import Path\nprint('waiting')\n"
        f"while not Path({str(gate)!r}).exists():\n    time.sleep(0.05)\n"
        "print('went on')"
    )
    working = start(compiled("waiting", [(source, ["step:wait"])]), tmp_path / "runs")
    working.until("wait | waiting")
    gate.touch()
    assert "wait | went on" in working.end().output
    assert working.exit_code == 0


@slow
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "def inner():\n    raise ValueError('no such\\x1b[31m luck')\nx = 1\ninner()",
            "ValueError",
        ),
        ("import json\nx = json.loads('{')", "JSONDecodeError"),
        ("x = (i for i in range(3))", "TypeError"),  # cannot be passed on
        ("import sys\nx = 1\nsys.exit(0)", "SystemExit"),
        ("import os, signal\nx = 1\nos.kill(os.getpid(), signal.SIGKILL)", "ProcessDied"),
    ],
)
def test_stops_at_the_first_error_and_shows_it(
    source: str, expected: str, run_cells: Callable[..., Run]
) -> None:
    cells = [("before = 'shown'\nprint(before)", ["step:one"]), (source, ["step:one"])]
    cells.append(("after = 1", ["step:one"]))
    cells.append(("print(x, 'must not run')", ["step:two", "prev:one"]))
    result = run_cells(cells)
    assert result.exit_code == 1
    assert result.outcome["error"]["step"] == "one"
    assert result.outcome["error"]["type"] == expected
    assert {"seconds", "overhead_seconds", "model", "scores"} <= set(result.outcome)
    assert "FAILED   step one" in result.output
    assert "must not run" not in result.output
    assert "[2/2]" not in result.output
    assert "\x1b" not in result.output
    assert not (result.folder / "logs" / "two.log").exists()
    if expected != "ProcessDied":
        assert expected in result.report("one")
    if expected == "ValueError":
        assert "  cell, line 4\n    inner()\n  cell, line 2, in inner" in result.log("one")


@slow
def test_what_would_fail_again_is_not_tried_again(run_cells: Callable[..., Run]) -> None:
    result = run_cells([("raise ValueError('wrong')", ["step:one", "limit:retries:2"])])
    assert result.exit_code == 1
    wrong = {"step": "one", "type": "ValueError", "message": "wrong"}
    assert result.outcome["error"] == wrong
    assert result.output.count("] one ... ") == 1
    assert [step["status"] for step in result.summary()["steps"]] == ["failed"]


@slow
def test_a_full_disk_ends_in_a_sentence(compiled: Compiled, tmp_path: Path) -> None:
    cells: list[Cell] = [("blob = b'x' * 10_000_000\nprint(len(blob))", ["step:one"])]
    cells.append(("print(len(blob))", ["step:two", "prev:one"]))
    command = shlex.join([*RUN, str(compiled("blob", cells)), "--runs-dir", str(tmp_path)])
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 2000; exec {command}"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    error = json.loads(done.stdout.splitlines()[-1])["error"]
    assert error["step"] == "one"
    assert error["message"].startswith("The disk has no room for")
    assert "Traceback" not in done.stdout + done.stderr


@slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_signal_ends_every_process_and_keeps_the_folder(
    number: int, code: int, compiled: Compiled, tmp_path: Path
) -> None:
    sleeping = start(compiled("sleepy", SLEEPY_CELLS), tmp_path)
    sleeping.until("sleep | asleep")
    assert len(processes_of(tmp_path)) >= 3  # the parent of the steps, the step, its child
    sleeping.process.send_signal(number)
    assert sleeping.end().exit_code == code
    assert_no_process_left(tmp_path)
    assert sleeping.log("sleep") == "asleep\n"
    if number != signal.SIGKILL:
        assert sleeping.outcome["error"]["step"] == "sleep"
        assert sleeping.summary()["error"]["message"] == "stopped"


@slow
def test_refuses_wrong_parameters_before_anything_runs(compiled: Compiled, tmp_path: Path) -> None:
    result = start(compiled("toy", SUM_CELLS), tmp_path, "--param", "row=5").end()
    assert result.exit_code == 2
    assert result.output == ""
    assert result.errors.count("\n") == 1
    assert "label (str), loud (bool), rows (int), scale (float)" in result.errors
    assert list(tmp_path.iterdir()) == []
    assert start(tmp_path / "none.yaml", tmp_path).exit_code == 2
    notebook = write_notebook(tmp_path / "toy.ipynb", SUM_CELLS)
    done = subprocess.run([*RUN, "--notebook", notebook], capture_output=True, check=False)
    assert done.returncode == 2
    assert f'make compile NOTEBOOK="{notebook}"' in done.stderr.decode()


DECLARED = {"n": "NUMBER_INTEGER", "x": "NUMBER_DOUBLE", "yes": "BOOLEAN", "s": "STRING"}


def test_parameters_take_the_pipelines_types() -> None:
    given = ["n=-3", "x=2", "yes=False", "s=a=b c"]
    assert parse_parameters(given, DECLARED) == {"n": -3, "x": 2.0, "yes": False, "s": "a=b c"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("n=1.5", "Expected int for parameter 'n', received: '1.5'"),
        ("x=nan", "Expected finite float"),
        ("yes=1", "Expected true or false"),
        ("s=it's", "Expected str without apostrophe"),
        ("n", "Expected --param name=value"),
    ],
)
def test_parameters_say_what_was_expected(given: str, expected: str) -> None:
    with pytest.raises(ParameterError, match=expected):
        parse_parameters([given], DECLARED)


def test_overwritten_text_is_left_out() -> None:
    assert plain("a\r 50%\r\x1b[32m100%\x1b[0m\nnext\n") == "100%\nnext\n"
    lines: list[str] = []
    splitter = LineSplitter(lines.append)
    for data in (b"one\n\ntw", b"o\xc3", b"\xa4\n10%\r20%\r", b"30%\n", b"rest"):
        splitter.feed(data)
    splitter.feed(b"", final=True)
    assert lines == ["one", "", "twoä", "30%", "rest"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<b onload=x()>a</b>", "<b>a</b>"),
        ("a<script>x()</script>b", "ab"),
        ("<svg><script>x()</script></svg>c", "c"),
        ("<a href='javascript:x()'>d</a>", "d"),
        ("<img src=x onerror=x()>e", "e"),
        ("<meta http-equiv=refresh content='0;url=x'>f", "f"),
        ("&lt;script&gt;", "&lt;script&gt;"),
        (
            "</div></body><table><tr><td colspan=2>g",
            '<table><tr><td colspan="2">g</td></tr></table>',
        ),
    ],
)
def test_html_of_outputs_is_made_harmless(text: str, expected: str) -> None:
    assert harmless_html(text) == f"<div>{expected}</div>"


##### From a notebook #####


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
