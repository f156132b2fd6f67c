"""Settings of the environment or of a command line, and what is said of wrong ones."""

from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


class SettingsError(ValueError):
    """A setting holds what it must not; the text is for whoever set it."""


class CheckedSettings(BaseSettings):
    """Settings that cannot change, checked when they are made.

    A validator raises a ValueError that says what was expected of the value (`from 1 to 600`), or
    a SettingsError with a whole text, as for a secret, which must not be repeated.

    Raises:
        SettingsError: a setting holds what it must not.
    """

    # Defaults are right as they are: validators need to read nothing but texts.
    model_config = SettingsConfigDict(frozen=True, case_sensitive=True, validate_default=False)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            # Not chained: pydantic's own text repeats what was received, secrets too.
            raise SettingsError(self._sentence(error)) from None

    @classmethod
    def _sentence(cls, error: ValidationError) -> str:
        first = error.errors(include_url=False)[0]
        reason = first.get("ctx", {}).get("error", first["msg"])
        if isinstance(reason, SettingsError):
            return str(reason)
        name = str(first["loc"][0])
        if name in cls.model_fields:  # an option, or a default
            name = str(cls.model_fields[name].validation_alias or "--" + name.replace("_", "-"))
        return f"Expected {name} {reason}, received: {first['input']!r}"
