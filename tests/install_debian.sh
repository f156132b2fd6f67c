#!/usr/bin/env bash
# Install the Debian packages that tests need.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:/usr/sbin:/sbin
packages=()
needs() { command -v "$1" >/dev/null || packages+=("$2"); }
needs chromium chromium
needs nginx nginx-light
needs gpg gnupg
needs git git
needs curl curl
needs ip iproute2
# Playwright's own program asks for it.
[[ $(ldconfig -p) == *libatomic.so.1* ]] || packages+=(libatomic1)
requirements/debian.sh "all tests" "${packages[@]}"

# Unpacked and not installed, which would start it as a service.
prometheus=.venv/prometheus
unpacked=()
command -v promtool >/dev/null || [ -x "$prometheus/usr/bin/promtool" ] || unpacked+=(prometheus)
# Payload lists, sent at the gateway by tests; nothing of these tools runs here.
lists=.venv/attack-lists
for package in wfuzz wapiti sqlmap; do
    [ -d "$lists/usr/share/doc/$package" ] || unpacked+=("$package")
done
[ ${#unpacked[@]} -gt 0 ] || exit 0
if ! command -v apt-get >/dev/null; then
    echo "For all tests put what these Debian packages hold into .venv: ${unpacked[*]}" >&2
    exit 0
fi
echo "unpacking ${unpacked[*]} for all tests" >&2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
[ "$(id -u)" -ne 0 ] || apt-get update -qq
if ! (cd "$folder" && apt-get -o APT::Sandbox::User=root download -qq "${unpacked[@]}"); then
    echo "For all tests run, as root: apt-get update; then again what you ran." >&2
    exit 0
fi
for package in "${unpacked[@]}"; do
    into=$lists
    [ "$package" != prometheus ] || into=$prometheus
    mkdir -p "$into"
    dpkg-deb --extract "$folder/$package"_*.deb "$into"
done
rm -rf "${prometheus:?}/usr/share"
