"""Build the report: `make report`.

    .venv/report/bin/python -m report.build [--only 3-model] [--out folder] [--results folder]

Sphinx with MyST-NB runs the chapters on the results in report/figures/ (or in the folder of
--results) and sets them as one page, report/kalecast.html, which WeasyPrint prints as
report/kalecast.pdf. With --only a single chapter is built, the others with their titles alone, and
what is wrong with the text is reported and no error.

Exit code 0: built; 1: not, and what to do is said; 3: no outside link could be requested.
"""

import argparse
import io
import json
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils
from weasyprint import HTML

from kalecast.lifetime import end_in_order
from report.fonts import cut
from report.page import REPORT, digest, problems, self_contained
from report.results import FIGURES, REGISTRY, all_results, in_words, missing_file

NAME = "kalecast"
THEME = REPORT / "theme"
FOR_SCREENS = re.compile("Ignored `|Invalid media type|Expected a media type")
"""What WeasyPrint says of style that only browsers need."""


class ReportError(Exception):
    """The report cannot be built; says what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, and say how it went."""
    given = _arguments(arguments)
    began = time.monotonic()
    try:
        if given.outside_links:
            return check_outside(given)
        build(given)
    except ReportError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{time.monotonic() - began:.0f} s in all")
    return 0


def build(given: argparse.Namespace) -> None:
    """Run, set, check and print; a draft reports mistakes and goes on."""
    check_results(given)
    cut()
    wrong = run_sphinx(given, "singlehtml")
    page = self_contained(
        given.build / "singlehtml" / "index.html",
        (THEME / "page.css").read_text(),
        digest(REPORT, given.results),
    )
    # the page's links start in the repository, wherever a draft is written
    _judge([*wrong, *problems(page, REPORT)], bool(given.only))
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / f"{NAME}.html").write_text(page)
    print(f"{given.out / f'{NAME}.html'}: {len(page.encode()) / 1e6:.1f} MB")
    if not given.no_pdf:
        pages, warnings = printed(page, given.out / f"{NAME}.pdf")
        _judge(warnings, bool(given.only))
        print(f"{given.out / f'{NAME}.pdf'}: {pages} pages")


def check_results(given: argparse.Namespace) -> None:
    """Look for all results files that chapters name, before anything is run."""
    chapters = {path.stem: path.read_text() for path in given.chapters.glob("[0-9]*-*.md")}
    if unknown := set(given.only) - set(chapters):
        raise ReportError(
            f"Expected one of {', '.join(sorted(chapters))}, received: {unknown.pop()}"
        )
    text = "\n".join(chapters[name] for name in given.only or chapters)
    named = set(re.findall(r"\b(?:result|measured)\(\s*[\"']([\w-]+)[\"']", text))
    absent = [
        (name, REGISTRY[name])
        for name in sorted(named & set(REGISTRY))
        if not (given.results / f"{name}.json").is_file()
    ]
    for name, source in absent:
        if source.needs_cluster:
            print(f"  not measured yet, needs a cluster: report/figures/{name}.json")
    missing = [
        missing_file(f"{name}.json", source) for name, source in absent if not source.needs_cluster
    ]
    if missing:
        raise ReportError(_listed("Results are missing", missing))


def run_sphinx(given: argparse.Namespace, builder: str) -> list[str]:
    """Have Sphinx run and set the chapters; returns what it warned of, with file and line.

    Raises:
        ReportError: cells failed; all that failed are named.
    """
    shutil.rmtree(given.build, ignore_errors=True)
    warned, failed = io.StringIO(), list[str]()
    # where kernels are found, and what is theirs: the package, how pictures look, folders
    os.environ |= {
        "JUPYTER_PATH": str(THEME),
        "PYTHONPATH": str(REPORT.parent),
        "MATPLOTLIBRC": str(THEME / "matplotlibrc"),
        "KALECAST_REPORT_RESULTS": str(given.results),
        "KALECAST_REPORT_BUILD": str(given.build),
    }
    newest = max((one.written for one in all_results(given.results)), default=None)
    with patch_docutils(str(THEME)), docutils_namespace():
        app = Sphinx(
            srcdir=given.chapters,
            confdir=THEME,
            outdir=given.build / builder,
            doctreedir=given.build / "doctrees",
            buildername=builder,
            confoverrides={
                "html_context.report_date": in_words(newest) if newest else "",
                "html_context.draft": bool(given.only),
            },
            status=None,
            warning=warned,
            freshenv=True,
        )
        app.connect("source-read", lambda _, name, source: _only(given.only, name, source))
        app.connect("doctree-read", lambda app, tree: failed.extend(_failed(app, tree)))
        app.connect("doctree-read", distinguish_ids, priority=10)
        app.build()
    if failed:
        raise ReportError(_listed("Cells failed", failed))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", warned.getvalue()).splitlines()
    return [line.replace(f"{REPORT.parent}/", "") for line in lines if line.strip()]


