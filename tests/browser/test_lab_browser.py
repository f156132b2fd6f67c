"""`make lab` in a browser: the real JupyterLab with Kale's extension, as its users have it.

`make report SCREENSHOTS=1` has it show a whole run of the pipeline: KALECAST_RUN.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import kfp_double
import lab_process
import pytest
from chromium import DESKTOP, PHONE, TIMEOUT
from kfp_double import TOKEN, KfpDouble
from lab_process import NOTEBOOK, PROJECT, Lab
from playwright.sync_api import Browser, Locator, Page, expect
from ports import free_ports
from screenshots import screenshot
from toy_notebooks import SLEEPY_CELLS, SUM_CELLS, Cell, write_notebook

from kalecast.pipelines.compile_notebook import compile_notebook

pytestmark = pytest.mark.slow

OWN_DATA = "notebooks/own_data.ipynb"
STEPS = ["load_data", "preprocess", "train", "evaluate", "export_model", "deploy", "query"]
BROKEN_CELLS: list[Cell] = [
    ("x = 1", ["step:one"]),
    ("print(x)  # follows no step", ["step:two", "prev:nowhere"]),
]
FAILING_CELLS: list[Cell] = [
    ("print('first words')\nx = 1", ["step:one"]),
    ("raise ValueError('no <b>such</b> luck')", ["step:two", "prev:one"]),
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    (folder / "notebooks").mkdir()
    for name in (NOTEBOOK, OWN_DATA):
        shutil.copy(PROJECT / name, folder / name)
    for name, cells in {
        "toy": SUM_CELLS,
        "running": SUM_CELLS,
        "broken": BROKEN_CELLS,
        "failing": FAILING_CELLS,
        "sleepy": SLEEPY_CELLS,
    }.items():
        write_notebook(folder / "notebooks" / f"{name}.ipynb", cells)
    with lab_process.running(folder, *jupyter_arguments()) as lab:
        yield lab


def jupyter_arguments() -> list[str]:
    (port,) = free_ports(1)
    return ["--", "--no-browser", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]


class Visit:
    """A tab on a notebook in JupyterLab, and what it requested from others."""

    def __init__(self, browser: Browser, lab: Lab, notebook: str = NOTEBOOK) -> None:
        self.lab, self.notebook = lab, lab.folder / notebook
        self.context = browser.new_context(viewport=DESKTOP)
        self.tab: Page = self.context.new_page()
        self.tab.set_default_timeout(TIMEOUT)
        self.elsewhere: list[str] = []
        self.tab.on("request", lambda request: self._note(request.url))
        self.tab.goto(lab.jupyter.replace(NOTEBOOK, notebook) + "&reset")
        expect(self.button("Compile")).to_be_visible()
        if notebook != OWN_DATA:  # which has no steps
            expect(self.tab.locator(".kale-inline-cell-metadata").first).to_be_visible()

    def _note(self, url: str) -> None:
        if not re.match(r"(http|ws)://(127\.0\.0\.1|localhost):|data:|blob:", url):
            self.elsewhere.append(url)

    def button(self, name: str) -> Locator:
        """A button of Kale's in the notebook's toolbar."""
        return self.tab.locator(".jp-NotebookPanel-toolbar").get_by_role("button", name=name).last

    @property
    def dialog(self) -> Locator:
        return self.tab.locator(".jp-Dialog")

    @property
    def progress(self) -> Locator:
        """What the extension's panel says of a click."""
        return self.tab.locator(".deploy-progress-row")

    @property
    def unsaved(self) -> Locator:
        """The mark of a notebook that was changed, on its tab."""
        return self.tab.locator("#jp-main-dock-panel .lm-TabBar-tab.jp-mod-dirty")

    def compile(self) -> None:
        """Click, and wait until the extension says that it is done."""
        self.button("Compile").click()
        expect(self.progress.filter(has_text="Compiling")).to_contain_text("Done")

    def scroll_to(self, step: str) -> None:
        """Show the cell of a step; the notebook has no more cells on the page than are seen."""
        self.tab.locator(".jp-WindowedPanel-outer").hover()
        self.tab.mouse.wheel(0, -100_000)
        chip = self.tab.locator(".kale-chip, .kale-inline-cell-metadata", has_text=step).first
        for _ in range(100):
            self.tab.wait_for_timeout(50)
            box = chip.bounding_box() if chip.is_visible() else None
            if box and box["y"] < DESKTOP["height"] / 2:
                return
            self.tab.mouse.wheel(0, 200)
        raise AssertionError(f"No cell of {step}")

    @property
    def pipeline(self) -> str:
        """The pipeline's name."""
        return self.notebook.stem.replace("_", "-")

    def compiled(self) -> dict[str, bytes]:
        """What lies in the folder for compiled pipelines, of this notebook."""
        files = self.lab.folder.glob(f"kale/{self.pipeline}.*")
        return {file.name: file.read_bytes() for file in files}


