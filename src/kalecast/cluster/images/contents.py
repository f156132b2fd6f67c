"""What is in a built image, read from the file that `docker save` and its kind write, and what
must not be.

No container is started and nothing is unpacked to disk, so that no rights are needed for it.
"""

import hashlib
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

METADATA = re.compile(r"\.dist-info/METADATA$")
DEBIAN = "var/lib/dpkg/status"
RELEASE = "usr/lib/os-release"
# Of files that are read, and not only listed, as much as is of interest; -1: all of it.
READ = {METADATA: -1, re.compile(f"^({DEBIAN}|{RELEASE})$"): -1, re.compile(r"\.pyc$"): 8}

HIDES = ".wh."
HIDES_ALL = ".wh..wh..opq"

LABELS = ("title", "description", "version", "licenses", "base.name")
COMPILER = re.compile(
    r"(.*-)?(gcc|g\+\+|cc|c\+\+|c89|c99|clang|clang\+\+|tcc|cpp|ld|as|make|cmake|rustc|cargo|go)"
    r"(-[\d.]+)?"
)
# Of the user who builds, of a repository, or of the access to a package index.
PRIVATE = re.compile(r"(\.git|\.env|\.netrc|\.pypirc|\.aws|\.ssh|\.docker|\.kube|pip\.conf|\.venv)")


@dataclass(frozen=True)
class Image:
    """A built image.

    Attributes:
        config: user, labels, environment and command, as the image's configuration has them.
        identity: the configuration's sha256, which names the image on this machine.
        size: the sum of its layers, uncompressed, in bytes.
        files: every file and folder that a container would see, by its path without a leading
            slash, with what was read of it.
    """

    config: dict[str, Any]
    identity: str
    size: int
    files: dict[str, bytes]

    @property
    def labels(self) -> dict[str, str]:
        """The image's labels."""
        return self.config["config"].get("Labels") or {}

    @property
    def environment(self) -> dict[str, str]:
        """The variables that its processes start with."""
        pairs = (one.partition("=") for one in self.config["config"].get("Env") or [])
        return {name: value for name, _, value in pairs}

    def text(self, path: str) -> str:
        """What was read of a file; empty where there is none."""
        return self.files.get(path, b"").decode(errors="replace")


def read(archive: Path) -> Image:
    """Read an image's file.

    Raises:
        ValueError: it holds another number of images than one.
    """
    with tarfile.open(archive) as file:
        manifests = json.load(_member(file, "manifest.json"))
        if len(manifests) != 1:
            raise ValueError(f"Expected one image in {archive}, received: {len(manifests)}")
        (manifest,) = manifests
        config = _member(file, manifest["Config"]).read()
        size, files = 0, dict[str, bytes]()
        for name in manifest["Layers"]:
            with tarfile.open(fileobj=_member(file, name)) as layer:  # compressed or not
                _lay(layer, files)
                uncompressed: Any = layer.fileobj
                size += uncompressed.seek(0, 2)
    identity = "sha256:" + hashlib.sha256(config).hexdigest()
    return Image(json.loads(config), identity, size, files)


def _member(file: tarfile.TarFile, name: str) -> IO[bytes]:
    member = file.extractfile(name)
    assert member is not None
    return member


def _lay(layer: tarfile.TarFile, files: dict[str, bytes]) -> None:
    """Lay a layer over the files of those below it."""
    for member in layer:
        path = PurePosixPath(member.name.lstrip("/"))
        if path.name == HIDES_ALL:
            _hide(files, f"{path.parent}/")
        elif path.name.startswith(HIDES):
            hidden = str(path.with_name(path.name.removeprefix(HIDES)))
            files.pop(hidden, None)
            _hide(files, f"{hidden}/")
        else:
            wanted = next((many for kind, many in READ.items() if kind.search(str(path))), 0)
            is_file = wanted and (member.isreg() or member.islnk())
            content = layer.extractfile(member) if is_file else None
            files[str(path)] = content.read(wanted) if content else b""


def _hide(files: dict[str, bytes], below: str) -> None:
    for path in [path for path in files if path.startswith(below)]:
        del files[path]


##### What must not be in it #####


def findings(image: Image, limit: int | None, without: frozenset[str]) -> Iterator[str]:
    """What is amiss with an image, a sentence each.

    Args:
        image: as `read` returns it.
        limit: its size in megabytes; None: as large as it needs to be.
        without: Python packages that it must not carry.
    """
    if limit is not None and image.size / 1e6 > limit:
        yield f"is of {image.size / 1e6:.0f} MB, expected at most {limit}"
    user = str(image.config["config"].get("User", ""))
    number = user.partition(":")[0]
    if not number.isdecimal() or int(number) == 0:
        yield f"runs as {user or 'root'!r}, expected a number other than 0"
    for name in LABELS:
        if not image.labels.get(f"org.opencontainers.image.{name}"):
            yield f"has no label org.opencontainers.image.{name}"
    packages = (PurePosixPath(path).parent.name for path in image.files if METADATA.search(path))
    for name in sorted({one.split("-")[0].lower().replace("_", "-") for one in packages} & without):
        yield f"carries the Python package {name}"
    for path in sorted(image.files):
        *above, name = PurePosixPath(path).parts or ("",)
        if above and above[-1] in ("bin", "sbin") and COMPILER.fullmatch(name):
            yield f"carries a compiler's program: /{path}"
        if PRIVATE.fullmatch(name):
            yield f"carries a private file: /{path}"
    dated = [path for path, head in image.files.items() if path.endswith(".pyc") and _dated(head)]
    if dated:
        # Builders give all files one date: Python would compile anew at each start.
        yield f"carries {len(dated)} files of dated bytecode, such as /{min(dated)}"


def _dated(bytecode: bytes) -> bool:
    """PEP 552: of the flags after the magic number, the lowest says that a hash counts, no date."""
    return not bytecode[4:5] or not bytecode[4] & 1