def _only(chosen: list[str], name: str, source: list[str]) -> None:
    """Leave a chapter that was not chosen its title alone, so that numbers are right."""
    if chosen and re.match(r"\d", name) and name not in chosen:
        heading = re.search(r"^\(chap-[a-z]+\)=\n+# .+$", source[0], flags=re.MULTILINE)
        if not heading:
            raise ReportError(f"Expected (chap-…)= before the heading of {name}.md")
        source[0] = heading[0] + "\n"


def _failed(app: Sphinx, doctree: nodes.document) -> list[str]:
    """Errors of a chapter's cells, with the line; those that follow from a missing result not."""
    name = app.env.current_document.docname
    # MyST-NB names the line after the cell's first
    errors = [
        f"{name}.md:{(node.line or 1) - 1}: {node.astext().strip().splitlines()[-1]}"
        for node in doctree.findall(nodes.literal_block)
        if "traceback" in node["classes"]
    ]
    lacks = any(": MissingResult: " in error for error in errors)
    return [error for error in errors if not (lacks and ": NameError: " in error)]


def distinguish_ids(app: Sphinx, doctree: nodes.document) -> None:
    """Give ids that docutils made up the document's name: all documents become one page.

    Labels that an author wrote stay as they are. The bibliography keeps its ids, by which it is
    found; there is one in the report.
    """
    docname = app.env.current_document.docname
    if docname == "references":
        return
    written = {doctree.nameids[name] for name, by_hand in doctree.nametypes.items() if by_hand}

    def apart(one: str) -> str:
        return one if one in written else f"{docname}-{one}"

    for node in doctree.findall(nodes.Element):
        for name in ("ids", "backrefs"):
            if name in node:
                node[name] = [apart(one) for one in node[name]]
        if "refid" in node:
            node["refid"] = apart(node["refid"])


def printed(page: str, path: Path) -> tuple[int, list[str]]:
    """Print a self-contained page; returns the number of pages, and what went wrong in words."""
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("weasyprint")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.WARNING)
    # without a base, links to files stay relative to where the PDF lies
    document = HTML(string=page).render()
    document.write_pdf(path, custom_metadata=True)
    return len(document.pages), [line for line in messages if not FOR_SCREENS.match(line)]


def check_outside(given: argparse.Namespace) -> int:
    """Request every outside link with Sphinx's linkcheck, and report those that failed."""
    run_sphinx(given, "linkcheck")
    output = given.build / "linkcheck" / "output.json"
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


def _judge(wrong: list[str], draft: bool) -> None:
    if wrong and not draft:
        raise ReportError(_listed("The document has mistakes", wrong))
    for line in wrong:
        print(f"  {line}")


def _listed(heading: str, lines: list[str]) -> str:
    return "\n".join((f"{heading}:", *(f"  {line}" for line in lines)))


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Build the report.")

    def folder(name: str, default: Path, words: str) -> None:
        parser.add_argument(name, type=lambda it: Path(it).resolve(), default=default, help=words)

    folder("--results", FIGURES, "folder of results files")
    folder("--out", REPORT, "where page and PDF are written")
    folder("--build", REPORT.parent / "build" / "report", "where the build leaves its files")
    folder("--chapters", REPORT / "chapters", "folder of the text")
    parser.add_argument(
        "--only", action="append", default=[], metavar="CHAPTER", help="build this chapter"
    )
    parser.add_argument("--no-pdf", action="store_true", help="the page alone")
    parser.add_argument(
        "--outside-links", action="store_true", help="request every outside link (needs internet)"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    end_in_order()
    sys.exit(main())
