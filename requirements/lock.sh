#!/usr/bin/env bash
# Write the locks anew from the groups in pyproject.toml, and environment.yml from them.
#
# Exact versions with hashes and no index address, so that any index or mirror serves. Arguments
# go to uv: `requirements/lock.sh --upgrade` takes newer versions.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$(requirements/find_uv.sh)

lock() {
    local group=$1
    shift
    "$uv" pip compile --quiet --group "pyproject.toml:$group" \
        --python .venv/workbench/bin/python --python-version 3.12 --universal \
        --generate-hashes --no-emit-index-url --no-annotate --no-header \
        --output-file "requirements/$group.txt" "$@"
}

lock workbench "$@"
lock test --constraint requirements/workbench.txt "$@"
lock page "$@"
lock server "$@"
lock seldon "$@"
lock mlserver "$@"
lock policies "$@"
lock report "$@"
lock uv "$@"
.venv/workbench/bin/python requirements/conda.py
