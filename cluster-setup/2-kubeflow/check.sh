#!/usr/bin/env bash
# Whether Kubeflow works in the cluster of the current KUBECONFIG. Changes nothing.
#
#     check.sh full|pipelines-only [--namespace NAMESPACE]
#
# NAMESPACE is the team's, kubeflow-user-example-com where none is named.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=cluster-setup/2-kubeflow/components.sh
source "$here/components.sh"
# shellcheck source=cluster-setup/2-kubeflow/passwords.sh
source "$here/passwords.sh"

variant='' namespace=kubeflow-user-example-com
while (($#)); do
    case $1 in
    --namespace) namespace=${2:?--namespace needs a name} && shift ;;
    *) common_option "$1" || { [[ $1 != -* && -z $variant ]] && variant=$1; } || wrong_call "unknown argument $1" ;;
    esac
    shift
done
known_variant "$variant"
known_namespace "$namespace"
need_cluster
need curl

definitions=(workflows.argoproj.io scheduledworkflows.kubeflow.org viewers.kubeflow.org)
namespaces=(kubeflow)
if [[ $variant == full ]]; then
    definitions+=(
        notebooks.kubeflow.org profiles.kubeflow.org poddefaults.kubeflow.org experiments.kubeflow.org
        virtualservices.networking.istio.io certificates.cert-manager.io decoratorcontrollers.metacontroller.k8s.io
    )
    namespaces=(cert-manager istio-system oauth2-proxy auth kubeflow)
fi

##### Passwords #####

published=$(published_in_cluster)
[[ -z $published ]] || failed "published passwords are in use, in the Secrets $(xargs <<<"$published")"
open=$(open_databases)
[[ -z $open ]] || failed "databases may go without a password: ${open% }"
passed "no published password is in use"

##### What must be there and run #####

for definition in "${definitions[@]}"; do
    state=$(kubectl get customresourcedefinition "$definition" --ignore-not-found --output \
        'jsonpath={.status.conditions[?(@.type=="Established")].status}')
    [[ $state == True ]] || failed "the cluster does not know $definition: run apply.sh $variant"
done
passed "${#definitions[@]} kinds of Kubeflow's are known"

for each in "${namespaces[@]}"; do
    check_pods "$each"
done

# A webhook without certificate or pod refuses all objects of its kinds.
# shellcheck disable=SC2016 # the dollars are the template's
each_webhook='{{range .items}}{{$c := .metadata.name}}{{range .webhooks}}{{with .clientConfig.service}}{{$c}} {{.name}} {{.namespace}}{{end}}{{if .clientConfig.service}} {{if .clientConfig.caBundle}}yes{{end}}{{"\n"}}{{end}}{{end}}{{end}}'
webhooks=0
while read -r configuration service in certificate; do
    [[ " ${namespaces[*]} " == *" $in "* ]] || continue
    [[ -n $certificate ]] || failed "webhooks of $configuration have no certificate yet: look at cert-manager's log"
    ready=$(kubectl --namespace "$in" get endpointslices --selector "kubernetes.io/service-name=$service" --output \
        'jsonpath={range .items[*].endpoints[?(@.conditions.ready==true)]}x{end}')
    [[ -n $ready ]] || failed "a webhook of $configuration leads to no ready pod of Service $in/$service"
    webhooks=$((webhooks + 1))
done < <(kubectl get mutatingwebhookconfigurations,validatingwebhookconfigurations --output "go-template=$each_webhook")
passed "$webhooks webhooks have a certificate and a pod"

##### The team's namespace #####

level=$(kubectl get namespace "$namespace" --ignore-not-found --output \
    'jsonpath={.metadata.name} {.metadata.labels.pod-security\.kubernetes\.io/enforce}')
[[ -n $level ]] || failed "there is no namespace '$namespace'"
[[ $level =~ \ (baseline|restricted)$ ]] || failed "namespace '$namespace' enforces no level of Pod Security"
if [[ $variant == full ]]; then
    owner=$(kubectl get profiles.kubeflow.org "$namespace" --output 'jsonpath={.spec.owner.name}') ||
        failed "there is no profile '$namespace'"
    for needed in serviceaccount/default-editor secret/mlpipeline-minio-artifact resourcequota/kf-resource-quota; do
        kubectl --namespace "$namespace" get "$needed" >/dev/null 2>&1 ||
            failed "the profile's controllers have not made $needed in '$namespace': look at the logs of" \
                "profiles-deployment and kubeflow-pipelines-profile-controller in namespace kubeflow"
    done
    passed "namespace $namespace of $owner is complete, and enforces Pod Security level ${level##* }"
else
    kubectl --namespace kubeflow get serviceaccount/pipeline-runner >/dev/null ||
        failed "there is no account 'pipeline-runner' for steps in namespace kubeflow"
    passed "namespace $namespace is there, and enforces Pod Security level ${level##* }"
fi

##### What answers #####

forward kubeflow ml-pipeline 8888
curl --fail --silent --show-error --max-time 20 "$forwarded/apis/v2beta1/healthz" >/dev/null ||
    failed "Pipelines' API does not answer: look at the log of deployment/ml-pipeline in namespace kubeflow"
passed "Pipelines' API answers"

if [[ $variant == full ]]; then
    status() {
        curl --silent --show-error --max-time 20 --output /dev/null --write-out "$2" "$forwarded$1"
    }
    forward istio-system istio-ingressgateway 80
    code=$(status / '%{http_code}') || failed "the gateway does not answer"
    [[ $code =~ ^(302|401|403)$ ]] ||
        failed "the dashboard answers $code without a login: expected 302, 401 or 403"
    target=$(status '/oauth2/start?rd=/' '%{http_code} %{redirect_url}')
    [[ $target == 302\ */dex/auth* ]] || failed "expected to be led to Dex's login, received: $target"
    code=$(status /dex/.well-known/openid-configuration '%{http_code}')
    [[ $code == 200 ]] || failed "Dex answers $code through the gateway: look at the log of deployment/dex in namespace auth"
    passed "the dashboard requires a login, and Dex answers"
fi
