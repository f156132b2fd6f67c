"""Jupyter's configuration where JUPYTER_CONFIG_PATH names this folder, as `lab.py` has it."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))
from notebook_saving import Notebooks, before_saving

c = get_config()  # noqa: F821
c.ServerApp.contents_manager_class = Notebooks
c.ContentsManager.pre_save_hook = before_saving
