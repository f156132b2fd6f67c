#!/usr/bin/env bash
# Whether Seldon Core's operator works in a namespace, and who may do what; changes nothing.
#
#     check.sh [--namespace NAMESPACE] [--account NAMESPACE:NAME]
#
# Prints a line a check, and exits with 1 and the reason at the first that fails. Its user must be
# allowed to speak for service accounts (impersonate), as the cluster's administrator is.
source "$(dirname "${BASH_SOURCE[0]}")/operator.sh"

kube() {
    kubectl --namespace "$namespace" "$@"
}

# A SeldonDeployment whose graph names a container: try_out CONTAINER
try_out() {
    kube create --dry-run=server --output name --filename - 2>&1 <<END
apiVersion: machinelearning.seldon.io/v1
kind: SeldonDeployment
metadata:
  name: kalecast-check
spec:
  predictors:
    - name: default
      annotations:
        seldon.io/no-engine: "true"
      graph:
        name: $1
        type: MODEL
      componentSpecs:
        - spec:
            containers:
              - name: forecaster
                image: kalecast/model-server
END
}

# yes or no: may ACCOUNT VERB RESOURCE [OPTIONS OF KUBECTL...]
may() {
    local who=$1
    shift
    kubectl auth can-i "$@" --as "system:serviceaccount:$who" \
        --as-group system:serviceaccounts --as-group "system:serviceaccounts:${who%%:*}" \
        --as-group system:authenticated 2>/dev/null || true
}

# expect yes|no ACCOUNT VERB RESOURCE [OPTIONS OF KUBECTL...]
expect() {
    local wanted=$1 found
    shift
    found=$(may "$@")
    [[ $found == "$wanted" ]] || failed "may $*? Expected $wanted, received: ${found:-no answer}"
}

read_call "" "$@"
need_cluster

versions=$(kubectl get "crd/$crd" --output 'jsonpath={.spec.versions[?(@.served==true)].name}' 2>/dev/null) ||
    failed "there is no definition of SeldonDeployments: apply.sh brings it"
[[ " $versions " == *" v1 "* ]] || failed "Expected SeldonDeployments of v1, served are: $versions"
passed "SeldonDeployments of v1 are served"

label=$(kubectl get namespace "$namespace" --output 'jsonpath={.metadata.labels.seldon\.io/controller-id}' 2>/dev/null) ||
    failed "there is no namespace '$namespace'"
[[ $label == "$namespace" ]] || failed "namespace '$namespace' lacks the label seldon.io/controller-id=$namespace"
kube wait --for=condition=Ready --timeout=5s certificate/seldon-serving-cert >/dev/null 2>&1 ||
    failed "the webhook has no certificate: is cert-manager well? $(last_warnings "$namespace")"
kube rollout status "$manager" --timeout=5s >/dev/null 2>&1 ||
    failed "the operator is not ready: $(last_warnings "$namespace")"
ready=$(kube get "$manager" --output 'jsonpath={.status.readyReplicas}')
passed "the operator is ready with ${ready:-0} pods"

answer=$(try_out forecaster) || failed "the webhook refuses a good SeldonDeployment: $answer"
! answer=$(try_out nobody) || failed "the webhook accepts a SeldonDeployment whose graph names no container"
[[ $answer == *"Can't find container"* ]] || failed "the webhook does not say why it refuses: $answer"
passed "the webhook accepts a good SeldonDeployment, and refuses a bad one"

deployer=$home:$account
kubectl --namespace "$home" get "serviceaccount/$account" >/dev/null 2>&1 ||
    failed "there is no service account '$account' in namespace '$home'"
for verb in get list create update patch delete; do
    expect yes "$deployer" "$verb" "$crd" --namespace "$namespace"
done
expect yes "$deployer" list pods --namespace "$namespace"
expect yes "$deployer" get pods --subresource log --namespace "$namespace"
passed "$deployer may manage SeldonDeployments in namespace $namespace, and see their pods and logs"

for verb in list create update delete; do
    expect no "$deployer" "$verb" "$crd" --namespace default
    expect no "$deployer" "$verb" "$crd" --all-namespaces
done
expect no "$deployer" update "$crd" --subresource status --namespace "$namespace"
expect no "$deployer" create rolebindings.rbac.authorization.k8s.io --namespace "$namespace"
passed "$deployer may not elsewhere, nor give itself more"

for resource in secrets deployments.apps "$crd"; do
    expect no "$namespace:seldon-manager" list "$resource" --all-namespaces
    expect no "$namespace:seldon-manager" list "$resource" --namespace kube-system
done
passed "the operator reads nothing of other namespaces"

! kube get deployment/seldon-spartakus-volunteer >/dev/null 2>&1 ||
    failed "usage reports are sent: delete deployment/seldon-spartakus-volunteer"
passed "no usage reports are sent"
