#!/usr/bin/env bash
# Take machines out of the cluster that apply.sh made; with its control planes, end it.
#
#     remove.sh [--worker HOST]... [--control-plane HOST]... [--user USER] [--identity FILE] [--known-hosts FILE]
#               [--with-volumes] [--yes] [--dry-run]
#
# Workers that leave a cluster are drained first. To end a cluster takes --yes. --with-volumes deletes what volumes hold on them.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

reset=() sure=''
while (($#)); do
    case $1 in
    --yes) sure=yes && shift ;;
    --with-volumes) reset+=(--with-volumes) && shift ;;
    *)
        machine_option "$@" || wrong_call "unknown option $1"
        shift "$taken"
        ;;
    esac
done
((${#control_planes[@]} + ${#workers[@]})) || wrong_call "Expected a --worker or a --control-plane"
((${#control_planes[@]} == 0)) || [[ -n $sure$dry_run ]] || fail "this ends the cluster, with all that is in it: --yes"
export KUBECONFIG=$kubeconfig

if ((${#control_planes[@]} == 0)); then
    need_cluster
    for machine in "${workers[@]}"; do
        node=$(node_of "$machine")
        run kubectl drain "$node" --ignore-daemonsets --delete-emptydir-data --timeout 900s
        run kubectl delete node "$node"
    done
fi
for machine in "${workers[@]}" "${control_planes[@]}"; do
    on "$machine" "$on_machine/reset.sh" "${reset[@]}"
done
concluded removed
