# shellcheck shell=bash disable=SC2034 # read by the scripts
# What the scripts of this step share, beside lib.sh. Sourced first, in its stead.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

crd=seldondeployments.machinelearning.seldon.io
manager=deployment/seldon-controller-manager

# The call's namespace, the pipeline's account and its home, and whether the script's own option was
# given: read_call OPTION "$@"
read_call() {
    local own=$1
    shift
    namespace=kubeflow-user-example-com account='' with_own=''
    while (($#)); do
        case $1 in
        --namespace) namespace=${2:?--namespace needs a name} && shift ;;
        --account) account=${2:?--account needs NAMESPACE:NAME} && shift ;;
        "$own") with_own=yes ;;
        *) common_option "$1" || wrong_call "unknown argument $1" ;;
        esac
        shift
    done
    account=${account:-$namespace:default-editor}
    home=${account%%:*} account=${account#*:}
    is_name "$namespace" || wrong_call "Expected a namespace's name, received: '$namespace'"
    { is_name "$home" && is_name "$account"; } ||
        wrong_call "Expected an account such as kubeflow:pipeline-runner, received: '$home:$account'"
}

is_name() {
    [[ $1 =~ ^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$ ]]
}

# Find the chart, and a helm: the one of the PATH, else that of versions.env.
need_chart() {
    local archive
    need git
    chart=$(checkout "$SELDON_CORE_REPOSITORY" "$SELDON_CORE_COMMIT")/helm-charts/seldon-core-operator
    if ! helm=$(command -v helm); then
        helm=$cache/helm-$HELM_VERSION/helm
        archive=$(fetch "https://get.helm.sh/helm-v$HELM_VERSION-linux-$(architecture).tar.gz" "$(pinned HELM_SHA256)")
        run mkdir -p "${helm%/*}"
        run tar --extract --gzip --file "$archive" --directory "${helm%/*}" --strip-components 1
    fi
}

# Objects of the chart on standard output: from_chart [OPTIONS OF HELM...]
from_chart() {
    run "$helm" template seldon-core "$chart" --namespace "$namespace" \
        --kube-version "$KUBERNETES_MINOR" --values "$here/values.yaml" \
        --set "image.tag=$SELDON_CORE_VERSION${SELDON_CORE_DIGEST:+@$SELDON_CORE_DIGEST}" \
        --set "executor.image.tag=$SELDON_CORE_VERSION" \
        --set "storageInitializer.image=seldonio/rclone-storage-initializer:$SELDON_CORE_VERSION" "$@"
}

# The custom resource's definition, without the note for cert-manager: it converts nothing, and
# would be noted for another namespace each time.
definition() {
    local templates=templates/customresourcedefinition_v1_$crd.yaml
    from_chart --set crd.create=true --show-only "$templates" | sed '/cert-manager.io\/inject-ca-from/d'
}

# The operator's objects.
operator_objects() {
    local folder
    folder=$(mktemp -d)
    cp "$here"/operator/*.yaml "$folder"
    printf 'namespace: %s\n' "$namespace" >>"$folder/kustomization.yaml"
    from_chart >"$folder/chart.yaml"
    run kubectl kustomize "$folder"
    rm -r "$folder"
}

# The pipeline's Role and its binding.
access_objects() {
    sed -e "s/\bNAMESPACE\b/$namespace/" -e "s/\bACCOUNT\b/$account/" -e "s/\bHOME\b/$home/" "$here/access.yaml"
}
