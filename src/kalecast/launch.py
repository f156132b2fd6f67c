"""`make run` and `make pipeline`: train where there is no model yet, then serve it on a page.

Everything runs on this machine: the compiled pipeline with KFP's local runner, the model server
and the page. All three are children of this process, each in a process group of its own, and
none outlives it, though it be killed.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import FrameType

from kalecast import lifetime
from kalecast.artifact.store import SAMPLE, SERVED, StoreError, default_store, state
from kalecast.project import PROJECT, project_path
from kalecast.protocols.sockets import is_free

READY_SECONDS = 120
FIRST_MODEL = ("epochs=2",)
"""Parameters of the first model, which someone waits for: seconds from the pretrained start."""


class LaunchError(RuntimeError):
    """Something that the user of `make run` can mend; the text says what."""


class LaunchStopped(Exception):
    """A signal that ends this program arrived."""


def main() -> int:
    """Run until stopped; the exit status."""
    arguments = _arguments()
    lifetime.on_end(_stop)
    children: list[subprocess.Popen[bytes]] = []
    try:
        if not arguments.train_only:
            check_ports(_ports(arguments))
        model = ensure_model(arguments, children)
        if not arguments.train_only:
            serve(arguments, model, children)
    except LaunchError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except lifetime.ChildError as error:
        print(f"\n{error}: see above.", file=sys.stderr)
        return 1
    except LaunchStopped:
        with contextlib.suppress(OSError):  # nothing reads it where the terminal was closed
            print("\nstopping", flush=True)
        return 0
    finally:
        stop_all(children)
    return 0


def check_ports(ports: dict[str, int]) -> None:
    """Raise `LaunchError` naming each port that is taken, before anything starts."""
    taken = [f"{port} ({use})" for use, port in ports.items() if not is_free(port)]
    if taken:
        raise LaunchError(
            f"Expected free ports, in use already: {', '.join(taken)}. Stop what holds them, or "
            "choose others: make run PAGE_PORT=7870 SERVER_PORT=9100 GRPC_PORT=9600 "
            "METRICS_PORT=6100 PAGE_METRICS_PORT=7871"
        )


def ensure_model(arguments: argparse.Namespace, children: list[subprocess.Popen[bytes]]) -> Path:
    """The model file to serve; trains one where there is none, or on request.

    Pipeline parameters request training too: an existing model knows nothing of them.
    """
    _check_parameters(arguments)
    data = project_path(arguments.data)
    if not data.is_file():
        raise LaunchError(f"Expected a CSV or Parquet file at DATA={arguments.data}: none there.")
    try:
        store = project_path(arguments.store) if arguments.store else default_store(data)
    except OSError as error:
        raise LaunchError(f"Expected a readable file at DATA={data}: {error.strerror}.") from error
    model = store / f"{SERVED}.onnx"
    wanted = arguments.retrain or arguments.train_only or arguments.param
    if model.is_file() and not wanted:
        print(f"serving the model in {model} (RETRAIN=1 trains a new one)", flush=True)
        return model
    parameters = [f"data={data}", f"model_store={store}", *arguments.param]
    if not wanted:
        parameters += FIRST_MODEL
        print("training a first model, shortly; RETRAIN=1 trains for longer", flush=True)
    published = _published(parameters)
    before = _state(published)
    command = [sys.executable, "-m", "kalecast.pipelines.local.run_pipeline"]
    for parameter in parameters:
        command += ["--param", parameter]
    pipeline = _start(command, children)
    if pipeline.wait() != 0:
        raise LaunchError(_what_is_left(published, before))
    return model


def _published(parameters: list[str]) -> str:
    """The URI of the current model file of a run with these parameters."""
    values = dict(parameter.partition("=")[::2] for parameter in parameters)
    return f"{values['model_store']}/{values.get('model_name', SERVED)}.onnx"


def _state(uri: str) -> str | None:
    try:
        return state(uri)
    except StoreError:
        return None


def _what_is_left(uri: str, before: str | None) -> str:
    """After a failed run: which model there is, and that nothing serves it now."""
    now = _state(uri)
    if now is None:
        return "The pipeline ended without a model: see above. Nothing is served."
    if now == before:
        return (
            f"The pipeline ended without a new model: see above. The one before, {uri}, is as it "
            "was. Nothing is served now."
        )
    return (
        "The pipeline failed after it had published its model: see above. "
        f"{uri} is the new one. Nothing is served now."
    )


def _check_parameters(arguments: argparse.Namespace) -> None:
    """What is served must be what was trained: its place is not a parameter of `make run`."""
    given = {parameter.partition("=")[0] for parameter in arguments.param}
    placed = sorted(given & {"data", "model_store", "model_name"})
    if placed and not arguments.train_only:
        raise LaunchError(
            f"Expected PARAMS without {', '.join(placed)} where the model is served: choose the "
            "data with DATA=my.csv, or train elsewhere with make pipeline."
        )


def serve(
    arguments: argparse.Namespace, model: Path, children: list[subprocess.Popen[bytes]]
) -> None:
    """Start server and page, say where the page is, and stay until one of them ends."""
    server = _start(
        [
            str(PROJECT / ".venv/server/bin/python"),
            *("-m", "kalecast.serving.server"),
            *("--model-uri", str(model)),
            *("--port", str(arguments.server_port)),
            *("--grpc-port", str(arguments.grpc_port)),
            *("--metrics-port", str(arguments.metrics_port)),
        ],
        children,
        # Its clients end with it: none needs notice that it is ending.
        KALECAST_DRAIN_SECONDS="0",
    )
    page = _start(
        [str(PROJECT / ".venv/page/bin/python"), "-m", "kalecast.page.app"],
        children,
        MODEL_SERVER_URL=f"http://127.0.0.1:{arguments.server_port}",
        KALECAST_PAGE_PORT=str(arguments.page_port),
        SAMPLE_DATA=str(project_path(arguments.data)),
        KALECAST_DRAIN_SECONDS="0",
        KALECAST_METRICS_PORT=str(arguments.page_metrics_port),
    )
    both = {"model server": server, "page": page}
    lifetime.await_ready(
        both, partial(lifetime.answers, arguments.page_port, "/ready"), READY_SECONDS
    )
    address = f"http://127.0.0.1:{arguments.page_port}"
    print(f"\n  The forecast page is at {address}\n  Ctrl-C ends it.\n", flush=True)
    while True:
        lifetime.require_running(both)
        time.sleep(0.5)


def stop_all(children: list[subprocess.Popen[bytes]]) -> None:
    """End every child with its whole process group; a second signal does not interrupt this."""
    lifetime.ignore_ends()
    for child in reversed(children):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + 10
    for child in children:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(max(deadline - time.monotonic(), 0.1))
        lifetime.kill_group(child.pid)


def _start(
    command: list[str], children: list[subprocess.Popen[bytes]], **environment: str
) -> subprocess.Popen[bytes]:
    child = lifetime.start(command, env={**os.environ, **environment}, cwd=PROJECT)
    children.append(child)
    return child


def _ports(arguments: argparse.Namespace) -> dict[str, int]:
    return {
        "page": arguments.page_port,
        "model server": arguments.server_port,
        "model server's gRPC": arguments.grpc_port,
        "model server's metrics": arguments.metrics_port,
        "page's metrics": arguments.page_metrics_port,
    }


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise LaunchStopped


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", default=SAMPLE, help="CSV or Parquet of unique_id, ds, y")
    parser.add_argument("--store", help="folder of the model file")
    parser.add_argument("--train-only", action="store_true", help="train, and serve nothing")
    parser.add_argument("--retrain", action="store_true", help="train though there is a model")
    parser.add_argument(
        "--param", action="append", default=[], metavar="NAME=VALUE", help="pipeline parameter"
    )
    parser.add_argument("--page-port", type=int, default=7860)
    parser.add_argument("--server-port", type=int, default=9000)
    parser.add_argument("--grpc-port", type=int, default=9500)
    parser.add_argument("--metrics-port", type=int, default=6000)
    parser.add_argument("--page-metrics-port", type=int, default=7861)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
