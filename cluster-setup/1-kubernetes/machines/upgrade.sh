#!/usr/bin/env bash
# Bring a cluster that apply.sh made to the version of versions.env, one machine after the other.
# Can be repeated: machines that have it are left alone.
#
#     upgrade.sh --control-plane HOST [--control-plane HOST]... [--worker HOST]...
#                [--user USER] [--identity FILE] [--known-hosts FILE] [--dry-run]
#
# The first control plane must be the one that apply.sh named first. Each machine is drained, so
# pods move as their PodDisruptionBudgets allow. Never leave a minor version out.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

while (($#)); do
    machine_option "$@" || wrong_call "unknown option $1"
    shift "$taken"
done
((${#control_planes[@]})) || wrong_call "Expected at least one --control-plane"
export KUBECONFIG=$kubeconfig
need_cluster

kubelet_of() {
    [[ -n $dry_run ]] || kubectl get node "$1" --output 'jsonpath={.status.nodeInfo.kubeletVersion}'
}

# upgrade HOST [OPTION of on-machine/upgrade.sh]
upgrade() {
    local machine=$1 node
    node=$(node_of "$machine")
    if [[ $(kubelet_of "$node") == "v$KUBERNETES_VERSION" ]]; then
        say "$node has $KUBERNETES_VERSION"
        [[ -z $(kubectl get node "$node" --output 'jsonpath={.spec.unschedulable}') ]] ||
            say "$node takes no new pods; to end that: kubectl uncordon $node"
        return
    fi
    copy_setup "$machine"
    run kubectl drain "$node" --ignore-daemonsets --delete-emptydir-data --timeout 900s
    on "$machine" "$on_machine/upgrade.sh" "${@:2}"
    run kubectl wait --for condition=Ready --timeout 300s "node/$node"
    run kubectl uncordon "$node"
}

upgrade "${control_planes[0]}" --first
for machine in "${control_planes[@]:1}" "${workers[@]}"; do
    upgrade "$machine"
done
"$here/approve-certificates.sh" ${dry_run:+--dry-run}
