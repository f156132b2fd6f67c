#!/usr/bin/env bash
# A cluster on this machine, in Docker: one control plane, two workers, a registry. Can be repeated.
#
#     apply.sh [--without-mirrors] [--dry-run]
#
# Images that you push to localhost:5001 are found by the nodes under that name. What comes from
# Docker Hub, Quay, GitHub and registry.k8s.io is kept in a mirror each, which outlives the cluster;
# --without-mirrors leaves them out. Sets the current context of KUBECONFIG to kind-kalecast.
source "$(dirname "${BASH_SOURCE[0]}")/../../lib.sh"
# shellcheck source=cluster-setup/1-kubernetes/kind/names.env
source "$here/names.env"
# shellcheck source=cluster-setup/1-kubernetes/inotify.env
source "$here/../inotify.env"

with_mirrors=yes
while (($#)); do
    case $1 in
    --without-mirrors) with_mirrors='' ;;
    *) common_option "$1" || wrong_call "unknown option $1" ;;
    esac
    shift
done

need docker "https://docs.docker.com/engine/install/"
need kind "cluster-setup/1-kubernetes/tools.sh brings it"
need kubectl "cluster-setup/1-kubernetes/tools.sh brings it"
if [[ -z $dry_run ]]; then
    docker info >/dev/null 2>&1 || fail "Docker does not answer: does it run, and may $(id -un) use it?"
    [[ $(kind version --quiet) == "$KIND_VERSION" ]] ||
        fail "Expected kind $KIND_VERSION, whose node image is pinned, received: $(kind version --quiet). tools.sh brings it"
fi

# Nodes are containers, and watch files with the limits of the machine that they run on.
enough_watches() {
    local least=$1 limit=$2 has
    has=$(cat "/proc/sys/${limit//.//}")
    ((has >= least)) || fail "Kubeflow needs $limit of $least, this machine has $has: sudo sysctl -w $limit=$least"
}
if [[ -z $dry_run ]]; then
    enough_watches "$INOTIFY_INSTANCES" fs.inotify.max_user_instances
    enough_watches "$INOTIFY_WATCHES" fs.inotify.max_user_watches
fi

exists() {
    [[ -z $dry_run ]] && docker container inspect "$1" >/dev/null 2>&1
}

# A registry in a container that starts with Docker: registry_container NAME [OPTION...]
registry_container() {
    local name=$1
    if exists "$name"; then
        [[ $(docker container inspect --format '{{.State.Running}}' "$name") == true ]] || run docker start "$name"
    else
        run docker run --detach --restart always --name "$name" --volume "$name:/var/lib/registry" "${@:2}" "$REGISTRY_IMAGE"
    fi
}

registry_container "$registry" --publish "127.0.0.1:$registry_port:5000"
if [[ -n $with_mirrors ]]; then
    for host in "${!mirrored[@]}"; do
        registry_container "$(mirror_name "$host")" --env "REGISTRY_PROXY_REMOTEURL=${mirrored[$host]}"
    done
fi

if [[ -z $dry_run ]] && kind get clusters 2>/dev/null | grep --quiet --line-regexp "$cluster"; then
    say "cluster $cluster is there"
    run kind export kubeconfig --name "$cluster"
else
    run kind create cluster --config "$here/cluster.yaml" --image "$KIND_NODE_IMAGE"
fi

# Containers of registries are found by name in kind's network.
join_network() {
    if [[ -n $dry_run || $(docker container inspect --format '{{json .NetworkSettings.Networks.kind}}' "$1") == null ]]; then
        run docker network connect kind "$1"
    fi
}
join_network "$registry"
if [[ -n $with_mirrors ]]; then
    for host in "${!mirrored[@]}"; do
        join_network "$(mirror_name "$host")"
    done
fi

# Where the containerd of every node looks for what names HOST; on standard input: hosts_of HOST
hosts_of() {
    local host=$1 content node
    content=$(cat)
    while read -r node; do
        say "+ $node: /etc/containerd/certs.d/$host/hosts.toml"
        [[ -n $dry_run ]] || docker exec --interactive "$node" \
            sh -c "mkdir -p '/etc/containerd/certs.d/$host' && cat >'/etc/containerd/certs.d/$host/hosts.toml'" <<<"$content"
    done < <(if [[ -n $dry_run ]]; then echo "each node"; else kind get nodes --name "$cluster"; fi)
}

hosts_of "localhost:$registry_port" <<<"[host.\"http://$registry:5000\"]"
if [[ -n $with_mirrors ]]; then
    for host in "${!mirrored[@]}"; do
        hosts_of "$host" <<TOML
server = "${mirrored[$host]}"

[host."http://$(mirror_name "$host"):5000"]
capabilities = ["pull", "resolve"]
TOML
    done
fi

"$here/../addons/apply.sh" kind ${dry_run:+--dry-run}
concluded there "whether it works: cluster-setup/1-kubernetes/check.sh"
