"""Scripts of cluster-setup, with programs of a test's own before those on the PATH."""

import os
import re
import subprocess
from pathlib import Path

import yaml
from kubernetes_objects import Object, title

from kalecast.project import PROJECT

SETUP = PROJECT / "cluster-setup"
SECONDS = 60


def versions() -> dict[str, str]:
    """What versions.env pins."""
    text = (SETUP / "versions.env").read_text()
    return dict(re.findall(r"^([A-Z]\w+)=(\S+)$", text, flags=re.MULTILINE))


def call(script: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script without a terminal."""
    return subprocess.run(
        [script, *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )


class Programs:
    """A folder of programs, and the files that they leave in the folder `$STATE`."""

    def __init__(self, folder: Path, **bodies: str) -> None:
        self.state, self._programs = folder / "state", folder / "bin"
        self.state.mkdir()
        self._programs.mkdir()
        self.environment = {
            "PATH": f"{self._programs}:{os.environ['PATH']}",
            "STATE": str(self.state),
            "KALECAST_CACHE": str(folder / "cache"),
        }
        for name, body in bodies.items():
            self.write(name, body)

    def write(self, name: str, body: str) -> Path:
        """Add a program, or replace it: lines of bash."""
        program = self._programs / name
        program.write_text(f"#!/usr/bin/env bash\n{body}\n")
        program.chmod(0o755)
        return program

    def run(
        self, script: Path, *arguments: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a script of a step."""
        return call(script, *arguments, **{**self.environment, **environment})

    def source(self, library: str, lines: str) -> subprocess.CompletedProcess[str]:
        """Run lines of bash that have sourced a library of cluster-setup."""
        return self.run(self.write("try.sh", f'# Try.\nsource "{SETUP}/{library}"\n{lines}'))

    def text(self, name: str) -> str:
        """What the programs have written into a file of `$STATE`."""
        file = self.state / name
        return file.read_text() if file.exists() else ""

    def objects(self, name: str = "sent") -> dict[str, Object]:
        """The objects in such a file, by kind and name."""
        found = yaml.safe_load_all(self.text(name))
        return {title(one): one for one in found if isinstance(one, dict) and "metadata" in one}
