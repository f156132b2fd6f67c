#!/usr/bin/env bash
# Take the cluster away that apply.sh made in Docker, with all that is in it.
#
#     remove.sh [--with-registries] [--dry-run]
#
# --with-registries takes the registry and the mirrors, too, and the images that they keep.
source "$(dirname "${BASH_SOURCE[0]}")/../../lib.sh"
# shellcheck source=cluster-setup/1-kubernetes/kind/names.env
source "$here/names.env"

with_registries=''
while (($#)); do
    case $1 in
    --with-registries) with_registries=yes ;;
    *) common_option "$1" || wrong_call "unknown option $1" ;;
    esac
    shift
done
need docker "https://docs.docker.com/engine/install/"
need kind "cluster-setup/1-kubernetes/tools.sh brings it"

run kind delete cluster --name "$cluster"
if [[ -n $with_registries ]]; then
    names=("$registry")
    for host in "${!mirrored[@]}"; do
        names+=("$(mirror_name "$host")")
    done
    run docker rm --force "${names[@]}"
    run docker volume rm --force "${names[@]}"
fi
concluded removed
