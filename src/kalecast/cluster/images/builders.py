"""docker, podman and buildah: the same three jobs in the words of each."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

Run = Callable[[list[str]], str]


class BuilderError(Exception):
    """No builder works here, or its command failed; in words for the user of `make`."""


@dataclass(frozen=True)
class Build:
    """What an image is made of.

    Attributes:
        dockerfile: from the project's folder, which is the build's context.
        reference: the image's name with registry and tag.
        arguments: values for the Dockerfile's ARGs; None: that of the environment, unseen.
        labels: what the Dockerfile cannot know.
        made: seconds since 1970 that every new file and the image are dated with; None: now.
        extra: options of the builder's own.
    """

    dockerfile: str
    reference: str
    arguments: Mapping[str, str | None]
    labels: Mapping[str, str]
    made: int | None
    extra: tuple[str, ...] = ()

    @property
    def common(self) -> list[str]:
        """The options that all builders understand alike."""
        return [
            *("--file", self.dockerfile, "--tag", self.reference),
            *(w for item in self.arguments.items() for w in ("--build-arg", _argument(*item))),
            *(w for item in self.labels.items() for w in ("--label", "=".join(item))),
            *self.extra,
        ]


def _argument(name: str, value: str | None) -> str:
    return name if value is None else f"{name}={value}"


@dataclass(frozen=True)
class Docker:
    """Docker: its daemon builds, so a client alone is not enough."""

    run: Run
    name = "docker"
    probe = ("docker", "version")

    def build(self, build: Build) -> None:
        """Build an image of the working directory."""
        dated = [] if build.made is None else ["--build-arg", f"SOURCE_DATE_EPOCH={build.made}"]
        self.run(["docker", "build", *build.common, *dated, "."])

    def save(self, reference: str, archive: Path) -> None:
        """Write an image into a file, as `docker save` does."""
        self.run(["docker", "save", "--output", str(archive), reference])

    def push(self, reference: str) -> str:
        """Bring an image to its registry; returns the digest that it has there."""
        self.run(["docker", "push", reference])
        output = self.run(
            ["docker", "image", "inspect", "--format", "{{join .RepoDigests `\n`}}", reference]
        )
        repository = reference.rpartition(":")[0].removeprefix("docker.io/")
        for line in output.split():
            if line.rpartition("@")[0] == repository:
                return line.rpartition("@")[2]
        raise BuilderError(f"docker reports no digest of {reference} after its push: {output!r}")


@dataclass(frozen=True)
class Podman:
    """Podman."""

    run: Run
    name = "podman"
    probe = ("podman", "info")

    def build(self, build: Build) -> None:
        """Build an image of the working directory."""
        self.run([self.name, "build", *build.common, *_dated(build), "."])

    def save(self, reference: str, archive: Path) -> None:
        """Write an image into a file, as `docker save` does."""
        form = ["--format", "docker-archive"]
        self.run(["podman", "save", *form, "--output", str(archive), reference])

    def push(self, reference: str) -> str:
        """Bring an image to its registry; returns the digest that it has there."""
        with tempfile.NamedTemporaryFile("r", suffix=".digest") as file:
            self.run([self.name, "push", "--digestfile", file.name, reference])
            return file.read().strip()


@dataclass(frozen=True)
class Buildah(Podman):
    """buildah: Podman's builder by itself."""

    name = "buildah"
    probe = ("buildah", "info")

    def build(self, build: Build) -> None:
        """Build an image of the working directory."""
        # A layer for each instruction, as the other two make them: nodes fetch only what changed.
        self.run(["buildah", "build", "--layers", *build.common, *_dated(build), "."])

    def save(self, reference: str, archive: Path) -> None:
        """Write an image into a file, as `docker save` does."""
        self.run(["buildah", "push", reference, f"docker-archive:{archive}:{reference}"])


Builder = Docker | Podman
BUILDERS: tuple[type[Docker | Podman], ...] = (Docker, Podman, Buildah)


def _dated(build: Build) -> list[str]:
    return [] if build.made is None else ["--timestamp", str(build.made)]


def choose(run: Run, wanted: str = "") -> Builder:
    """The builder that was requested, else the first that works here.

    Raises:
        BuilderError: there is none, and why each does not work.
    """
    why = []
    for builder in BUILDERS:
        if wanted and builder.name != wanted:
            continue
        reason = _missing(builder)
        if not reason:
            return builder(run)
        why.append(f"{builder.name}: {reason}")
    if not why:
        names = ", ".join(builder.name for builder in BUILDERS)
        raise BuilderError(f"Expected a builder out of {names}, received: {wanted!r}")
    raise BuilderError(f"nothing here builds images ({'; '.join(why)})")


def _missing(builder: type[Docker | Podman]) -> str:
    """Why a builder does not work here; nothing where it does."""
    if shutil.which(builder.name) is None:
        return "not installed"
    done = subprocess.run(builder.probe, capture_output=True, text=True, check=False)
    return (done.stderr.strip().splitlines() or ["fails"])[-1] if done.returncode else ""
