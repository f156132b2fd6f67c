"""The threat model names a control for each threat, and a test that is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "report" / "threat-model.md").read_text()
THREATS = re.findall(r"^\| ([STRIDE]\d+) \| (.+?) \| (.+?) \| (.+?) \|$", TEXT, re.MULTILINE)


def test_every_kind_of_threat_is_there():
    assert {number[0] for number, *_ in THREATS} == set("STRIDE")
    numbers = [number for number, *_ in THREATS]
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("threat", THREATS, ids=[number for number, *_ in THREATS])
def test_its_proof_is_a_test_that_is_there(threat: tuple[str, str, str, str]):
    proofs = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", threat[3])
    assert proofs
    for file, name in proofs:
        assert f"def {name}(" in (ROOT / file).read_text(), f"{file}::{name}"
