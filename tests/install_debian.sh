#!/usr/bin/env bash
# Install the Debian packages that tests need, where this is Debian and we are root.
set -euo pipefail
packages=()
command -v chromium >/dev/null || packages+=(chromium)
command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || packages+=(nginx-light)
[ ${#packages[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "For all tests install: ${packages[*]} (some are skipped without)" >&2
    exit 0
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
