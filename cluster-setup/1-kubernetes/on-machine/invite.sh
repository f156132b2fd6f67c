#!/usr/bin/env bash
# An invitation for a machine that is to join: run as root on the first control plane.
#
#     invite.sh [--control-plane] [--dry-run]
#
# Prints a file for join.sh. It is a secret for two hours; then it is worth nothing.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

as_control_plane=''
while (($#)); do
    case $1 in
    --control-plane) as_control_plane=yes ;;
    *) common_option "$1" || wrong_call "unknown option $1" ;;
    esac
    shift
done
need_root
if [[ -n $dry_run ]]; then
    run kubeadm token create --ttl 2h
    [[ -z $as_control_plane ]] || run kubeadm init phase upload-certs --upload-certs --config "$kubeadm_config"
    exit
fi

export KUBECONFIG=/etc/kubernetes/admin.conf
endpoint=$(kubectl --namespace kube-system get configmap kubeadm-config --output 'jsonpath={.data.ClusterConfiguration}' |
    awk '$1 == "controlPlaneEndpoint:" { print $2 }')
[[ -n $endpoint ]] || fail "the cluster has no controlPlaneEndpoint: was control-plane.sh here?"
authority=$(openssl x509 -in /etc/kubernetes/pki/ca.crt -noout -pubkey |
    openssl pkey -pubin -outform DER | sha256sum | cut --delimiter ' ' --fields 1)

cat <<YAML
apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
nodeRegistration:
  criSocket: unix:///run/containerd/containerd.sock
discovery:
  bootstrapToken:
    apiServerEndpoint: "$endpoint"
    token: "$(kubeadm token create --ttl 2h)"
    caCertHashes: ["sha256:$authority"]
YAML
if [[ -n $as_control_plane ]]; then
    cat <<YAML
controlPlane:
  certificateKey: "$(kubeadm init phase upload-certs --upload-certs --config "$kubeadm_config" 2>/dev/null | tail -n 1)"
YAML
fi
