"""Where an image comes from: the project's version, its commit, its base."""

import os
import re
import subprocess
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime

from kalecast.project import PROJECT

VERSION = str(tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"])
ANNOTATION = "org.opencontainers.image"


@dataclass(frozen=True)
class Checkout:
    """The project's files.

    Attributes:
        revision: their commit's hash; None outside of a repository.
        changed: whether some differ from it.
        made: when, in seconds since 1970; None: unknown.
    """

    revision: str | None
    changed: bool
    made: int | None


def find_checkout() -> Checkout:
    """Which commit the project's folder is of, by git."""
    made = os.environ.get("SOURCE_DATE_EPOCH") or _git("show", "--no-patch", "--format=%ct", "HEAD")
    return Checkout(
        revision=_git("rev-parse", "HEAD") or None,
        changed=bool(_git("status", "--porcelain")),
        made=int(made) if made else None,
    )


def pinned_base(argument: str) -> str:
    """The base image that cluster-setup/versions.env fixes, by the name of the Dockerfiles' ARG."""
    text = (PROJECT / "cluster-setup" / "versions.env").read_text()
    (base,) = re.findall(rf"^{argument}=(\S+)$", text, re.MULTILINE)
    return str(base)


def labels(checkout: Checkout, base: str, tag: str) -> dict[str, str]:
    """What is known only when an image is built; title and description are in the Dockerfiles."""
    name, _, digest = base.partition("@")
    values = {"version": tag, "base.name": name}
    if digest:
        values["base.digest"] = digest
    if checkout.revision:
        values["revision"] = checkout.revision + ("-changed" if checkout.changed else "")
    if checkout.made is not None:
        values["created"] = datetime.fromtimestamp(checkout.made, UTC).strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        )
    return {f"{ANNOTATION}.{key}": value for key, value in values.items()}


def unrepeatable(checkout: Checkout, base: str) -> str:
    """Why the same image could not be built again; nothing where it could."""
    if "@sha256:" not in base:
        return f"the base {base!r} is not named by its digest"
    if checkout.revision is None or checkout.changed:
        return "the project's files are those of no commit"
    return ""


def _git(*words: str) -> str:
    """What git says; nothing where there is no repository, or no git."""
    try:
        done = subprocess.run(
            ["git", *words], cwd=PROJECT, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
