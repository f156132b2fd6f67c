#!/usr/bin/env bash
# Bring Kubeflow into the cluster of the current KUBECONFIG. Can be repeated.
#
#     apply.sh full --user EMAIL [--namespace NAMESPACE] [--dry-run]
#     apply.sh pipelines-only [--namespace NAMESPACE] [--dry-run]
#
# EMAIL is the owner of the team's namespace, and the name to log in with; once it is there, the
# owner that it has is taken. NAMESPACE is kubeflow-user-example-com where none is named.
# --dry-run prints what would be done, and needs neither cluster nor network.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=cluster-setup/2-kubeflow/components.sh
source "$here/components.sh"
# shellcheck source=cluster-setup/2-kubeflow/passwords.sh
source "$here/passwords.sh"

variant='' owner='' namespace=kubeflow-user-example-com
while (($#)); do
    case $1 in
    --user) owner=${2:?--user needs an address} && shift ;;
    --namespace) namespace=${2:?--namespace needs a name} && shift ;;
    *) common_option "$1" || { [[ $1 != -* && -z $variant ]] && variant=$1; } || wrong_call "unknown argument $1" ;;
    esac
    shift
done
known_variant "$variant"
known_namespace "$namespace"

need_cluster
need git
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

##### What must be so before anything is changed #####

# The address that one can log in with, where Dex is there already.
login() {
    kubectl --namespace auth get configmap dex --ignore-not-found --output 'jsonpath={.data.config\.yaml}' |
        sed -n 's/^ *- email: //p'
}

if [[ -z $dry_run && $variant == full ]]; then
    there=$(login)
    owner=${owner:-$there}
    [[ -n $owner ]] || wrong_call "there is no login yet: name its address with --user"
    [[ -z $there || $there == "$owner" ]] ||
        fail "the login is $there, and there is but this one; README.md says how others come in"
fi
owner=${owner:-user@example.com}
[[ $owner =~ ^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+$ ]] || wrong_call "Expected an address such as jo@example.org, received: '$owner'"
if [[ -z $dry_run ]]; then
    kubectl get storageclasses --output yaml | grep -q 'storageclass.kubernetes.io/is-default-class: "true"' ||
        fail "the cluster has no default StorageClass, which the databases' volumes need: see step 1"
    published=$(published_in_cluster)
    [[ -z $published ]] ||
        fail "published passwords are in use, in the Secrets $(xargs <<<"$published"): README.md says what to do"
    [[ $variant != full ]] || bcrypt_hash <<<any >/dev/null
fi

render_all "$work" "$variant" "$namespace" "$owner"
[[ -n $dry_run ]] || refuse_published "$work"/objects/*.yaml

##### Doing #####

# Webhooks answer some seconds after their pods are ready, so objects may be refused at first.
send_with_retries() {
    for _ in {1..10}; do
        send <"$1" && return
        sleep 10
    done
    fail "the cluster does not take all of it: the reasons are above"
}

# Objects of a component: first the definitions of its kinds, then the rest.
send_component() {
    local file
    file=$(rendered "$work" "$1")
    only CustomResourceDefinition <"$file" >"$work/definitions"
    if [[ -s $work/definitions ]]; then
        send <"$work/definitions"
        run kubectl wait --for=condition=Established --timeout=120s --filename "$work/definitions" >&2
    fi
    only CustomResourceDefinition without <"$file" >"$work/rest"
    [[ -z $dry_run && ! -s $work/rest ]] || send_with_retries "$work/rest"
}

# The profile controller makes the namespace and its accounts, Pipelines' the key to the object store.
wait_for_profile() {
    run kubectl wait --for=create --timeout=180s "namespace/$namespace" >&2
    run kubectl --namespace "$namespace" wait --for=create --timeout=180s \
        serviceaccount/default-editor secret/mlpipeline-minio-artifact >&2
}

# Passwords come before whatever reads them, and need namespaces. The team's is its profile's to make.
say "namespaces and passwords"
while read -r component _; do
    [[ $component == overlays/profile* ]] || only Namespace <"$(rendered "$work" "$component")"
done < <(components "$variant") | send
keep_passwords "$variant" "$owner"

while read -ra component; do
    say "component ${component[0]}"
    send_component "${component[0]}"
    for awaited in "${component[@]:1}"; do
        wait_for_pods "$awaited" 1200
    done
    [[ ${component[0]} != overlays/profile ]] || wait_for_profile
done < <(components "$variant")

# A Secret that was made anew is read when a pod starts.
for stale in "${outdated[@]}"; do
    run kubectl --namespace "$stale" rollout restart deployment >&2
    wait_for_pods "$stale" 1200
done
concluded applied "whether it works: $here/check.sh $variant --namespace $namespace"
