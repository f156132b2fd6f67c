#!/usr/bin/env bash
# Make the first control plane on this machine; run as root, after prepare.sh. Can be repeated.
#
#     control-plane.sh ENDPOINT [--pod-subnet CIDR] [--service-subnet CIDR] [--dry-run]
#
# ENDPOINT is NAME or NAME:PORT by which all machines, and you, reach the control plane. The
# subnets (10.244.0.0/16 and 10.96.0.0/12) must not overlap with your machines' own.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

endpoint='' pods=10.244.0.0/16 services=10.96.0.0/12
while (($#)); do
    case $1 in
    --pod-subnet) pods=${2:?--pod-subnet needs a CIDR} && shift ;;
    --service-subnet) services=${2:?--service-subnet needs a CIDR} && shift ;;
    -*) common_option "$1" || wrong_call "unknown option $1" ;;
    *) endpoint=$1 ;;
    esac
    shift
done
[[ $endpoint =~ ^[A-Za-z0-9.-]+(:[0-9]+)?$ ]] || wrong_call "Expected an endpoint such as k8s.example.org:6443, received: '$endpoint'"
[[ $endpoint == *:* ]] || endpoint=$endpoint:6443
for subnet in "$pods" "$services"; do
    [[ $subnet =~ ^[0-9.]+/[0-9]+$ ]] || wrong_call "Expected a subnet such as 10.244.0.0/16, received: '$subnet'"
done
need_root

put "$kubeadm_config" 0600 < <(sed \
    -e "s|KUBERNETES_VERSION|v$KUBERNETES_VERSION|" -e "s|ENDPOINT|$endpoint|" \
    -e "s|POD_SUBNET|$pods|" -e "s|SERVICE_SUBNET|$services|" "$here/kubeadm.yaml")
run kubeadm config validate --config "$kubeadm_config"
admin=/etc/kubernetes/admin.conf
if [[ -z $dry_run && -f $admin ]]; then
    # kubeadm writes the file early, this ConfigMap when the API server answers.
    kubectl --kubeconfig "$admin" --namespace kube-system get configmap kubeadm-config >/dev/null ||
        fail "the control plane is half made, or does not answer now. Where 'kubeadm init' failed: $here/reset.sh, then again"
    say "this machine has a control plane"
else
    run kubeadm init --config "$kubeadm_config"
fi
