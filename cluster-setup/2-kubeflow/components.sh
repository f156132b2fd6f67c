# shellcheck shell=bash
# What each variant consists of, and how it is rendered. Sourced by apply.sh and remove.sh.

# Folders in the order in which they are applied, each with the namespaces whose pods are awaited
# before the next.
components() {
    case $1 in
    full)
        cat <<'EOF'
distribution/common/cert-manager/base cert-manager
distribution/common/cert-manager/overlays/kubeflow
distribution/common/istio/istio-crds/base
distribution/common/istio/istio-namespace/base
distribution/common/istio/istio-install/overlays/oauth2-proxy istio-system kube-system
overlays/oauth2-proxy oauth2-proxy
overlays/dex auth
distribution/common/kubeflow-namespace/base/kubeflow
distribution/common/kubeflow-roles/base
distribution/common/istio/kubeflow-istio-resources/base
overlays/pipelines kubeflow
overlays/katib kubeflow
distribution/applications/dashboard/overlays/istio kubeflow
distribution/applications/notebooks-v1/overlays/istio kubeflow
overlays/profile
overlays/profile-limits
EOF
        ;;
    pipelines-only)
        cat <<'EOF'
distribution/applications/pipeline/upstream/cluster-scoped-resources
overlays/pipelines-only kubeflow
overlays/team-namespace
EOF
        ;;
    esac
}

# Lay the distribution beside our overlays, with Argo's manifests in place of their addresses, so
# that all content is that of the two commits: lay_out FOLDER
lay_out() {
    local work=$1 distribution argo file
    distribution=$(checkout https://github.com/kubeflow/community-distribution.git "$KUBEFLOW_COMMIT")
    argo=$(checkout https://github.com/argoproj/argo-workflows.git "$ARGO_COMMIT")
    [[ -z $dry_run ]] || return 0
    mkdir "$work/distribution"
    cp -r "$distribution/common" "$distribution/applications" "$work/distribution/"
    cp -r "$argo/manifests" "$work/argo"
    cp -r "$(dirname "${BASH_SOURCE[0]}")/overlays" "$work/"
    while read -r file; do
        sed -i -E "s|https://github.com/argoproj/argo-workflows/manifests/([^?]+)\?ref=v$ARGO_VERSION\$|$(
            realpath --relative-to="${file%/*}" "$work/argo"
        )/\1|" "$file"
    done < <(grep -rl --include=kustomization.yaml argoproj/argo-workflows "$work/distribution/applications/pipeline")
    ! grep -rn --include=kustomization.yaml 'github.com/argoproj' "$work/distribution/applications/pipeline" >&2 ||
        fail "Pipelines' manifests want an Argo other than $ARGO_VERSION, which versions.env holds"
}

# One component as the API server is to have it, for a team: render FOLDER COMPONENT NAMESPACE OWNER
render() {
    local work=$1 component=$2 namespace=$3 owner=$4
    say "+ kubectl kustomize $component"
    [[ -z $dry_run ]] || return 0
    kubectl kustomize "$work/$component" 2>"$work/errors" >"$work/built" || fail "$(<"$work/errors")"
    sed -e "s/user@example\.com/$owner/g" -e "s/\bteam-namespace\b/$namespace/g" "$work/built"
}

# Render all of a variant: render_all FOLDER VARIANT NAMESPACE OWNER
render_all() {
    local work=$1 variant=$2 namespace=$3 owner=$4 component
    mkdir "$work/objects"
    lay_out "$work"
    while read -r component _; do
        render "$work" "$component" "$namespace" "$owner" >"$work/objects/${component//\//_}.yaml"
    done < <(components "$variant")
}

# Where the objects of a component are then: rendered FOLDER COMPONENT
rendered() {
    printf '%s\n' "$1/objects/${2//\//_}.yaml"
}

known_variant() {
    [[ -n $(components "$1") ]] || wrong_call "Expected full or pipelines-only, received: '$1'"
}

known_namespace() {
    [[ $1 =~ ^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$ ]] || wrong_call "Expected a namespace's name, received: '$1'"
}
