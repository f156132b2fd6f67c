# shellcheck shell=bash
# What the scripts of this step share, beside lib.sh. Sourced first, in its stead.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# The call's overlay, where the script has one, namespace, and what is meant beside:
# read_call with-overlay|without-overlay "$@"
read_call() {
    local has_overlay=$1
    shift
    overlay='' namespace=kubeflow-user-example-com with_keda='' with_definitions=''
    while (($#)); do
        case $1 in
        --namespace) namespace=${2:?--namespace needs a name} && shift ;;
        --with-keda) with_keda=yes ;;
        --with-definitions)
            # shellcheck disable=SC2034 # read by remove.sh
            with_definitions=yes
            ;;
        *) common_option "$1" || { [[ $1 != -* && -z $overlay ]] && overlay=$1; } || wrong_call "unknown argument $1" ;;
        esac
        shift
    done
    [[ $namespace =~ ^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$ ]] ||
        wrong_call "Expected a namespace's name, received: '$namespace'"
    if [[ $has_overlay == with-overlay ]]; then
        [[ -n $overlay && -d $here/overlays/$overlay ]] ||
            wrong_call "Expected one of the overlays $(cd "$here/overlays" && echo *), received: '$overlay'"
    else
        [[ -z $overlay ]] || wrong_call "unknown argument $overlay"
    fi
}

# Lay what others have written beside what is ours; `work` is the folder of both then.
lay_out() {
    local kedacore=''
    need git
    kube_prometheus=$(checkout https://github.com/prometheus-operator/kube-prometheus.git "$KUBE_PROMETHEUS_COMMIT")
    [[ -z $with_keda ]] || kedacore=$(checkout https://github.com/kedacore/keda.git "$KEDA_COMMIT")
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    cp -r "$here/base" "$here/overlays" "$here/keda" "$here/kalecast" "$work/"
    ln -s "$kube_prometheus" "$work/kube-prometheus"
    [[ -z $with_keda ]] || ln -s "$kedacore" "$work/kedacore"
    sed -i "s/KEDA_VERSION/$KEDA_VERSION/" "$work/keda/kustomization.yaml"
}

# Objects of one of those folders on standard output: objects FOLDER
objects() {
    say "+ kubectl kustomize $1"
    [[ -n $dry_run ]] || kubectl kustomize "$work/$1" || fail "$1 cannot be rendered"
}
