"""The report: what its cells use, what it refuses, and what is rendered."""

import json
import os
import re
import shutil
import subprocess
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from make_targets import targets
from matplotlib import pyplot as plt

from report import facts, page, results, shown
from report.page import REPORT

ROOT = REPORT.parent
PYTHON = ROOT / ".venv" / "report" / "bin" / "python"
PAGE = REPORT / "kalecast.html"
MEASURED = {
    "command": "make benchmark-serving",
    "date": "2026-11-24T23:30:00+00:00",
    "cores": 2,
    "machine": {"cpu": "Some CPU", "cores": 2, "memory_gib": 8},
    "ratio": 9.5,
    "figures": {"ours": {"errors": 0}},
}


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of results that cells read from."""
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "serving.json").write_text(json.dumps(MEASURED))
    monkeypatch.setenv("KALECAST_REPORT_RESULTS", str(folder))
    return folder


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The Markdown that a cell leaves."""
    texts: list[str] = []
    monkeypatch.setattr(shown, "display", lambda data, **_: texts.append(data["text/markdown"]))
    monkeypatch.setattr(shown, "BUILD", tmp_path)
    return texts


# What cells read


def test_a_result_tells_how_it_came_about(measured: Path):
    serving = results.result("serving")
    assert serving["ratio"] == 9.5
    assert (serving.command, serving.date) == ("make benchmark-serving", "24 November 2026")
    assert serving.machine == "Some CPU, 2 cores, 8 GiB"
    older = {name: value for name, value in MEASURED.items() if name != "machine"}
    (measured / "serving.json").write_text(json.dumps(older))
    assert results.result("serving").machine == "2 cores"


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (
            lambda: results.result("protection"),
            r"report/figures/protection\.json.*`make benchmark-protection",
        ),
        (
            lambda: results.result("serving")["figures"]["ours"]["seconds"],
            r"'figures\.ours\.seconds'.*errors",
        ),
        (
            lambda: shown.rows([results.result("serving")["figures"]["ours"]], {"s": "{seconds}"}),
            r"'figures\.ours\.seconds'.*errors",
        ),
        (lambda: results.result("servings"), r"Expected one of .*'servings'"),
        (
            lambda: results.picture(Path("figures/screenshot-nothing.png")),
            "`make report SCREENSHOTS=1` writes it",
        ),
    ],
)
def test_what_is_missing_is_reported_with_its_place_and_command(measured: Path, read, message: str):
    with pytest.raises(results.MissingResult, match=message):
        read()


def test_commands_of_results_are_targets():
    for source in [*results.REGISTRY.values(), *results.PICTURES.values()]:
        target = re.search(r"make ([a-z-]+)", source.command)[1]
        assert target in targets(), target


def test_facts_have_a_value_and_a_source(tmp_path: Path):
    (tmp_path / "limits.yaml").write_text(
        "price: {value: 0.1, unit: USD/h, source: eks, read: 2026-11-20}\n"
        "nodes: {source: ec2, read: 2026-11-20, rows: [{name: small, vcpu: 2}]}\n"
    )
    found = facts.facts("limits", tmp_path)
    assert str(found["price"]) == "0.1 USD/h"
    assert found["price"].read == "2026-11-20"
    assert found["nodes"].rows == [{"name": "small", "vcpu": 2}]


@pytest.mark.parametrize(
    ("written", "part"),
    [
        ("price: {value: 1, read: 2026-11-20}", "'price' in report/facts/limits.yaml.*'source'"),
        ("price: {source: eks, read: 2026-11-20}", "Expected a value or rows for 'price'"),
        ("price: {value: 1, source: eks, read: 2026-11-20, unti: h}", "'unti'"),
    ],
)
def test_a_fact_without_a_source_is_refused(tmp_path: Path, written: str, part: str):
    (tmp_path / "limits.yaml").write_text(written)
    with pytest.raises(ValueError, match=part):
        facts.facts("limits", tmp_path)


def test_the_sources_of_all_facts_are_in_the_bibliography():
    keys = set(re.findall(r"^@\w+\{\s*([^,\s]+),", (REPORT / "references.bib").read_text(), re.M))
    for path in (REPORT / "facts").glob("*.yaml"):
        assert {fact.source for fact in facts.facts(path.stem).values()} <= keys


