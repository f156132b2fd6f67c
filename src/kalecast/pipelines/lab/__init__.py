"""JupyterLab with Kale, and the runs that a click starts on this machine."""
