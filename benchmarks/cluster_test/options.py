"""The options of the test, checked before anything is made."""

import argparse
import json
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OVERLAYS = "overlay"
"""The word for: leave it as the overlay has it."""

ALWAYS_REQUIRED = ("objects", "ready", "forecast")
"""Checks without which the others would say nothing."""

NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Parameters:
    """Everything that differs between one run and another.

    Attributes:
        pull_secret: a Docker config.json with a login; empty for none.
        pods: least and most pods of each autoscaler; none for the overlay's own.
        quiet: seconds that an autoscaler waits before it scales in; none for the overlay's own.
        timeout: seconds after which a wait has failed.
        required: checks that must not be left out.
        only: checks to make beside those that are always required; empty for all.
        keep: whether the namespace is left.
        dry_run: whether it is only said what would be done.
    """

    namespace: str
    overlay: str = "standalone"
    server_image: str = ""
    page_image: str = ""
    model: Path = Path("models/forecaster.onnx")
    pull_secret: str = ""
    pods: tuple[int, int] | None = (2, 4)
    quiet: int | None = 30
    timeout: float = 300.0
    required: tuple[str, ...] = ALWAYS_REQUIRED
    only: tuple[str, ...] = ()
    keep: bool = False
    dry_run: bool = False


def _namespace(text: str) -> str:
    name = text or f"kalecast-test-{secrets.token_hex(3)}"
    if not NAME.fullmatch(name):
        raise argparse.ArgumentTypeError(
            f"Expected a namespace such as kalecast-test-1, received: '{name}'"
        )
    return name


def _login(file: str) -> str:
    try:
        content = Path(file).expanduser().read_text() if file else ""
        if not content or "auths" in json.loads(content):
            return content
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{file} cannot be read: {error}") from error
    raise argparse.ArgumentTypeError(f"Expected 'auths' in {file}, as `docker login` writes it")


def _range(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,3})-(\d{1,3})", text)
    least, most = map(int, found.groups()) if found else (0, 0)
    if not 2 <= least < most:
        raise argparse.ArgumentTypeError(
            "Expected pods such as 2-4, from 2 upward: where one is killed another must answer. "
            f"Received: '{text}'"
        )
    return least, most


def _seconds(text: str) -> int:
    if not re.fullmatch(r"\d{1,4}", text) or int(text) > 3600:
        raise argparse.ArgumentTypeError(f"Expected seconds from 0 to 3600, received: '{text}'")
    return int(text)


def _or_overlay(check: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: None if text == OVERLAYS else check(text)


def _names(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    def names(text: str) -> tuple[str, ...]:
        found = tuple(filter(None, re.split(r"[,\s]+", text)))
        if unknown := [name for name in found if name not in known]:
            raise argparse.ArgumentTypeError(
                f"Expected names among {', '.join(known)}, received: '{unknown[0]}'"
            )
        return found

    return names


def read(arguments: list[str] | None, overlays: Sequence[str], checks: Sequence[str]) -> Parameters:
    """The parameters of a command line; where they are wrong the process ends with 2.

    Args:
        arguments: those of this process where it is none.
        overlays: names of those that there are.
        checks: names of those that there are.
    """
    parser = argparse.ArgumentParser(
        prog="cluster_test",
        description="Apply an overlay in a namespace of its own, look whether it works, remove it.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    pods, seconds = _or_overlay(_range), _or_overlay(_seconds)
    options: dict[str, dict[str, Any]] = {
        "overlay": {"default": "standalone", "choices": overlays, "help": "what is applied"},
        "server-image": {"help": "in place of the overlay's"},
        "page-image": {"help": "in place of the overlay's"},
        "model": {"default": str(Parameters.model), "help": "a model file of this machine"},
        "namespace": {"type": _namespace, "help": "must not be there yet; else a random name"},
        "pull-secret": {"type": _login, "help": "file: a Docker config.json with a login"},
        "pods": {"default": "2-4", "type": pods, "help": "of each autoscaler, or 'overlay'"},
        "quiet": {"default": "30", "type": seconds, "help": "before scaling in, or 'overlay'"},
        "only": {"type": _names(checks), "help": f"checks by commas, of {', '.join(checks)}"},
        "require": {
            "dest": "required",
            "type": _names((*checks, "all")),
            "help": "checks that must not be left out, by commas, or 'all'",
        },
    }
    for name, option in options.items():
        parser.add_argument(f"--{name}", **{"default": "", **option})
    # The second name is an earlier version's.
    names = ("--timeout", "--patience")
    parser.add_argument(*names, default="300", type=_seconds, help="seconds for each wait")
    parser.add_argument("--keep", action="store_true", help="leave the namespace, to look at it")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, no more")
    given = vars(parser.parse_args(arguments))
    given["model"] = Path(given["model"])
    if not given["dry_run"] and not given["model"].is_file():
        parser.error(
            f"Expected a model file, received: '{given['model']}', which is none. "
            "`make pipeline` makes models/forecaster.onnx"
        )
    wanted = {*ALWAYS_REQUIRED, *(checks if "all" in given["required"] else given["required"])}
    given["required"] = tuple(one for one in checks if one in wanted)
    return Parameters(**given)
