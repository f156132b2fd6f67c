"""The report: what its cells use, what it refuses, and what is rendered."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from make_targets import targets
from matplotlib import pyplot as plt

from report import facts, results, shown
from report.making import digest, gaps, links, plan
from report.making.plan import REPORT

ROOT = REPORT.parent
PYTHON = ROOT / ".venv" / "report" / "bin" / "python"
PAGE = REPORT / "kalecast.html"
CHAPTERS = [
    *("1-answer", "2-cluster", "3-model", "4-serving", "5-automation"),
    *("6-app", "7-protection", "8-operations", "9-reproduce"),
]
MEASURED = {
    "command": "make benchmark-serving",
    "date": "2026-11-24T23:30:00+00:00",
    "cores": 2,
    "machine": {"cpu": "Some CPU", "cores": 2, "memory_gib": 8},
    "ratio": 9.5,
    "figures": {"ours": {"errors": 0}},
}


@pytest.fixture
def measured(tmp_path: Path) -> Iterator[Path]:
    """A folder of results that cells read from."""
    (tmp_path / "serving.json").write_text(json.dumps(MEASURED))
    results.read_from(tmp_path)
    yield tmp_path
    results.read_from(results.FIGURES)


@pytest.fixture
def left(tmp_path: Path, monkeypatch) -> list[str]:
    """The Markdown that a cell leaves."""
    texts: list[str] = []
    monkeypatch.setattr(shown, "display", lambda data, **_: texts.append(data["text/markdown"]))
    with plt.rc_context():
        shown.begin("4-serving", str(tmp_path / "build"))
    return texts


# What cells read


def test_a_result_tells_how_it_came_about(measured: Path):
    serving = results.result("serving")
    assert serving["ratio"] == 9.5
    assert serving.date == "24 November 2026"
    assert serving.machine == "Some CPU, 2 cores, 8 GiB"
    assert serving.command == "make benchmark-serving"


def test_an_older_result_knows_its_cores_alone(measured: Path):
    older = {name: value for name, value in MEASURED.items() if name != "machine"}
    (measured / "serving.json").write_text(json.dumps(older))
    assert results.result("serving").machine == "2 cores"


def test_a_missing_file_is_reported_with_its_command(measured: Path):
    with pytest.raises(results.MissingResult) as error:
        results.result("protection")
    assert "report/figures/protection.json" in str(error.value)
    assert "`make benchmark-protection" in str(error.value)
    assert not error.value.source.needs_cluster


def test_a_missing_key_is_reported_with_its_place(measured: Path):
    with pytest.raises(results.MissingResult, match=r"'figures\.ours\.seconds'.*errors"):
        results.result("serving")["figures"]["ours"]["seconds"]


def test_a_result_that_nobody_writes_is_reported():
    with pytest.raises(results.MissingResult, match=r"Expected one of .*'servings'"):
        results.result("servings")


def test_a_missing_picture_is_reported_with_its_command():
    with pytest.raises(results.MissingResult, match="`make report SCREENSHOTS=1` writes it"):
        results.picture(Path("figures/screenshot-nothing.png"))


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
    assert found.rows("nodes") == [{"name": "small", "vcpu": 2}]
    with pytest.raises(KeyError, match=r"'prices' in report/facts/limits.yaml, received: price"):
        found["prices"]


@pytest.mark.parametrize(
    ("written", "part"),
    [
        ("price: {value: 1, read: 2026-11-20}", "Expected source for 'price'"),
        ("price: {source: eks, read: 2026-11-20}", "Expected a value or rows for 'price'"),
        ("price: {value: 1, source: eks, read: 2026-11-20, unti: h}", "Expected no unti"),
    ],
)
def test_a_fact_without_a_source_is_refused(tmp_path: Path, written: str, part: str):
    (tmp_path / "limits.yaml").write_text(written)
    with pytest.raises(ValueError, match=part):
        facts.facts("limits", tmp_path)


def test_the_sources_of_all_facts_are_in_the_bibliography():
    keys = set(re.findall(r"^@\w+\{\s*([^,\s]+),", (REPORT / "references.bib").read_text(), re.M))
    for path in sorted((REPORT / "facts").glob("*.yaml")):
        for name, fact in facts.facts(path.stem).items():
            assert fact.source in keys, f"{path.name}: {name}"


# What cells show


def test_a_figure_has_number_caption_and_provenance(measured: Path, left, tmp_path: Path):
    drawn = plt.figure()
    drawn.gca().plot([1, 2])
    serving = results.result("serving")
    shown.figure(drawn, "fig-load", "Requests of `ours`.", serving, wide=True)
    assert ":name: fig-load\n:figclass: wide\n:alt: Requests of ours.\n" in left[0]
    assert "[`make benchmark-serving`, 24 November 2026, Some CPU, 2 cores, 8 GiB.]" in left[0]
    picture = tmp_path / "build" / "source" / "pictures" / "fig-load.svg"
    assert "<svg" in picture.read_text()
    assert not plt.get_fignums()
    (registered,) = shown.registered()
    assert (registered.chapter, registered.name) == ("4-serving", "fig-load")
    assert registered.results == ["serving"]


def test_the_same_figure_is_the_same_file(left, tmp_path: Path):
    path = tmp_path / "build" / "source" / "pictures" / "fig-load.svg"
    contents = []
    for _ in range(2):
        drawn = plt.figure()
        drawn.gca().plot([1, 2])
        shown.figure(drawn, "fig-load", "Load.")
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]


def test_a_table_sets_numbers_to_the_right_and_keeps_bars(left):
    frame = pd.DataFrame({"who": ["a|b", "c"], "rate": ["9,371", "–"], "share": [0.5, 0.25]})
    shown.table(frame, "tab-load", "Load.")
    lines = left[0].splitlines()
    assert "| :--- | ---: | ---: |" in lines
    assert r"| a\|b | 9,371 | 0.5 |" in lines


@pytest.mark.parametrize("name", ["load", "fig_load", "tab-load", "fig-Load"])
def test_a_name_of_another_kind_is_refused(left, name: str):
    with pytest.raises(ValueError, match="Expected a name such as 'fig-scores'"):
        shown.figure(plt.figure(), name, "Load.")


# What is missing


def test_all_missing_files_are_reported_before_anything_is_run(measured: Path, tmp_path: Path):
    chapters = tmp_path / "chapters"
    chapters.mkdir()
    (chapters / "1-one.md").write_text('result("serving"), result("protection")')
    (chapters / "2-two.md").write_text("result('pipeline'), result('cluster-run')")
    message = gaps.missing_files(plan.BuildPlan(measured, tmp_path / "build", chapters))
    assert [re.search(r"figures/([\w-]+)", line)[1] for line in message] == [
        "pipeline",
        "protection",
    ]
    assert all("writes it" in line for line in message)


def test_a_box_stands_where_a_clusters_result_would():
    cell = 'r = result("cluster-run")\nglue(run_seconds=r["s"])\nfigure(f(r), "fig-run", "A run.")'
    (box,) = gaps.boxes("cluster-run", cell)
    assert ":name: fig-run" in box
    assert "Not measured yet: needs a cluster; `KFP_HOST=" in box
    assert "report/figures/cluster-run.json" in box
    assert gaps.glued_in(cell) == ["run_seconds"]
    (box,) = gaps.boxes("cluster-run", 'result("cluster-run")')
    assert "{admonition}" in box


# What a page must be


GOOD = (
    '<p id="a">see <a href="#fig-x">Figure 1</a>, <a href="README.md#x">that</a>, '
    '<a href="https://example.org">there</a></p><figure id="fig-x"><img src="data:,"></figure>'
)


def test_a_good_page_has_no_problems():
    assert links.problems(GOOD, REPORT) == []


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
    (problem,) = links.problems(GOOD + added, REPORT)
    assert part in problem


def test_the_digest_knows_every_source(tmp_path: Path):
    copy = tmp_path / "report"
    for name in ("chapters/1-one.md", "some.py", "figures/serving.json", "facts/a.yaml"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text("x")
    before = digest.digest(copy)
    (copy / "README.md").write_text("no source")
    assert digest.digest(copy) == before
    for name in ("chapters/1-one.md", "some.py", "figures/serving.json", "facts/a.yaml"):
        (copy / name).write_text("y")
        assert digest.digest(copy) != before
        (copy / name).write_text("x")
    assert digest.digest(copy) == before


def test_the_committed_page_is_made_from_what_is_committed():
    assert PAGE.is_file(), "run: make report"
    assert digest.digest_of_page(PAGE.read_text()) == digest.digest(), "run: make report"


def test_the_committed_page_leads_somewhere_and_loads_nothing():
    assert PAGE.is_file(), "run: make report"
    assert links.problems(PAGE.read_text(), REPORT) == []


def test_chapters_are_in_order():
    assert sorted(path.stem for path in (REPORT / "chapters").glob("*.md")) == CHAPTERS


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


BROKEN = """\
---
jupytext: {text_representation: {extension: .md, format_name: myst}}
kernelspec: {name: python3, display_name: Python 3, language: python}
---
(chap-one)=
# One

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


