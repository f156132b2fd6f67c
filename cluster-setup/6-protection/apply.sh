#!/usr/bin/env bash
# Bring the F5 NGINX Ingress Controller and the gateway before the page into the cluster of the current
# KUBECONFIG. Can be repeated.
#
#     apply.sh OVERLAY --name NAME [--namespace NAMESPACE] [--issuer ISSUER | --own-certificate]
#              [--kubeflow NAME] [--pod-network NETWORK] [--without-controller] [--dry-run]
#
# OVERLAY is kind, production or production-sign-in. NAME is the page's public name; once it is
# there, the one that it has is taken. NAMESPACE is that of step 4, kubeflow-user-example-com where
# none is named. ISSUER is cert-manager's ClusterIssuer that signs the certificate; with
# --own-certificate it is the Secret kalecast-public, which is yours. --kubeflow gives Kubeflow's
# dashboard and login a public name, which production-sign-in needs. NETWORK is that of the pods,
# 10.244.0.0/16 in step 1. --without-controller leaves the controller as it is.
# --dry-run prints what would be done, and needs neither cluster nor network.
source "$(dirname "${BASH_SOURCE[0]}")/protection.sh"

# oauth2-proxy's secrets are made once. They come by a pipe: every user sees arguments.
keep_sign_in_secret() {
    say "+ kubectl --namespace $namespace create secret generic kalecast-sign-in  # where there is none"
    [[ -z $dry_run ]] || return 0
    kubectl --namespace "$namespace" get secret kalecast-sign-in >/dev/null 2>&1 && return
    printf 'client-secret=%s\ncookie-secret=%s\n' "$(random)" "$(random)" |
        kubectl --namespace "$namespace" create secret generic kalecast-sign-in --from-env-file=/dev/stdin >&2
    say "Dex does not know this client yet: README.md says how it learns of it"
}

# 192 bits, as the 32 characters that a cookie's secret must have.
random() {
    head --bytes 24 /dev/urandom | base64 --wrap 0 | tr '+/' '-_'
}

read_call "$@"
need_cluster
names_of_now
if [[ -z $dry_run ]]; then
    [[ -n $name ]] || wrong_call "the page has no public name yet: name it with --name"
    ! with_sign_in || [[ -n $kubeflow ]] || wrong_call "people sign in at Kubeflow: give it a public name with --kubeflow"
    kubectl get namespace "$namespace" >/dev/null 2>&1 ||
        fail "there is no namespace '$namespace': step 2 makes the team's, step 4's overlay standalone its own"
    kubectl --namespace "$namespace" get service kalecast-page >/dev/null 2>&1 ||
        fail "there is no page in namespace '$namespace': step 4 brings it"
    [[ -n $own_certificate ]] || kubectl get crd certificates.cert-manager.io >/dev/null 2>&1 ||
        fail "there is no cert-manager: step 3's apply.sh --with-cert-manager brings it, or pass --own-certificate"
    [[ -z $own_certificate ]] || kubectl --namespace "$namespace" get secret kalecast-public >/dev/null 2>&1 ||
        fail "there is no Secret kalecast-public in namespace '$namespace': README.md says how it is made"
fi

if [[ -z $without_controller ]]; then
    need_chart
    # Definitions first: the API server takes nothing of a kind that it does not know.
    for kind in globalconfigurations policies transportservers virtualserverroutes virtualservers; do
        run kubectl apply --server-side --field-manager=kalecast-setup --force-conflicts \
            --filename "$definitions/k8s.nginx.org_$kind.yaml" >&2
        run kubectl wait --for=condition=Established --timeout=60s "crd/$kind.k8s.nginx.org" >&2
    done
    send <"$here/ingress/namespace.yaml"
    send <"$here/ingress/network-policies.yaml"
    controller_objects | send --namespace "$controller"
fi

if with_sign_in; then
    keep_sign_in_secret
    called_for <"$here/ingress/dex.yaml" | send
fi
[[ -z $kubeflow ]] || called_for <"$here/ingress/kubeflow.yaml" | send
gateway_objects | send
if is_watched; then
    send <"$here/ingress/certificates.yaml"
fi
if [[ -z $own_certificate ]]; then
    run kubectl --namespace "$namespace" wait --for=condition=Ready --timeout=300s certificate/kalecast-public >&2 ||
        fail "there is no certificate for ${name:-NAME}: $(last_warnings "$namespace")"
fi
for deployment in kalecast-gateway $(with_sign_in && echo kalecast-sign-in); do
    run kubectl --namespace "$namespace" rollout status "deployment/$deployment" --timeout=300s >&2 ||
        fail "$deployment is not ready: $(last_warnings "$namespace")"
done
[[ -n $without_controller ]] || wait_for_pods "$controller" 300
concluded applied "whether it works: $here/check.sh $overlay --namespace $namespace"
