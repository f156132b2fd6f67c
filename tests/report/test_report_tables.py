"""What the chapters on automation, protection and reproduction read from the repository itself."""

from pathlib import Path

import pytest

from report import automation_pictures as automation
from report import protection_pictures as protection


def test_steps_come_after_those_that_they_need():
    steps = automation.compiled_steps()
    names = [step.name for step in steps]
    assert names[0] == "load_data"
    for at, step in enumerate(steps):
        assert set(step.after) | set(step.artifacts) <= set(names[:at])


def test_what_passes_between_steps_is_named():
    steps = {step.name: step for step in automation.compiled_steps()}
    assert steps["train"].artifacts == {"preprocess": ["history"]}
    assert steps["query"].artifacts["deploy"] == ["model_uri"]


def test_every_tag_of_the_notebook_is_explained():
    kinds = {tag.partition(":")[0] for tags in automation._tags_of_cells() for tag in tags}
    assert kinds <= set(automation.TAGS)
    assert all(automation.tags_table()["Cells"] > 0)


def test_every_threat_has_control_and_test():
    found = protection.threats()
    assert {threat.number[0] for threat in found} == set("STRIDE")
    counted = protection.threats_table(found)["Threats"].sum()
    assert counted == len(found)


def test_a_threat_without_a_test_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = tmp_path / "model.md"
    model.write_text("## Spoofing\n\n| S1 | someone asks | a key | none yet |\n")
    monkeypatch.setattr(protection, "MODEL", model)
    with pytest.raises(ValueError, match="threat S1"):
        protection.threats()


def test_what_remains_is_read_whole():
    text = protection.MODEL.read_text().partition("## What remains")[2]
    assert len(protection.remaining_table()) == text.count("\n- ")


def test_each_attack_of_the_benchmark_is_described():
    words = protection.words_of_attacks()
    for name in ("slow_heads", "rapid_reset", "five_hundred_customers"):
        assert words[name]


def test_timelines_hold_every_step():
    steps = [
        {"name": "load_data", "began": 0.0, "seconds": 3.0},
        {"name": "train", "began": 3.0, "seconds": 97.0},
    ]
    (axes,) = automation.timeline(steps, 100.0).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["load data", "train"]
    assert [text.get_text() for text in axes.texts] == ["3.0 s", "97.0 s"]
