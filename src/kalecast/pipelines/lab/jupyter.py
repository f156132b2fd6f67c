"""JupyterLab with Kale's extension, where *Compile* and *Run* work: `make lab`.

    kalecast lab [--root FOLDER] [--runs-dir runs] [-- JupyterLab's arguments]

With KFP_HOST, or in a Notebook Server of Kubeflow, a click on *Run* reaches that KFP
(`kubeflow.connection` has the variables). Anywhere else the pipeline runs on this machine, and a
page shows the runs.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from kalecast.lifetime import end_child, ends, start_child
from kalecast.pipelines.compile_notebook import PACKAGE_INDEX
from kalecast.pipelines.kubeflow.connection import KfpConnection, connection_of, problem_with
from kalecast.pipelines.lab.kale_panel import RUNS_SERVER
from kalecast.pipelines.lab.runs_server import PORT, RunsServer, start_runs_server
from kalecast.pipelines.local.run_folder import full_disk, is_full_disk
from kalecast.project import PROJECT

SETTINGS = Path(__file__).resolve().parent / "settings"
"""Of Jupyter: what JUPYTER_CONFIG_PATH and JUPYTER_PATH name."""
NOTEBOOK = "notebooks/forecast_pipeline.ipynb"
GRACE_SECONDS = 10.0


async def open_lab(options: argparse.Namespace) -> int:
    """Serve until JupyterLab ends or a signal comes; the exit code."""
    stopped = asyncio.Event()
    for number in ends():
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    connection = connection_of(os.environ)
    local = None if connection else start_runs_server(options.runs_dir, options.kfp_port)
    with tempfile.TemporaryDirectory(prefix="kalecast-lab-") as scratch:
        try:
            await _print_addresses(connection, local)
            if options.no_jupyter:
                await stopped.wait()
                return 0
            environment = _environment(Path(scratch), connection, local)
            return await _run_jupyter(options, environment, stopped)
        finally:
            if local:
                await local.close()


async def _print_addresses(connection: KfpConnection | None, local: RunsServer | None) -> None:
    """Say where a click on *Run* leads."""
    message = f"Run works on this machine; its runs are at {local.page}" if local else ""
    if connection:
        problem = await asyncio.to_thread(problem_with, connection, os.environ)
        message = f"Run works on KFP at {connection.host}"
        if problem:
            message = f"{problem}\n  Compile works nevertheless, Run does not."
    print(f"\n  {message}\n", flush=True)


async def _run_jupyter(
    options: argparse.Namespace, environment: Mapping[str, str], stopped: asyncio.Event
) -> int:
    """Run JupyterLab until it ends by itself or is to be stopped."""
    command = [sys.executable, "-m", "jupyterlab", *_jupyter_arguments(options)]
    jupyter = await start_child(command, cwd=options.root, environment=environment)
    waits = [asyncio.create_task(jupyter.wait()), asyncio.create_task(stopped.wait())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    waits[1].cancel()
    if jupyter.returncode is not None:
        return jupyter.returncode
    await end_child(jupyter, GRACE_SECONDS)
    return 0


def _jupyter_arguments(options: argparse.Namespace) -> list[str]:
    arguments = [f"--ServerApp.root_dir={options.root.resolve()}"]
    if (options.root / NOTEBOOK).is_file():
        arguments.append(f"--LabApp.default_url=/lab/tree/{NOTEBOOK}")
    if os.geteuid() == 0:
        arguments.append("--allow-root")
    if "NB_PREFIX" in os.environ:
        # Kubeflow's gateway admits the users of the profile, so there is no second password.
        arguments += [
            f"--ServerApp.base_url={os.environ['NB_PREFIX'] or '/'}",
            "--ServerApp.ip=0.0.0.0",
            "--ServerApp.port=8888",
            "--IdentityProvider.token=",
            "--no-browser",
        ]
    return [*arguments, *options.jupyter_arguments]


def _environment(
    scratch: Path, connection: KfpConnection | None, local: RunsServer | None
) -> dict[str, str]:
    """The environment of JupyterLab and its kernels.

    Args:
        scratch: a folder that no one else may read.
        connection: to KFP, if a run is to reach one.
        local: where it is to reach none.
    """
    # As for `make compile`: what the machine has set must not change what a click compiles.
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("KALE_", "KFP_"))}
    (connection or KfpConnection()).write(scratch / "kfp.json")
    ours = {
        "KALE_CONFIG_PATH": str(scratch / "kfp.json"),
        "KALE_PYPI_PROD_URL": PACKAGE_INDEX,
        "JUPYTER_CONFIG_PATH": _before("JUPYTER_CONFIG_PATH"),  # settings, what saving leaves out
        "JUPYTER_PATH": _before("JUPYTER_PATH"),  # the kernel
    }
    if local:
        address = {"url": local.host, "token": local.token}
        (scratch / "runs.json").write_text(json.dumps(address))
        ours[RUNS_SERVER] = str(scratch / "runs.json")
        ours["KALE_RUN_LINK"] = f"{local.page}#/runs/details/{{run_id}}"
        ours["KALE_UPLOAD_LINK"] = f"{local.page}#/runs"
    elif "NB_PREFIX" in os.environ:
        ours["KF_PIPELINES_UI_ENDPOINT"] = kept.get("KF_PIPELINES_UI_ENDPOINT", "/pipeline")
    return kept | ours


def _before(variable: str) -> str:
    others = os.environ.get(variable)
    return f"{SETTINGS}{os.pathsep}{others}" if others else str(SETTINGS)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Open JupyterLab with Kale's extension.")
    parser.add_argument("--root", type=Path, default=PROJECT, help="the folder to open")
    parser.add_argument("--runs-dir", type=Path, default=PROJECT / "runs")
    parser.add_argument(
        "--kfp-port", type=int, help=f"of the page of runs: {PORT} where it is free; 0: any"
    )
    parser.add_argument("--no-jupyter", action="store_true", help="the page of runs only")
    parser.add_argument("jupyter_arguments", nargs="*", metavar="-- …")
    try:
        return asyncio.run(open_lab(parser.parse_args()))
    except OSError as error:  # no room on the disk, no memory
        print(f"error: {full_disk(error) if is_full_disk(error) else error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
