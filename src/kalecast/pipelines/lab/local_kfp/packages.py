"""Compiled pipelines as they arrive: text that must first turn out to be one."""

from typing import Any

import yaml

from kalecast.pipelines.lab.local_kfp.api_errors import ApiError
from kalecast.pipelines.pipeline_parameters import (
    ParameterError,
    check_values,
    defaults_of,
    parse_parameters,
)

# libyaml's, where PyYAML was built with it, is ten times as fast.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
TYPES: dict[str, type | tuple[type, ...]] = {
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": bool,
    "STRING": str,
}


def read_package(data: bytes) -> list[dict[str, Any]]:
    """The documents of a compiled pipeline: its specification, and what is for Kubernetes."""
    try:
        text = data.decode()
        # Aliases let a small file grow without end; KFP's compiler writes none.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, LOADER)):
            raise ApiError(400, "Expected a compiled pipeline, received: YAML with aliases.")
        documents = list(yaml.load_all(text, LOADER))
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ApiError(400, f"Expected a compiled pipeline as YAML ({reason}).") from error
    return check_package(documents)


def check_package(documents: list[Any]) -> list[dict[str, Any]]:
    """`documents` if the first one is a pipeline."""
    spec = documents[0] if documents else None
    if (
        len(documents) > 2
        or not all(isinstance(document, dict) for document in documents)
        or not isinstance(pipeline_name(spec), str)
        or not isinstance(_inside(spec, "root", "dag", "tasks"), dict)
        or not isinstance(_inside(spec, "deploymentSpec", "executors"), dict)
    ):
        raise ApiError(
            400,
            "Expected a compiled pipeline (with pipelineInfo, root and deploymentSpec), "
            "received: something else.",
        )
    return documents


def pipeline_name(spec: Any) -> Any:
    """The name inside a pipeline's specification."""
    return _inside(spec, "pipelineInfo", "name")


def write_package(documents: list[dict[str, Any]]) -> str:
    """The text of a pipeline file."""
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump_all(documents, Dumper=dumper, width=1_000_000)
    return text


def parameter_texts(spec: dict[str, Any], values: Any) -> list[str]:
    """The parameters of a run as `run_pipeline.py` takes them, or an `ApiError`."""
    declared = {
        name: str(_inside(parameter, "parameterType"))
        for name, parameter in (
            _inside(spec, "root", "inputDefinitions", "parameters") or {}
        ).items()
    }
    if not isinstance(values, dict):
        raise ApiError(400, "Expected parameters by name.")
    texts = [f"{name}={_text(name, value, declared.get(name))}" for name, value in values.items()]
    try:
        check_values(defaults_of(spec) | parse_parameters(texts, declared))
    except ParameterError as error:
        raise ApiError(400, str(error)) from error
    return texts


def _text(name: str, value: Any, declared: str | None) -> str:
    if declared == "NUMBER_INTEGER" and isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON and protobuf know no difference
    expected = TYPES.get(declared or "", object)
    if not isinstance(value, expected) or (isinstance(value, bool) and declared != "BOOLEAN"):
        raise ApiError(
            400, f"Expected {declared} for parameter {name!r}, received: {str(value)[:100]!r}."
        )
    return str(value)


def _inside(document: Any, *keys: str) -> Any:
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return document
