"""How Sphinx sets the report; `report/build.py` calls it."""

from pathlib import Path

HERE = Path(__file__).parent

project = "Kalecast"
html_title = "Kalecast: from a notebook to a forecasting service"
language = "en"
extensions = ["myst_nb", "sphinxcontrib.bibtex"]
root_doc = "index"

# Every cell of a chapter runs, also after one that failed: all that is missing is reported at once.
nb_execution_mode = "force"
nb_execution_allow_errors = True
nb_execution_timeout = 300
nb_render_markdown_format = "myst"
nb_remove_code_source = True
nb_output_stderr = "remove-warn"
nb_merge_streams = True

# Links are kept as they are written: those to files are relative to the rendered page.
myst_all_links_external = True
myst_enable_extensions = ["attrs_inline", "colon_fence"]
myst_heading_anchors = 0

numfig = True
numfig_secnum_depth = 1
numfig_format = {"figure": "Figure %s", "table": "Table %s", "section": "Section %s"}
smartquotes = False

bibtex_bibfiles = ["../references.bib"]
bibtex_default_style = "unsrt"
bibtex_reference_style = "label"

html_theme = "page"
html_theme_path = [str(HERE)]
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
