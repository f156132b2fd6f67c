"""Kalecast: from a notebook to a forecasting service."""

import os

# Since 1.29 ONNX Runtime sends telemetry to its maker, unless this is set before it starts.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> str:
    """`__version__`, looked up when it is wanted: that takes a tenth of a server's start."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    return version("kalecast")
