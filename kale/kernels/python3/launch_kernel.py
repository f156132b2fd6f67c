"""Start a notebook's kernel in which Kale compiles as `make compile` does.

Kale's panel in JupyterLab does its work in the kernel of the notebook. JupyterLab finds this
kernel before the environment's own of the same name where JUPYTER_PATH names the folder `kale/`.
"""

import sys
from pathlib import Path

KALE_FOLDER = Path(__file__).resolve().parents[2]

# Only for the import below: the folder's own modules are no business of the notebook.
sys.path[0] = str(KALE_FOLDER)
import kale_additions  # noqa: E402
import kale_panel  # noqa: E402

sys.path.pop(0)

from ipykernel.kernelapp import launch_new_instance  # noqa: E402

if __name__ == "__main__":
    kale_additions.install()
    kale_panel.install()
    launch_new_instance()
