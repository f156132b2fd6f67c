"""Running a compiled pipeline on this machine, as a user does."""

import json
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from run_processes import assert_no_process_left, processes_of
from toy_notebooks import SLEEPY_CELLS, SUM_CELLS, Cell, write_notebook

from kalecast.pipelines.compile_notebook import compile_notebook
from kalecast.pipelines.local.step_report import harmless_html
from kalecast.pipelines.local.terminal_text import LineSplitter, plain
from kalecast.pipelines.pipeline_parameters import ParameterError, parse_parameters

PROJECT = Path(__file__).resolve().parents[2]


slow = pytest.mark.slow


@dataclass
class Run:
    exit_code: int
    output: str
    errors: str
    folder: Path | None

    @property
    def outcome(self) -> dict[str, Any]:
        return json.loads(self.output.splitlines()[-1])

    def log(self, step: str) -> str:
        assert self.folder is not None
        return (self.folder / "logs" / f"{step}.log").read_text()

    def report(self, step: str) -> str:
        assert self.folder is not None
        return (self.folder / "reports" / f"{step}.html").read_text()


def compiled(tmp_path: Path, cells: list[Cell]) -> Path:
    notebook = write_notebook(tmp_path / "toy.ipynb", cells)
    compile_notebook(notebook, tmp_path / "compiled")
    return tmp_path / "compiled" / "toy.pipeline.yaml"


def start(pipeline: Path, *arguments: str, runs: str = "runs") -> subprocess.Popen[str]:
    command = [
        sys.executable,
        *("-m", "kalecast.pipelines.local.run_pipeline"),
        str(pipeline),
        *arguments,
    ]
    command += ["--runs-dir", str(pipeline.parent.parent / runs)]
    return subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_notebook_that_was_not_compiled_is_reported_with_the_remedy(tmp_path):
    notebook = write_notebook(tmp_path / "toy.ipynb", SUM_CELLS)
    command = [
        sys.executable,
        *("-m", "kalecast.pipelines.local.run_pipeline"),
        "--notebook",
        str(notebook),
    ]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f'make compile NOTEBOOK="{notebook}"' in done.stderr


def finished(process: subprocess.Popen[str], pipeline: Path, runs: str = "runs") -> Run:
    output, errors = process.communicate()
    folders = sorted((pipeline.parent.parent / runs).glob("*"))
    return Run(process.returncode, output, errors, folders[-1] if folders else None)


def run(pipeline: Path, *arguments: str) -> Run:
    return finished(start(pipeline, *arguments), pipeline)


@slow
def test_passes_values_and_parameters_and_reports_what_came_out(tmp_path):
    pipeline = compiled(tmp_path, SUM_CELLS)
    result = run(pipeline, "--param", "rows=5", "loud=true", "--param", "label=two words")
    assert result.exit_code == 0, result.errors
    assert result.outcome["scores"] == {"score_sum": 5.0}
    assert result.outcome["model"] is None
    assert 0 < result.outcome["overhead_seconds"] <= result.outcome["seconds"]
    assert "load | rows 5 two words True" in result.output
    assert "[2/2] add ... " in result.output
    assert result.log("load") == "rows 5 two words True\n"
    assert "sum 5.0" in result.report("add")
    assert "\x1b" not in result.output
    summary = json.loads((result.folder / "summary.json").read_text())
    assert [step["name"] for step in summary["steps"]] == ["load", "add"]
    assert summary["parameters"] == {"rows": 5, "loud": True, "label": "two words"}


@slow
def test_two_runs_at_once_and_a_stale_file_do_not_mix(tmp_path):
    stale = Path("/tmp/marshal/values_artifact.npy")
    made = not stale.exists()
    if made:
        stale.parent.mkdir(exist_ok=True)
        stale.write_bytes(b"stale")
    try:
        pipeline = compiled(tmp_path, SUM_CELLS)
        both = [start(pipeline, "--param", f"rows={n}", runs=f"runs-{n}") for n in (4, 9)]
        results = [finished(p, pipeline, f"runs-{n}") for p, n in zip(both, (4, 9), strict=True)]
    finally:
        if made:
            stale.unlink()
    assert [result.outcome["scores"]["score_sum"] for result in results] == [3.0, 18.0]


