#!/usr/bin/env bash
# Take Kubeflow out of the cluster of the current KUBECONFIG.
#
#     remove.sh full|pipelines-only [--namespace NAMESPACE] [--yes] [--dry-run]
#
# Lost with it: the team's namespaces with all that is in them (notebooks and their volumes, model
# server and page), pipelines, runs and their history, models and artifacts in Kubeflow's object store,
# Katib's experiments, all passwords. cert-manager and Istio go, too. --yes is needed.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=cluster-setup/2-kubeflow/components.sh
source "$here/components.sh"

variant='' namespace=kubeflow-user-example-com sure=''
while (($#)); do
    case $1 in
    --namespace) namespace=${2:?--namespace needs a name} && shift ;;
    --yes) sure=yes ;;
    *) common_option "$1" || { [[ $1 != -* && -z $variant ]] && variant=$1; } || wrong_call "unknown argument $1" ;;
    esac
    shift
done
known_variant "$variant"
known_namespace "$namespace"
need_cluster
need git

if [[ -z $sure && -z $dry_run ]]; then
    manual | sed -n '/^Lost/,$p' >&2
    fail "nothing was removed; --yes does it, in the cluster $(kubectl config current-context)"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
render_all "$work" "$variant" "$namespace" user@example.com

# Profiles first, and all of them: the controllers that clear up after them are gone later.
if [[ $variant == full ]]; then
    if [[ -n $dry_run || -n $(kubectl get customresourcedefinition profiles.kubeflow.org --ignore-not-found --output name) ]]; then
        run kubectl delete profiles.kubeflow.org --all --timeout=600s
    fi
fi
# A kind that is not known any more has no objects either.
delete() {
    local command=(kubectl delete --ignore-not-found --timeout=600s --filename "$1")
    say "+ $(printf '%q ' "${command[@]}")"
    [[ -z $dry_run ]] || return 0
    "${command[@]}" >&2 2>"$work/errors" && return
    cat "$work/errors" >&2
    ! grep -qv -e 'no matches for kind' -e 'ensure CRDs are installed first' "$work/errors" ||
        fail "not all of it could be removed: the reasons are above"
}

mapfile -t reversed < <(components "$variant" | tac)
for component in "${reversed[@]}"; do
    component=${component%% *}
    [[ $component != overlays/profile* ]] || continue
    say "component $component"
    delete "$(rendered "$work" "$component")"
done
concluded removed