@pytest.fixture
def visit(browser: Browser, lab: Lab) -> Iterator[Callable[[str], Visit]]:
    visits: list[Visit] = []

    def open_notebook(notebook: str) -> Visit:
        visits.append(Visit(browser, lab, notebook))
        return visits[-1]

    yield open_notebook
    for opened in visits:
        opened.context.close()
        assert opened.elsewhere == []
    assert not (lab.folder / ".kale").exists()
    assert not (lab.folder / "notebooks" / ".kale").exists()


def from_terminal(notebook: Path, folder: Path) -> dict[str, bytes]:
    """What `make compile` makes of a notebook."""
    return {file.name: file.read_bytes() for file in compile_notebook(notebook, folder)}


def test_the_notebook_opens_annotated_and_compiles_with_one_click(
    visit: Callable[[str], Visit], tmp_path: Path
) -> None:
    opened = visit(NOTEBOOK)
    before = opened.notebook.read_bytes()
    expect(opened.tab.locator(".kfp-status-text")).to_contain_text("Connected")
    seen = opened.tab.locator(".kale-chip, .kale-inline-cell-metadata")
    found: set[str] = set()
    opened.tab.locator(".jp-WindowedPanel-outer").hover()
    while missing := {"pipeline-parameters", *STEPS} - found:
        assert len(found) < 100, missing
        found |= {word for text in seen.all_inner_texts() for word in re.findall(r"[\w-]+", text)}
        opened.tab.mouse.wheel(0, 400)
        opened.tab.wait_for_timeout(50)
    expect(opened.dialog).to_have_count(0)
    expect(opened.unsaved).to_have_count(0)
    opened.compile()
    expect(opened.unsaved).to_have_count(0)
    assert opened.compiled() == from_terminal(opened.notebook, tmp_path)
    assert len(opened.compiled()) == 2
    assert opened.notebook.read_bytes() == before
    expect(opened.dialog).to_have_count(0)
    opened.scroll_to("load_data")
    screenshot(opened.tab, "lab")


def test_a_notebook_without_a_pipeline_opens_unchanged(visit: Callable[[str], Visit]) -> None:
    opened = visit(OWN_DATA)
    expect(opened.tab.locator(".kfp-status-text")).to_contain_text("Connected")
    opened.tab.wait_for_timeout(3000)  # in which the kernel and the panel would write
    expect(opened.unsaved).to_have_count(0)
    opened.tab.locator(".cm-line", has_text="minutes = 4.0").click()
    opened.tab.keyboard.type("2")
    expect(opened.unsaved).to_have_count(1)


def test_an_edited_parameter_is_in_the_compiled_pipeline(
    visit: Callable[[str], Visit], tmp_path: Path
) -> None:
    opened = visit("notebooks/toy.ipynb")
    opened.compile()
    assert b"defaultValue: 3.0" in opened.compiled()["toy.pipeline.yaml"]
    opened.tab.locator(".cm-line", has_text="rows = 3").click()
    opened.tab.keyboard.press("End")
    opened.tab.keyboard.press("Backspace")
    opened.tab.keyboard.type("7")
    opened.compile()
    made = opened.compiled()
    assert b"defaultValue: 7.0" in made["toy.pipeline.yaml"]
    assert b"rows = 7" in opened.notebook.read_bytes()
    assert made == from_terminal(opened.notebook, tmp_path)


