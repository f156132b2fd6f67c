"""Kale's `marshal` without the rest of Kale.

`import kale` takes five seconds, because it brings its compiler and the Kubernetes client. A
step needs neither. A bare package of the same name, at the same place, lets `kale.marshal` and
the other submodules be imported by themselves.
"""

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable
from typing import Any


def install() -> None:
    """Put the bare package in place of `kale`, before anything imports it."""
    spec = importlib.util.find_spec("kale")
    if spec is None or spec.origin is None:
        raise ImportError("Expected the library Kale (kubeflow-kale) in this environment.")
    package = types.ModuleType("kale", "Kale without its compiler.")
    package.__path__ = list(spec.submodule_search_locations or [])
    package.__spec__ = spec
    sys.modules["kale"] = package


def replace_module(name: str, **members: Callable[..., Any]) -> None:
    """Answer imports of one submodule with a few functions."""
    module = types.ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    setattr(importlib.import_module(parent), child, module)
