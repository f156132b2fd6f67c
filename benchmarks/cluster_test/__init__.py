"""Model server and page on a real cluster: applied, queried, loaded, broken, removed.

`python -m cluster_test`, or `make cluster-test`; cluster-setup/README.md says what it looks at.
"""