def test_a_broken_annotation_is_reported_in_a_dialog(visit: Callable[[str], Visit]) -> None:
    opened = visit("notebooks/broken.ipynb")
    opened.button("Compile").click()
    expect(opened.dialog).to_contain_text("cell 2")
    expect(opened.dialog).to_contain_text("nowhere")
    opened.dialog.get_by_role("button", name="Close").click()
    expect(opened.dialog).to_have_count(0)
    assert opened.compiled() == {}


def test_run_leads_to_the_page_of_the_run(visit: Callable[[str], Visit]) -> None:
    opened = visit("notebooks/running.ipynb")
    opened.button("Run").click()
    link = opened.progress.filter(has_text="Running").get_by_role("link")
    with opened.context.expect_page() as found:
        link.click()
    page = found.value
    page.set_default_timeout(TIMEOUT)
    expect(page.locator("#state")).to_have_text("Done")
    assert re.fullmatch(rf"{opened.lab.host}/#/runs/details/[\w-]+", page.url)
    expect(page.get_by_role("heading", name="running")).to_be_visible()
    expect(page.locator("#scores")).to_contain_text("score_sum1.5")
    page.get_by_role("button", name="load, Done").click()
    expect(page.locator("#log")).to_have_text("rows 3 plain False")
    with opened.context.expect_page() as report:
        page.get_by_role("link", name="report of add").click()
    expect(report.value.get_by_text("sum 1.5")).to_be_visible()
    expect(link).to_contain_text("Done")
    expect(opened.dialog).to_have_count(0)


def test_the_panel_follows_a_run_to_its_end(visit: Callable[[str], Visit]) -> None:
    opened = visit("notebooks/failing.ipynb")
    opened.button("Run").click()
    link = opened.progress.filter(has_text="Running").get_by_role("link")
    expect(link).to_have_text("View")
    expect(link).to_have_text("Failed")


##### The page of runs by itself #####


