# shellcheck shell=bash
# What the scripts of all steps share. Sourced first:
#
#     source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
#
# A script's first comment is its manual: --help prints it, and so does a wrong call.
set -euo pipefail
# Else a failure inside $(...) goes unnoticed.
shopt -s inherit_errexit

setup=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck disable=SC2034 # read by the scripts
here=$(cd "$(dirname "$0")" && pwd)
cache=${KALECAST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kalecast}
dry_run=''

# shellcheck source=cluster-setup/versions.env
source "$setup/versions.env"

##### Messages #####

say() {
    printf '%s\n' "$*" >&2
}

# End with a reason, of a script that does something.
fail() {
    say "${0##*/}: $*"
    exit 1
}

# A line of a check; at the first that fails it ends.
passed() {
    echo "ok      $*"
}

failed() {
    echo "FAILED  $*" >&2
    exit 1
}

# The last line of a script, what it has done or with --dry-run would have: concluded WORD [HINT]
concluded() {
    if [[ -n $dry_run ]]; then
        say "would be $1; nothing was changed"
    else
        say "$1${2:+; $2}"
    fi
}

# The comment at the head of the script that was called.
manual() {
    awk 'NR == 1 { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$0"
}

wrong_call() {
    say "${0##*/}: $*"
    manual >&2
    exit 2
}

# The options that every script knows; for anything else it answers false.
common_option() {
    case $1 in
    --dry-run)
        [[ ${0##*/} != check.sh ]] || wrong_call "a check changes nothing, and needs the cluster"
        dry_run=yes
        ;;
    --help | -h)
        manual
        exit 0
        ;;
    *) return 1 ;;
    esac
}

##### Doing #####

# Run a command and show it; with --dry-run only show it.
run() {
    say "+ $(printf '%q ' "$@")"
    [[ -n $dry_run ]] || "$@"
}

# The architecture of this machine, as names of downloads have it.
architecture() {
    case $(uname -m) in
    x86_64) echo amd64 ;;
    aarch64 | arm64) echo arm64 ;;
    *) fail "Expected a machine of x86_64 or aarch64, received: $(uname -m)" ;;
    esac
}

# What versions.env holds for this machine's architecture: pinned KIND_SHA256
pinned() {
    local name
    name=$1_$(architecture)
    printf '%s\n' "${!name}"
}

# Commands that must be there, each with where to get it: need kubectl "step 1's README"
need() {
    [[ -n $dry_run ]] || command -v "$1" >/dev/null || fail "there is no '$1' on the PATH: ${2:-install it first}"
}

cluster_answers() {
    kubectl version --output=json >/dev/null 2>&1
}

need_cluster() {
    need kubectl "cluster-setup/1-kubernetes/README.md says where to get it"
    [[ -n $dry_run ]] || cluster_answers ||
        fail "no cluster answers: does KUBECONFIG name the right one? ($(kubectl config current-context 2>&1))"
}

