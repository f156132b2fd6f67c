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
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kalecast.cluster.images import archive, bill, findings, provenance
from kalecast.cluster.images.builders import Build, Builder, BuilderError, choose
from kalecast.cluster.images.provenance import VERSION, Checkout
from kalecast.lifetime import bound, end_in_order
from kalecast.project import PROJECT

MADE = PROJECT / "build" / "images"
NO_REGISTRY = "docker.io"

# What installs packages or trains networks; pipelines do both in the workbench.
LIGHT = frozenset({"pip", "setuptools", "wheel", "tensorflow", "keras", "torch"})


@dataclass(frozen=True)
class Recipe:
    """An image of ours: from which Dockerfile, and what holds for it."""

    dockerfile: str
    rules: findings.ImageRules
    base: str = "PYTHON_IMAGE"
    """The Dockerfile's ARG that names what it is built on."""


RECIPES = {
    "model-server": Recipe("seldon/Dockerfile", findings.ImageRules(350, LIGHT | {"pandas"})),
    "page": Recipe("gradio_app/Dockerfile", findings.ImageRules(700, LIGHT | {"onnxruntime"})),
    "workbench": Recipe("kale/Dockerfile", findings.ImageRules()),
    "gateway": Recipe(
        "cluster-setup/6-protection/Dockerfile", findings.ImageRules(200, LIGHT), "DEBIAN_IMAGE"
    ),
}


class WrongCallError(Exception):
    """The options cannot be met; the message says why."""


@dataclass(frozen=True)
class Made:
    """A built image, and where it is."""

    name: str
    reference: str
    base: str
    file: Path
    image: archive.Image

    @property
    def amiss(self) -> list[str]:
        """What is not as it must be, a sentence each."""
        found = findings.findings(self.image, RECIPES[self.name].rules)
        return [f"{self.name} {one}" for one in found]

    @property
    def figures(self) -> dict[str, Any]:
        """What is reported of it."""
        return {
            "reference": self.reference,
            "base": self.base,
            "archive": os.path.relpath(self.file),
            "megabytes": round(self.image.size / 1e6, 1),
            "limit": RECIPES[self.name].rules.limit,
            "id": self.image.identity,
            "python_packages": len(bill.python_packages(self.image)),
            "debian_packages": len(bill.debian_packages(self.image)),
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, look, report, push; returns the exit code."""
    try:
        report = run(parse(arguments))
    except WrongCallError as error:
        say(f"error: {error}")
        return 2
    except BuilderError as error:
        say(f"error: {error}")
        return 1
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
        "PYTHON_IMAGE": options.base or provenance.pinned_base("PYTHON_IMAGE"),
        "DEBIAN_IMAGE": options.debian or provenance.pinned_base("DEBIAN_IMAGE"),
    }
    options.output = options.output.resolve()
    return options


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Do it; returns what the last line reports.

    Raises:
        BuilderError: an image cannot be built or pushed, or is not as it must be.
    """
    began = time.monotonic()
    checkout = provenance.find_checkout()
    if options.push:
        check_push(options, checkout)
    builder = choose(show_and_run, options.builder)
    made = [make(name, options, checkout, builder) for name in options.images]
    figures = {one.name: one.figures for one in made}
    print_table(figures)
    if amiss := [sentence for one in made for sentence in one.amiss]:
        raise BuilderError("\n           ".join(amiss))
    for one in made:
        if options.push:
            figures[one.name]["digest"] = push(one, builder)
        else:
            print(f"kind load image-archive {figures[one.name]['archive']}")
    seconds = round(time.monotonic() - began, 1)
    return {"builder": builder.name, "images": figures, "seconds": seconds}


def check_push(options: argparse.Namespace, checkout: Checkout) -> None:
    """A release's name is not given to what cannot be built again.

    Raises:
        WrongCallError: it would be, or there is nowhere to push to.
    """
    if not options.registry:
        raise WrongCallError("PUSH=1 needs a registry, such as REGISTRY=registry.example.com")
    bases = dict.fromkeys(options.bases[RECIPES[name].base] for name in options.images)
    why = next(filter(None, (provenance.unrepeatable(checkout, base) for base in bases)), "")
    if options.tag == VERSION and why:
        raise WrongCallError(f"{why}: choose another name, such as TAG={VERSION}-trial")


def make(name: str, options: argparse.Namespace, checkout: Checkout, builder: Builder) -> Made:
    """Build an image, read it, and write its bill of materials."""
    reference = f"{options.registry or NO_REGISTRY}/kalecast/{name}:{options.tag}"
    # Its address may hold a password, and commands are printed: the builder looks it up itself.
    index = {"PIP_INDEX_URL": None} if os.environ.get("PIP_INDEX_URL") else {}
    argument = RECIPES[name].base
    base = options.bases[argument]
    builder.build(
        Build(
            dockerfile=RECIPES[name].dockerfile,
            reference=reference,
            arguments={argument: base, **(index if argument == "PYTHON_IMAGE" else {})},
            labels=provenance.labels(checkout, base, options.tag),
            made=checkout.made,
            extra=tuple(shlex.split(options.build_args)),
        )
    )
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / f"{name}.tar"
    file.unlink(missing_ok=True)  # podman and buildah would not write over it
    builder.save(reference, file)
    image = archive.read(file)
    (options.output / f"{name}.cdx.json").write_text(bill.write(image, reference))
    return Made(name, reference, base, file, image)


def print_table(figures: dict[str, dict[str, Any]]) -> None:
    """A line an image."""
    print(f"{'image':<14}{'MB':>8}{'limit':>8}{'Python':>8}{'Debian':>8}  id")
    for name, figure in figures.items():
        print(
            f"{name:<14}{figure['megabytes']:>8.0f}{figure['limit'] or '-':>8}"
            f"{figure['python_packages']:>8}{figure['debian_packages']:>8}  {figure['id'][7:19]}"
        )


def push(made: Made, builder: Builder) -> str:
    """Push an image, and print its entry in a kustomization's `images:`; returns its digest."""
    digest = builder.push(made.reference)
    repository = made.reference.rpartition(":")[0]
    print(f"  - name: kalecast/{made.name}\n    newName: {repository}\n    digest: {digest}")
    return digest


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
