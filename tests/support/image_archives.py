"""Image files as `docker save` writes them, made of nothing but a few small files."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LABELS = {
    f"org.opencontainers.image.{name}": "any"
    for name in ("title", "description", "version", "licenses", "base.name")
}
CONFIG: dict[str, Any] = {"User": "10001", "Labels": LABELS, "Env": ["PYTHON_VERSION=3.12.14"]}
SITE = "opt/venv/lib/python3.12/site-packages"
DEBIAN = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.41-12+deb13u1
Description: GNU C Library: Shared libraries
 A second line.

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1.0

"""
TREE = {
    f"{SITE}/numpy-2.5.5.dist-info/METADATA": (
        "Metadata-Version: 2.4\nName: numpy\nVersion: 2.5.5\nSummary: Arrays\n"
        "License-Expression: BSD-3-Clause AND MIT\n\nAll of it.\n"
    ),
    "var/lib/dpkg/status": DEBIAN,
    "usr/lib/os-release": "ID=debian\nVERSION_CODENAME=trixie\n",
}


def write(
    path: Path,
    *layers: Mapping[str, str | bytes],
    config: Mapping[str, Any] = CONFIG,
    zipped: bool = False,
) -> None:
    """Write an image of such layers, each a file's content by its path."""
    whole = {"created": "2026-01-02T03:04:05Z", "config": dict(config)}
    encoded = json.dumps(whole).encode()
    name = hashlib.sha256(encoded).hexdigest() + ".json"
    contents = [_tar(layer) for layer in layers]
    files = {f"{at}/layer.tar": content for at, content in enumerate(contents)}
    if zipped:
        files = {name: gzip.compress(content) for name, content in files.items()}
    manifest = [{"Config": name, "RepoTags": ["any:1"], "Layers": list(files)}]
    path.write_bytes(_tar({**files, name: encoded, "manifest.json": json.dumps(manifest).encode()}))


def layer_sizes(layers: Sequence[Mapping[str, str | bytes]]) -> int:
    """What the layers' files come to, uncompressed, in bytes."""
    return sum(len(_tar(layer)) for layer in layers)


def _tar(files: Mapping[str, str | bytes]) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for path, text in files.items():
            content = text.encode() if isinstance(text, str) else text
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return whole.getvalue()
