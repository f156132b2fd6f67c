"""Check values for a pipeline's parameters before anything runs."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from kalecast.model.parameters import ParameterError as ParameterError  # noqa: PLC0414
from kalecast.model.parameters import check_parameters

TYPE_NAMES = {
    "NUMBER_INTEGER": "int",
    "NUMBER_DOUBLE": "float",
    "BOOLEAN": "bool",
    "STRING": "str",
}
TRUTH = {"true": True, "false": False}
FORECASTING = frozenset({"season", "input_length", "horizon"})
"""What a pipeline has that was compiled from `notebooks/forecast_pipeline.ipynb` or a copy."""


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


def defaults_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a compiled pipeline, as YAML has it, by name with the values they have."""
    inputs = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    values = {name: inputs[name].get("defaultValue") for name in sorted(inputs)}
    return {name: _whole(value) for name, value in values.items() if value is not None}


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
