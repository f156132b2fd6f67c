#!/usr/bin/env bash
# Bring this node to the version that versions.env holds; run as root, the node drained.
#
#     upgrade.sh [--first] [--dry-run]
#
# --first is for the first control plane: it decides for the cluster, all others follow. Never
# leave a minor out: to come from 1.34 to 1.36, go by 1.35.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

first=''
while (($#)); do
    case $1 in
    --first) first=yes ;;
    *) common_option "$1" || wrong_call "unknown option $1" ;;
    esac
    shift
done
need_root

put_packages kubeadm
if [[ -n $first ]]; then
    run kubeadm upgrade apply --yes "v$KUBERNETES_VERSION"
else
    run kubeadm upgrade node
fi
put_containerd
put_packages kubelet kubectl
run systemctl daemon-reload
run systemctl restart kubelet
