"""Settings: everything the page takes from its environment, checked where it enters."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


class SettingsError(ValueError):
    """An environment variable holds what it must not; the text is for the operator."""


@dataclass(frozen=True)
class Settings:
    """Where the page listens, whom it asks and what it offers."""

    model_server: str = "http://127.0.0.1:9000"
    """Address of the model server, without a path of the protocol."""
    host: str = "127.0.0.1"
    port: int = 7860
    sample_data: Path = PROJECT / "notebooks" / "data" / "electricity.csv"
    public_url: str = "http://127.0.0.1:7860"
    """The page's address as customers type it; the examples for programs show it."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Settings from environment variables, defaults where they are unset or empty.

        Raises:
            SettingsError: an address is no http(s) address, or the port no port.
        """
        given = {name: value for name, value in environment.items() if value.strip()}
        host = given.get("KALECAST_PAGE_HOST", cls.host)
        port = _port(given.get("KALECAST_PAGE_PORT", str(cls.port)))
        here = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{port}"
        return cls(
            model_server=_address("MODEL_SERVER_URL", given, cls.model_server),
            host=host,
            port=port,
            sample_data=Path(given.get("SAMPLE_DATA", str(cls.sample_data))),
            public_url=_address("KALECAST_PUBLIC_URL", given, here),
        )


def _port(text: str) -> int:
    try:
        port = int(text)
    except ValueError:
        port = -1
    if not 0 < port < 65536:
        raise SettingsError(f"Expected KALECAST_PAGE_PORT from 1 to 65535, received: {text!r}")
    return port


def _address(name: str, given: Mapping[str, str], default: str) -> str:
    address = given.get(name, default).strip().rstrip("/")
    if not address.startswith(("http://", "https://")):
        raise SettingsError(f"Expected {name} to begin with http:// or https://, got: {address!r}")
    return address
