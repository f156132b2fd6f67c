#!/usr/bin/env bash
# Take away what apply.sh brought to a cluster on machines or in kind, but for the network:
# without Calico no pod could start any more, and it goes with the cluster.
#
#     remove.sh [--dry-run]
#
# Refuses while volumes of local-path-provisioner are in use.
source "$(dirname "${BASH_SOURCE[0]}")/../../lib.sh"

while (($#)); do
    common_option "$1" || wrong_call "unknown option $1"
    shift
done
need_cluster

if [[ -z $dry_run ]]; then
    volumes=$(kubectl get persistentvolumes --output 'jsonpath={range .items[?(@.spec.storageClassName=="local-path")]}{.spec.claimRef.namespace}/{.spec.claimRef.name} {end}')
    [[ -z $volumes ]] || fail "volumes are in use: $volumes"
fi
run kubectl delete --ignore-not-found namespace local-path-storage
run kubectl delete --ignore-not-found storageclass local-path
run kubectl delete --ignore-not-found clusterrole,clusterrolebinding \
    local-path-provisioner-role local-path-provisioner-bind
run kubectl delete --ignore-not-found apiservice v1beta1.metrics.k8s.io
run kubectl delete --ignore-not-found --all-namespaces --selector k8s-app=metrics-server \
    deployment,service,serviceaccount,poddisruptionbudget,rolebinding,clusterrole,clusterrolebinding
concluded removed
