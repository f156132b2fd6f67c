"""Locks, environment.yml and pyproject.toml say the same."""

import re
import tomllib
from pathlib import Path

import pytest

from requirements import conda

ROOT = Path(__file__).resolve().parents[2]

LOCKS = sorted(path.stem for path in (ROOT / "requirements").glob("*.txt"))


def test_environment_yml_is_made_of_the_workbench_lock():
    assert (ROOT / "environment.yml").read_text() == conda.render(), "run: requirements/lock.sh"


def test_every_environment_has_its_lock():
    content = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = set(content["project"]["optional-dependencies"])
    assert set(LOCKS) == extras - {"cluster"} | set(content["dependency-groups"])


def test_the_workbench_has_all_that_a_cluster_takes():
    assert set(conda.chosen("cluster")) <= conda.locked("workbench").keys()


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_have_hashes_and_no_index(lock: str):
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    assert not re.search(r"--(extra-)?index-url|--find-links|https?://", text)
    pins = re.split(r"\n(?=\S)", text.strip())
    assert all("==" in pin and "--hash=sha256:" in pin for pin in pins)


def test_the_test_environment_is_the_workbench_and_more():
    workbench, test = conda.locked("workbench"), conda.locked("test")
    assert {name: test.get(name) for name in workbench} == workbench
