#!/usr/bin/env bash
# Install nginx with ModSecurity and the Core Rule Set, where this is Debian and we are root.
set -euo pipefail
packages=()
command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || packages+=(nginx-light)
[ -e /usr/lib/nginx/modules/ngx_http_modsecurity_module.so ] || packages+=(libnginx-mod-http-modsecurity)
[ -e /usr/share/modsecurity-crs/rules ] || packages+=(modsecurity-crs)
command -v openssl >/dev/null || packages+=(openssl)
[ ${#packages[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "For the protected page install: ${packages[*]} (on Debian or Ubuntu, with apt-get)" >&2
    exit 0
fi
echo "installing ${packages[*]}"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
