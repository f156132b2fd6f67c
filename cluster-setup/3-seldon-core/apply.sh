#!/usr/bin/env bash
# Bring Seldon Core's operator into a namespace, and let the pipeline's service account manage
# SeldonDeployments there. Can be repeated.
#
#     apply.sh [--namespace NAMESPACE] [--account NAMESPACE:NAME] [--with-cert-manager] [--dry-run]
#
# NAMESPACE is the one that the model is served in, the team's: kubeflow-user-example-com where none
# is named. The account is its default-editor; of Pipelines alone it is kubeflow:pipeline-runner.
# Kubeflow brings cert-manager, Pipelines alone do not: --with-cert-manager brings Kubeflow's.
source "$(dirname "${BASH_SOURCE[0]}")/operator.sh"

cert_manager() {
    local distribution
    distribution=$(checkout https://github.com/kubeflow/community-distribution.git "$KUBEFLOW_COMMIT")
    run kubectl kustomize "$distribution/common/cert-manager/base" | send
    wait_for_pods cert-manager
}

# cert-manager's webhook answers some seconds after its pods are ready.
wait_for_cert_manager() {
    local said
    for _ in {1..24}; do
        said=$(kubectl --namespace "$namespace" apply --server-side --dry-run=server \
            --field-manager=kalecast-setup --filename "$here/operator/certificates.yaml" 2>&1) && return
        sleep 5
    done
    fail "cert-manager does not take certificates: $said"
}

read_call --with-cert-manager "$@"
need_cluster
[[ -z $with_own ]] || cert_manager
if [[ -z $dry_run ]]; then
    kubectl get namespace "$namespace" >/dev/null 2>&1 || fail "there is no namespace '$namespace': step 2 makes the team's"
    kubectl get crd certificates.cert-manager.io >/dev/null 2>&1 ||
        fail "cert-manager is missing, which keeps the webhook's certificate: pass --with-cert-manager"
    wait_for_cert_manager
fi

need_chart
definition | send
run kubectl wait --for=condition=Established --timeout=60s "crd/$crd"

# By this label the operator's webhook knows its namespace, and an operator of the whole cluster,
# should there be one, that this one is not its own.
run kubectl label namespace "$namespace" "seldon.io/controller-id=$namespace" --overwrite
operator_objects | send
access_objects | send

run kubectl --namespace "$namespace" wait --for=condition=Ready --timeout=120s certificate/seldon-serving-cert ||
    fail "the webhook gets no certificate: is cert-manager well? $(last_warnings "$namespace")"
run kubectl --namespace "$namespace" rollout status "$manager" --timeout=600s ||
    fail "the operator is not ready: $(last_warnings "$namespace")"
concluded applied "whether it works: $here/check.sh --namespace $namespace --account $home:$account"
