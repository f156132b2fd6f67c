"""What this project adds to the half of Kale's panel that works in a notebook's kernel.

The panel calls functions of `kale.rpc`. Some of their results hide what a user has to know, or
interrupt without need. The installed Kale is not touched.
"""

import html
import http.client
import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import wrapt

from kalecast.client.http import opener
from kalecast.pipelines.compiled_pipeline import CompiledPipeline

RUNS_SERVER = "KALECAST_RUNS_SERVER"
"""The variable that names a file with the address and the secret of `runs_server`."""
ANSWER_SECONDS = 30.0
EXPERIMENT = {"name": "kalecast", "id": "kalecast"}
# The panel polls for as long as it reads `Running`, and knows no other word but `Failed`.
STATES = {
    "RUNTIME_STATE_UNSPECIFIED": "Running",
    "PENDING": "Running",
    "RUNNING": "Running",
    "CANCELING": "Running",
    "FAILED": "Failed",
    "CANCELED": "Failed",
}


def install() -> None:
    """Have the additions made as soon as Kale is imported; costs nothing where it never is."""
    wrapt.when_imported("kale.rpc.errors")(_say_what_went_wrong)
    if RUNS_SERVER in os.environ:
        wrapt.when_imported("kale.rpc.kfp")(run_on_this_machine)
    wrapt.when_imported("kale.rpc.kfp")(_open_without_kfp)
    wrapt.when_imported("kale.rpc.kfp")(_follow_runs)
    wrapt.when_imported("kale.rpc.nb")(_take_early_clicks)


def _say_what_went_wrong(errors: Any) -> None:
    """Let the panel's dialog show an error's own words, which it keeps for a log in the home."""

    def logged(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> None:
        wrapped(*args, **kwargs)
        if kwargs.get("message") and not kwargs.get("details"):
            instance.details = html.escape(str(kwargs["message"]))  # a dialog's text is HTML

    wrapt.wrap_function_wrapper(errors, "_RPCError.__init__", logged)


def run_on_this_machine(rpc: Any) -> None:
    """Replace each function that would call KFP by one that calls the server of the runs."""
    vars(rpc).update(
        ping=_ping,
        list_experiments=lambda request: [EXPERIMENT],
        get_ui_host=lambda request: _runs_server()["url"],
        upload_pipeline=_upload_pipeline,
        run_pipeline=_run_pipeline,
        get_run=lambda request, run_id: _state_of(_call(f"/runs/{run_id}")),
    )


def _ping(request: Any) -> bool:
    try:
        return bool(_call("/runs"))
    except RuntimeError:
        return False


def _upload_pipeline(
    request: Any, pipeline_package_path: str, pipeline_metadata: dict[str, Any]
) -> dict[str, Any]:
    """There is nowhere to upload to: a run takes the compiled file."""
    name = pipeline_metadata["pipeline_name"]
    return {"pipeline": {"pipelineid": name, "versionid": name, "name": name}}


def _run_pipeline(
    request: Any,
    pipeline_metadata: dict[str, Any],
    pipeline_id: str,
    version_id: str,
    pipeline_package_path: str,
) -> dict[str, Any]:
    """Queue a run, unless its parameters cannot be."""
    package = Path(pipeline_package_path)
    CompiledPipeline(package).check({})
    content = {"name": pipeline_id, "pipeline": package.read_text(encoding="utf-8")}
    return _state_of(_call("/runs", content))


def _state_of(run: dict[str, Any]) -> dict[str, Any]:
    return {"id": run["run_id"], "name": run["run_id"], "status": run["state"]}


def _runs_server() -> dict[str, str]:
    found: dict[str, str] = json.loads(Path(os.environ[RUNS_SERVER]).read_text())
    return found


def _call(path: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
    """Send a request to the server of the runs, a POST where it has content.

    Raises:
        RuntimeError: it refuses or does not answer; the panel shows the text in a dialog.
    """
    server = _runs_server()
    body = None if content is None else json.dumps(content).encode()
    headers = {"Authorization": f"Bearer {server['token']}"}
    request = urllib.request.Request(server["url"] + path, body, headers)
    try:
        with opener(proxies=False).open(request, timeout=ANSWER_SECONDS) as answer:
            found: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        raise RuntimeError(json.load(error)["message"]) from error
    except (OSError, http.client.HTTPException) as error:
        raise RuntimeError(f"`make lab` does not answer ({error}).") from error
    return found


def _open_without_kfp(rpc: Any) -> None:
    """Open a notebook where KFP does not answer: the panel says so beside its name, no dialog."""

    def listed(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        try:
            return wrapped(*args, **kwargs)
        except Exception as error:  # of the network, of the login, of the client
            args[0].log.warning("No experiments: %s", error)
            return []

    wrapt.wrap_function_wrapper(rpc, "list_experiments", listed)


def _follow_runs(rpc: Any) -> None:
    """Let the panel follow a run to its end; KFP writes states otherwise than it reads them."""

    def followed(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        run = wrapped(*args, **kwargs)
        return {**run, "status": STATES.get(run["status"], run["status"])}

    for name in ("run_pipeline", "get_run"):
        wrapt.wrap_function_wrapper(rpc, name, followed)


def _take_early_clicks(rpc: Any) -> None:
    """Take a click in the seconds in which the panel has not yet read the notebook's metadata."""

    import nbformat

    def completed(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        given = kwargs.get("notebook_metadata_overrides") or {}
        if not given.get("pipeline_name"):
            path = Path(kwargs["source_notebook_path"]).expanduser()
            notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
            written = notebook.metadata.get("kubeflow_notebook", {})
            kwargs = {**kwargs, "notebook_metadata_overrides": {**given, **written}}
        return wrapped(*args, **kwargs)

    for name in ("validate_notebook", "compile_notebook"):
        wrapt.wrap_function_wrapper(rpc, name, completed)
