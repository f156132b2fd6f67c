"""JupyterLab with Kale, and a stand-in for Kubeflow Pipelines where Run works on this machine."""
