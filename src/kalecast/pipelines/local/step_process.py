"""The process from which a local run's steps are forked.

Started by `step_launcher`, it imports once what every step needs. Each job that comes through its
connection is one step, which runs in a fork; how it went and its exit code go back. A step runs the
component's function as KFP's own executor does, with two differences: the cells run in the step's
process and not in a kernel, and Kale's folders in /tmp become folders of the run.
"""

import atexit
import contextlib
import gc
import importlib
import importlib.util
import io
import os
import signal
import sys
import time
import traceback
import types
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

# Imports read it: with it, KFP leaves its client and the Kubernetes library out, as in a pod.
os.environ["_KFP_RUNTIME"] = "true"

from kalecast.lifetime import die_with_parent
from kalecast.pipelines.local.cell_shell import (
    CellShell,
    ExecutedCell,
    short_traceback,
    start_shell,
)
from kalecast.pipelines.local.run_folder import full_disk, is_full_disk
from kalecast.pipelines.local.step_report import render_report
from kalecast.pipelines.local.terminal_text import plain

MODEL_URI = "model_uri_output_artifact"
CODE_BEFORE_USER_CELLS = 2  # Kale's blocks for the parameters and for loading
GRACE_SECONDS = 3.0
FINAL = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    NameError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""Errors of data, parameters and code, which come again however often a step is tried."""


class StepFailed(Exception):
    """A cell raised; the cause is its error."""


class KaleGracefulExit(Exception):
    """What Kale raises, instead of the error itself, when a value cannot be passed on."""


@dataclass
class Step:
    """A running step: where it keeps things and what it ran so far."""

    name: str
    run_folder: Path
    shell: CellShell
    cells: list[ExecutedCell] = field(default_factory=list)
    cell_seconds: float = 0.0
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def marshal_folder(self) -> Path:
        """Where the step saves and loads values; another step's may hold the same name."""
        return self.run_folder / "marshal" / self.name

    def run_code(self, source: Sequence[str], kernel_name: str = "python3") -> str:
        """In place of `kale.common.jputils.run_code`: run the blocks and return the report."""
        del kernel_name
        user_cells = range(CODE_BEFORE_USER_CELLS, len(source) - 1)
        try:
            for position, block in enumerate(source):
                cell = self.shell.run(_dedented(block))
                if position in user_cells:
                    self.cell_seconds += cell.seconds
                if position in user_cells or cell.error:
                    self.cells.append(cell)
                if cell.error:
                    raise StepFailed from _real_error(cell.error)
        except StepFailed as failure:
            self.write_report(short_traceback(failure.__cause__ or failure))
            raise
        return self.write_report()

    def write_report(self, error: str = "") -> str:
        """Render the report of the cells so far, keep it and return it."""
        page = render_report(self.name, self.cells, error)
        report = self.run_folder / "reports" / f"{self.name}.html"
        report.write_text(page, encoding="utf-8")
        return page


def _dedented(block: str) -> str:
    """A block as the notebook has it: Kale's template indents each line by four spaces."""
    lines = block.strip("\n").rstrip().split("\n")
    if all(line.startswith("    ") or not line.strip() for line in lines):
        lines = [line[4:] for line in lines]
    return "\n".join(lines)


def _real_error(error: BaseException) -> BaseException:
    while isinstance(error, KaleGracefulExit) and error.__context__ is not None:
        error = error.__context__
    return error


def _import_light_kale() -> None:
    """Let `kale.marshal` be imported without the rest of Kale, which a step does not need.

    `import kale` takes five seconds, because it brings its compiler and the Kubernetes client. A
    bare package of the same name, at the same place, lets its submodules be imported alone.
    """
    spec = importlib.util.find_spec("kale")
    if spec is None or spec.origin is None:
        raise ImportError("Expected the library Kale (kubeflow-kale) in this environment.")
    package = types.ModuleType("kale", "Kale without its compiler.")
    package.__path__ = list(spec.submodule_search_locations or [])
    package.__spec__ = spec
    sys.modules["kale"] = package


def _replace_module(name: str, **members: Callable[..., Any]) -> None:
    """Answer imports of one submodule with a few functions."""
    module = types.ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    setattr(importlib.import_module(parent), child, module)


def _replace_kale(step: Step) -> None:
    """Point Kale at the run's own folders and at this process's shell."""
    from kale import marshal

    def set_data_dir(path: str) -> None:
        del path  # always /tmp/marshal, which all runs of a machine would share
        set_marshal_folder(str(step.marshal_folder))

    def generate_mlpipeline_metrics(metrics: dict[str, Any]) -> None:
        for name, value in metrics.items():
            if not isinstance(value, int | float):
                raise TypeError(
                    f"Expected a Python number as pipeline metric {name!r}, received: {value!r}."
                )
        step.scores = metrics

    def load_mlpipeline_metrics(output: Any) -> None:
        for name, value in step.scores.items():
            output.log_metric(name, value)

    set_marshal_folder = marshal.set_data_dir
    marshal.set_data_dir = set_data_dir
    _replace_module(
        "kale.common.jputils", run_code=step.run_code, KaleGracefulExit=KaleGracefulExit
    )
    _replace_module(
        "kale.common.kfputils",
        generate_mlpipeline_metrics=generate_mlpipeline_metrics,
        load_mlpipeline_metrics=load_mlpipeline_metrics,
    )