@pytest.fixture
def runs_page(browser: Browser, lab: Lab) -> Iterator[Page]:
    context = browser.new_context(viewport=PHONE, color_scheme="dark")
    tab = context.new_page()
    tab.set_default_timeout(TIMEOUT)
    complaints: list[str] = []
    tab.on("console", lambda m: m.type == "error" and complaints.append(m.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(lab.page)
    yield tab
    context.close()
    assert [message for message in complaints if "404" not in message] == []


def submit(lab: Lab, name: str) -> str:
    """Run a notebook of the lab's as a click would; the run's address."""
    (_, package) = compile_notebook(lab.folder / "notebooks" / f"{name}.ipynb", lab.folder / "kale")
    return f"{lab.host}/#/runs/details/{lab_process.submit(lab, package)}"


def fits(tab: Page) -> bool:
    return bool(tab.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def test_the_page_follows_a_run_and_stops_it(lab: Lab, runs_page: Page) -> None:
    runs_page.goto(submit(lab, "sleepy"))
    expect(runs_page.locator("#log")).to_contain_text("asleep")
    expect(runs_page.locator("#state")).to_have_text("Running")
    expect(runs_page.get_by_role("button", name="after, Waiting")).to_be_disabled()
    runs_page.reload()
    expect(runs_page.locator("#log-title")).to_have_text("Log of sleep")
    runs_page.get_by_role("button", name="Stop").press("Enter")
    expect(runs_page.locator("#state")).to_have_text("Stopped")
    expect(runs_page.locator("#stop")).to_be_hidden()
    expect(runs_page.locator("#announcement")).to_contain_text("Stopped")
    assert fits(runs_page)


def test_the_page_shows_what_went_wrong(lab: Lab, runs_page: Page) -> None:
    runs_page.goto(submit(lab, "failing"))
    expect(runs_page.locator("#error h2")).to_have_text("two failed: ValueError")
    expect(runs_page.locator("#error pre")).to_have_text("no <b>such</b> luck")
    runs_page.get_by_role("button", name="one, Done").click()
    expect(runs_page.locator("#log")).to_have_text("first words")
    assert fits(runs_page)
    runs_page.get_by_role("link", name="All runs").click()
    first = runs_page.locator("#runs a").first
    expect(first).to_contain_text("Failed: no <b>such</b> luck")
    assert fits(runs_page)
    runs_page.goto(f"{lab.host}/#/runs/details/none")
    expect(runs_page.get_by_role("heading", name="No such run")).to_be_visible()


def test_a_run_of_an_earlier_lab_is_still_there(browser: Browser, lab: Lab, tmp_path: Path) -> None:
    earlier = Path(os.environ.get("KALECAST_RUN") or finished(lab, "running"))
    not_shown = shutil.ignore_patterns("artifacts", "marshal", "ipython")
    shutil.copytree(earlier, tmp_path / "runs" / earlier.name, ignore=not_shown)
    with lab_process.running(tmp_path, "--no-jupyter") as later:
        context = browser.new_context(viewport=DESKTOP)
        tab = context.new_page()
        tab.set_default_timeout(TIMEOUT)
        tab.goto(later.page)
        tab.goto(f"{later.host}/#/runs/details/{earlier.name}")
        expect(tab.locator("#state")).to_have_text("Done")
        fullest = max((earlier / "reports").iterdir(), key=lambda report: report.stat().st_size)
        with context.expect_page() as report:
            tab.get_by_role("link", name=f"report of {fullest.stem}").click()
        expect(report.value.locator("pre, table, img, svg").first).to_be_visible()
        report.value.set_viewport_size({**DESKTOP, "height": 1200})
        screenshot(report.value, "step")
        context.close()


def finished(lab: Lab, name: str) -> Path:
    """The folder of a run of a notebook of the lab's that has come to its end."""
    run_id = submit(lab, name).rpartition("/")[2]
    lab_process.until(lab, run_id, lab_process.is_over)
    return lab.runs / run_id


##### A given KFP #####


def test_the_same_click_reaches_a_given_kfp(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "notebooks").mkdir()
    write_notebook(tmp_path / NOTEBOOK, SUM_CELLS)
    (tmp_path / "token").write_text(TOKEN)
    script = [("RUNNING", {})] * 2 + [("SUCCEEDED", {})]
    with kfp_double.serving(KfpDouble(multi_user=False, script=script)) as kfp:
        given = {"KFP_HOST": kfp.host, "KF_PIPELINES_TOKEN_FILE": str(tmp_path / "token")}
        with lab_process.running(tmp_path, *jupyter_arguments(), **given) as lab:
            opened = Visit(browser, lab)
            expect(opened.tab.locator(".kfp-status-text")).to_contain_text("Connected")
            opened.button("Run").click()
            link = opened.progress.filter(has_text="Running").get_by_role("link")
            assert link.get_attribute("href") == f"{kfp.host}/#/runs/details/run0"
            expect(link).to_contain_text("Done")
            expect(opened.dialog).to_have_count(0)
            opened.context.close()
            assert f"Run works on KFP at {kfp.host}" in lab.log
    (run,) = kfp.runs.values()
    assert "add-step" in run["pipeline_spec"]["pipeline_spec"]["root"]["dag"]["tasks"]
    assert len(kfp.versions) == 1


def test_compile_works_though_kfp_does_not_answer(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "notebooks").mkdir()
    write_notebook(tmp_path / NOTEBOOK, SUM_CELLS)  # named as the real one
    with lab_process.running(tmp_path, *jupyter_arguments(), KFP_HOST="http://127.0.0.1:1") as lab:
        opened = Visit(browser, lab)
        expect(opened.tab.locator(".kfp-status-text")).to_contain_text("Disconnected")
        opened.compile()
        assert len(opened.compiled()) == 2
        expect(opened.dialog).to_have_count(0)
        opened.context.close()
