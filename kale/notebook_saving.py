"""What JupyterLab leaves out when it saves a notebook, so that a click is no change for git.

Kale's panel adds the experiment's id, which every KFP gives anew, beside its name; the kernel adds
its version. Both are set again whenever the notebook is opened.
"""

from typing import Any

from notebook_cells import GLOBAL_ROLES

KEPT_OF_LANGUAGE = ("name", "file_extension", "mimetype")


def before_saving(model: dict[str, Any], **_: Any) -> None:
    """Take out of a notebook what opening it put in; for `pre_save_hook` of Jupyter."""
    if model["type"] != "notebook" or not model.get("content"):
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


def _is_kales(tag: str) -> bool:
    return tag in GLOBAL_ROLES or tag.startswith(("step:", "notebook:"))
