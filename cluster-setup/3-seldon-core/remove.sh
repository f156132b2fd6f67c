#!/usr/bin/env bash
# Take Seldon Core's operator and the pipeline's rights out of a namespace.
#
#     remove.sh [--namespace NAMESPACE] [--with-definition] [--dry-run]
#
# SeldonDeployments must be gone before: nothing would manage them. The definition of their kind
# stays, which other namespaces may use; --with-definition takes it away where none is left.
source "$(dirname "${BASH_SOURCE[0]}")/operator.sh"

# Fail where SeldonDeployments are left: none_left WHERE KUBECTL'S OPTIONS...
none_left() {
    local where=$1 found
    shift
    [[ -z $dry_run ]] || return 0
    kubectl get crd "$crd" >/dev/null 2>&1 || return 0
    found=$(kubectl get "$crd" "$@" --output 'jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name} {end}')
    [[ -z $found ]] || fail "SeldonDeployments are left in $where, delete them first: $found"
}

# Objects on standard input.
take_away() {
    if [[ -n $dry_run ]]; then
        cat >/dev/null
    fi
    run kubectl delete --ignore-not-found --filename -
}

read_call --with-definition "$@"
need_cluster
none_left "namespace '$namespace'" --namespace "$namespace"
if [[ -n $with_own ]]; then
    none_left "the cluster" --all-namespaces
fi

need_chart
access_objects | take_away
operator_objects | take_away
# What cert-manager and the operator have made beside them.
run kubectl --namespace "$namespace" delete --ignore-not-found secret/seldon-webhook-server-cert secret/seldon-authority \
    lease/a33bd623.machinelearning.seldon.io
run kubectl label namespace "$namespace" seldon.io/controller-id-
if [[ -n $with_own ]]; then
    run kubectl delete --ignore-not-found "crd/$crd"
fi
concluded removed
