#!/usr/bin/env bash
# Whether the cluster of the current KUBECONFIG is watched; changes nothing.
#
#     check.sh [--namespace NAMESPACE]
#
# NAMESPACE is that of step 4. Prints a line a check, and exits with 1 and the reason at the first
# that fails; alerts of Kalecast that fire are such a reason.
source "$(dirname "${BASH_SOURCE[0]}")/stack.sh"

read_call without-overlay "$@"
need_cluster
kube() {
    kubectl --namespace "$namespace" "$@"
}

# What Prometheus answers at a path; more words are options of curl: query PATH [OPTIONS...]
query() {
    curl --fail --silent --show-error --max-time 20 --get "$prometheus/api/v1/$1" "${@:2}"
}

# The first value of a query, 0 where there is none.
figure() {
    local answer value
    answer=$(query query --data-urlencode "query=$1") || failed "Prometheus does not answer '$1'"
    value=$(sed -n 's/.*"value":\[[0-9.e+]*,"\([^"]*\)"\].*/\1/p' <<<"$answer")
    printf '%s\n' "${value:-0}"
}

check_pods monitoring
for object in podmonitor/kalecast-page podmonitor/kalecast-model-server prometheusrule/kalecast \
    rolebinding/kalecast-prometheus; do
    kube get "$object" >/dev/null 2>&1 || failed "there is no $object in namespace '$namespace': apply.sh brings it"
done
kubectl --namespace monitoring get service prometheus-operated >/dev/null 2>&1 ||
    failed "there is no Service prometheus-operated, which KEDA queries: is the operator well?"
passed "what is to be watched is said, in namespace $namespace"

forward monitoring prometheus-k8s 9090
prometheus=$forwarded
for part in kalecast-page kalecast-model-server; do
    all=$(figure "count(up{namespace=\"$namespace\",job=\"$part\"})")
    up=$(figure "sum(up{namespace=\"$namespace\",job=\"$part\"})")
    ((all > 0)) || failed "Prometheus knows no pod of $part in namespace '$namespace': is step 4 applied?" \
        "May Prometheus list its pods? A new PodMonitor takes a minute"
    ((up == all)) || failed "of $all pods of $part Prometheus reaches $up: look at network policies"
    passed "Prometheus reaches $up pods of $part"
done
(($(figure "count(kube_deployment_spec_replicas{namespace=\"$namespace\"})") > 0)) ||
    failed "kube-state-metrics has no metrics of namespace '$namespace'"
passed "kube-state-metrics counts replicas"

rules=$(query rules)
for group in signals objectives budgets drift alerts; do
    [[ $rules == *"\"name\":\"kalecast-$group\""* ]] || failed "Prometheus has not loaded the rules kalecast-$group"
done
broken=$(figure "sum(increase(prometheus_rule_evaluation_failures_total{rule_group=~\".*;kalecast-.*\"}[10m]))")
[[ $broken == 0 ]] || failed "rules of kalecast cannot be evaluated: see Prometheus' log"
(($(figure "count(kalecast:in_flight:sum{namespace=\"$namespace\"})") == 2)) ||
    failed "nothing is recorded of namespace '$namespace' yet: a minute after apply.sh it should be"
passed "rules are loaded, and record"

forward monitoring grafana 3000
# The password goes by a pipe: every user sees arguments.
grafana() {
    curl --silent --max-time 20 --output /dev/null --write-out '%{http_code}' --config - "$forwarded/api/$1" <<<"user = \"admin:$2\""
}
password=$(kubectl --namespace monitoring get secret grafana-admin --output 'go-template={{.data.password | base64decode}}') ||
    failed "there is no Secret grafana-admin"
[[ $(grafana user admin) == 401 ]] || failed "Grafana takes the published password"
status=$(grafana dashboards/uid/kalecast "$password")
[[ $status == 200 ]] || failed "Grafana has no dashboard 'kalecast' (status $status)"
passed "Grafana shows the dashboard, and has a password of its own"

if kubectl get namespace keda >/dev/null 2>&1; then
    check_pods keda
    kubectl wait --for=condition=Available --timeout=10s apiservice/v1beta1.external.metrics.k8s.io >/dev/null 2>&1 ||
        failed "KEDA's metrics are not offered to autoscalers: look at its pods"
    waiting=$(kube get scaledobjects --output \
        'jsonpath={range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}' |
        awk '$2 != "True" { print $1 }')
    [[ -z $waiting ]] || failed "KEDA cannot scale by: $(xargs <<<"$waiting")"
    passed "KEDA is there"
fi

firing=$(query query --data-urlencode "query=ALERTS{namespace=\"$namespace\",alertstate=\"firing\",alertname=~\"Kalecast.*\"}" |
    grep --only-matching '"alertname":"[^"]*"' | cut --delimiter '"' --fields 4 | sort --unique) || true
[[ -z $firing ]] || failed "alerts fire: $(xargs <<<"$firing"). README.md says what each means"
passed "no alert of Kalecast fires"
