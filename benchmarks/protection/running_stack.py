"""What every part of the protection's proof works on: model server, app and gateway, running.

A part is a module with `measure(stack: ProtectedStack) -> ProofPart`.
"""

import json
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.load.gateway import Protected, gateway
from benchmarks.load.local_service import LocalService
from benchmarks.load.stack import app, model_server


@dataclass(frozen=True)
class ProtectedStack:
    """A running stack, its gateway as shipped."""

    folder: Path
    """For the files of the parts; each makes folders of its own below it."""
    server: LocalService
    app: LocalService
    protected: Protected
    whole: bool = False
    """Whether parts do all that they can, and not a selection of some minutes."""

    @cached_property
    def trust(self) -> ssl.SSLContext:
        """What a client needs to take the gateway's certificate."""
        return ssl.create_default_context(cafile=str(self.protected.certificate))

    def check(self) -> None:
        """Make sure that all of it runs.

        Raises:
            ServiceError: a part of it ended by itself.
        """
        for service in (self.server, self.app, self.protected.service):
            service.check()


@dataclass(frozen=True)
class ProofPart:
    """What a part found."""

    name: str
    rows: Sequence[Sequence[str]]
    """Its table for people; the first row names the columns."""
    figures: dict[str, Any]
    """For the JSON, by the names that they have there."""
    notes: Sequence[str] = field(default_factory=tuple)
    """Sentences below the table."""


@contextmanager
def standing(
    model: Path, whole: bool = False, options: Sequence[str] = ()
) -> Iterator[ProtectedStack]:
    """Model server, app and the gateway as shipped, on free ports; ended afterwards.

    Args:
        model: the model file.
        whole: whether parts do all that they can.
        options: of the gateway, where it is not to be as shipped.
    """
    with tempfile.TemporaryDirectory(prefix="kalecast-protection-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's workers may run as another user
        server = model_server(model.resolve(), folder / "server")
        page = app([server], folder / "app")
        page.environment["KALECAST_DRAIN_SECONDS"] = "0"  # nobody is served when it ends
        with server, page:
            protected = gateway(page, folder / "gateway", options)
            with protected.service:
                yield ProtectedStack(folder, server, page, protected, whole)


def event_number(page: LocalService) -> int:
    """The number of the page's event: Gradio numbers its events anew in each build."""
    config = json.loads(page.request("GET", "/config")[1])
    (number,) = [one["id"] for one in config["dependencies"] if one["api_name"] == "show"]
    return int(number)
