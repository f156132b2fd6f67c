"""What must not be in an image, and what must."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from kalecast.cluster.images.archive import METADATA, Image

LABELS = ("title", "description", "version", "licenses", "base.name")
COMPILER = re.compile(
    r"(.*-)?(gcc|g\+\+|cc|c\+\+|c89|c99|clang|clang\+\+|tcc|cpp|ld|as|make|cmake|rustc|cargo|go)"
    r"(-[\d.]+)?"
)
# Of the user who builds, of a repository, or of the access to a package index.
PRIVATE = re.compile(r"(\.git|\.env|\.netrc|\.pypirc|\.aws|\.ssh|\.docker|\.kube|pip\.conf|\.venv)")


@dataclass(frozen=True)
class ImageRules:
    """What an image of ours keeps to.

    Attributes:
        limit: its size in megabytes; None: as large as it needs to be.
        without: Python packages that it must not carry.
    """

    limit: int | None = None
    without: frozenset[str] = field(default_factory=frozenset)


def findings(image: Image, rules: ImageRules) -> list[str]:
    """What is amiss with an image, a sentence each."""
    return [*_size(image, rules), *_user(image), *_labels(image), *_contents(image, rules)]


def distributions(image: Image) -> set[str]:
    """The Python packages in an image, as an index would name them."""
    paths = (PurePosixPath(path).parent.name for path in image.texts if METADATA.search(path))
    return {name.split("-")[0].lower().replace("_", "-") for name in paths}


def _size(image: Image, rules: ImageRules) -> Iterator[str]:
    megabytes = image.size / 1e6
    if rules.limit is not None and megabytes > rules.limit:
        yield f"is of {megabytes:.0f} MB, expected at most {rules.limit}"


def _user(image: Image) -> Iterator[str]:
    number = image.user.partition(":")[0]
    if not number.isdecimal() or int(number) == 0:
        yield f"runs as {image.user or 'root'!r}, expected a number other than 0"


def _labels(image: Image) -> Iterator[str]:
    for name in LABELS:
        if not image.labels.get(f"org.opencontainers.image.{name}"):
            yield f"has no label org.opencontainers.image.{name}"


def _contents(image: Image, rules: ImageRules) -> Iterator[str]:
    for name in sorted(distributions(image) & rules.without):
        yield f"carries the Python package {name}"
    for path in sorted(image.paths):
        *above, name = PurePosixPath(path).parts or ("",)
        if above and above[-1] in ("bin", "sbin") and COMPILER.fullmatch(name):
            yield f"carries a compiler's program: /{path}"
        if PRIVATE.fullmatch(name):
            yield f"carries a private file: /{path}"
    if image.dated:
        # Builders give all files one date: Python would compile anew at each start.
        yield f"carries {len(image.dated)} files of dated bytecode, such as /{min(image.dated)}"
