"""What JupyterLab adds to a notebook that is opened, added before and taken away when it is saved.

Kale's panel writes its pipeline beside every notebook's cells, with the experiment's id, which each
KFP gives anew; the kernel writes its version. Were it not there already when a notebook is opened,
each would count as changed at once. Were it saved, a click would be a change for git.
"""

import platform
import re
from pathlib import PurePosixPath
from typing import Any

from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

from kalecast.pipelines.notebooks.cells import GLOBAL_ROLES

KEPT_OF_LANGUAGE = {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"}
# As IPython's kernel says it.
OF_KERNEL = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
    "version": platform.python_version(),
}
EXPERIMENT = "kalecast"
NEW = "new"  # the panel's word for an experiment that KFP is to find by its name
PANEL = {"pipeline_description": "", "enable_caching": True, "volumes": [], "steps_defaults": []}


class Notebooks(AsyncLargeFileManager):
    """Jupyter's files, with what opening a notebook adds."""

    async def get(self, path: str, *args: Any, **options: Any) -> dict[str, Any]:
        """A file or folder."""
        model: dict[str, Any] = await super().get(path, *args, **options)  # type: ignore[no-untyped-call]
        as_opened(model, path)
        return model


def as_opened(model: dict[str, Any], path: str) -> None:
    """Put into a notebook what opening it would put in, in the same words."""
    if not _is_notebook(model):
        return
    metadata = model["content"]["metadata"]
    language, kernel = metadata.get("language_info", {}), metadata.get("kernelspec", {})
    if (language.get("name") or kernel.get("language") or "python") == "python":
        metadata["language_info"] = {**KEPT_OF_LANGUAGE, **language, **OF_KERNEL}
    pipeline = metadata.get("kubeflow_notebook", {})
    experiment = pipeline.get("experiment_name") or EXPERIMENT
    metadata["kubeflow_notebook"] = {
        "pipeline_name": _pipeline_name(path),
        **PANEL,
        **pipeline,
        "experiment": {"id": NEW, "name": experiment},
        "experiment_name": experiment,
    }


def before_saving(model: dict[str, Any], **_: Any) -> None:
    """Take out of a notebook what opening it put in; for `pre_save_hook` of Jupyter."""
    if not _is_notebook(model):
        return
    metadata, cells = model["content"]["metadata"], model["content"].get("cells", [])
    for cell in cells:
        if cell["metadata"].get("tags") == []:
            del cell["metadata"]["tags"]
    if not any(_is_kales(tag) for cell in cells for tag in cell["metadata"].get("tags", [])):
        # The panel makes a pipeline of every notebook that is opened.
        metadata.pop("kubeflow_notebook", None)
    language = metadata.get("language_info", {})
    for name in set(language) - set(KEPT_OF_LANGUAGE):
        del language[name]
    pipeline = metadata.get("kubeflow_notebook", {})
    pipeline.pop("experiment", None)
    if not pipeline.get("steps_defaults", True):
        del pipeline["steps_defaults"]


def _is_notebook(model: dict[str, Any]) -> bool:
    return model["type"] == "notebook" and bool(model.get("content"))


def _is_kales(tag: str) -> bool:
    return tag in GLOBAL_ROLES or tag.startswith(("step:", "notebook:"))


def _pipeline_name(path: str) -> str:
    """What the panel calls the pipeline of a notebook that has no name for it."""
    return re.sub("[^a-z0-9]+", "-", PurePosixPath(path).stem.lower()).strip("-")
