"""What the READMEs say is there."""

import re
import subprocess
from pathlib import Path

import pytest
from make_targets import targets

ROOT = Path(__file__).resolve().parents[2]
READMES = sorted(
    path
    for pattern in ("*.md", "*/*.md", "*/*/*.md")
    for path in ROOT.glob(pattern)
    if not path.relative_to(ROOT).parts[0].startswith((".", "runs"))
)


def names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


@pytest.mark.parametrize("page", READMES, ids=names(READMES))
def test_make_targets_exist(page: Path):
    named = re.findall(r"(?:^ {4}|`)make ([a-z-]+)", page.read_text(), flags=re.MULTILINE)
    assert set(named) <= targets() or page.name == "CHANGELOG.md"


@pytest.mark.parametrize("page", READMES, ids=names(READMES))
def test_links_lead_somewhere(page: Path):
    # a chapter's links are those of the page that is rendered from it
    home = ROOT / "report" if page.parent.name == "chapters" else page.parent
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in link:
            assert (home / link).exists(), link


def test_every_target_is_explained_in_help():
    shown = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    explained = set(re.findall(r"^  make (\S+) +\S", shown, flags=re.MULTILINE))
    (names,) = re.findall(r"^  make benchmark-NAME +(.+)$", shown, flags=re.MULTILINE)
    benchmarks = {f"benchmark-{name}" for name in names.split(", ")}
    assert explained - {"benchmark-NAME"} | benchmarks == targets()


def test_parameters_in_the_readme_are_the_notebooks():
    notebook = (ROOT / "notebooks" / "forecast_pipeline.ipynb").read_text()
    for given in re.findall(r'PARAMS="([^"]+)"', (ROOT / "notebooks" / "README.md").read_text()):
        for assignment in given.split():
            assert f"{assignment.split('=')[0]} = " in notebook


COMMANDS = [
    path
    for pattern in ("cluster-setup/**/*.sh", "kale/**/*.sh", "kale/**/*.yaml", "*/**/*.md", "*.md")
    for path in sorted(ROOT.glob(pattern))
    if not path.relative_to(ROOT).parts[0].startswith((".", "runs", "build"))
]


@pytest.mark.parametrize("page", COMMANDS, ids=names(COMMANDS))
def test_no_command_has_a_secret_among_its_arguments(page: Path):
    """Arguments are everybody's to see: secrets go by a pipe or a file."""
    text = page.read_text().replace("\\\n", " ")
    assert "--from-literal" not in text
    assert not re.findall(r"--patch[= ]+\"[^\n]*\$", text)
    assert not re.findall(r"--(?:password|token|secret)[= ]+\"?\$", text)
