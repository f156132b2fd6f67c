"""Kalecast: from a notebook to a forecasting service."""

from importlib.metadata import version

__version__ = version("kalecast")
