#!/usr/bin/env bash
# Write the locks anew from the extras and groups in pyproject.toml, and environment.yml from them.
#
# Exact versions with hashes and no index address, so that any index or mirror serves. Arguments
# go to uv: `requirements/lock.sh --upgrade` takes newer versions.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$(requirements/find_uv.sh)
options=("$@")

lock() {
    local environment=$1
    shift
    "$uv" pip compile --quiet "$@" "${options[@]}" \
        --python .venv/workbench/bin/python --python-version 3.12 --universal \
        --generate-hashes --no-emit-index-url --no-annotate --no-header \
        --output-file "requirements/$environment.txt"
}

for extra in workbench page server neural; do
    lock "$extra" pyproject.toml --extra "$extra"
done
lock test pyproject.toml --extra workbench --group pyproject.toml:test \
    --constraint requirements/workbench.txt
for group in seldon mlserver policies report uv; do
    lock "$group" --group "pyproject.toml:$group"
done
.venv/workbench/bin/python requirements/conda.py
