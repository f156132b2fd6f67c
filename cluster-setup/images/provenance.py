"""Where an image comes from: the project's version, its commit, its base."""

import os
import re
import subprocess
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSION = str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])
ANNOTATION = "org.opencontainers.image"


@dataclass(frozen=True)
class Source:
    """The project's files.

    Attributes:
        revision: their commit's hash; None outside of a repository.
        changed: whether some differ from it.
        made: when, in seconds since 1970; None: unknown.
    """

    revision: str | None
    changed: bool
    made: int | None


def find_source() -> Source:
    """Which commit the project's folder is of, by git."""
    made = os.environ.get("SOURCE_DATE_EPOCH") or _git("show", "--no-patch", "--format=%ct", "HEAD")
    return Source(
        revision=_git("rev-parse", "HEAD") or None,
        changed=bool(_git("status", "--porcelain")),
        made=int(made) if made else None,
    )


def pinned_base(argument: str) -> str:
    """The base image that cluster-setup/versions.env fixes, by the name of the Dockerfiles' ARG."""
    text = (ROOT / "cluster-setup" / "versions.env").read_text()
    (base,) = re.findall(rf"^{argument}=(\S+)$", text, re.MULTILINE)
    return str(base)


def labels(source: Source, base: str, tag: str) -> dict[str, str]:
    """What is known only when an image is built; title and description are in the Dockerfiles."""
    name, _, digest = base.partition("@")
    annotations = {"version": tag, "base.name": name}
    if digest:
        annotations["base.digest"] = digest
    if source.revision:
        annotations["revision"] = source.revision + ("-changed" if source.changed else "")
    if source.made is not None:
        annotations["created"] = datetime.fromtimestamp(source.made, UTC).strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        )
    return {f"{ANNOTATION}.{key}": value for key, value in annotations.items()}


def unrepeatable(source: Source, base: str) -> str:
    """Why nobody could build the same image again; nothing where they could."""
    if "@sha256:" not in base:
        return f"the base {base!r} is not named by its digest"
    if source.revision is None or source.changed:
        return "the project's files are those of no commit"
    return ""


def _git(*words: str) -> str:
    """What git says; nothing where there is no repository, or no git."""
    try:
        done = subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
