# shellcheck shell=bash disable=SC2034 # read by the scripts
# What the scripts of this step share, beside lib.sh. Sourced first, in its stead.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# As the manifests have them: kalecast.cluster.manifests.
stands_for_name=forecast.example.com
stands_for_kubeflow=kubeflow.example.com
stands_for_pods=10.244.0.0/16
stands_for_namespace='kubeflow-user-example-com'

controller=nginx-ingress

# The call's overlay and options: read_call "$@"
read_call() {
    overlay='' namespace=$stands_for_namespace name='' kubeflow='' pods='' issuer=''
    own_certificate='' without_controller='' with_controller=''
    while (($#)); do
        case $1 in
        --name) name=${2:?--name needs a name} && shift ;;
        --kubeflow) kubeflow=${2:?--kubeflow needs a name} && shift ;;
        --namespace) namespace=${2:?--namespace needs a name} && shift ;;
        --pod-network) pods=${2:?--pod-network needs a network} && shift ;;
        --issuer) issuer=${2:?--issuer needs the name of a ClusterIssuer} && shift ;;
        --own-certificate) own_certificate=yes ;;
        --without-controller) without_controller=yes ;;
        --with-controller) with_controller=yes ;;
        *) common_option "$1" || { [[ $1 != -* && -z $overlay ]] && overlay=$1; } || wrong_call "unknown argument $1" ;;
        esac
        shift
    done
    [[ -n $overlay && -d $here/overlays/$overlay ]] ||
        wrong_call "Expected one of the overlays $(cd "$here/overlays" && echo *), received: '$overlay'"
    [[ $namespace =~ ^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$ ]] ||
        wrong_call "Expected a namespace's name, received: '$namespace'"
    pods=${pods:-$POD_NETWORK}
    [[ $pods =~ ^[0-9a-f.:]+/[0-9]+$ ]] || wrong_call "Expected a network such as $stands_for_pods, received: '$pods'"
    issuer=${issuer:-kalecast}
    is_host_or_nothing "$name"
    is_host_or_nothing "$kubeflow"
}

is_host_or_nothing() {
    [[ -z $1 || $1 =~ ^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$ ]] ||
        wrong_call "Expected a host's name such as $stands_for_name, received: '$1'"
}

with_sign_in() {
    [[ $overlay == *-sign-in ]]
}

# Whether step 5 is there to look at certificates, and cert-manager for their metrics.
is_watched() {
    [[ -n $dry_run ]] || { [[ -z $own_certificate ]] &&
        kubectl get crd podmonitors.monitoring.coreos.com >/dev/null 2>&1 &&
        kubectl get namespace cert-manager >/dev/null 2>&1; }
}

# The names that are served now, where none is called for.
names_of_now() {
    if [[ -z $dry_run ]]; then
        name=${name:-$(host_of "$namespace" kalecast)}
        kubeflow=${kubeflow:-$(host_of istio-system kubeflow)}
    fi
}

host_of() {
    kubectl --namespace "$1" get "virtualserver/$2" --ignore-not-found --output 'jsonpath={.spec.host}' 2>/dev/null || true
}

# Manifests on standard input, with what is called for in place of what stands for it.
called_for() {
    local certificates=cat
    [[ -z $own_certificate ]] || certificates='only Certificate without'
    sed -e "s|${stands_for_name//./\\.}|${name:-$stands_for_name}|g" \
        -e "s|${stands_for_kubeflow//./\\.}|${kubeflow:-$stands_for_kubeflow}|g" \
        -e "s|${stands_for_pods//./\\.}|$pods|g" \
        -e "/^    kind: ClusterIssuer\$/{n;s|name: kalecast\$|name: $issuer|;}" \
        -e "s|\bNAMESPACE\b|$namespace|g" | $certificates
}

# The gateway's objects, and oauth2-proxy's, on standard output.
gateway_objects() {
    local work objects digest
    say "+ kubectl kustomize overlays/$overlay"
    [[ -z $dry_run ]] || return 0
    work=$(mktemp -d)
    cp -r "$here/base" "$here/components" "$here/overlays" "$work/"
    sed -i "s/OAUTH2_PROXY_VERSION/v$OAUTH2_PROXY_VERSION/" "$work/components/sign-in/kustomization.yaml"
    printf 'namespace: %s\nresources: [overlays/%s]\n' "$namespace" "$overlay" >"$work/kustomization.yaml"
    objects=$(kubectl kustomize "$work" | called_for) || fail "overlays/$overlay cannot be rendered"
    rm -r "$work"
    # Another configuration is another rollout: nginx reads it as it starts.
    digest=$(only ConfigMap <<<"$objects" | sha256sum | cut --characters 1-32)
    printf '%s\n' "${objects/kalecast\/configuration: none/kalecast/configuration: \"$digest\"}"
}

# Find the controller's chart, and a helm: the one of the PATH, else that of versions.env.
need_chart() {
    local archive repository
    need git
    repository=$(checkout https://github.com/nginx/kubernetes-ingress.git "$NGINX_INGRESS_COMMIT")
    chart=$repository/charts/nginx-ingress definitions=$repository/config/crd/bases
    if ! helm=$(command -v helm); then
        helm=$cache/helm-$HELM_VERSION/helm
        archive=$(fetch "https://get.helm.sh/helm-v$HELM_VERSION-linux-$(architecture).tar.gz" "$(pinned HELM_SHA256)")
        run mkdir -p "${helm%/*}"
        run tar --extract --gzip --file "$archive" --directory "${helm%/*}" --strip-components 1
    fi
}

# The controller's objects on standard output. Its schema of settings would be fetched from a branch.
controller_objects() {
    local watched=$namespace image=$NGINX_INGRESS_VERSION
    [[ -z $kubeflow ]] || watched+='\,istio-system'
    [[ -z $NGINX_INGRESS_DIGEST ]] || image+=@$NGINX_INGRESS_DIGEST
    run "$helm" template "$controller" "$chart" --namespace "$controller" --kube-version "$KUBERNETES_MINOR" \
        --skip-crds --skip-schema-validation --values "$here/ingress/values.yaml" \
        --set "controller.image.tag=$image" --set "controller.watchNamespace=$watched"
}
