#!/usr/bin/env bash
# Bring Prometheus, Alertmanager and Grafana into the cluster of the current KUBECONFIG, and have
# them look at the model server and the page of a namespace. Can be repeated.
#
#     apply.sh OVERLAY [--namespace NAMESPACE] [--with-keda] [--dry-run]
#
# OVERLAY is kind or production. NAMESPACE is that of step 4, kubeflow-user-example-com where none
# is named. --with-keda brings KEDA, too, which step 4's overlay production-keda needs.
# --dry-run prints what would be done, and needs neither cluster nor network.
source "$(dirname "${BASH_SOURCE[0]}")/stack.sh"

read_call with-overlay "$@"
need_cluster
[[ -n $dry_run ]] || kubectl get namespace "$namespace" >/dev/null 2>&1 ||
    fail "there is no namespace '$namespace': step 2 makes the team's, step 4's overlay standalone its own"
lay_out

# Definitions first: the API server takes nothing of a kind that it does not know.
run kubectl apply --server-side --field-manager=kalecast-setup --force-conflicts \
    --filename "$kube_prometheus/manifests/setup" >&2
for kind in alertmanagers podmonitors prometheuses prometheusrules servicemonitors; do
    run kubectl wait --for=condition=Established --timeout=60s "crd/$kind.monitoring.coreos.com" >&2
done

# Grafana's password is made once. It comes by a pipe: every user sees arguments.
say "+ kubectl --namespace monitoring create secret generic grafana-admin  # where there is none"
if [[ -z $dry_run ]] && ! kubectl --namespace monitoring get secret grafana-admin >/dev/null 2>&1; then
    head --bytes 24 /dev/urandom | base64 | tr --delete '\n' |
        kubectl --namespace monitoring create secret generic grafana-admin --from-file=password=/dev/stdin >&2
fi

objects "overlays/$overlay" | send
objects kalecast | send --namespace "$namespace"
if [[ -n $with_keda ]]; then
    objects keda | send
    wait_for_pods keda
fi
for made in alertmanager-main prometheus-k8s; do
    run kubectl --namespace monitoring wait --for=create --timeout=180s "statefulset/$made" >&2
done
wait_for_pods monitoring
concluded applied "whether it works: $here/check.sh --namespace $namespace"
