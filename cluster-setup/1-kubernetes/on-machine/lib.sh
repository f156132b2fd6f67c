# shellcheck shell=bash
# What the scripts share that run on the machines themselves, as root.
source "$(dirname "${BASH_SOURCE[0]}")/../../lib.sh"

# shellcheck disable=SC2034 # read by the scripts
kubeadm_config=/etc/kubernetes/kalecast-kubeadm.yaml

need_root() {
    [[ -n $dry_run || $EUID == 0 ]] || fail "must run as root"
    [[ -n $dry_run || $(. /etc/os-release && echo "$ID") =~ ^(debian|ubuntu)$ ]] || fail "Expected Debian or Ubuntu"
}

# Write standard input to a file where it says something else, and count that: put FILE [MODE]
changes=0
put() {
    local file=$1 mode=${2:-0644} content
    content=$(cat)
    if [[ -f $file && $(<"$file") == "$content" ]]; then
        return
    fi
    say "+ write $file"
    changes=$((changes + 1))
    [[ -z $dry_run ]] || return 0
    mkdir -p "$(dirname "$file")"
    (umask 077 && printf '%s\n' "$content" >"$file.new")
    chmod "$mode" "$file.new"
    mv "$file.new" "$file"
}

is_node() {
    [[ -z $dry_run && -f /etc/kubernetes/kubelet.conf ]]
}

# containerd and runc at the pinned versions; restarted where anything of them is new.
put_containerd() {
    local archive runc
    changes=0
    if [[ -n $dry_run || $(/usr/local/bin/containerd --version 2>/dev/null) != *" v$CONTAINERD_VERSION "* ]]; then
        archive=$(fetch "https://github.com/containerd/containerd/releases/download/v$CONTAINERD_VERSION/containerd-$CONTAINERD_VERSION-linux-$(architecture).tar.gz" "$(pinned CONTAINERD_SHA256)")
        # tar puts a new file in place of one that runs.
        run tar --extract --gzip --directory /usr/local --file "$archive"
        changes=1
    fi
    runc=$(fetch "https://github.com/opencontainers/runc/releases/download/v$RUNC_VERSION/runc.$(architecture)" "$(pinned RUNC_SHA256)")
    cmp --silent "$runc" /usr/local/sbin/runc || run install --mode 0755 "$runc" /usr/local/sbin/runc
    put /etc/systemd/system/containerd.service <"$here/containerd.service"
    put /etc/containerd/config.toml < <(sed "s|PAUSE_IMAGE|$PAUSE_IMAGE|" "$here/containerd.toml")
    put /etc/crictl.yaml <<<"runtime-endpoint: unix:///run/containerd/containerd.sock"
    if ((changes)) || ! systemctl is-active --quiet containerd; then
        run systemctl daemon-reload
        run systemctl enable containerd
        run systemctl restart containerd
    fi
}

installed_version() {
    dpkg-query --show --showformat '${Version}' "$1" 2>/dev/null || true
}

# Packages of Kubernetes at the pinned version, which no general upgrade moves: put_packages NAME...
put_packages() {
    local name wanted=()
    for name in "$@"; do
        if [[ -n $dry_run || $(installed_version "$name") != "$KUBERNETES_PACKAGE" ]]; then
            wanted+=("$name=$KUBERNETES_PACKAGE")
        fi
    done
    ((${#wanted[@]})) || return 0
    put_source
    run env DEBIAN_FRONTEND=noninteractive apt-get install --yes --allow-change-held-packages "${wanted[@]}"
    run apt-mark hold "$@"
}

# Where those packages come from. apt holds every package against the key, and the key is held
# against its fingerprint here; it is fetched anew because its date of expiry moves.
put_source() {
    local url=https://pkgs.k8s.io/core:/stable:/v$KUBERNETES_MINOR/deb keyring=/etc/apt/keyrings/kubernetes.asc key
    say "+ curl $url/Release.key  # fingerprint $KUBERNETES_KEY"
    if [[ -z $dry_run ]]; then
        key=$(curl --fail --silent --show-error --location --retry 3 "$url/Release.key") || fail "$url/Release.key cannot be fetched"
        [[ $(fingerprints <<<"$key") == "$KUBERNETES_KEY" ]] ||
            fail "Expected the key $KUBERNETES_KEY at $url/Release.key, received: $(fingerprints <<<"$key" | xargs)"
        put "$keyring" <<<"$key"
    fi
    put /etc/apt/sources.list.d/kubernetes.list <<<"deb [signed-by=$keyring] $url/ /"
    run apt-get update
}

# Of the primary keys on standard input, a line each.
fingerprints() {
    gpg --batch --quiet --no-keyring --show-keys --with-colons | awk -F: '$1 == "pub" { primary = 1 } $1 == "fpr" && primary { print $10; primary = 0 }'
}
