"""Build the project's images, look into them, and write each one's bill of materials.

    make images [IMAGES="model-server page"] [REGISTRY=registry.example.com] [PUSH=1]
                [TAG=0.1.0] [PYTHON_IMAGE=...] [DEBIAN_IMAGE=...]
                [BUILDER=docker|podman|buildah]

What is made lies in build/images/: NAME.tar, as `docker save` writes it, and NAME.cdx.json. The
last line on standard output is one JSON object. Exit code 1: an image is not as it must be, or
could not be built or pushed; 2: wrong arguments.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kalecast.cluster.images import bill, contents
from kalecast.cluster.images.builders import Builder, BuilderError, choose
from kalecast.lifetime import bound, end_in_order
from kalecast.project import PROJECT

MADE = PROJECT / "build" / "images"
NO_REGISTRY = "docker.io"
VERSION = str(tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"])

# What installs packages or trains networks; pipelines do both in the workbench.
LIGHT = frozenset({"pip", "setuptools", "wheel", "tensorflow", "keras", "torch"})


@dataclass(frozen=True)
class Recipe:
    """An image of ours: from which Dockerfile, and what holds for it.

    Attributes:
        limit: its size in megabytes; None: as large as it needs to be.
        without: Python packages that it must not carry.
        base: the Dockerfile's ARG that names what it is built on.
    """

    dockerfile: str
    limit: int | None = None
    without: frozenset[str] = frozenset()
    base: str = "PYTHON_IMAGE"


RECIPES = {
    "model-server": Recipe("seldon/Dockerfile", 350, LIGHT | {"pandas"}),
    "page": Recipe("gradio_app/Dockerfile", 700, LIGHT | {"onnxruntime"}),
    "workbench": Recipe("kale/Dockerfile"),
    "gateway": Recipe("cluster-setup/6-protection/Dockerfile", 200, LIGHT, "DEBIAN_IMAGE"),
}


class WrongCallError(Exception):
    """The options cannot be met; the message says why."""


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, look, report, push; returns the exit code."""
    try:
        report = run(parse(arguments))
    except (WrongCallError, BuilderError) as error:
        say(f"error: {error}")
        return 2 if isinstance(error, WrongCallError) else 1
    print(json.dumps(report))
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; where it leaves something out, what the project's files say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=f"out of {', '.join(RECIPES)}")
    parser.add_argument("--registry", default="", help="where to push to, with its path if any")
    parser.add_argument("--tag", default="", help="instead of the project's version")
    parser.add_argument("--base", default="", help="instead of PYTHON_IMAGE in versions.env")
    parser.add_argument("--debian", default="", help="instead of DEBIAN_IMAGE in versions.env")
    parser.add_argument("--builder", default="", help="docker, podman or buildah")
    parser.add_argument("--build-args", default="", help="further options for the builder's build")
    parser.add_argument("--output", default=MADE, type=Path, help="where archives and bills go")
    parser.add_argument("--push", action="store_true", help="push what is as it must be")
    options = parser.parse_args(arguments)
    options.images = options.images or list(RECIPES)
    if unknown := sorted(set(options.images) - set(RECIPES)):
        raise WrongCallError(f"Expected images out of {', '.join(RECIPES)}, received: {unknown}")
    options.tag = options.tag or VERSION
    options.bases = {
        "PYTHON_IMAGE": options.base or pinned_base("PYTHON_IMAGE"),
        "DEBIAN_IMAGE": options.debian or pinned_base("DEBIAN_IMAGE"),
    }
    options.output = options.output.resolve()
    return options


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Do it; returns what the last line reports.

    Raises:
        BuilderError: an image cannot be built or pushed, or is not as it must be.
        WrongCallError: a release's name would be given to what cannot be built again.
    """
    began, checkout = time.monotonic(), find_checkout()
    if options.push:
        check_push(options, checkout)
    builder = choose(options.builder)
    figures, amiss = dict[str, dict[str, Any]](), list[str]()
    for name in options.images:
        image, figures[name] = make(name, options, checkout, builder)
        recipe = RECIPES[name]
        found = contents.findings(image, recipe.limit, recipe.without)
        amiss += [f"{name} {sentence}" for sentence in found]
    print_table(figures)
    if amiss:
        raise BuilderError("\n           ".join(amiss))
    for name, figure in figures.items():
        if options.push:
            figure["digest"] = digest = builder.push(figure["reference"], show_and_run)
            repository = figure["reference"].rpartition(":")[0]
            # Its entry in a kustomization's `images:`.
            print(f"  - name: kalecast/{name}\n    newName: {repository}\n    digest: {digest}")
        else:
            print(f"kind load image-archive {figure['archive']}")
    seconds = round(time.monotonic() - began, 1)
    return {"builder": builder.name, "images": figures, "seconds": seconds}


def check_push(options: argparse.Namespace, checkout: Checkout) -> None:
    """A release's name is not given to what cannot be built again.

    Raises:
        WrongCallError: it would be, or there is nowhere to push to.
    """
    if not options.registry:
        raise WrongCallError("PUSH=1 needs a registry, such as REGISTRY=registry.example.com")
    bases = (options.bases[RECIPES[name].base] for name in options.images)
    loose = next((base for base in bases if "@sha256:" not in base), None)
    why = ""
    if loose:
        why = f"the base {loose!r} is not named by its digest"
    elif checkout.revision is None or checkout.changed:
        why = "the project's files are those of no commit"
    if options.tag == VERSION and why:
        raise WrongCallError(f"{why}: choose another name, such as TAG={VERSION}-trial")


def make(
    name: str, options: argparse.Namespace, checkout: Checkout, builder: Builder
) -> tuple[contents.Image, dict[str, Any]]:
    """Build an image, write its bill of materials; returns it and what is reported of it."""
    recipe = RECIPES[name]
    base = options.bases[recipe.base]
    reference = f"{options.registry or NO_REGISTRY}/kalecast/{name}:{options.tag}"
    words = ["--file", recipe.dockerfile, "--tag", reference]
    words += ["--build-arg", f"{recipe.base}={base}"]
    if recipe.base == "PYTHON_IMAGE" and os.environ.get("PIP_INDEX_URL"):
        # Its address may hold a password, and commands are printed: the builder looks it up itself.
        words += ["--build-arg", "PIP_INDEX_URL"]
    for label, value in labels(checkout, base, options.tag).items():
        words += ["--label", f"{label}={value}"]
    words += shlex.split(options.build_args)
    show_and_run(builder.build_command(words, checkout.made))
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / f"{name}.tar"
    file.unlink(missing_ok=True)  # podman and buildah would not write over it
    show_and_run(builder.save_command(reference, str(file)))
    image = contents.read(file)
    (options.output / f"{name}.cdx.json").write_text(bill.write(image, reference))
    return image, {
        "reference": reference,
        "base": base,
        "archive": os.path.relpath(file),
        "megabytes": round(image.size / 1e6, 1),
        "limit": recipe.limit,
        "id": image.identity,
        "python_packages": len(bill.python_packages(image)),
        "debian_packages": len(bill.debian_packages(image)),
    }


def print_table(figures: dict[str, dict[str, Any]]) -> None:
    """A line an image."""
    print(f"{'image':<14}{'MB':>8}{'limit':>8}{'Python':>8}{'Debian':>8}  id")
    for name, figure in figures.items():
        print(
            f"{name:<14}{figure['megabytes']:>8.0f}{figure['limit'] or '-':>8}"
            f"{figure['python_packages']:>8}{figure['debian_packages']:>8}  {figure['id'][7:19]}"
        )


##### Where an image comes from #####


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
        values["created"] = f"{datetime.fromtimestamp(checkout.made, UTC):%Y-%m-%dT%H:%M:%SZ}"
    return {f"org.opencontainers.image.{key}": value for key, value in values.items()}


def _git(*words: str) -> str:
    """What git says; nothing where there is no repository, or no git."""
    try:
        done = subprocess.run(
            ["git", *words], cwd=PROJECT, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


##### Commands #####


def show_and_run(command: list[str]) -> str:
    """Run a builder's command in the project's folder; returns its standard output.

    Raises:
        BuilderError: it failed; its own words are on the terminal.
    """
    say(f"+ {shlex.join(command)}")
    done = subprocess.run(
        bound(command), cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise BuilderError(f"{shlex.join(command[:2])} ended with {done.returncode}")
    return done.stdout


def say(words: str) -> None:
    """Log to standard error; standard output is for results."""
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    end_in_order()
    sys.exit(main())
