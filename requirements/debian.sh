#!/usr/bin/env bash
# Install Debian packages where this is Debian and we are root, else say which to install:
#
#     requirements/debian.sh PURPOSE PACKAGE…
set -euo pipefail
purpose=$1
shift
[ $# -gt 0 ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "For $purpose install, as root: apt-get install --no-install-recommends $*" >&2
    exit 0
fi
echo "installing $* for $purpose" >&2
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
