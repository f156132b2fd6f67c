#!/usr/bin/env bash
# Install one environment from its lock: requirements/install.sh ENVIRONMENT
#
# Makes .venv/ENVIRONMENT with Python 3.12 and what requirements/ENVIRONMENT.txt names, and the
# library kalecast itself, editable. What `test` names is installed into the workbench. Uses uv: the one on
# the PATH, else one of its own in .venv/uv. Where the environments workbench and seldon are both
# there, the workbench's JupyterLab gets a kernel that runs in the other.
set -euo pipefail
cd "$(dirname "$0")/.."

environment=${1:?usage: requirements/install.sh ENVIRONMENT}
lock=requirements/$environment.txt

# A version manager's shim can be on the PATH and fail: a Python counts only if it runs.
find_python() {
    local candidates=() candidate
    candidates+=("${KALECAST_PYTHON:-python3.12}" python3 python)
    if command -v pyenv >/dev/null; then
        candidates+=("$(pyenv root)"/versions/3.12*/bin/python)
    fi
    for candidate in "${candidates[@]}"; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' 2>/dev/null; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
}

uv=$(requirements/find_uv.sh)
target=.venv/$environment
if [ "$environment" = test ]; then
    target=.venv/workbench
    mkdir -p .venv/test && ln -sfn ../workbench/bin .venv/test/bin
fi
if ! "$target/bin/python" -c '' 2>/dev/null; then
    python=$(find_python)
    if [ -n "$python" ]; then
        "$uv" venv --quiet --clear --python "$python" "$target"
    else
        echo "No working Python 3.12 here; uv fetches one." >&2
        "$uv" venv --quiet --clear --managed-python --python 3.12 "$target"
    fi
fi
echo "installing $lock into $target" >&2
"$uv" pip install --quiet --compile-bytecode --python "$target/bin/python" \
    --require-hashes --requirement "$lock"
"$uv" pip install --quiet --python "$target/bin/python" --no-deps --editable .

# Seldon Core's client cannot live beside the workbench's packages. Either environment may be
# installed first, and making one anew loses the kernel: so each of them registers it.
if [[ $environment == workbench || $environment == seldon ]] &&
    .venv/workbench/bin/python -c '' 2>/dev/null &&
    .venv/seldon/bin/python -c 'import ipykernel' 2>/dev/null; then
    JUPYTER_PATH=$PWD/.venv/workbench/share/jupyter \
        .venv/seldon/bin/python -m ipykernel install --prefix .venv/workbench \
        --name kalecast-seldon --display-name "Seldon client" >/dev/null
fi