@slow
def test_cells_behave_as_in_a_kernel(tmp_path):
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
    result = run(compiled(tmp_path, cells))
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
def test_output_appears_while_the_step_works(tmp_path):
    gate = tmp_path / "gate"
    cells = [
        (
            "import time\nfrom pathlib import Path\nprint('waiting')\n"
            f"while not Path({str(gate)!r}).exists():\n    time.sleep(0.05)\n"
            "print('went on')",
            ["step:wait"],
        )
    ]
    pipeline = compiled(tmp_path, cells)
    process = start(pipeline)
    assert process.stdout is not None
    for line in process.stdout:
        if line == "wait | waiting\n":
            break
    gate.touch()
    result = finished(process, pipeline)
    assert "wait | went on" in result.output
    assert result.exit_code == 0


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
def test_stops_at_the_first_error_and_shows_it(source, expected, tmp_path):
    cells = [("before = 'shown'\nprint(before)", ["step:one"]), (source, ["step:one"])]
    cells.append(("after = 1", ["step:one"]))
    cells.append(("print(x, 'must not run')", ["step:two", "prev:one"]))
    result = run(compiled(tmp_path, cells))
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
def test_what_would_fail_again_is_not_tried_again(tmp_path):
    cells = [("x = 1\nraise ValueError('a wrong parameter')", ["step:one", "limit:retries:2"])]
    result = run(compiled(tmp_path, cells))
    assert result.exit_code == 1
    assert result.outcome["error"] == {
        "step": "one",
        "type": "ValueError",
        "message": "a wrong parameter",
    }
    assert result.output.count("] one ... ") == 1
    summary = json.loads((result.folder / "summary.json").read_text())
    assert [step["status"] for step in summary["steps"]] == ["failed"]


@slow
def test_a_full_disk_ends_in_a_sentence(tmp_path):
    cells = [("blob = b'x' * 10_000_000\nprint(len(blob))", ["step:one"])]
    cells.append(("print(len(blob))", ["step:two", "prev:one"]))
    pipeline = compiled(tmp_path, cells)
    command = [sys.executable, "-m", "kalecast.pipelines.local.run_pipeline", str(pipeline)]
    command += ["--runs-dir", str(tmp_path / "runs")]
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 2000; exec {shlex.join(command)}"],
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


def asleep(pipeline: Path) -> subprocess.Popen[str]:
    """A run whose first step sleeps, with a child that sleeps too."""
    process = start(pipeline)
    assert process.stdout is not None
    for line in process.stdout:
        if line == "sleep | asleep\n":
            break
    return process


@slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_every_process_and_keeps_the_folder(number, code, tmp_path):
    pipeline = compiled(tmp_path, SLEEPY_CELLS)
    process = asleep(pipeline)
    assert len(processes_of(tmp_path)) >= 3  # the parent of the steps, the step, its child
    process.send_signal(number)
    result = finished(process, pipeline)
    assert result.exit_code == code
    assert result.outcome["error"]["step"] == "sleep"
    assert result.log("sleep") == "asleep\n"
    assert (result.folder / "summary.json").is_file()
    assert_no_process_left(tmp_path)


@slow
def test_a_killed_run_leaves_no_process(tmp_path):
    pipeline = compiled(tmp_path, SLEEPY_CELLS)
    process = asleep(pipeline)
    process.kill()
    process.communicate()
    assert_no_process_left(tmp_path)


@slow
def test_refuses_wrong_parameters_before_anything_runs(tmp_path):
    pipeline = compiled(tmp_path, SUM_CELLS)
    result = run(pipeline, "--param", "row=5")
    assert result.exit_code == 2
    assert result.output == ""
    assert result.errors.count("\n") == 1
    assert "label (str), loud (bool), rows (int), scale (float)" in result.errors
    assert result.folder is None
    assert run(tmp_path / "compiled" / "none.yaml").exit_code == 2


DECLARED = {"n": "NUMBER_INTEGER", "x": "NUMBER_DOUBLE", "yes": "BOOLEAN", "s": "STRING"}


def test_parameters_take_the_pipelines_types():
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
def test_parameters_say_what_was_expected(given, expected):
    with pytest.raises(ParameterError, match=expected):
        parse_parameters([given], DECLARED)


def test_overwritten_text_is_left_out():
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
def test_html_of_outputs_is_made_harmless(text, expected):
    assert harmless_html(text) == f"<div>{expected}</div>"