# A file from the network, held against its checksum; prints its path: fetch URL SHA256
fetch() {
    local url=$1 sha256=$2 file
    file=$cache/$sha256-${url##*/}
    if [[ -z $dry_run ]] && ! sha256sum --check --status <<<"$sha256  $file" 2>/dev/null; then
        mkdir -p "$cache"
        say "+ curl $url"
        curl --fail --silent --show-error --location --retry 3 --output "$file.part" "$url" ||
            fail "$url cannot be fetched"
        sha256sum --check --status <<<"$sha256  $file.part" || {
            say "expected sha256 $sha256, received $(sha256sum <"$file.part")"
            rm -f "$file.part"
            fail "$url is not the file whose checksum versions.env holds"
        }
        mv "$file.part" "$file"
    elif [[ -n $dry_run ]]; then
        say "+ curl $url  # sha256 $sha256"
    fi
    printf '%s\n' "$file"
}

# A repository at a commit, which is its own checksum; prints the folder: checkout URL COMMIT
checkout() {
    local url=$1 commit=$2 folder
    folder=$cache/$(basename "$url" .git)-${commit:0:12}
    say "+ git fetch $url $commit"
    if [[ -z $dry_run && $(git -C "$folder" rev-parse HEAD 2>/dev/null) != "$commit" ]]; then
        rm -rf "$folder"
        git init --quiet "$folder"
        git -C "$folder" fetch --quiet --depth 1 "$url" "$commit" ||
            fail "$url cannot be fetched at commit $commit"
        git -C "$folder" -c advice.detachedHead=false checkout --quiet "$commit"
    fi
    printf '%s\n' "$folder"
}

# Objects on standard input, sent so that a second time changes nothing.
send() {
    local command=(kubectl apply --server-side --field-manager=kalecast-setup --force-conflicts "$@" --filename -)
    say "+ $(printf '%q ' "${command[@]}")"
    if [[ -n $dry_run ]]; then
        cat >/dev/null
    else
        "${command[@]}" >&2
    fi
}

# Of objects on standard input those of a kind, or with `without` all others: only KIND [without]
only() {
    awk -v kind="$1" -v without="${2:-}" '
        function flush() {
            if (object != "" && found == (without == "")) printf "%s---\n", object
            object = ""
            found = 0
        }
        /^---$/ { flush(); next }
        $0 == "kind: " kind { found = 1 }
        { object = object $0 "\n" }
        END { flush() }'
}

# Wait until the Deployments, StatefulSets and DaemonSets of a namespace are ready:
# wait_for_pods NAMESPACE [SECONDS]
wait_for_pods() {
    local namespace=$1 seconds=${2:-600} workload end
    if [[ -n $dry_run ]]; then
        say "would wait for the pods of namespace $namespace"
        return
    fi
    say "waiting for the pods of namespace $namespace"
    end=$((SECONDS + seconds))
    while read -r workload; do
        kubectl --namespace "$namespace" rollout status "$workload" \
            --timeout="$((end > SECONDS ? end - SECONDS : 1))s" >&2 ||
            fail "$workload in namespace $namespace is not ready: $(last_warnings "$namespace")"
    done < <(kubectl --namespace "$namespace" get deployments,statefulsets,daemonsets --output name)
}

# The newest warnings of a namespace: most often they name the reason.
last_warnings() {
    kubectl --namespace "$1" get events --field-selector type=Warning \
        --sort-by=.lastTimestamp 2>/dev/null | tail -n 3
}

# For checks: everything of a namespace is ready, or why not: check_pods NAMESPACE
check_pods() {
    local namespace=$1 workloads waiting
    kubectl get namespace "$namespace" >/dev/null 2>&1 || failed "there is no namespace '$namespace'"
    workloads=$(kubectl --namespace "$namespace" get deployments,statefulsets --output \
        'jsonpath={range .items[*]}{.kind}/{.metadata.name} {.spec.replicas} {.status.readyReplicas}{"\n"}{end}')
    [[ -n $workloads ]] || failed "nothing runs in namespace '$namespace'"
    waiting=$(awk '$2 != ($3 == "" ? 0 : $3) { print $1 }' <<<"$workloads")
    [[ -z $waiting ]] || failed "not ready in namespace '$namespace': $(xargs <<<"$waiting"). $(last_warnings "$namespace")"
    passed "namespace $namespace: $(wc -l <<<"$workloads") workloads are ready"
}

# A port-forward to a Service for as long as the script runs, through the kubelet, which no network
# policy keeps out; `forwarded` is its address then: forward NAMESPACE SERVICE PORT
forward() {
    local log port=''
    log=$(mktemp)
    kubectl --namespace "$1" port-forward "service/$2" ":$3" >"$log" 2>&1 &
    forwards+=($!)
    trap 'kill "${forwards[@]}" 2>/dev/null || true' EXIT
    for _ in {1..50}; do
        port=$(sed -n 's/^Forwarding from 127\.0\.0\.1:\([0-9]*\) .*/\1/p' "$log")
        [[ -z $port ]] || break
        sleep 0.2
    done
    [[ -n $port ]] || failed "no port-forward to port $3 of Service $2 in namespace $1: $(cat "$log"; rm "$log")"
    rm "$log"
    # shellcheck disable=SC2034 # read by the scripts
    forwarded=http://127.0.0.1:$port
}
