#!/usr/bin/env bash
# What a bare cluster lacks: network, storage, metrics. Can be repeated.
#
#     apply.sh kind | machines [--highly-available] [--dry-run]
#
# kind brings its network and storage, so it gets metrics-server alone. Machines get Calico,
# local-path-provisioner as the default StorageClass, and metrics-server; with --highly-available
# two of the latter, on two nodes. Into the cluster of the current KUBECONFIG.
source "$(dirname "${BASH_SOURCE[0]}")/../../lib.sh"

target='' metrics_overlay=release
while (($#)); do
    case $1 in
    kind | machines) target=$1 ;;
    --highly-available) metrics_overlay=release-ha-1.21+ ;;
    *) common_option "$1" || wrong_call "unknown option $1" ;;
    esac
    shift
done
[[ -n $target ]] || wrong_call "Expected kind or machines"
need_cluster

# One file of a repository at a commit: file_of OWNER/NAME COMMIT PATH SHA256
file_of() {
    fetch "https://raw.githubusercontent.com/$1/$2/$3" "$4"
}

contents() {
    [[ -n $dry_run ]] || cat "$1"
}

render() {
    say "+ kubectl kustomize $1"
    [[ -n $dry_run ]] || kubectl kustomize "$1"
}

# Render a folder of ours over what was fetched, which its kustomization calls `upstream`:
# render_over FOLDER FETCHED
render_over() {
    local folder=$1 fetched=$2 work
    work=$(mktemp --directory)
    cp "$folder/kustomization.yaml" "$work"
    if [[ -d $fetched ]]; then
        cp --recursive "$fetched" "$work/upstream"
    elif [[ -f $fetched ]]; then
        cp "$fetched" "$work/upstream.yaml"
    fi
    render "$work"
    rm -rf "$work"
}

if [[ $target == machines ]]; then
    calico=$(file_of projectcalico/calico "$CALICO_COMMIT" manifests/calico.yaml "$CALICO_SHA256")
    contents "$calico" | send
    storage=$(file_of rancher/local-path-provisioner "$LOCAL_PATH_COMMIT" deploy/local-path-storage.yaml "$LOCAL_PATH_SHA256")
    # The image of the pods that make and delete folders comes from versions.env.
    render_over "$here/storage" "$storage" | sed "s|BUSYBOX_IMAGE|$BUSYBOX_IMAGE|" | send
fi

metrics_server=$(checkout https://github.com/kubernetes-sigs/metrics-server.git "$METRICS_SERVER_COMMIT")
if [[ $target == kind ]]; then
    render_over "$here/metrics-server-kind" "$metrics_server/manifests" | send
else
    render "$metrics_server/manifests/overlays/$metrics_overlay" | send
fi

if [[ $target == machines ]]; then
    wait_for_pods local-path-storage
fi
wait_for_pods kube-system
concluded applied
