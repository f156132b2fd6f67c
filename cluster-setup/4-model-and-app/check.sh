#!/usr/bin/env bash
# Whether model server and page work in the cluster of the current KUBECONFIG; changes nothing.
#
#     check.sh OVERLAY
#
# Prints a line a check, and exits with 1 and the reason at the first that fails.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

timeout=${TIMEOUT:-${PATIENCE:-120s}}
overlay=''
while (($#)); do
    case $1 in
    -*) common_option "$1" || wrong_call "unknown option $1" ;;
    *) overlay=$1 ;;
    esac
    shift
done
[[ -n $overlay && -f $here/overlays/$overlay/kustomization.yaml ]] ||
    failed "Expected one of the overlays $(cd "$here/overlays" && echo *), received: '$overlay'"
manifests=$(kubectl kustomize "$here/overlays/$overlay")
namespace=$(awk '$1 == "namespace:" { print $2; exit }' <<<"$manifests")
kube() {
    kubectl --namespace "$namespace" "$@"
}

kubectl get namespace "$namespace" >/dev/null || failed "no namespace '$namespace', or no cluster"
passed "namespace $namespace"

if grep -q '^kind: SeldonDeployment' <<<"$manifests"; then
    state=$(kube get seldondeployment kalecast --output 'jsonpath={.status.state}') ||
        failed "no SeldonDeployment 'kalecast': run the pipeline, or apply.sh --model-uri"
    if [[ $state != Available ]]; then
        kube wait --for=jsonpath='{.status.state}'=Available --timeout="$timeout" \
            seldondeployment/kalecast >/dev/null ||
            failed "SeldonDeployment 'kalecast' is ${state:-new}:" \
                "$(kube get seldondeployment kalecast --output 'jsonpath={.status.description}')"
    fi
    passed "SeldonDeployment kalecast is available"
fi

for deployment in kalecast-default-0-forecaster kalecast-page; do
    kube rollout status "deployment/$deployment" --timeout="$timeout" >/dev/null ||
        failed "pods of '$deployment' are not ready: $(last_warnings "$namespace")"
    passed "$deployment: $(kube get "deployment/$deployment" --output 'jsonpath={.status.readyReplicas}') pods are ready"
done

for service in kalecast-model-server kalecast-page; do
    ready=$(kube get endpointslices --selector "kubernetes.io/service-name=$service" \
        --output 'jsonpath={range .items[*].endpoints[?(@.conditions.ready==true)]}x{end}')
    [[ -n $ready ]] || failed "Service '$service' leads to no ready pod"
    passed "Service $service leads to ${#ready} pods"
done

autoscalers=$(kube get horizontalpodautoscalers --output \
    'jsonpath={range .items[*]}{.spec.scaleTargetRef.name} {.metadata.name} {.status.conditions[?(@.type=="ScalingActive")].status}{"\n"}{end}')
for deployment in kalecast-default-0-forecaster kalecast-page; do
    mapfile -t found < <(awk -v target="$deployment" '$1 == target' <<<"$autoscalers")
    ((${#found[@]} == 1)) || failed "Expected one autoscaler of '$deployment', found ${#found[@]}"
    read -r _ name active <<<"${found[0]}"
    [[ $active == True ]] || failed "autoscaler '$name' gets no metrics: is metrics-server there (for KEDA: Prometheus)?"
    passed "autoscaler $name sees its metrics"
done

while read -r policy; do
    kube get networkpolicy "$policy" >/dev/null || failed "no NetworkPolicy '$policy'"
done < <(awk '/^kind: NetworkPolicy/ { inside = 1 } inside && $1 == "name:" { print $2; inside = 0 }' <<<"$manifests")
passed "network policies are there (whether they are enforced is up to the network)"

# Through the kubelet, which no network policy keeps out.
log=$(mktemp)
kube port-forward service/kalecast-page :7860 >"$log" 2>&1 &
forward=$!
trap 'kill "$forward" 2>/dev/null || true; rm -f "$log"' EXIT
for _ in {1..50}; do
    port=$(sed -n 's/^Forwarding from 127\.0\.0\.1:\([0-9]*\) .*/\1/p' "$log")
    [[ -n $port ]] && break
    sleep 0.2
done
[[ -n $port ]] || failed "no port-forward to the page: $(cat "$log")"
page=http://127.0.0.1:$port
curl --fail --silent --show-error --max-time 10 "$page/ready" >/dev/null ||
    failed "the page does not reach the model server: look at network policies, and at the log of deployment/kalecast-page"
passed "the page reaches the model server"
answer=$(curl --silent --show-error --max-time 30 --header 'Content-Type: application/json' \
    --data "{\"history\": \"$(seq --separator=, 1 336)\", \"horizon\": 24}" "$page/api/forecast")
[[ $answer == *'"forecast"'* ]] || failed "no forecast: $answer"
passed "a forecast came back"
