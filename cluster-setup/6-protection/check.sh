#!/usr/bin/env bash
# Whether the page is protected in the cluster of the current KUBECONFIG; changes nothing, and sends
# the gateway one attack, which it must refuse.
#
#     check.sh OVERLAY [--namespace NAMESPACE] [--without-controller]
#
# OVERLAY and NAMESPACE are those of apply.sh. --without-controller leaves the F5 NGINX Ingress
# Controller out. Prints a line a check, and exits with 1 and the reason at the first that fails.
source "$(dirname "${BASH_SOURCE[0]}")/protection.sh"

timeout=${TIMEOUT:-${PATIENCE:-60s}}
read_call "$@"
need_cluster
names_of_now
kube() {
    kubectl --namespace "$namespace" "$@"
}

# What the gateway answers to a path; more words are options of curl: status PATH [OPTIONS...]
status() {
    curl --silent --max-time 20 --output /dev/null --write-out '%{http_code}' --path-as-is \
        --header "Host: ${host:-$name}" "${@:2}" "$forwarded$1" || true
}

# expect STATUS WHAT PATH [OPTIONS OF CURL...]
expect() {
    local wanted=$1 what=$2 found
    shift 2
    found=$(status "$@")
    [[ $found == "$wanted" ]] || failed "$what: expected $wanted, received $found"
    passed "$what: $found"
}

[[ -n $name ]] || failed "there is no VirtualServer 'kalecast' in namespace '$namespace': apply.sh brings it"
for deployment in kalecast-gateway $(with_sign_in && echo kalecast-sign-in); do
    kube rollout status "deployment/$deployment" --timeout="$timeout" >/dev/null 2>&1 ||
        failed "pods of '$deployment' are not ready: $(last_warnings "$namespace")"
    passed "$deployment: $(kube get "deployment/$deployment" --output 'jsonpath={.status.readyReplicas}') pods are ready"
done

admitted=$(kube get networkpolicies --output 'jsonpath={range .items[?(@.spec.podSelector.matchLabels.app\.kubernetes\.io/name=="kalecast-page")]}{.spec.ingress}{end}')
[[ $admitted == *kalecast-gateway* ]] || failed "the page does not admit the gateway: apply step 4 again"
[[ $admitted != *nginx-ingress* ]] || failed "the page still admits the ingress controller: apply step 4 again, or delete the policy"
passed "the page admits the gateway (whether policies are enforced is up to the network)"

kube get secret kalecast-public >/dev/null 2>&1 || failed "there is no certificate: no Secret kalecast-public in namespace '$namespace'"
kube get secret kalecast-public --output 'go-template={{index .data "tls.crt" | base64decode}}' |
    openssl x509 -noout -checkend 604800 >/dev/null ||
    failed "the certificate of $name ends within a week: kubectl --namespace $namespace describe certificate kalecast-public"
passed "the certificate of $name is good for a week at least"

forward "$namespace" kalecast-gateway 8080
host=elsewhere.example.org expect 421 "another name is refused" /
expect 404 "the page's own addresses for operators are hidden" /metrics
expect 405 "a method that is not needed is refused" / --request DELETE
expect 403 "an attack is refused" '/api/model' --header "Referer: https://example.org/?a='%20or%201=1%20--%20"
expect 400 "a history that is no numbers is refused" /api/forecast --header 'Content-Type: application/json' \
    --data '{"history": "<script>alert(1)</script>", "horizon": 24}'
if with_sign_in; then
    expect 302 "who opens the page is led to the login" / --header 'Accept: text/html'
else
    expect 200 "the page comes through the gateway" /
fi
if [[ -z $(kube get deployment/kalecast-page --output 'jsonpath={.spec.template.spec.volumes[?(@.name=="customers")].name}') ]]; then
    answer=$(curl --silent --max-time 30 --header "Host: $name" --header 'Content-Type: application/json' \
        --data "{\"history\": \"$(seq --separator=, 1 336)\", \"horizon\": 24}" "$forwarded/api/forecast")
    [[ $answer == *'"forecast"'* ]] || failed "no forecast through the gateway: $answer"
    passed "a forecast came through the gateway"
else
    expect 401 "a program without a key is refused" /api/forecast --header 'Content-Type: application/json' \
        --data "{\"history\": \"$(seq --separator=, 1 336)\", \"horizon\": 24}"
fi

if [[ -z $without_controller ]]; then
    check_pods "$controller"
    state=$(kube get virtualserver/kalecast --output 'jsonpath={.status.state}')
    [[ $state == Valid ]] || failed "the controller does not serve $name:" \
        "${state:-no answer yet}, $(kube get virtualserver/kalecast --output 'jsonpath={.status.message}')"
    for policy in kalecast-denied kalecast-flood; do
        state=$(kube get "policy.k8s.nginx.org/$policy" --output 'jsonpath={.status.state}')
        [[ $state == Valid ]] || failed "policy '$policy' is ${state:-not looked at yet}"
    done
    passed "the controller serves $name"
fi
