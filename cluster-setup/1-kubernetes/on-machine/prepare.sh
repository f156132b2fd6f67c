#!/usr/bin/env bash
# Make this machine (Debian or Ubuntu) ready to become a node; run as root. Can be repeated.
#
#     prepare.sh [--mirror REGISTRY=URL]... [--dry-run]
#
# --mirror docker.io=http://10.0.0.5:5000 has images of a registry come from a mirror first.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=cluster-setup/1-kubernetes/inotify.env
source "$here/../inotify.env"

mirrors=()
while (($#)); do
    case $1 in
    --mirror)
        [[ ${2:-} =~ ^[a-z0-9.:-]+=https?://[^\"]+$ ]] || wrong_call "Expected --mirror REGISTRY=URL, received: '${2:-}'"
        mirrors+=("$2") && shift
        ;;
    *) common_option "$1" || wrong_call "unknown option $1" ;;
    esac
    shift
done
need_root

##### The system #####

[[ -n $dry_run || $(stat --file-system --format %T /sys/fs/cgroup) == cgroup2fs ]] ||
    fail "Kubernetes $KUBERNETES_MINOR needs cgroup v2: boot with systemd.unified_cgroup_hierarchy=1"
needed=()
for package in ca-certificates conntrack curl gpg iptables; do
    [[ -z $dry_run && -n $(installed_version "$package") ]] || needed+=("$package")
done
if ((${#needed[@]})); then
    run apt-get update
    run env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${needed[@]}"
fi
if [[ -n $dry_run ]] || ! timedatectl show --property NTPSynchronized --value | grep --quiet yes; then
    say "time: certificates need clocks that agree, see to it that systemd-timesyncd or chrony runs"
fi

# Kubernetes counts on memory that is not swapped.
if [[ -n $dry_run || -n $(swapon --show --noheadings) ]]; then
    run swapoff --all
fi
if [[ -n $dry_run ]] || grep --quiet --extended-regexp '^[^#].*\sswap\s' /etc/fstab; then
    run sed --in-place --regexp-extended 's/^([^#].*\sswap\s.*)$/# \1/' /etc/fstab
fi

put /etc/modules-load.d/kalecast.conf <<<$'overlay\nbr_netfilter'
run modprobe --all overlay br_netfilter
put /etc/sysctl.d/90-kalecast.conf <<CONF
net.ipv4.ip_forward = 1
net.bridge.bridge-nf-call-iptables = 1
net.bridge.bridge-nf-call-ip6tables = 1
fs.inotify.max_user_instances = $INOTIFY_INSTANCES
fs.inotify.max_user_watches = $INOTIFY_WATCHES
CONF
run sysctl --quiet --load /etc/sysctl.d/90-kalecast.conf

##### containerd and Kubernetes #####

# A node gets new versions from upgrade.sh, drained and in order, never in passing.
if is_node; then
    [[ $(installed_version kubelet) == "$KUBERNETES_PACKAGE" ]] ||
        say "this node has kubelet $(installed_version kubelet): upgrade.sh brings $KUBERNETES_PACKAGE"
else
    put_containerd
    put_packages kubeadm kubelet kubectl
    run systemctl enable kubelet
fi

# Read for each image that is pulled, without a restart.
for mirror in "${mirrors[@]}"; do
    put "/etc/containerd/certs.d/${mirror%%=*}/hosts.toml" <<TOML
[host."${mirror#*=}"]
capabilities = ["pull", "resolve"]
TOML
done

say "$(hostname) is prepared"
