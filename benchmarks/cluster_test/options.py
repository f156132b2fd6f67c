"""The options of the test, checked before anything is made."""

import argparse
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

OVERLAYS = "overlay"
"""The word for: leave it as the overlay has it."""

ALWAYS_REQUIRED = ("objects", "ready", "forecast")
"""Checks without which the others would say nothing."""

NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class OptionError(ValueError):
    """A parameter holds what it must not."""


@dataclass(frozen=True)
class Parameters:
    """Everything that differs between one run and another."""

    overlay: str
    namespace: str
    model: Path
    server_image: str = ""
    """As the overlay has it, where it is empty; so the page's."""
    page_image: str = ""
    pull_secret: str = ""
    """Content of a Docker configuration with the registry's login."""
    pods: tuple[int, int] | None = (2, 4)
    """Least and most pods of each autoscaler; none for the overlay's own."""
    quiet: int | None = 30
    """Seconds that an autoscaler waits before it scales in; none for the overlay's own."""
    timeout: float = 300.0
    """Seconds after which a wait has failed."""
    required: tuple[str, ...] = ALWAYS_REQUIRED
    only: tuple[str, ...] = ()
    """Checks to make beside those that are always required; empty for all."""
    keep: bool = False
    dry_run: bool = False


def read(
    arguments: Sequence[str] | None, overlays: Sequence[str], checks: Sequence[str]
) -> Parameters:
    """The parameters of a command line.

    Args:
        arguments: those of this process where it is none.
        overlays: names of those that there are.
        checks: names of those that there are.

    Raises:
        OptionError: says what was expected and what received.
    """
    given = _parser(overlays, checks).parse_args(arguments)
    if given.overlay not in overlays:
        raise OptionError(
            f"Expected one of the overlays {_listed(overlays)}, received: '{given.overlay}'"
        )
    namespace = given.namespace or f"kalecast-test-{secrets.token_hex(3)}"
    if not NAME.fullmatch(namespace):
        raise OptionError(f"Expected a namespace such as kalecast-test-1, received: '{namespace}'")
    if not given.dry_run and not Path(given.model).is_file():
        raise OptionError(
            f"Expected a model file, received: '{given.model}', which is none. "
            "`make pipeline` makes models/forecaster.onnx"
        )
    return Parameters(
        overlay=given.overlay,
        namespace=namespace,
        model=Path(given.model),
        server_image=given.server_image,
        page_image=given.page_image,
        pull_secret=_login(given.pull_secret),
        pods=_range(given.pods),
        quiet=_seconds("--quiet", given.quiet),
        timeout=float(_seconds("--timeout", given.timeout) or 0),
        required=_required(given.require, checks),
        only=_named("--only", given.only, checks),
        keep=given.keep,
        dry_run=given.dry_run,
    )


def _parser(overlays: Sequence[str], checks: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cluster_test",
        description="Apply an overlay in a namespace of its own, look whether it works, remove it.",
    )
    add = parser.add_argument
    add("--overlay", default="standalone", help=f"{_listed(overlays)} (default: standalone)")
    add("--server-image", default="", help="default: the overlay's")
    add("--page-image", default="", help="default: the overlay's")
    add("--model", default="models/forecaster.onnx", help="a model file of this machine")
    add("--namespace", default="", help="must not be there yet (default: a random name)")
    add("--pull-secret", default="", metavar="FILE", help="a Docker config.json with a login")
    add("--pods", default="2-4", help="MIN-MAX of each autoscaler, or 'overlay' (default: 2-4)")
    add("--quiet", default="30", help="seconds before scaling in, or 'overlay' (default: 30)")
    add("--timeout", "--patience", default="300", help="seconds for each wait (default: 300)")
    add("--require", default="", help="checks that must not be left out, by commas, or 'all'")
    add("--only", default="", help=f"of the checks {_listed(checks)} only these")
    add("--keep", action="store_true", help="leave the namespace, to look at it")
    add("--dry-run", action="store_true", help="say what would be done; needs no cluster")
    return parser


def _range(text: str) -> tuple[int, int] | None:
    if text == OVERLAYS:
        return None
    found = re.fullmatch(r"(\d{1,3})-(\d{1,3})", text)
    least, most = map(int, found.groups()) if found else (0, 0)
    if not 2 <= least < most:
        raise OptionError(
            "Expected --pods such as 2-4, from 2 upward: where one is killed another must answer. "
            f"Received: '{text}'"
        )
    return least, most


def _seconds(option: str, text: str) -> int | None:
    if text == OVERLAYS and option == "--quiet":
        return None
    if not re.fullmatch(r"\d{1,4}", text) or not 0 <= int(text) <= 3600:
        raise OptionError(f"Expected {option} to be seconds from 0 to 3600, received: '{text}'")
    return int(text)


def _login(file: str) -> str:
    if not file:
        return ""
    try:
        content = Path(file).expanduser().read_text()
        if "auths" in json.loads(content):
            return content
    except (OSError, ValueError) as error:
        raise OptionError(f"--pull-secret {file} cannot be read: {error}") from error
    raise OptionError(f"Expected 'auths' in {file}, as `docker login` writes it")


def _required(text: str, checks: Sequence[str]) -> tuple[str, ...]:
    named = tuple(checks) if text == "all" else _named("--require", text, checks)
    return tuple(one for one in checks if one in (*ALWAYS_REQUIRED, *named))


def _named(option: str, text: str, checks: Sequence[str]) -> tuple[str, ...]:
    names = tuple(filter(None, re.split(r"[,\s]+", text)))
    for name in names:
        if name not in checks:
            raise OptionError(f"Expected {option} among {_listed(checks)}, received: '{name}'")
    return names


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
