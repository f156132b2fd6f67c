"""What a compiled pipeline says about itself, read without KFP's library, which takes seconds.

Values for its parameters are checked against it before anything runs.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from kalecast.model.parameters import ParameterError as ParameterError  # noqa: PLC0414
from kalecast.model.parameters import check_parameters

DIGITS = 12
TYPE_NAMES = {
    "NUMBER_INTEGER": "int",
    "NUMBER_DOUBLE": "float",
    "BOOLEAN": "bool",
    "STRING": "str",
}
TRUTH = {"true": True, "false": False}
FORECASTING = frozenset({"season", "input_length", "horizon"})
"""What a pipeline has that was compiled from `notebooks/forecast_pipeline.ipynb` or a copy."""


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
        return {name: declared["parameterType"] for name, declared in self._inputs()}

    @property
    def defaults(self) -> dict[str, Any]:
        """Its parameters, each with the value that it has unless it is given."""
        values = {name: declared.get("defaultValue") for name, declared in self._inputs()}
        return {name: _whole(value) for name, value in values.items() if value is not None}

    def check(self, parameters: Mapping[str, Any]) -> None:
        """Raise a `ParameterError` where a run with these parameters cannot be."""
        check_values({**self.defaults, **parameters})

    def _inputs(self) -> list[tuple[str, dict[str, Any]]]:
        return sorted(self.spec["root"].get("inputDefinitions", {}).get("parameters", {}).items())


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


def parse_parameters(given: Iterable[str], declared: dict[str, str]) -> dict[str, Any]:
    """Values by name from texts of the form `name=value`.

    Args:
        given: what the user wrote.
        declared: the pipeline's parameters, each with KFP's name for its type.

    Raises:
        ParameterError: one that the pipeline does not have, or a value of another type.
    """
    values = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise ParameterError(f"Expected --param name=value, received: {text!r}.")
        if name not in declared:
            valid = ", ".join(f"{n} ({TYPE_NAMES.get(t, t)})" for n, t in declared.items())
            raise ParameterError(
                f"Expected a parameter of the pipeline, received: {name!r}. "
                f"It has: {valid or 'none'}."
            )
        values[name] = _parse(name, value, declared[name])
    return values


def check_values(values: Mapping[str, Any]) -> None:
    """Refuse values that cannot be, before the first step.

    Args:
        values: all of a pipeline's parameters by name, those left out with their defaults. What
            another pipeline's mean is not known here, and not looked at.

    Raises:
        ParameterError: names the first such value, and what was expected.
    """
    if set(values) >= FORECASTING:
        check_parameters(**values)


def _whole(value: Any) -> Any:
    """An integer where KFP, which knows none in its defaults, has written `3.0`."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _parse(name: str, text: str, declared_type: str) -> Any:
    expected = TYPE_NAMES.get(declared_type, declared_type)
    try:
        if expected == "int":
            return int(text)
        if expected == "float" and math.isfinite(float(text)):
            return float(text)
        if expected == "bool":
            return TRUTH[text.lower()]
        # Kale pastes a text between quotes into code.
        if expected == "str" and not set(text) & set("'\\\n\r"):
            return text
    except (ValueError, KeyError):
        pass
    hint = {
        "bool": "true or false",
        "str": "str without apostrophe, backslash and line break",
        "float": "finite float",
    }
    raise ParameterError(
        f"Expected {hint.get(expected, expected)} for parameter {name!r}, received: {text!r}."
    )
