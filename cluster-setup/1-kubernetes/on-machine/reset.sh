#!/usr/bin/env bash
# Take this machine out of its cluster; run as root.
#
#     reset.sh [--with-volumes] [--dry-run]
#
# Leaves containerd and the packages, so that it can join again. --with-volumes deletes what
# local-path-provisioner keeps in /opt/local-path-provisioner, too.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

with_volumes=''
while (($#)); do
    case $1 in
    --with-volumes) with_volumes=yes ;;
    *) common_option "$1" || wrong_call "unknown option $1" ;;
    esac
    shift
done
need_root

run kubeadm reset --force --cri-socket unix:///run/containerd/containerd.sock
# kubeadm leaves the network to its plugin; without this the next cluster's pods get old addresses.
run rm --recursive --force /etc/cni/net.d /var/lib/cni /var/lib/calico "$kubeadm_config"
[[ -z $with_volumes ]] || run rm --recursive --force /opt/local-path-provisioner
say "what is left of packet filters goes with the next start of the machine"
