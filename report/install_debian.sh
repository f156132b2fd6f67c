#!/usr/bin/env bash
# Install the Debian packages with which WeasyPrint sets the PDF and Graphviz draws.
set -euo pipefail
cd "$(dirname "$0")/.."
packages=()
known=$(PATH=$PATH:/usr/sbin:/sbin ldconfig -p)
for library in libpango-1.0-0:libpango-1.0.so.0 libpangoft2-1.0-0:libpangoft2-1.0.so.0 \
    libharfbuzz-subset0:libharfbuzz-subset.so.0; do
    [[ $known == *"${library#*:}"* ]] || packages+=("${library%%:*}")
done
command -v dot >/dev/null || packages+=(graphviz)
requirements/debian.sh "the report" "${packages[@]}"
