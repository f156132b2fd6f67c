#!/usr/bin/env bash
# Install the Debian packages that tests need, where this is Debian and we are root.
set -euo pipefail
cd "$(dirname "$0")/.."
packages=()
command -v chromium >/dev/null || packages+=(chromium)
command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || packages+=(nginx-light)
command -v gpg >/dev/null || packages+=(gnupg)
# Unpacked and not installed, which would start it as a service.
prometheus=.venv/prometheus
unpacked=()
command -v promtool >/dev/null || [ -x "$prometheus/usr/bin/promtool" ] || unpacked+=(prometheus)
# Payload lists, sent at the door by tests; nothing of these tools runs here.
lists=.venv/attack-lists
[ -d "$lists/usr/share/sqlmap" ] || unpacked+=(wfuzz wapiti sqlmap)
[ $((${#packages[@]} + ${#unpacked[@]})) -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "For all tests install: ${packages[*]} ${unpacked[*]} (some are skipped without)" >&2
    exit 0
fi
apt-get update -qq
if [ ${#packages[@]} -gt 0 ]; then
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi
if [ ${#unpacked[@]} -gt 0 ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    (cd "$folder" && apt-get -o APT::Sandbox::User=root download -qq "${unpacked[@]}")
    for package in "${unpacked[@]}"; do
        into=$lists
        [ "$package" != prometheus ] || into=$prometheus
        mkdir -p "$into"
        dpkg-deb --extract "$folder/$package"_*.deb "$into"
    done
    rm -rf "${prometheus:?}/usr/share"
fi