# What cells show


def test_a_figure_has_number_caption_and_provenance(measured: Path, left, tmp_path: Path):
    picture = tmp_path / "pictures" / "fig-load.svg"
    contents = set()
    for _ in range(2):
        drawn = plt.figure()
        drawn.gca().plot([1, 2])
        serving = results.result("serving")
        shown.figure(drawn, "fig-load", "Requests of `ours`.", serving, wide=True)
        contents.add(picture.read_bytes())
    assert ":name: fig-load\n:figclass: wide\n:alt: Requests of ours.\n" in left[0]
    assert "[`make benchmark-serving`, 24 November 2026, Some CPU, 2 cores, 8 GiB.]" in left[0]
    assert len(contents) == 1, "the same figure is another file"
    assert not plt.get_fignums()
    assert next(shown.registered()) == ("fig-load", "Requests of `ours`.", ["serving"])


def test_a_table_sets_numbers_to_the_right_and_keeps_bars(left):
    frame = pd.DataFrame({"who": ["a|b", "c"], "rate": ["9,371", "–"], "share": [0.5, 0.25]})
    shown.table(frame, "tab-load", "Load.")
    assert "| :--- | ---: | ---: |\n| a\\|b | 9,371 | 0.5 |" in left[0]
    shown.table("| who |\n| :-- |\n| *a* |", "tab-words", "Words.")
    assert ":::{table} Words.\n:name: tab-words\n" in left[1]
    assert "| *a* |" in left[1]


@pytest.mark.parametrize("name", ["load", "fig_load", "tab-load", "fig-Load"])
def test_a_name_of_another_kind_is_refused(left, name: str):
    with pytest.raises(ValueError, match="Expected a name such as 'fig-scores'"):
        shown.figure(plt.figure(), name, "Load.")


def test_a_box_stands_where_a_clusters_result_would(measured: Path, left):
    assert not shown.measured("cluster-run", "fig-run")
    assert ":name: fig-run" in left[0]
    assert "Not measured yet: needs a cluster; `KFP_HOST=" in left[0]
    assert "report/figures/cluster-run.json" in left[0]
    (measured / "cluster-run.json").write_text("{}")
    assert shown.measured("cluster-run", "fig-run")


# What a page must be


GOOD = (
    '<p id="a">see <a href="#fig-x">Figure 1</a>, <a href="README.md#x">that</a>, '
    '<a href="https://example.org">there</a></p><figure id="fig-x"><img src="data:,"></figure>'
)


def test_a_good_page_has_no_problems():
    assert page.problems(GOOD, REPORT) == []


@pytest.mark.parametrize(
    ("added", "part"),
    [
        ('<a href="#nowhere">x</a>', "'#nowhere' leads nowhere"),
        ('<a href="../nothing/README.md">x</a>', "leads to no file of the repository"),
        ('<p id="a"></p>', "'a' is there 2 times"),
        ('<table id="tab-y"></table>', "does not refer to 'tab-y'"),
        ('<img src="https://example.org/x.png">', "would load 'https://example.org/x.png'"),
        ('<script src="x.js"></script>', "would load 'x.js'"),
        ('<link rel="stylesheet" href="x.css">', "would load 'x.css'"),
        ("<style>body { background: url(x.png) }</style>", "would load 'x.png'"),
        ("<style>@import 'x.css';</style>", "would load 'x.css'"),
        ('<a href="file:///x">x</a>', "unknown scheme"),
    ],
)
def test_what_is_wrong_with_a_page_is_reported(added: str, part: str):
    (problem,) = page.problems(GOOD + added, REPORT)
    assert part in problem


def test_the_digest_knows_every_source(tmp_path: Path):
    sources = [
        tmp_path / name
        for name in ("chapters/1-one.md", "some.py", "figures/serving.json", "facts/a.yaml")
    ]
    for path in [tmp_path / "README.md", *sources]:
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    before = page.digest(tmp_path)
    (tmp_path / "README.md").write_text("no source")
    assert page.digest(tmp_path) == before
    for path in sources:
        path.write_text("y")
        assert page.digest(tmp_path) != before
        path.write_text("x")


def test_the_committed_page_is_of_what_is_committed_and_loads_nothing():
    assert page.digest_of_page(PAGE.read_text()) == page.digest(), "run: make report"
    assert page.problems(PAGE.read_text(), REPORT) == []


