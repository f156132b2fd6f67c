"""What a compiled pipeline says about itself, read without KFP's library, which takes seconds."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

DIGITS = 12


class NoPipelineError(ValueError):
    """A file is no compiled pipeline; the text names it."""


def compiled_from(notebook: Path, folder: Path) -> Path:
    """Where the pipeline of a notebook lies.

    Args:
        notebook: the annotated notebook.
        folder: that holds compiled pipelines.

    Raises:
        NoPipelineError: it is none, or it has not been compiled.
    """
    try:
        metadata = json.loads(notebook.read_text(encoding="utf-8"))["metadata"]
        compiled = folder / f"{metadata['kubeflow_notebook']['pipeline_name']}.pipeline.yaml"
    except (OSError, ValueError, KeyError, TypeError):
        raise NoPipelineError(
            "Expected a notebook with a 'kubeflow_notebook' block and its 'pipeline_name', "
            f"received: {notebook}."
        ) from None
    if not compiled.is_file():
        raise NoPipelineError(
            f"Expected the compiled pipeline of {notebook.name} at {compiled}: none there. "
            f'Compile it with: make compile NOTEBOOK="{notebook}"'
        )
    return compiled


@dataclass(frozen=True)
class CompiledPipeline:
    """A compiled pipeline."""

    path: Path

    @cached_property
    def spec(self) -> dict[str, Any]:
        """Its specification.

        Raises:
            NoPipelineError: the file cannot be read, or holds something else.
        """
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            spec = next(iter(yaml.load_all(self.path.read_text(encoding="utf-8"), loader)))
        except OSError as error:
            raise NoPipelineError(
                f"Expected a compiled pipeline, received: {self.path} ({error.strerror})."
            ) from error
        except (yaml.YAMLError, UnicodeDecodeError, StopIteration):
            spec = None
        if not _is_pipeline(spec):
            raise NoPipelineError(
                "Expected a compiled pipeline (YAML with pipelineInfo and root), "
                f"received: {self.path}."
            )
        return dict(spec)

    @property
    def version_name(self) -> str:
        """A name that follows from the content."""
        return f"kalecast-{hashlib.sha256(self.path.read_bytes()).hexdigest()[:DIGITS]}"

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return str(self.spec["pipelineInfo"]["name"])

    @property
    def description(self) -> str:
        """What it says of itself."""
        return str(self.spec["pipelineInfo"].get("description", ""))

    @property
    def parameters(self) -> dict[str, str]:
        """Its parameters, each with KFP's name for its type."""
        inputs = self.spec["root"].get("inputDefinitions", {}).get("parameters", {})
        return {name: inputs[name]["parameterType"] for name in sorted(inputs)}


def _is_pipeline(spec: Any) -> bool:
    try:
        return bool(spec["pipelineInfo"]["name"]) and "tasks" in spec["root"]["dag"]
    except (TypeError, KeyError, IndexError):
        return False


def task_names(spec: dict[str, Any]) -> list[str]:
    """The names of a pipeline's steps as KFP knows them, those of pipelines inside it too.

    A step comes after all that it depends on.
    """

    def inside(dag: dict[str, Any]) -> Iterator[str]:
        tasks = dag["tasks"]
        order = TopologicalSorter({t: tasks[t].get("dependentTasks", []) for t in tasks})
        for name in order.static_order():
            component = spec["components"][tasks[name]["componentRef"]["name"]]
            yield from inside(component["dag"]) if "dag" in component else [name]

    return list(inside(spec["root"]["dag"]))


def step_name(task: str) -> str:
    """The name of a step in the notebook, from that of its task or its function."""
    return task.replace("-", "_").removesuffix("_step")
