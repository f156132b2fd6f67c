"""The options of the test, checked before anything is made."""

import argparse
import json
import re
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import CliApp, CliSettingsSource, NoDecode, SettingsConfigDict

from kalecast.settings import CheckedSettings, SettingsError

OVERLAYS = "overlay"
"""The word for: leave it as the overlay has it."""

ALWAYS_REQUIRED = ("objects", "ready", "forecast")
"""Checks without which the others would say nothing."""

NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def _namespace(text: str) -> str:
    name = text or f"kalecast-test-{secrets.token_hex(3)}"
    if not NAME.fullmatch(name):
        raise SettingsError(f"Expected a namespace such as kalecast-test-1, received: '{name}'")
    return name


def _login(file: str) -> str:
    if not file:
        return ""
    try:
        content = Path(file).expanduser().read_text()
        if "auths" in json.loads(content):
            return content
    except (OSError, ValueError) as error:
        raise SettingsError(f"--pull-secret {file} cannot be read: {error}") from error
    raise SettingsError(f"Expected 'auths' in {file}, as `docker login` writes it")


def _range(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,3})-(\d{1,3})", text)
    least, most = map(int, found.groups()) if found else (0, 0)
    if not 2 <= least < most:
        raise SettingsError(
            "Expected --pods such as 2-4, from 2 upward: where one is killed another must answer. "
            f"Received: '{text}'"
        )
    return least, most


def _seconds(text: str) -> int:
    if not re.fullmatch(r"\d{1,4}", text) or not 0 <= int(text) <= 3600:
        raise ValueError("to be seconds from 0 to 3600")
    return int(text)


def _or_overlay(check: Callable[[str], Any]) -> BeforeValidator:
    return BeforeValidator(lambda text: None if text == OVERLAYS else check(text))


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, re.split(r"[,\s]+", text)))


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]


class Parameters(CheckedSettings):
    """Everything that differs between one run and another."""

    model_config = SettingsConfigDict(
        cli_kebab_case=True,
        cli_implicit_flags="toggle",
        cli_shortcuts={"timeout": "patience"},
        cli_parse_none_str="\0",  # which no argument can be
    )

    overlay: str = Field("standalone", description="{overlays} (default: standalone)")
    server_image: str = Field("", description="default: the overlay's")
    page_image: str = Field("", description="default: the overlay's")
    model: Path = Field(Path("models/forecaster.onnx"), description="a model file of this machine")
    namespace: Annotated[str, AfterValidator(_namespace)] = Field(
        "", validate_default=True, description="must not be there yet (default: a random name)"
    )
    pull_secret: Annotated[str, AfterValidator(_login)] = Field(
        "", repr=False, description="file: a Docker config.json with a login"
    )
    """The file's content."""
    pods: Annotated[tuple[int, int] | None, NoDecode, _or_overlay(_range)] = Field(
        (2, 4), description="MIN-MAX of each autoscaler, or 'overlay' (default: 2-4)"
    )
    """Least and most pods of each autoscaler; none for the overlay's own."""
    quiet: Annotated[int | None, _or_overlay(_seconds)] = Field(
        30, description="seconds before scaling in, or 'overlay' (default: 30)"
    )
    """Seconds that an autoscaler waits before it scales in; none for the overlay's own."""
    timeout: Annotated[float, BeforeValidator(_seconds)] = Field(
        300.0, description="seconds for each wait (default: 300)"
    )
    """Seconds after which a wait has failed."""
    required: Names = Field(
        ALWAYS_REQUIRED,
        validation_alias="require",
        description="checks that must not be left out, by commas, or 'all'",
    )
    only: Names = Field((), description="of the checks {checks} only these")
    """Checks to make beside those that are always required; empty for all."""
    keep: bool = Field(False, description="leave the namespace, to look at it")
    dry_run: bool = Field(False, description="say what would be done; needs no cluster")

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: Any, init_settings: Any, *_: Any, **__: Any
    ) -> tuple[Any, ...]:
        """The command line alone counts."""
        return (init_settings,)


def read(arguments: list[str] | None, overlays: Sequence[str], checks: Sequence[str]) -> Parameters:
    """The parameters of a command line.

    Args:
        arguments: those of this process where it is none.
        overlays: names of those that there are.
        checks: names of those that there are.

    Raises:
        SettingsError: says what was expected and what received.
    """
    known = {"overlays": ", ".join(overlays), "checks": ", ".join(checks)}
    given = CliApp.run(Parameters, arguments, cli_settings_source=_command_line(known))
    if given.overlay not in overlays:
        raise SettingsError(
            f"Expected one of the overlays {known['overlays']}, received: '{given.overlay}'"
        )
    if not given.dry_run and not given.model.is_file():
        raise SettingsError(
            f"Expected a model file, received: '{given.model}', which is none. "
            "`make pipeline` makes models/forecaster.onnx"
        )
    required = tuple(checks) if given.required == ("all",) else given.required
    for option, names in (("--require", required), ("--only", given.only)):
        for name in (one for one in names if one not in checks):
            raise SettingsError(f"Expected {option} among {known['checks']}, received: '{name}'")
    required = tuple(one for one in checks if one in {*ALWAYS_REQUIRED, *required})
    return given.model_copy(update={"required": required})


def _command_line(known: dict[str, str]) -> CliSettingsSource[Parameters]:
    parser = argparse.ArgumentParser(
        prog="cluster_test",
        description="Apply an overlay in a namespace of its own, look whether it works, remove it.",
    )

    def add(parser: argparse.ArgumentParser, *options: str, **given: Any) -> None:
        # Each option takes one text, and its description has the default as one types it.
        rest = {key: given[key] for key in given.keys() - {"metavar", "help"}}
        if rest.get("action") == "append":
            rest["action"] = "store"
        described = given["help"].rpartition(" (default")[0]
        parser.add_argument(*options, help=described.format_map(known), **rest)

    return CliSettingsSource(Parameters, root_parser=parser, add_argument_method=add)
