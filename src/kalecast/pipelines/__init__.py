"""From an annotated notebook to a pipeline that runs here or on Kubeflow Pipelines."""
