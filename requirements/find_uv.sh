#!/usr/bin/env bash
# Print the uv to use: the one on the PATH if it works, else one of our own in .venv/uv.
set -euo pipefail
cd "$(dirname "$0")/.."

if command -v uv >/dev/null && uv --version >/dev/null 2>&1; then
    echo uv
    exit
fi
if [ ! -x .venv/uv/bin/uv ]; then
    # Debian's Python comes without what makes environments.
    python3 -c 'import ensurepip, venv' 2>/dev/null || requirements/debian.sh "uv" python3-venv >&2
    python3 -m venv .venv/uv >&2 || {
        echo "Expected uv, or a python3 that can make a virtual environment" \
            "(Debian: apt-get install python3-venv)." >&2
        exit 1
    }
    .venv/uv/bin/python -m pip install --quiet --disable-pip-version-check \
        --require-hashes --requirement requirements/uv.txt >&2
fi
echo .venv/uv/bin/uv
