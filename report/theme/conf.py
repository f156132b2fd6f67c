"""How Sphinx sets the report; `report/making/document.py` calls it."""

from pathlib import Path

HERE = Path(__file__).parent

project = "Kalecast"
html_title = "Kalecast: from a notebook to a forecasting service"
language = "en"
extensions = ["myst_nb", "sphinxcontrib.bibtex", "report.making.sphinx_parts"]
root_doc = "index"
exclude_patterns = ["pictures"]

nb_execution_mode = "off"
nb_render_markdown_format = "myst"
nb_remove_code_source = True
nb_output_stderr = "remove-warn"
nb_merge_streams = True

# Links are kept as they are written: those to files are relative to the rendered page.
myst_all_links_external = True
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 0

numfig = True
numfig_secnum_depth = 1
numfig_format = {
    "figure": "Figure %s",
    "table": "Table %s",
    "code-block": "Listing %s",
    "section": "Section %s",
}
smartquotes = False

bibtex_bibfiles = ["../references.bib"]
bibtex_default_style = "unsrt"
bibtex_reference_style = "label"

html_theme = "page"
html_theme_path = [str(HERE.parent / "theme")]
html_show_sphinx = False
html_copy_source = False
html_permalinks = False
html_secnumber_suffix = " "
html_domain_indices = False
html_use_index = False
pygments_style = "friendly"
linkcheck_timeout = 20
linkcheck_retries = 2
linkcheck_anchors = False
