"""The page's settings: what their variables may hold, and what is said where they do not."""

from pathlib import Path
from typing import Any

import pytest

from kalecast.page.settings import Settings
from kalecast.settings import SettingsError


def read(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Any:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return Settings()


def test_what_is_empty_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(monkeypatch, KALECAST_PAGE_PORT=" ", KALECAST_CUSTOMERS="", port="1", PORT="2")
    assert (found.port, found.customers) == (7860, None)


def test_the_page_is_where_it_listens_unless_said_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = {"KALECAST_PAGE_HOST": "0.0.0.0", "KALECAST_ROOT_PATH": "/forecast/"}
    assert read(monkeypatch, **place).public_url == "http://127.0.0.1:7860/forecast"
    found = read(monkeypatch, KALECAST_PUBLIC_URL="https://here.example/ ")
    assert found.public_url == "https://here.example"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("KALECAST_PAGE_PORT", "1.0", "from 1 to 65535"),
        ("KALECAST_PAGE_PORT", "seven", "from 1 to 65535"),
        ("KALECAST_DEADLINE_SECONDS", "nan", "from 1 to 600"),
        ("KALECAST_DRAIN_SECONDS", "soon", "from 0 to 600"),
        ("MODEL_SERVER_URL", "localhost", "to begin with http:// or https://"),
        ("KALECAST_PUBLIC_URL", "http://a:0", "to begin with http:// or https://"),
        *(
            ("KALECAST_ROOT_PATH", path, "as a path such as /forecast")
            for path in ("/../a", "forecast", "/a b", "/a//b", "/" + "a" * 99, "/é")
        ),
        *(
            ("KALECAST_SIGNED_IN_HEADER", name, "as a header such as X-Auth-Request-User")
            for name in ("Cookie", "X_Auth_Request_User")
        ),
        ("KALECAST_PAGE_QUOTA", "0", "from 1 to 1000000"),
        ("KALECAST_METRICS_PORT", "65536", "from 0 to 65535"),
        ("KALECAST_UPSTREAM_WINDOWS", "2000", "from 1 to 1024"),
        ("KALECAST_GRADIO_CLIENT", "yes", "as on or off"),
        ("KALECAST_QUOTA_REPLICAS", "0", "as a number from 1 to 9999 or a host's name"),
    ],
)
def test_what_was_expected_is_said(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read(monkeypatch, **{name: value})
    assert str(caught.value) == f"Expected {name} {expected}, received: {value!r}"


def test_settings_cannot_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="frozen"):
        read(monkeypatch).port = 1


def test_a_key_is_never_repeated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="received one of 5") as caught:
        read(monkeypatch, KALECAST_TOKEN_KEY="short")
    assert "short" not in str(caught.value) and caught.value.__cause__ is None
    file = tmp_path / "key"
    file.write_text("k" * 32 + "\n" + "l" * 32)
    found = read(monkeypatch, KALECAST_TOKEN_KEY="", KALECAST_TOKEN_KEY_FILE=str(file))
    assert found.token_keys == (b"k" * 32, b"l" * 32)
    assert "kkk" not in repr(found)
    assert Settings().token_keys == found.token_keys


def test_without_a_key_each_page_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch).token_keys != Settings().token_keys
