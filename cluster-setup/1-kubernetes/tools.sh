#!/usr/bin/env bash
# Put kubectl and kind on your own machine, held against their checksums.
#
#     tools.sh [--into FOLDER] [--dry-run]
#
# FOLDER is ~/.local/bin where none is named; it should be on your PATH.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

into=$HOME/.local/bin
while (($#)); do
    case $1 in
    --into) into=${2:?--into needs a folder} && shift ;;
    *) common_option "$1" || wrong_call "unknown option $1" ;;
    esac
    shift
done
[[ $(uname -s) == Linux ]] || fail "Expected Linux, received: $(uname -s). Install kubectl $KUBERNETES_VERSION and kind $KIND_VERSION yourself"

# put_command NAME FILE
put_command() {
    if cmp --silent "$2" "$into/$1"; then
        say "$into/$1 is up to date"
    else
        run install -D --mode 0755 "$2" "$into/$1"
    fi
}

put_command kubectl "$(fetch "https://dl.k8s.io/release/v$KUBERNETES_VERSION/bin/linux/$(architecture)/kubectl" "$(pinned KUBECTL_SHA256)")"
put_command kind "$(fetch "https://github.com/kubernetes-sigs/kind/releases/download/v$KIND_VERSION/kind-linux-$(architecture)" "$(pinned KIND_SHA256)")"
[[ :$PATH: == *:$into:* ]] || say "put $into on your PATH"
