#!/usr/bin/env bash
# A cluster of machines that SSH reaches: prepared, joined, with network, storage and metrics.
# Can be repeated; machines that are named anew join.
#
#     apply.sh --control-plane HOST [--control-plane HOST]... --worker HOST [--worker HOST]...
#              [--endpoint NAME[:PORT]] [--mirror REGISTRY=URL]... [--highly-available]
#              [--user USER] [--identity FILE] [--known-hosts FILE] [--dry-run]
#
# USER is root, or may sudo without a password. Machines are known by your SSH's known hosts;
# --known-hosts trusts new ones at first sight, and remembers them in FILE. With more than one control plane name the
# --endpoint of the load balancer before them; else it is the first one's HOST. Writes the cluster's
# kubeconfig to ~/.kube/kalecast.yaml, or where KALECAST_KUBECONFIG says.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

endpoint='' prepare=() addons=()
while (($#)); do
    case $1 in
    --endpoint) endpoint=${2:?--endpoint needs a name} && shift 2 ;;
    --mirror) prepare+=(--mirror "${2:?--mirror needs REGISTRY=URL}") && shift 2 ;;
    --highly-available) addons+=(--highly-available) && shift ;;
    *)
        machine_option "$@" || wrong_call "unknown option $1"
        shift "$taken"
        ;;
    esac
done
((${#control_planes[@]})) || wrong_call "Expected at least one --control-plane"
((${#workers[@]})) || wrong_call "Expected at least one --worker: control planes take no pods of yours"
((${#control_planes[@]} % 2)) || fail "Expected one, three or five control planes, received ${#control_planes[@]}: with an even number etcd outlives no more losses"
((${#control_planes[@]} == 1)) || [[ -n $endpoint ]] ||
    fail "Expected an --endpoint before ${#control_planes[@]} control planes: the address of a load balancer"
need ssh "the package openssh-client"
need kubectl "cluster-setup/1-kubernetes/tools.sh brings it"
first=${control_planes[0]}

for machine in "${control_planes[@]}" "${workers[@]}"; do
    copy_setup "$machine"
    on "$machine" "$on_machine/prepare.sh" "${prepare[@]}"
done

on "$first" "$on_machine/control-plane.sh" "${endpoint:-$first}"
say "+ write $kubeconfig"
if [[ -z $dry_run ]]; then
    mkdir -p "$(dirname "$kubeconfig")"
    (umask 077 && on "$first" cat /etc/kubernetes/admin.conf >"$kubeconfig.new")
    mv "$kubeconfig.new" "$kubeconfig"
fi
export KUBECONFIG=$kubeconfig

# The invitation goes from machine to machine, and lies nowhere: join HOST [OPTION of invite.sh]
joined=()
join() {
    is_in_cluster "$1" && return
    if [[ -n $dry_run ]]; then
        on "$first" "$on_machine/invite.sh" "${@:2}"
        on "$1" "$on_machine/join.sh" -
    else
        on "$first" "$on_machine/invite.sh" "${@:2}" | on "$1" "$on_machine/join.sh" -
    fi
    joined+=("$(node_of "$1")")
}
for machine in "${control_planes[@]:1}"; do
    join "$machine" --control-plane
done
for machine in "${workers[@]}"; do
    join "$machine"
done
"$here/approve-certificates.sh" ${dry_run:+--dry-run} "$(node_of "$first")" "${joined[@]}"
"$here/../addons/apply.sh" machines "${addons[@]}" ${dry_run:+--dry-run}
concluded there "whether it works: KUBECONFIG=$kubeconfig cluster-setup/1-kubernetes/check.sh"
