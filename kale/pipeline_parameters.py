"""Check values for a pipeline's parameters before anything runs."""

import math
from collections.abc import Iterable
from typing import Any

TYPE_NAMES = {
    "NUMBER_INTEGER": "int",
    "NUMBER_DOUBLE": "float",
    "BOOLEAN": "bool",
    "STRING": "str",
}
TRUTH = {"true": True, "false": False}


class ParameterError(ValueError):
    """A parameter that the pipeline does not have or a value that it does not take."""


def parse_parameters(given: Iterable[str], declared: dict[str, str]) -> dict[str, Any]:
    """Values by name from texts of the form `name=value`.

    Args:
        given: what the user wrote.
        declared: the pipeline's parameters, each with KFP's name for its type.
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
