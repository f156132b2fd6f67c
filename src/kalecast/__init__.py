"""Kalecast: from a notebook to a forecasting service."""

import os
from importlib.metadata import version

# Since 1.29 ONNX Runtime reports its use to its maker, unless it is told not to before it starts.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = version("kalecast")
