"""The bill of materials of an image: CycloneDX, of what is really in it.

Written by CycloneDX's own library. syft names the same packages, those that dpkg has removed, too,
takes forty times as long, and gives another text each time.
"""

import email.parser
import email.policy
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import Message
from typing import Any

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model import Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from kalecast.cluster.images.contents import DEBIAN, METADATA, RELEASE, Image

SCHEMA = SchemaVersion.V1_6
LICENCES = LicenseFactory()
OSI = "License :: OSI Approved :: "


def python_packages(image: Image) -> list[Component]:
    """What pip installed, by name."""
    found = {
        component.purl: component
        for path in image.files
        if METADATA.search(path)
        for component in [_python_package(path, _headers(image.text(path)))]
    }
    return sorted(found.values(), key=lambda one: (one.name, one.version or ""))


def debian_packages(image: Image) -> list[Component]:
    """What dpkg installed, by name."""
    release = dict(line.split("=", 1) for line in image.text(RELEASE).splitlines() if "=" in line)
    entries = map(_headers, image.text(DEBIAN).split("\n\n"))
    return sorted(
        (
            _debian_package(entry, release.get("VERSION_CODENAME", ""))
            for entry in entries
            if entry["Status"] == "install ok installed"
        ),
        key=lambda one: one.name,
    )


def write(image: Image, reference: str) -> str:
    """The bill of an image as JSON; of the same image it is the same text each time."""
    name, _, tag = reference.rpartition(":")
    whole = Component(
        name=name,
        version=tag,
        type=ComponentType.CONTAINER,
        bom_ref=image.identity,
        properties=[Property(name="kalecast:image-id", value=image.identity)],
    )
    parts = [*_interpreter(image), *python_packages(image), *debian_packages(image)]
    bom = Bom(
        components=parts,
        serial_number=uuid.uuid5(uuid.NAMESPACE_OID, image.identity),
        metadata=BomMetaData(component=whole, timestamp=_made(image)),
    )
    bom.register_dependency(whole, parts)
    return make_outputter(bom, OutputFormat.JSON, SCHEMA).output_as_string(indent=2) + "\n"


def _headers(text: str) -> Message:
    return email.parser.HeaderParser(policy=email.policy.compat32).parsestr(text)


def _python_package(path: str, metadata: Message) -> Component:
    name, version = str(metadata["Name"]), str(metadata["Version"])
    purl = PackageURL("pypi", None, name.lower().replace("_", "-"), version)
    return Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        purl=purl,
        bom_ref=str(purl),
        description=metadata["Summary"],
        licenses=list(_licence(metadata)),
        properties=[Property(name="kalecast:path", value="/" + METADATA.sub("", path))],
    )


def _licence(metadata: Message) -> Iterator[Any]:
    """The first that a package has of the three fields that state a licence."""
    if expression := metadata["License-Expression"]:
        yield LICENCES.make_from_string(expression)
    elif names := {one for one in metadata.get_all("Classifier", []) if one.startswith(OSI)}:
        yield from (DisjunctiveLicense(name=one.removeprefix(OSI)) for one in sorted(names))
    elif text := (metadata["License"] or "").strip():
        yield LICENCES.make_from_string(text.splitlines()[0][:100])


def _debian_package(entry: Message, codename: str) -> Component:
    qualifiers = {"arch": entry["Architecture"], "distro": codename}
    purl = PackageURL("deb", "debian", entry["Package"], entry["Version"], qualifiers)
    return Component(
        name=entry["Package"],
        version=entry["Version"],
        type=ComponentType.LIBRARY,
        purl=purl,
        bom_ref=str(purl),
        description=(entry["Description"] or "").splitlines()[0],
    )


def _interpreter(image: Image) -> Iterator[Component]:
    """Python itself, which no package manager of the base image knows of."""
    if version := image.environment.get("PYTHON_VERSION"):
        purl = PackageURL("generic", None, "python", version)
        yield Component(
            name="python",
            version=version,
            type=ComponentType.APPLICATION,
            purl=purl,
            bom_ref=str(purl),
            licenses=[DisjunctiveLicense(id="PSF-2.0")],
        )


def _made(image: Image) -> datetime:
    created = image.labels.get("org.opencontainers.image.created", image.config["created"])
    return datetime.fromisoformat(created[:19]).replace(tzinfo=UTC)
