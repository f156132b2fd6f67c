"""Settings: everything the page takes from its environment, checked where it enters."""

import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from kalecast.project import PROJECT


class SettingsError(ValueError):
    """An environment variable holds what it must not; the text is for the operator."""


@dataclass(frozen=True)
class Settings:
    """Where the page listens, which server it calls, how much it takes on, and what it offers."""

    model_servers: tuple[str, ...] = ("http://127.0.0.1:9000",)
    """Addresses of the model server's replicas, without a path of the protocol."""
    host: str = "127.0.0.1"
    port: int = 7860
    metrics_port: int = 7861
    """Where operators read the live counters; 0 for nowhere."""
    sample_data: Path = PROJECT / "notebooks" / "data" / "electricity.csv"
    root_path: str = ""
    """Where a proxy has the page below its own root, such as `/forecast`; empty at the root."""
    public_url: str = "http://127.0.0.1:7860"
    """The page's address as customers type it; examples for programs and shared links show it."""
    deadline: float = 20.0
    """Seconds within which a request is answered, with a forecast or without."""
    most_in_flight: int = 8192
    """Requests taken on at a time; beyond it they are refused before their bodies are read."""
    most_waiting: int = 6000
    """Forecasts that may wait for the model server; beyond it they are refused at once."""
    upstream_windows: int = 64
    """Forecasts in one request to the model server, at most."""
    upstream_requests: int = 2
    """Requests under way to each address of the model server, at most."""
    drain: float = 5.0
    """Seconds between SIGTERM and the end of listening, for a balancer to notice."""
    customers: Path | None = None
    """The file of customers and their keys; without one programs need none."""
    signed_in_header: str = ""
    """The header, in small letters, in which a proxy names who is signed in; empty for no proxy."""
    gradio_client: bool = False
    """Whether Gradio's client for programs may forecast too; its queue is not for thousands."""
    page_quota: int = 120
    """Forecasts and uploads a minute that a signed-in person may request."""
    token_keys: tuple[bytes, ...] = field(default_factory=lambda: (secrets.token_bytes(32),))
    """Of uploads' tokens: the first signs, each opens. All replicas of a page need the same."""
    quota_replicas: str = "1"
    """Replicas that share the quotas: their number, or a name that has an address for each."""

    @property
    def offers_client(self) -> bool:
        """Whether Gradio's client may forecast: it brings no key, and counts for no quota."""
        return self.gradio_client and not self.customers and not self.signed_in_header

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Settings from environment variables, defaults where they are unset or empty.

        Raises:
            SettingsError: an address is no http(s) address, or a number none in its range.
        """
        given = {name: value.strip() for name, value in environment.items() if value.strip()}
        host = given.get("KALECAST_PAGE_HOST", cls.host)
        port = _number(given, "KALECAST_PAGE_PORT", int, cls.port, 1, 65535)
        root_path = _root_path(given, "KALECAST_ROOT_PATH")
        here = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{port}{root_path}"
        tokens = _token_keys(given)
        servers = given.get("MODEL_SERVER_URL", ",".join(cls.model_servers)).split(",")
        return cls(
            model_servers=tuple(_address("MODEL_SERVER_URL", server) for server in servers),
            host=host,
            port=port,
            metrics_port=_number(given, "KALECAST_METRICS_PORT", int, cls.metrics_port, 0, 65535),
            sample_data=Path(given.get("SAMPLE_DATA", str(cls.sample_data))),
            root_path=root_path,
            public_url=_address("KALECAST_PUBLIC_URL", given.get("KALECAST_PUBLIC_URL", here)),
            deadline=_number(given, "KALECAST_DEADLINE_SECONDS", float, cls.deadline, 1, 600),
            most_in_flight=_number(
                given, "KALECAST_MOST_IN_FLIGHT", int, cls.most_in_flight, 1, 1_000_000
            ),
            most_waiting=_number(
                given, "KALECAST_MOST_WAITING", int, cls.most_waiting, 1, 1_000_000
            ),
            upstream_windows=_number(
                given, "KALECAST_UPSTREAM_WINDOWS", int, cls.upstream_windows, 1, 1024
            ),
            upstream_requests=_number(
                given, "KALECAST_UPSTREAM_REQUESTS", int, cls.upstream_requests, 1, 256
            ),
            drain=_number(given, "KALECAST_DRAIN_SECONDS", float, cls.drain, 0, 600),
            customers=Path(given["KALECAST_CUSTOMERS"]) if "KALECAST_CUSTOMERS" in given else None,
            signed_in_header=_header(given, "KALECAST_SIGNED_IN_HEADER"),
            gradio_client=_switch(given, "KALECAST_GRADIO_CLIENT", cls.gradio_client),
            page_quota=_number(given, "KALECAST_PAGE_QUOTA", int, cls.page_quota, 1, 1_000_000),
            **({"token_keys": tokens} if tokens else {}),
            quota_replicas=_replicas(given, "KALECAST_QUOTA_REPLICAS", cls.quota_replicas),
        )


def _number[Number: (int, float)](  # noqa: PLR0913, PLR0917 - a setting and its range
    given: Mapping[str, str],
    name: str,
    kind: Callable[[str], Number],
    default: Number,
    least: float,
    most: float,
) -> Number:
    text = given.get(name, str(default))
    try:
        number = kind(text)
    except ValueError:
        number = kind("-1")
    if not least <= number <= most:
        raise SettingsError(f"Expected {name} from {least} to {most}, received: {text!r}")
    return number


def _root_path(given: Mapping[str, str], name: str) -> str:
    text = given.get(name, "").rstrip("/")
    # No part may begin with a dot, which browsers would take for the folder above.
    if not re.fullmatch("(/[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,63}){0,8}", text):
        raise SettingsError(f"Expected {name} as a path such as /forecast, received: {text!r}")
    return text


def _header(given: Mapping[str, str], name: str) -> str:
    text = given.get(name, "").lower()
    # Not with an underscore, which proxies read as a hyphen: two headers would pass for one.
    if not re.fullmatch("(x-[a-z0-9-]{1,60})?", text):
        raise SettingsError(
            f"Expected {name} as a header such as X-Auth-Request-User, received: {text!r}"
        )
    return text


def _switch(given: Mapping[str, str], name: str, default: bool) -> bool:
    text = given.get(name, "on" if default else "off").lower()
    if text not in ("on", "off"):
        raise SettingsError(f"Expected {name} as on or off, received: {text!r}")
    return text == "on"


def _token_keys(given: Mapping[str, str]) -> tuple[bytes, ...]:
    # Here, as `keys.py` needs the rest and runs without the library.
    from kalecast.artifact.signing import SignatureError, keys_from

    try:
        return keys_from(given, "KALECAST_TOKEN_KEY")
    except SignatureError as error:
        raise SettingsError(str(error)) from error


def _replicas(given: Mapping[str, str], name: str, default: str) -> str:
    text = given.get(name, default)
    if not re.fullmatch("[1-9][0-9]{0,3}|[A-Za-z][A-Za-z0-9.-]{0,252}", text):
        raise SettingsError(
            f"Expected {name} as a number from 1 to 9999 or a host's name, received: {text!r}"
        )
    return text


def _address(name: str, text: str) -> str:
    address = text.strip().rstrip("/")
    try:
        parts = urlsplit(address)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none
        known = False
    if not known:
        raise SettingsError(f"Expected {name} to begin with http:// or https://, got: {text!r}")
    return address
