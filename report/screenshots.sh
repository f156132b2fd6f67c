#!/usr/bin/env bash
# Leave the report's screenshots in report/figures, of a trained model and the newest run of the
# pipeline: report/screenshots.sh MODEL
set -euo pipefail
cd "$(dirname "$0")/.."
model=$1
run=$(ls -t runs/*/summary.json 2>/dev/null | head -n 1)
if [ ! -e "$model" ] || [ -z "$run" ]; then
    echo "Nothing to show yet: make pipeline first." >&2
    exit 1
fi
KALECAST_SCREENSHOTS=report/figures KALECAST_MODEL=$model KALECAST_RUN=$(dirname "$run") \
    exec .venv/workbench/bin/pytest -q tests/browser/test_tour_browser.py \
    tests/browser/test_lab_browser.py::test_the_notebook_opens_annotated_and_compiles_with_one_click \
    tests/browser/test_lab_browser.py::test_a_run_of_an_earlier_lab_is_still_there