def _redirect_inputs(executor_input: dict[str, Any], marshal_folder: Path) -> None:
    """Let the component copy what it receives into this step's folder, not its producer's."""
    for artifacts in executor_input.get("inputs", {}).get("artifacts", {}).values():
        for artifact in artifacts["artifacts"]:
            saved_as = artifact.get("metadata", {}).get("marshal_path")
            if saved_as:
                artifact["metadata"]["marshal_path"] = str(marshal_folder / Path(saved_as).name)


def _run(job: dict[str, Any], shell: CellShell) -> dict[str, Any]:
    """Run the step; how it went, in the words of `StepRecord`."""
    from kfp.dsl import executor

    step = Step(job["step"], Path(job["run_folder"]), shell)
    step.marshal_folder.mkdir(parents=True, exist_ok=True)
    _replace_kale(step)
    _redirect_inputs(job["executor_input"], step.marshal_folder)
    namespace: dict[str, Any] = {"__name__": "component"}
    error: BaseException | None = None
    try:
        exec(compile(job["source"], f"<component {step.name}>", "exec"), namespace)
        executor.Executor(
            executor_input=job["executor_input"], function_to_execute=namespace[job["function"]]
        ).execute()
    except StepFailed as failure:
        error = failure.__cause__ or failure
    except Exception as failure:
        error = failure
    result: dict[str, Any] = {"cell_seconds": step.cell_seconds, "error": None}
    if error is None:
        # Kale writes the underscores of a variable's name as hyphens.
        result["scores"] = {n.replace("-", "_"): float(value) for n, value in step.scores.items()}
        if MODEL_URI in job["executor_input"]["outputs"].get("artifacts", {}):
            result["model_uri"] = str(shell.user_ns["model_uri"])
    else:
        result["error"] = {"type": type(error).__name__, "message": plain(_message(error))}
        result["is_final"] = isinstance(error, FINAL)
        sys.stdout.flush()
        print(short_traceback(error), file=sys.__stderr__, flush=True)
    return result


def _message(error: BaseException) -> str:
    """What an error says; of a full disk what to do, too."""
    return full_disk(error) if is_full_disk(error) else str(error)


def _be_step(job: dict[str, Any], shell: CellShell, channel: Connection) -> int:
    """Run one step in this fork and return its exit code."""
    os.environ.update(job["environment"])
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # or every step would draw the same numbers
    result = _run(job, shell)
    channel.send(result)
    atexit._run_exitfuncs()
    # A fork must not run the rest of Python's own ending, and TensorFlow's takes a second of it.
    for thing in gc.get_objects():
        if type(thing) in (io.TextIOWrapper, io.BufferedWriter):
            with contextlib.suppress(ValueError, OSError):
                thing.flush()
    return 1 if result["error"] else 0


def _stop(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _fork_step(job: dict[str, Any], shell: CellShell, channel: Connection) -> int:
    """Start a step in a process group of its own and return its number."""
    # Were this process stopped right after the fork, the step would be left behind.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    parent = os.getpid()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of NumPy's; they allow it
        step = os.fork()
    if step == 0:
        exit_code = 1
        try:
            die_with_parent(parent)
            os.setpgid(0, 0)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
            exit_code = _be_step(job, shell, channel)
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(exit_code)
    with contextlib.suppress(PermissionError, ProcessLookupError):
        os.setpgid(step, step)  # whichever process comes first
    return step


def _end_step(step: int, grace_seconds: float) -> int:
    """Wait for a step, then end what it left behind; its exit code, negative for a signal."""
    deadline = time.monotonic() + grace_seconds
    while os.waitid(os.P_PID, step, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(step, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(step, 0)[1])


def _serve(channel: Connection, warm_imports: list[str], shell: CellShell) -> None:
    """Fork a step for each job, one after another."""
    while True:
        try:
            job = channel.recv()
        except EOFError:
            return
        step = _fork_step(job, shell, channel)
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
            while warm_imports:
                importlib.import_module(warm_imports.pop())
            os.waitid(os.P_PID, step, os.WEXITED | os.WNOWAIT)
        except SystemExit:
            os.killpg(step, signal.SIGTERM)
            _end_step(step, GRACE_SECONDS)
            raise
        channel.send({"exit_code": _end_step(step, grace_seconds=0)})


def main() -> None:
    """Get ready and serve.

    Arguments: the descriptor of the connection, then modules to import while the first step works.
    """
    signal.signal(signal.SIGTERM, _stop)
    _import_light_kale()
    import dill  # noqa: F401  most values between steps need it
    from kale import marshal  # noqa: F401
    from kfp.dsl import executor  # noqa: F401

    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)  # or what cells start would hold the connection open
    _serve(Connection(descriptor), sys.argv[2:], start_shell())


if __name__ == "__main__":
    main()