# Builds


def build(*arguments: object) -> subprocess.CompletedProcess[str]:
    assert PYTHON.is_file(), "run: make .venv/report/.installed"
    return subprocess.run(
        [PYTHON, "-m", "report.build", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


def of_one_chapter(folder: Path, results_folder: Path, text: str) -> str:
    """What is said of a report whose only chapter has this text, and which is not built."""
    chapters = folder / "chapters"
    chapters.mkdir()
    for name in ("index.md", "references.md"):
        shutil.copy(REPORT / "chapters" / name, chapters)
    head = "---\nfile_format: mystnb\nkernelspec: {name: report}\n---\n(chap-one)=\n# One\n\n"
    (chapters / "1-one.md").write_text(head + text)
    folders = ("--chapters", chapters, "--results", results_folder, "--build", folder / "build")
    done = build(*folders, "--out", folder)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert not (folder / "kalecast.html").exists()
    return done.stderr


@pytest.mark.slow
def test_all_missing_files_are_reported_before_anything_is_run(measured: Path, tmp_path: Path):
    named = "result('pipeline') result('serving') result('protection') measured('cluster-run', 1)"
    message = of_one_chapter(tmp_path, measured, f"```{{code-cell}}\n{named}\n```\n")
    assert re.findall(r"figures/([\w-]+)\.json.*writes it", message) == ["pipeline", "protection"]


@pytest.mark.slow
def test_what_fails_in_a_chapter_is_reported_with_its_line(measured: Path, tmp_path: Path):
    text = """\
```{code-cell}
from report.results import result
result("serving")["nothing"]
```

```{code-cell}
serving = result("serving")
serving["figures"]["theirs"]
```

```{code-cell}
1 / 0
```
"""
    message = of_one_chapter(tmp_path, measured, text)
    assert "'nothing' in report/figures/serving.json" in message
    assert "'figures.theirs' in report/figures/serving.json" in message
    assert "1-one.md:19: ZeroDivisionError" in message


@pytest.mark.slow
def test_mistakes_of_the_text_are_reported_with_their_line(measured: Path, tmp_path: Path):
    text = "{cite}`nobody` {ref}`nowhere` [x](nothing.md)\n"
    message = of_one_chapter(tmp_path, measured, text)
    for part in (r"1-one\.md:\d: WARNING.*nobody", r"1-one\.md:\d: .*'nowhere'", r"nothing\.md"):
        assert re.search(part, message)


class Rendered(NamedTuple):
    """A report that was built."""

    folder: Path
    page: str
    message: str


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """The whole report, built from the committed results."""
    folder = tmp_path_factory.mktemp("report")
    done = build("--build", folder / "build", "--out", folder)
    assert done.returncode == 0, done.stderr
    return Rendered(folder, (folder / "kalecast.html").read_text(), done.stdout)


def words(page: str) -> str:
    """What a reader reads of a page."""
    shown = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", shown).split())


@pytest.mark.slow
def test_page_and_pdf_are_whole_and_of_the_committed_text(rendered: Rendered):
    assert words(rendered.page) == words(PAGE.read_text())
    assert len(rendered.page.encode()) < 5e6
    chapters = sorted(path.stem for path in (REPORT / "chapters").glob("[0-9]*.md"))
    numbers = re.findall(r'<h2><span class="section-number">(\d+)', rendered.page)
    assert numbers == [chapter.split("-")[0] for chapter in chapters]
    for chapter in chapters:
        assert f'id="chap-{chapter.split("-")[1]}"' in rendered.page
    assert "<h2>References</h2>" in rendered.page
    assert (rendered.folder / "kalecast.pdf").read_bytes().startswith(b"%PDF-")
    assert int(re.search(r"kalecast\.pdf: (\d+) pages", rendered.message)[1]) > 2 * len(chapters)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Figure", "Table"])
def test_numbers_are_consecutive(rendered: Rendered, kind: str):
    message = re.findall(rf'caption-number">{kind} (\d+)\.(\d+)', rendered.page)
    assert message
    for chapter, numbers in groupby(message, key=lambda one: one[0]):
        own = [int(number) for _, number in numbers]
        assert own == list(range(1, len(own) + 1)), f"chapter {chapter}"
