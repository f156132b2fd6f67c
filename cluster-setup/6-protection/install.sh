#!/usr/bin/env bash
# Install nginx with ModSecurity and the Core Rule Set on this machine, for `make protect`.
#
#     install.sh [--dry-run]
#
# Only what is missing, from Debian's packages and as root; else it says what to install.

# shellcheck source=cluster-setup/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

while (($#)); do
    common_option "$1" || wrong_call "unknown option $1"
    shift
done

# Whether a package's file is missing; a dry run lists all.
lacks() {
    [[ -n $dry_run || ! -e $1 ]]
}

packages=()
! lacks /usr/sbin/nginx || packages+=(nginx-light)
! lacks /usr/lib/nginx/modules/ngx_http_modsecurity_module.so || packages+=(libnginx-mod-http-modsecurity)
! lacks /usr/lib/nginx/modules/ngx_stream_module.so || packages+=(libnginx-mod-stream)
! lacks /usr/share/modsecurity-crs/rules || packages+=(modsecurity-crs)
! lacks /usr/bin/openssl || packages+=(openssl)
((${#packages[@]})) || exit 0
if [[ -z $dry_run && $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    say "For the protected page install: ${packages[*]} (on Debian or Ubuntu, with apt-get)"
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
run apt-get update -qq
run apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
