# shellcheck shell=bash disable=SC2034 # variables are read by the scripts
# What the scripts share that reach machines over SSH.
source "$(dirname "${BASH_SOURCE[0]}")/../../lib.sh"

control_planes=() workers=() user=root ssh_options=()
kubeconfig=${KALECAST_KUBECONFIG:-$HOME/.kube/kalecast.yaml}
on_machine=/opt/kalecast/cluster-setup/1-kubernetes/on-machine

# The options of machines; for anything else it answers false. An option with a value sets `taken`.
machine_option() {
    taken=2
    case $1 in
    --control-plane) plain_name "${2:-}" && control_planes+=("$2") ;;
    --worker) plain_name "${2:-}" && workers+=("$2") ;;
    --user) plain_name "${2:-}" && user=$2 ;;
    --identity) ssh_options+=(-o IdentitiesOnly=yes -i "${2:?--identity needs a file}") ;;
    --known-hosts) ssh_options+=(-o StrictHostKeyChecking=accept-new -o "UserKnownHostsFile=${2:?--known-hosts needs a file}") ;;
    *)
        taken=1
        common_option "$1"
        ;;
    esac
}

# A name that SSH cannot take for an option.
plain_name() {
    [[ $1 =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] || wrong_call "Expected a host name, an address or a user, received: '$1'"
}

# Run a command on a machine as root: on HOST COMMAND...
on() {
    local host=$1 command
    shift
    command=$(printf '%q ' "$@")
    [[ $user == root ]] || command="sudo $command"
    say "+ ssh $user@$host $command"
    # shellcheck disable=SC2029 # quoted above, for the shell over there
    [[ -n $dry_run ]] || ssh "${ssh_options[@]}" "$user@$host" "$command"
}

# This folder of scripts on a machine, as it is here.
copy_setup() {
    say "+ copy cluster-setup/ to $1"
    if [[ -z $dry_run ]]; then
        tar --create --gzip --directory "$setup/.." --owner 0 --group 0 \
            cluster-setup/lib.sh cluster-setup/versions.env cluster-setup/1-kubernetes |
            on "$1" sh -c 'mkdir -p /opt/kalecast && tar --extract --gzip --directory /opt/kalecast'
    fi
}

is_in_cluster() {
    [[ -z $dry_run ]] && on "$1" test -f /etc/kubernetes/kubelet.conf
}

# Under which a machine is a node.
node_of() {
    if [[ -n $dry_run ]]; then
        echo "$1"
    else
        on "$1" hostname | tr '[:upper:]' '[:lower:]'
    fi
}
