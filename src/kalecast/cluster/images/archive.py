"""What is in a built image, read from the file that `docker save` and its kind write.

No container is started and nothing is unpacked to disk, so that no rights are needed for it.
"""

import gzip
import hashlib
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

# What is read, and not only listed.
METADATA = re.compile(r"\.dist-info/METADATA$")
DEBIAN = "var/lib/dpkg/status"
RELEASE = "usr/lib/os-release"

# A file's beginning, or all of it, by its path.
Seen = dict[str, bytes]

HIDES = ".wh."
HIDES_ALL = ".wh..wh..opq"


@dataclass(frozen=True)
class Image:
    """A built image.

    Attributes:
        config: user, labels, environment and command, as the image's configuration has them.
        identity: the configuration's sha256, which names the image on this machine.
        size: the sum of its layers, uncompressed, in bytes.
        paths: every file and folder that a container would see, without a leading slash.
        texts: the content of those that list packages, by path.
        dated: bytecode that holds only while its source keeps the date that it had.
    """

    config: dict[str, Any]
    identity: str
    size: int
    paths: frozenset[str]
    texts: dict[str, str]
    dated: frozenset[str]

    @property
    def labels(self) -> dict[str, str]:
        """The image's labels."""
        return self.config["config"].get("Labels") or {}

    @property
    def user(self) -> str:
        """Whom its processes run as."""
        return str(self.config["config"].get("User", ""))

    @property
    def environment(self) -> dict[str, str]:
        """The variables that its processes start with."""
        pairs = (one.partition("=") for one in self.config["config"].get("Env") or [])
        return {name: value for name, _, value in pairs}


def read(archive: Path) -> Image:
    """Read an image's file.

    Raises:
        ValueError: it holds another number of images than one.
    """
    with tarfile.open(archive) as file:
        manifests = json.loads(_content(file, "manifest.json"))
        if len(manifests) != 1:
            raise ValueError(f"Expected one image in {archive}, received: {len(manifests)}")
        (manifest,) = manifests
        config = _content(file, manifest["Config"])
        size, seen = 0, Seen()
        for name in manifest["Layers"]:
            with _uncompressed(file, name) as layer:
                _lay(layer, seen)
                layer.seek(0, 2)
                size += layer.tell()
    return Image(
        config=json.loads(config),
        identity="sha256:" + hashlib.sha256(config).hexdigest(),
        size=size,
        paths=frozenset(seen),
        texts={
            path: head.decode(errors="replace")
            for path, head in seen.items()
            if _lists_packages(path)
        },
        dated=frozenset(
            path for path, head in seen.items() if path.endswith(".pyc") and _dated(head)
        ),
    )


def _lists_packages(path: str) -> bool:
    return bool(METADATA.search(path)) or path in (DEBIAN, RELEASE)


def _dated(bytecode: bytes) -> bool:
    """PEP 552: of the flags after the magic number, the lowest says that a hash counts, no date."""
    return not bytecode[4:5] or not bytecode[4] & 1


def _content(file: tarfile.TarFile, name: str) -> bytes:
    member = file.extractfile(name)
    assert member is not None
    return member.read()


def _uncompressed(file: tarfile.TarFile, name: str) -> IO[bytes] | gzip.GzipFile:
    member = file.extractfile(name)
    assert member is not None
    compressed = member.read(2) == b"\x1f\x8b"
    member.seek(0)
    return gzip.open(member) if compressed else member


def _lay(layer: IO[bytes] | gzip.GzipFile, seen: Seen) -> None:
    """Lay a layer over the paths of those below it."""
    with tarfile.open(fileobj=layer) as file:
        for member, path in _members(file):
            if path.name == HIDES_ALL:
                _hide(seen, f"{path.parent}/")
            elif path.name.startswith(HIDES):
                hidden = str(path.with_name(path.name.removeprefix(HIDES)))
                seen.pop(hidden, None)
                _hide(seen, f"{hidden}/")
            else:
                seen[str(path)] = _head(file, member, str(path))


def _members(file: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, PurePosixPath]]:
    for member in file:
        yield member, PurePosixPath(member.name.lstrip("/"))


def _hide(seen: Seen, below: str) -> None:
    for path in [path for path in seen if path.startswith(below)]:
        del seen[path]


def _head(file: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> bytes:
    """As much of a file as is of interest."""
    wanted = -1 if _lists_packages(path) else 8 if path.endswith(".pyc") else 0
    content = file.extractfile(member) if wanted and (member.isreg() or member.islnk()) else None
    return content.read(wanted) if content else b""
