"""An audit passes only where each package was looked up."""

from pathlib import Path

import pytest

from requirements import audit

ROOT = Path(__file__).resolve().parents[2]

SOUND = {"name": "a", "version": "1", "vulns": []}
SKIPPED = {"name": "b", "skip_reason": "not found"}
ADVISORY = {"id": "CVE-2026-1", "fix_versions": ["2.1"], "aliases": [], "description": ""}
WEAK = {"name": "c", "version": "2", "vulns": [ADVISORY]}


@pytest.mark.parametrize(
    ("packages", "code"),
    [([SOUND], 0), ([SOUND, SKIPPED], 3), ([SKIPPED], 3), ([WEAK, SKIPPED], 1), ([], 3)],
)
def test_only_what_was_looked_up_passes(packages: list[dict], code: int) -> None:
    result = audit.AuditResult()
    result.add({"dependencies": packages})
    assert result.exit_code == code


def test_what_is_found_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = {"uv": [SOUND], "page": [WEAK, SKIPPED]}
    monkeypatch.setattr(audit, "audit", lambda lock, _: {"dependencies": answers[lock]})
    assert audit.main(["page", "uv"]) == 1
    message = capsys.readouterr().out
    assert "c 2: CVE-2026-1 (fixed in 2.1)" in message
    assert message.splitlines()[-1] == '{"looked_up": 2, "not_looked_up": 1, "vulnerable": 1}'


def test_without_a_database_it_queries_one_package_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    queried: list[str] = []

    def nothing(lock: str, _: str) -> None:
        queried.append(lock)

    monkeypatch.setattr(audit, "audit", nothing)
    assert audit.main([]) == 3
    assert queried == ["uv"]
    assert "cannot be reached from here" in capsys.readouterr().out
