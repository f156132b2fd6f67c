"""Start a notebook's kernel in which Kale compiles as `make compile` does.

Kale's panel in JupyterLab does its work in the kernel of the notebook. JupyterLab finds this
kernel before the environment's own of the same name where JUPYTER_PATH names `settings/`.
"""

from ipykernel.kernelapp import launch_new_instance

from kalecast.pipelines import kale_additions
from kalecast.pipelines.lab import kale_panel

if __name__ == "__main__":
    kale_additions.install()
    kale_panel.install()
    launch_new_instance()