@pytest.mark.slow
def test_what_fails_in_a_chapter_is_reported_with_its_cell(tmp_path: Path):
    chapters, results = tmp_path / "chapters", tmp_path / "results"
    chapters.mkdir()
    results.mkdir()
    (chapters / "1-one.md").write_text(BROKEN)
    (results / "serving.json").write_text(json.dumps(MEASURED))
    folders = ("--chapters", chapters, "--results", results, "--build", tmp_path / "build")
    done = build(*folders, "--out", tmp_path)
    assert done.returncode == 1
    assert "'nothing' in report/figures/serving.json" in done.stderr
    assert "'figures.theirs' in report/figures/serving.json" in done.stderr
    assert "Chapter 1-one, cell 3 (1 / 0): ZeroDivisionError" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "kalecast.html").exists()


@pytest.mark.slow
def test_mistakes_of_the_text_are_reported_with_their_chapter(tmp_path: Path):
    chapters = tmp_path / "chapters"
    chapters.mkdir()
    text = BROKEN[: BROKEN.index("```{code-cell}")]
    (chapters / "1-one.md").write_text(text + "{cite}`nobody` {ref}`nowhere` [x](nothing.md)\n")
    done = build("--chapters", chapters, "--build", tmp_path / "build", "--out", tmp_path)
    assert done.returncode == 1
    for part in ("Chapter 1-one, text 1 (# One), line", '"nobody"', "nowhere", "nothing.md"):
        assert part in done.stderr


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
def test_the_page_is_whole(rendered: Rendered):
    assert len(rendered.page.encode()) < 5e6
    chapters = re.findall(r'<h2><span class="section-number">(\d+)', rendered.page)
    assert chapters == [str(number) for number in range(1, len(CHAPTERS) + 1)]
    for chapter in CHAPTERS:
        assert f'id="chap-{chapter.split("-")[1]}"' in rendered.page
    assert "<h2>References</h2>" in rendered.page


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Figure", "Table"])
def test_numbers_are_consecutive(rendered: Rendered, kind: str):
    message = re.findall(rf'caption-number">{kind} (\d+)\.(\d+)', rendered.page)
    assert message
    for chapter, numbers in groupby(message, key=lambda one: one[0]):
        own = [int(number) for _, number in numbers]
        assert own == list(range(1, len(own) + 1)), f"chapter {chapter}"


@pytest.mark.slow
def test_the_same_inputs_give_the_same_text(rendered: Rendered):
    assert words(rendered.page) == words(PAGE.read_text())


@pytest.mark.slow
def test_the_pdf_has_all_of_it(rendered: Rendered):
    assert (rendered.folder / "kalecast.pdf").read_bytes().startswith(b"%PDF-")
    assert int(re.search(r"kalecast\.pdf: (\d+) pages", rendered.message)[1]) > 2 * len(CHAPTERS)
