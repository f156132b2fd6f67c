#!/usr/bin/env bash
# Take Prometheus, Alertmanager and Grafana away, with all that they have recorded.
#
#     remove.sh OVERLAY [--namespace NAMESPACE] [--with-keda] [--with-definitions] [--dry-run]
#
# OVERLAY and NAMESPACE are those of apply.sh. --with-keda takes KEDA away, too, where nothing is
# scaled by it any more. Definitions of kinds stay, which others may use, unless --with-definitions
# is given.
source "$(dirname "${BASH_SOURCE[0]}")/stack.sh"

read_call with-overlay "$@"
need_cluster
if [[ -n $with_keda && -z $dry_run ]] && kubectl get crd scaledobjects.keda.sh >/dev/null 2>&1; then
    left=$(kubectl get scaledobjects --all-namespaces --output 'jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name} {end}')
    [[ -z $left ]] || fail "KEDA still scales: $left; apply step 4's overlay production first, and delete them"
fi
lay_out

# Objects on standard input.
take_away() {
    if [[ -n $dry_run ]]; then
        cat >/dev/null
    fi
    run kubectl delete --ignore-not-found "$@" --filename -
}

objects kalecast | take_away --namespace "$namespace"
objects "overlays/$overlay" | only CustomResourceDefinition without | take_away
if [[ -n $with_keda ]]; then
    objects keda | only CustomResourceDefinition without | take_away
fi
if [[ -n $with_definitions ]]; then
    objects "overlays/$overlay" | only CustomResourceDefinition | take_away
    [[ -z $with_keda ]] || objects keda | only CustomResourceDefinition | take_away
fi
concluded removed
