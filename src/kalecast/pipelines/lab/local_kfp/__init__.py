"""A stand-in for Kubeflow Pipelines on this machine.

It answers the part of KFP's API that Kale and `kfp.Client` use to run a pipeline, runs what it is
given with `run_pipeline`, and shows the runs on a page of its own. `lab.jupyter` starts it.
"""
