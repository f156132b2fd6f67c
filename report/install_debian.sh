#!/usr/bin/env bash
# Install the Debian packages with which WeasyPrint sets the PDF, where this is Debian and we are root.
set -euo pipefail
packages=()
for library in libpango-1.0-0:libpango-1.0.so.0 libpangoft2-1.0-0:libpangoft2-1.0.so.0 \
    libharfbuzz-subset0:libharfbuzz-subset.so.0; do
    ldconfig -p | grep -qF "${library#*:}" || packages+=("${library%%:*}")
done
[ ${#packages[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "For the report install: ${packages[*]}" >&2
    exit 0
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
