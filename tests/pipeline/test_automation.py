"""What runs by itself: the checks before a commit, and the workflow of a hosted CI."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "notebooks.yaml"
NOTEBOOK = "notebooks/forecast_pipeline.ipynb"


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment["PRE_COMMIT_HOME"] = str(cwd / ".cache")
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project's files as a repository of their own, with the same environments."""
    listed = run("git", "ls-files", "-co", "--exclude-standard", cwd=ROOT)
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    (tmp_path / ".git").mkdir()
    assert run("git", "init", "--quiet", cwd=tmp_path).returncode == 0
    return tmp_path


def check(copy: Path) -> tuple[int, str]:
    """What the hooks say of all files of the repository."""
    run("git", "add", "--all", cwd=copy)
    done = run(
        *(sys.executable, "-m", "pre_commit", "run", "--all-files", "--color=never"), cwd=copy
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_hooks_take_outputs_away_and_stop_a_broken_notebook(copy: Path):
    notebook = nbformat.read(copy / NOTEBOOK, as_version=4)
    cell = next(c for c in notebook.cells if "step:train" in c.metadata.get("tags", []))
    cell.outputs = [nbformat.v4.new_output("stream", text="done")]
    nbformat.write(notebook, copy / NOTEBOOK)
    code, message = check(copy)
    assert code == 1
    assert "files were modified by this hook" in message
    assert (copy / NOTEBOOK).read_bytes() == (ROOT / NOTEBOOK).read_bytes()
    code, message = check(copy)
    assert code == 0, message
    broken = (copy / NOTEBOOK).read_text().replace("network, losses =", "net, losses =")
    (copy / NOTEBOOK).write_text(broken)
    code, message = check(copy)
    assert code == 1
    assert f"{NOTEBOOK}: cell 9 (" in message
    assert "uses 'network', which" in message


def test_the_workflow_runs_what_anyone_can_run():
    workflow = yaml.safe_load(WORKFLOW.read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    commands = [step["run"] for step in steps if "run" in step]
    made = re.findall(r"make ([a-z-]+)", " ".join(commands))
    assert made == ["check-notebooks", "notebooks", "compile"]
    assert ".ci/run" in commands[-1]
    uploads = [step for step in steps if "upload-artifact" in step.get("uses", "")]
    kept = " ".join(step["with"]["path"] for step in uploads)
    for wanted in ("kale/*.pipeline.yaml", "build/notebooks/*.ipynb", "build/notebooks/*.html"):
        assert wanted in kept


SKIPS = """\
import pytest
from missing import missing

@pytest.mark.skipif(True, reason="no gpg")
def test_by_mark(): ...

def test_by_call():
    missing("nginx", "apt-get install nginx")
"""

ALONE = {"PYTHONPATH": f"{ROOT}/tests:{ROOT}/tests/support", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


@pytest.mark.parametrize(("ci", "code"), [("true", 1), ("", 0)])
def test_what_is_skipped_in_ci_has_failed(ci: str, code: int, tmp_path: Path):
    (tmp_path / "test_skips.py").write_text(SKIPS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "conftest", "-rs", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, **ALONE, "CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert "Needs nginx: apt-get install nginx" in done.stdout
    assert ("1 failed, 1 error in" if ci else "2 skipped in") in done.stdout
