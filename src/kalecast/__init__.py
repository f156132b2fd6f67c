"""Kalecast: from a notebook to a forecasting service."""

import os
from importlib.metadata import version

# Since 1.29 ONNX Runtime sends telemetry to its maker, unless this is set before it starts.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = version("kalecast")
