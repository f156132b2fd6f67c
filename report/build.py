"""Build the report: `make report`.

    .venv/report/bin/python -m report.build [--only 3-model] [--out folder] [--results folder]

Runs the chapters on the results in report/figures/ (or in the folder of --results), sets them as
one page, report/kalecast.html, and prints that as report/kalecast.pdf. With --only a single
chapter is built, the others with their titles alone, and what is wrong is reported and no error.

Exit code 0: built; 1: not, and what to do is said.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from kalecast.lifetime import end_in_order
from report.making.chapters import run_all
from report.making.digest import digest
from report.making.document import check_names, check_outside, set_page, write_sources
from report.making.fonts import cut
from report.making.gaps import missing_files
from report.making.links import problems
from report.making.one_page import self_contained
from report.making.paper import printed
from report.making.plan import REPORT, BuildPlan, ReportError
from report.results import FIGURES, all_results, in_words

NAME = "kalecast"


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, and say how it went."""
    given = _arguments(arguments)
    began = time.monotonic()
    plan = BuildPlan(
        results=given.results.resolve(),
        build=given.build.resolve(),
        chapters=given.chapters.resolve(),
        only=tuple(given.only or ()),
    )
    try:
        if given.outside_links:
            return check_outside(plan)
        build(plan, given.out.resolve(), draft=bool(plan.only), paper=not given.no_pdf)
    except ReportError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{time.monotonic() - began:.0f} s in all")
    return 0


def build(plan: BuildPlan, out: Path, draft: bool, paper: bool) -> None:
    """Run, set, check and print; a draft tells of mistakes and goes on."""
    if missing := missing_files(plan):
        raise ReportError(_listed("Results are missing", missing))
    cut()
    run_chapters(plan)
    page, wrong = set_document(plan, draft)
    out.mkdir(parents=True, exist_ok=True)
    wrong += problems(page, _home(out))
    _judge(wrong, draft)
    (out / f"{NAME}.html").write_text(page)
    print(f"{out / f'{NAME}.html'}: {len(page.encode()) / 1e6:.1f} MB")
    if paper:
        pages, warnings = printed(page, out / f"{NAME}.pdf")
        _judge(warnings, draft)
        print(f"{out / f'{NAME}.pdf'}: {pages} pages")


def run_chapters(plan: BuildPlan) -> None:
    """Run all, and only then tell of what failed: all that is missing at once."""
    missing, errors = [], []
    for done in run_all(plan):
        print(f"{done.name}: {done.seconds:.0f} s", flush=True)
        for name in done.boxes:
            print(f"  not measured yet, needs a cluster: report/figures/{name}.json")
        missing += done.missing
        errors += done.errors
    notes = []
    if missing:
        notes.append(_listed("Results are missing", list(dict.fromkeys(missing))))
    if errors:
        notes.append(_listed("Cells failed", errors))
    if notes:
        raise ReportError("\n".join(notes))
    check_names(plan)


def set_document(plan: BuildPlan, draft: bool) -> tuple[str, list[str]]:
    """The page as text, and what Sphinx warned of."""
    print("setting", flush=True)
    write_sources(plan)
    results = list(all_results(plan.results))
    newest = max((one.written for one in results), default=None)
    date = in_words(newest) if newest else ""
    wrong = set_page(plan, {"report_date": date, "draft": "draft" if draft else ""})
    css = (REPORT / "theme" / "page.css").read_text()
    page = plan.build / "singlehtml" / "index.html"
    if not page.is_file():
        raise ReportError(_listed("The document cannot be set", wrong))
    sources = digest(REPORT, plan.results)
    return self_contained(page, css, sources), wrong


def _home(out: Path) -> Path:
    """Where the page's links start: in the repository, wherever a draft is written."""
    return out if out == REPORT else REPORT


def _judge(wrong: list[str], draft: bool) -> None:
    if wrong and not draft:
        raise ReportError(_listed("The document has mistakes", wrong))
    for line in wrong:
        print(f"  {line}")


def _listed(heading: str, lines: list[str]) -> str:
    return "\n".join((f"{heading}:", *(f"  {line}" for line in lines)))


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Build the report.")
    parser.add_argument("--results", type=Path, default=FIGURES, help="folder of results files")
    parser.add_argument("--out", type=Path, default=REPORT, help="where page and PDF are written")
    parser.add_argument("--only", action="append", metavar="CHAPTER", help="build this chapter")
    parser.add_argument("--no-pdf", action="store_true", help="the page alone")
    parser.add_argument("--build", type=Path, default=REPORT.parent / "build" / "report")
    parser.add_argument("--chapters", type=Path, default=REPORT / "chapters")
    parser.add_argument(
        "--outside-links", action="store_true", help="ask links of the last build (needs internet)"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    end_in_order()
    sys.exit(main())
