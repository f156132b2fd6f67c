"""Set chapters that were run as one document, with Sphinx."""

import io
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import nbformat
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from report.making.chapters import glued_names, place
from report.making.plan import REPORT, BuildPlan, ReportError

LINES_A_CELL = 10_000
"""myst-nb tells the line `cell * 10,000 + line`."""
MISSING = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="420" height="90" viewBox="0 0 420 90">'
    '<rect x="1" y="1" width="418" height="88" fill="none" stroke="#8a8a8a" '
    'stroke-dasharray="5 4"/>'
    '<text x="210" y="51" text-anchor="middle" font-family="serif" font-size="17" fill="#666">'
    "Not measured yet</text></svg>\n"
)


def write_sources(plan: BuildPlan) -> None:
    """Write what stands around the chapters: the list of them, and the bibliography.

    A chapter that was not chosen is there with its title alone, so that numbers are right.
    """
    folder = plan.sources
    for chapter in set(plan.names) - set(plan.chosen):
        (folder / f"{chapter}.ipynb").unlink(missing_ok=True)
        heading = re.search(r"^\(chap-[a-z]+\)=\n+# .+$", plan.text(chapter), flags=re.MULTILINE)
        if not heading:
            raise ReportError(f"Expected (chap-…)= before the heading of {chapter}.md")
        (folder / f"{chapter}.md").write_text(heading[0] + "\n")
    for chapter in plan.chosen:
        (folder / f"{chapter}.md").unlink(missing_ok=True)
    toctree = "\n".join(plan.names)
    (folder / "index.md").write_text(
        f"# Kalecast\n\n```{{toctree}}\n:numbered: 2\n:maxdepth: 2\n{toctree}\n```\n\n"
        "```{toctree}\n:maxdepth: 1\nreferences\n```\n"
    )
    (folder / "references.md").write_text("(references)=\n# References\n\n```{bibliography}\n```\n")
    (folder / "pictures").mkdir(exist_ok=True)
    (folder / "pictures" / "missing.svg").write_text(MISSING)


def check_names(plan: BuildPlan) -> None:
    """Names that cells tell are unique in the whole report."""
    counts = Counter(
        name
        for chapter in plan.chosen
        for name in glued_names(nbformat.read(plan.sources / f"{chapter}.ipynb", as_version=4))
    )
    if twice := [name for name, count in counts.items() if count > 1]:
        raise ReportError(f"Glued more than once, choose other names: {', '.join(twice)}")


def set_page(plan: BuildPlan, context: dict[str, str], builder: str = "singlehtml") -> list[str]:
    """Run Sphinx; what it warns of is returned, in words that name chapter and cell."""
    warned = io.StringIO()
    target = plan.build / builder
    shutil.rmtree(target, ignore_errors=True)
    with patch_docutils(str(REPORT / "theme")), docutils_namespace():
        app = Sphinx(
            srcdir=plan.sources,
            confdir=REPORT / "theme",
            outdir=target,
            doctreedir=plan.build / "doctrees",
            buildername=builder,
            confoverrides={f"html_context.{name}": value for name, value in context.items()},
            status=None,
            warning=warned,
            freshenv=True,
        )
        app.build()
    lines = re.sub(r"\x1b\[[0-9;]*m", "", warned.getvalue()).strip().splitlines()
    return [_in_words(line, plan) for line in lines if line.strip()]


def _in_words(warning: str, plan: BuildPlan) -> str:
    found = re.match(r"(?P<path>\S+?\.(ipynb|md))(:(?P<line>\d+))?: (?P<message>.*)", warning)
    if not found:
        return warning
    path = Path(found["path"])
    if found["path"].endswith(".ipynb") and found["line"]:
        notebook = nbformat.read(plan.sources / path.name, as_version=4)
        cell, line = divmod(int(found["line"]), LINES_A_CELL)
        if 0 < cell <= len(notebook.cells):
            where = place(path.stem, notebook, notebook.cells[cell - 1])
            return f"{where}, line {line}: {found['message']}"
    return f"Chapter {path.stem}: {found['message']}"


def check_outside(plan: BuildPlan) -> int:
    """Ask every outside link of the last build with Sphinx's linkcheck; tell those that failed."""
    if not (plan.sources / "index.md").is_file():
        raise ReportError("Expected a build to look into: run `make report` first.")
    set_page(plan, {}, builder="linkcheck")
    output = plan.build / "linkcheck" / "output.json"
    requested = [json.loads(line) for line in output.read_text().splitlines()]
    requested = [one for one in requested if one["uri"].startswith("http")]
    broken = [one for one in requested if one["status"] in {"broken", "timeout"}]
    if requested and len(broken) == len(requested):
        print(
            "Expected answers from outside: none came. Run this where the internet can be reached."
        )
        return 3
    for one in broken:
        print(f"{one['uri']}: {one['info']} ({one['filename']})")
    print(json.dumps({"links": len(requested), "broken": len(broken)}))
    return 1 if broken else 0
