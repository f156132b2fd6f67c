"""Jupyter's configuration where JUPYTER_CONFIG_PATH names this folder, as `jupyter.py` has it."""

from kalecast.pipelines.lab.saving import Notebooks, before_saving

c = get_config()  # type: ignore[name-defined]  # noqa: F821
c.ServerApp.contents_manager_class = Notebooks
c.ContentsManager.pre_save_hook = before_saving
