"""Settings: everything the page takes from its environment, checked where it enters."""

import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode

from kalecast.artifact.signing import SignatureError, keys_from
from kalecast.project import PROJECT
from kalecast.settings import CheckedSettings, SettingsError

TOKEN_KEY = "KALECAST_TOKEN_KEY"


def _number(kind: Callable[[str], float], least: int, most: int) -> BeforeValidator:
    # With Python's reading of numbers: pydantic's would take 1.0 for a whole one.
    def check(text: str) -> float:
        try:
            number = kind(text)
        except ValueError:
            number = -1
        if not least <= number <= most:
            raise ValueError(f"from {least} to {most}")
        return number

    return BeforeValidator(check)


def _text(pattern: str, expected: str) -> BeforeValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(expected)
        return text

    return BeforeValidator(check)


def _address(text: str) -> str:
    address = text.strip().rstrip("/")
    try:
        parts = urlsplit(address)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none
        known = False
    if not known:
        raise ValueError("to begin with http:// or https://")
    return address


def _own_address(given: dict[str, Any]) -> str:
    host = "127.0.0.1" if given["host"] in ("0.0.0.0", "::") else given["host"]
    return f"http://{host}:{given['port']}{given['root_path']}"


def _token_keys(text: str) -> tuple[bytes, ...]:
    file = f"{TOKEN_KEY}_FILE"
    try:
        keys = keys_from({TOKEN_KEY: text, file: os.environ.get(file, "").strip()}, TOKEN_KEY)
    except SignatureError as error:
        raise SettingsError(str(error)) from error
    return keys or (secrets.token_bytes(32),)


Port = Annotated[int, _number(int, 1, 65535)]
Count = Annotated[int, _number(int, 1, 1_000_000)]
Address = Annotated[str, BeforeValidator(_address)]


class Settings(CheckedSettings):
    """Where the page listens, which server it calls, how much it takes on, and what it offers."""

    host: str = Field("127.0.0.1", validation_alias="KALECAST_PAGE_HOST")
    port: Port = Field(7860, validation_alias="KALECAST_PAGE_PORT")
    metrics_port: Annotated[int, _number(int, 0, 65535)] = Field(
        7861, validation_alias="KALECAST_METRICS_PORT"
    )
    """Where operators read the live counters; 0 for nowhere."""
    model_servers: Annotated[
        tuple[Address, ...], NoDecode, BeforeValidator(lambda text: text.split(","))
    ] = Field(("http://127.0.0.1:9000",), validation_alias="MODEL_SERVER_URL")
    """Addresses of the model server's replicas, without a path of the protocol."""
    sample_data: Path = Field(
        PROJECT / "notebooks" / "data" / "electricity.csv", validation_alias="SAMPLE_DATA"
    )
    # No part may begin with a dot, which browsers would take for the folder above.
    root_path: Annotated[
        str,
        _text("(/[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,63}){0,8}/*", "as a path such as /forecast"),
        AfterValidator(lambda text: text.rstrip("/")),
    ] = Field("", validation_alias="KALECAST_ROOT_PATH")
    """Where a proxy has the page below its own root, such as `/forecast`; empty at the root."""
    public_url: Address = Field(
        default_factory=_own_address, validate_default=True, validation_alias="KALECAST_PUBLIC_URL"
    )
    """The page's address as customers type it; examples for programs and shared links show it."""
    deadline: Annotated[float, _number(float, 1, 600)] = Field(
        20.0, validation_alias="KALECAST_DEADLINE_SECONDS"
    )
    """Seconds within which a request is answered, with a forecast or without."""
    most_in_flight: Count = Field(8192, validation_alias="KALECAST_MOST_IN_FLIGHT")
    """Requests taken on at a time; beyond it they are refused before their bodies are read."""
    most_waiting: Count = Field(6000, validation_alias="KALECAST_MOST_WAITING")
    """Forecasts that may wait for the model server; beyond it they are refused at once."""
    upstream_windows: Annotated[int, _number(int, 1, 1024)] = Field(
        64, validation_alias="KALECAST_UPSTREAM_WINDOWS"
    )
    """Forecasts in one request to the model server, at most."""
    upstream_requests: Annotated[int, _number(int, 1, 256)] = Field(
        2, validation_alias="KALECAST_UPSTREAM_REQUESTS"
    )
    """Requests under way to each address of the model server, at most."""
    drain: Annotated[float, _number(float, 0, 600)] = Field(
        5.0, validation_alias="KALECAST_DRAIN_SECONDS"
    )
    """Seconds between SIGTERM and the end of listening, for a balancer to notice."""
    customers: Path | None = Field(None, validation_alias="KALECAST_CUSTOMERS")
    """The file of customers and their keys; without one programs need none."""
    # Not with an underscore, which proxies read as a hyphen: two headers would pass for one.
    signed_in_header: Annotated[
        str,
        _text("(?ai)x-[a-z0-9-]{1,60}", "as a header such as X-Auth-Request-User"),
        AfterValidator(str.lower),
    ] = Field("", validation_alias="KALECAST_SIGNED_IN_HEADER")
    """The header, in small letters, in which a proxy names who is signed in; empty for no proxy."""
    gradio_client: Annotated[bool, _text("(?ai)on|off", "as on or off")] = Field(
        False, validation_alias="KALECAST_GRADIO_CLIENT"
    )
    """Whether Gradio's client for programs may forecast too; its queue is not for thousands."""
    page_quota: Count = Field(120, validation_alias="KALECAST_PAGE_QUOTA")
    """Forecasts and uploads a minute that a signed-in person may request."""
    token_keys: Annotated[tuple[bytes, ...], NoDecode, BeforeValidator(_token_keys)] = Field(
        default_factory=str, validate_default=True, validation_alias=TOKEN_KEY, repr=False
    )
    """Of uploads' tokens: the first signs, each opens. All replicas of a page need the same."""
    quota_replicas: Annotated[
        str,
        _text(
            "[1-9][0-9]{0,3}|[A-Za-z][A-Za-z0-9.-]{0,252}",
            "as a number from 1 to 9999 or a host's name",
        ),
    ] = Field("1", validation_alias="KALECAST_QUOTA_REPLICAS")
    """Replicas that share the quotas: their number, or a name that has an address for each."""

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, given: dict[str, str]) -> dict[str, str]:
        """What is set: an empty variable is not."""
        return {name: text.strip() for name, text in given.items() if text.strip()}

    @property
    def offers_client(self) -> bool:
        """Whether Gradio's client may forecast: it brings no key, and counts for no quota."""
        return self.gradio_client and not self.customers and not self.signed_in_header
