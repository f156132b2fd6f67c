#!/usr/bin/env bash
# Take the gateway and what is at the ingress controller of it away: nothing reaches the page then.
#
#     remove.sh OVERLAY [--namespace NAMESPACE] [--kubeflow NAME] [--own-certificate] [--with-controller] [--dry-run]
#
# OVERLAY and NAMESPACE are those of apply.sh. --kubeflow takes Kubeflow's public name away, too,
# --with-controller the controller, where it serves nothing else. Certificates' Secrets, oauth2-proxy's
# Secret and the definitions of kinds stay.
source "$(dirname "${BASH_SOURCE[0]}")/protection.sh"

# Objects on standard input.
take_away() {
    if [[ -n $dry_run ]]; then
        cat >/dev/null
    fi
    run kubectl delete --ignore-not-found "$@" --filename -
}

read_call "$@"
need_cluster
gateway_objects | take_away
if with_sign_in; then
    called_for <"$here/ingress/dex.yaml" | take_away
fi
[[ -z $kubeflow ]] || called_for <"$here/ingress/kubeflow.yaml" | take_away
if is_watched; then
    take_away <"$here/ingress/certificates.yaml"
fi
if [[ -n $with_controller ]]; then
    if [[ -z $dry_run ]]; then
        left=$(kubectl get virtualservers --all-namespaces --output 'jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name} {end}')
        [[ -z $left ]] || fail "the controller still serves: $left"
    fi
    need_chart
    controller_objects | take_away --namespace "$controller"
    take_away <"$here/ingress/namespace.yaml"
fi
concluded removed
