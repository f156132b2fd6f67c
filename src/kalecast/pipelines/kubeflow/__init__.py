"""A compiled pipeline run on Kubeflow Pipelines."""
