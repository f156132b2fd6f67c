"""The project's Dockerfiles and .dockerignore, read as a builder reads them."""

from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]

Instruction = tuple[str, str]
"""An instruction's first word, and what follows it."""


def instructions(folder: str) -> list[Instruction]:
    """All instructions of a folder's Dockerfile, in order."""
    text = (ROOT / folder / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [
        (line.split()[0], " ".join(line.split()[1:]))
        for line in joined.splitlines()
        if line.strip()
    ]


def stages(folder: str) -> list[list[Instruction]]:
    """The instructions by stage, each beginning with its FROM."""
    found: list[list[Instruction]] = []
    for one in instructions(folder):
        if one[0] == "FROM":
            found.append([])
        if found:
            found[-1].append(one)
    return found


def last_stage(folder: str) -> list[Instruction]:
    """What the image itself is."""
    return stages(folder)[-1]


def copied(folder: str) -> list[tuple[str, str]]:
    """What is taken from the project's folder, each with where it goes."""
    return [
        (source, rest.split()[-1])
        for word, rest in instructions(folder)
        if word == "COPY" and "--from=" not in rest
        for source in rest.split()[:-1]
    ]


def environment(folder: str) -> dict[str, str]:
    """The variables that the image sets."""
    settings = " ".join(rest for word, rest in last_stage(folder) if word == "ENV").split()
    return dict(setting.split("=", 1) for setting in settings)


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path out of a build: the last pattern that matches decides."""
    left_out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if line and not line.startswith("#") and any(map(_matching(pattern), _upwards(path))):
            left_out = not line.startswith("!")
    return left_out


def _upwards(path: str) -> list[PurePosixPath]:
    whole = PurePosixPath(path)
    return [whole, *whole.parents][:-1]


def _matching(pattern: str) -> Callable[[PurePosixPath], bool]:
    """Patterns match from the top, a name a part, but for ** at their beginning."""
    parts = PurePosixPath(pattern).parts

    def matches(path: PurePosixPath) -> bool:
        names, wanted = path.parts, parts
        if wanted[0] == "**":
            wanted = wanted[1:]
            names = names[-len(wanted) :]
        return len(names) == len(wanted) and all(map(fnmatchcase, names, wanted))

    return matches
