"""docker, podman and buildah: what each calls building, saving and pushing an image."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

Run = Callable[[list[str]], str]
"""Runs a command; returns its standard output, or raises a `BuilderError`."""


class BuilderError(Exception):
    """No builder works here, or its command failed; in words for the user of `make`."""


@dataclass(frozen=True)
class Builder:
    """A builder's words for what all of them do.

    Attributes:
        probe: succeeds where the builder works.
        build: comes before the options that all of them understand alike.
        dated: options that date every new file, in seconds since 1970.
        save: writes an image into a file, as `docker save` does.
    """

    name: str
    probe: str
    build: str
    dated: str
    save: str

    def save_command(self, reference: str, archive: str) -> list[str]:
        """The command that writes an image into a file."""
        return [word.format(reference=reference, archive=archive) for word in self.save.split()]

    def build_command(self, options: list[str], made: int | None) -> list[str]:
        """The command that builds an image of the working directory.

        Args:
            options: as all builders understand them.
            made: the date of every new file, in seconds since 1970; None: now.
        """
        dated = [] if made is None else self.dated.format(made=made).split()
        return [*self.build.split(), *options, *dated, "."]

    def push(self, reference: str, run: Run) -> str:
        """Bring an image to its registry; returns the digest that it has there.

        Raises:
            BuilderError: the push failed, or docker reports no digest.
        """
        if self.name != "docker":
            with tempfile.NamedTemporaryFile("r", suffix=".digest") as file:
                run([self.name, "push", "--digestfile", file.name, reference])
                return file.read().strip()
        run(["docker", "push", reference])
        form = "{{join .RepoDigests `\n`}}"
        output = run(["docker", "image", "inspect", "--format", form, reference])
        repository = reference.rpartition(":")[0].removeprefix("docker.io/")
        for line in output.split():
            pushed, _, digest = line.rpartition("@")
            if pushed == repository:
                return digest
        raise BuilderError(f"docker reports no digest of {reference} after its push: {output!r}")


BUILDERS = (
    # Docker's daemon builds, so a client alone is not enough.
    Builder(
        name="docker",
        probe="docker version",
        build="docker build",
        dated="--build-arg SOURCE_DATE_EPOCH={made}",
        save="docker save --output {archive} {reference}",
    ),
    Builder(
        name="podman",
        probe="podman info",
        build="podman build",
        dated="--timestamp {made}",
        save="podman save --format docker-archive --output {archive} {reference}",
    ),
    Builder(
        name="buildah",
        probe="buildah info",
        # A layer for each instruction, as the other two make them: nodes fetch only what changed.
        build="buildah build --layers",
        dated="--timestamp {made}",
        save="buildah push {reference} docker-archive:{archive}:{reference}",
    ),
)


def choose(wanted: str = "") -> Builder:
    """The builder that was requested, else the first that works here.

    Raises:
        BuilderError: there is none, and why each does not work.
    """
    why = []
    for builder in BUILDERS:
        if wanted in ("", builder.name):
            reason = _missing(builder)
            if not reason:
                return builder
            why.append(f"{builder.name}: {reason}")
    if not why:
        names = ", ".join(builder.name for builder in BUILDERS)
        raise BuilderError(f"Expected a builder out of {names}, received: {wanted!r}")
    raise BuilderError(f"nothing here builds images ({'; '.join(why)})")


def _missing(builder: Builder) -> str:
    """Why a builder does not work here; nothing where it does."""
    if shutil.which(builder.name) is None:
        return "not installed"
    done = subprocess.run(builder.probe.split(), capture_output=True, text=True, check=False)
    return (done.stderr.strip().splitlines() or ["fails"])[-1] if done.returncode else ""
