#!/usr/bin/env bash
# Bring the model server and the page into the cluster of the current KUBECONFIG. Can be repeated.
#
#     apply.sh OVERLAY [--model-uri URI [--model-version VERSION]] [--without-model-server] [--dry-run]
#
# Without --model-uri the model that is served stays; --without-model-server leaves the model
# server to the pipeline's step `deploy`. --dry-run has the cluster validate; where
# none answers it prints the objects that would be sent.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# As the manifests have them: kalecast.cluster.manifests.
stands_for_uri=s3://kalecast/models/forecaster.onnx
stands_for_version=current
seldons_autoscaler=kalecast-default-0-forecaster

uri='' version='' overlay='' with_server=yes rendered_only=''
while (($#)); do
    case $1 in
    --model-uri) uri=${2:?--model-uri needs a URI} && shift ;;
    --model-version) version=${2:?--model-version needs a version} && shift ;;
    --without-model-server) with_server='' ;;
    -*) common_option "$1" || wrong_call "unknown option $1" ;;
    *) overlay=$1 ;;
    esac
    shift
done
folder=$here/overlays/$overlay
if [[ -z $overlay || ! -f $folder/kustomization.yaml ]]; then
    fail "Expected one of the overlays $(cd "$here/overlays" && echo *), received: '$overlay'"
fi

if [[ -n $dry_run ]] && ! cluster_answers; then
    say "no cluster answers: no request is sent to it"
    rendered_only=yes
fi
manifests=$(kubectl kustomize "$folder")
namespace=$(awk '$1 == "namespace:" { print $2; exit }' <<<"$manifests")

# Whether there is something of a kind to be sent.
has() {
    grep -q "^kind: $1\$" <<<"$manifests"
}

# Objects on standard input without those of a kind, or without one of them: without KIND [NAME]
without() {
    awk -v kind="$1" -v name="${2:-}" 'BEGIN { RS = "---\n"; ORS = "---\n" }
        ("\n" $0) !~ "\nkind: " kind "\n" || (name != "" && $0 !~ "\n  name: " name "\n")'
}

# The key of the page's tokens is made once. It comes by a pipe: every user sees arguments.
keep_token_key() {
    local secret=kalecast-page-token-key
    say "+ kubectl --namespace $namespace create secret generic $secret  # where there is none"
    [[ -z $(kubectl --namespace "$namespace" get secret "$secret" --ignore-not-found --output name) ]] || return 0
    printf 'key=%s\n' "$(head --bytes 32 /dev/urandom | base64 --wrap 0)" |
        kubectl --namespace "$namespace" create secret generic "$secret" --from-env-file=/dev/stdin >&2
}

# A field of what serves now, where something does.
served() {
    [[ -z $rendered_only ]] || return 0
    kubectl --namespace "$namespace" get "$1" --ignore-not-found --output "jsonpath=$2"
}

if [[ -z $uri && -n $with_server ]]; then
    if has SeldonDeployment; then
        component='{.spec.predictors[0].componentSpecs[0].metadata.annotations.kalecast/model-version}'
        uri=$(served seldondeployment/kalecast '{.spec.predictors[0].graph.parameters[?(@.name=="model_uri")].value}')
        version=$(served seldondeployment/kalecast "$component")
    else
        server=deployment/$seldons_autoscaler
        uri=$(served "$server" '{.spec.template.spec.containers[0].env[?(@.name=="MODEL_URI")].value}')
        version=$(served "$server" '{.spec.template.metadata.annotations.kalecast/model-version}')
    fi
    [[ -z $rendered_only ]] || uri=${uri:-$stands_for_uri}
    hint=''
    ! has SeldonDeployment || hint=", or pass --without-model-server and leave it to the pipeline"
    [[ -n $uri ]] || fail "no model is served in namespace '$namespace' yet: name one with --model-uri$hint"
fi
if [[ -n $with_server ]]; then
    [[ $uri =~ ^[a-z0-9]+://[A-Za-z0-9._/~%+=-]+$ ]] || fail "Expected a model URI such as $stands_for_uri, received: '$uri'"
    version=${version:-$stands_for_version}
    [[ $version =~ ^[A-Za-z0-9._-]+$ ]] || fail "Expected a version such as 20260102-030405-abcdef, received: '$version'"
    manifests=$(sed -e "s|$stands_for_uri|$uri|" \
        -e "s|kalecast/model-version: $stands_for_version\$|kalecast/model-version: \"$version\"|" <<<"$manifests")
    say "model: $uri, version $version"
elif has SeldonDeployment; then
    manifests=$(without SeldonDeployment <<<"$manifests")
else
    fail "--without-model-server is for overlays with Seldon's operator, not for '$overlay'"
fi

has_server=''
if [[ -z $rendered_only ]] && has ScaledObject; then
    [[ -n $(kubectl get crd/scaledobjects.keda.sh --ignore-not-found --output name) ]] ||
        fail "there is no KEDA in this cluster: $setup/5-observability/apply.sh OVERLAY --with-keda brings it"
    has_server=$(kubectl --namespace "$namespace" get "deployment/$seldons_autoscaler" --ignore-not-found --output name)
    # KEDA refuses to scale by processor time what is not there.
    if [[ -z $with_server && -z $has_server ]]; then
        manifests=$(without ScaledObject kalecast-model-server <<<"$manifests")
        say "after the first run of the pipeline call '${0##*/} $overlay' again: until then nothing scales the model server"
    fi
fi

if [[ -n $rendered_only ]]; then
    printf '%s\n' "$manifests"
elif [[ -n $dry_run ]]; then
    dry_run='' # from here on it is the API server's
    if [[ -z $(kubectl get namespace "$namespace" --ignore-not-found --output name) ]]; then
        has Namespace || fail "there is no namespace '$namespace': make the profile first"
        # The API server takes nothing into a namespace that it has not made, not even for show.
        kubectl apply --dry-run=client --filename - <<<"$manifests"
    else
        send --dry-run=server <<<"$manifests"
    fi
    say "would be applied; nothing was changed"
    exit
fi
if has Namespace; then
    only Namespace <<<"$manifests" | send
fi
keep_token_key
if has ScaledObject; then
    # KEDA refuses a target that is not there, or has another autoscaler: Seldon's operator makes the
    # Deployment and takes its own autoscaler away first.
    without ScaledObject <<<"$manifests" | send
    if [[ -n $with_server || -n $has_server ]]; then
        run kubectl --namespace "$namespace" wait --for=create --timeout=120s "deployment/$seldons_autoscaler"
        run kubectl --namespace "$namespace" wait --for=delete --timeout=60s \
            "horizontalpodautoscaler/$seldons_autoscaler"
    fi
fi
send <<<"$manifests"
concluded applied "whether it works: $here/check.sh $overlay"
