"""What this project adds to the half of Kale's panel that works in a notebook's kernel.

The panel calls functions of `kale.rpc`. Some of their results hide what a user has to know, or
interrupt without need. The installed Kale is not touched.
"""

import html
from pathlib import Path
from typing import Any

import wrapt

# The panel polls for as long as it reads `Running`, and knows no other word but `Failed`.
STATES = {
    "RUNTIME_STATE_UNSPECIFIED": "Running",
    "PENDING": "Running",
    "RUNNING": "Running",
    "FAILED": "Failed",
    "CANCELED": "Failed",
}


def install() -> None:
    """Have the additions made as soon as Kale is imported; costs nothing where it never is."""
    wrapt.when_imported("kale.rpc.errors")(_say_what_went_wrong)
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
