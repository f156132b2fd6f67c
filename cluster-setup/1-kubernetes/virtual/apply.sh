#!/usr/bin/env bash
# Virtual machines on this one, and a cluster of them: one control plane, two workers. Can be
# repeated; more workers join when requested.
#
#     apply.sh libvirt | multipass [--workers N] [--cpus N] [--memory GIB] [--disk GB] [--dry-run]
#
# CPUs (6), memory (12) and disk (80) are a worker's; the control plane has 2, 4 and 30. libvirt
# needs virt-install, its pool and its network `default`, and you in the group libvirt.
source "$(dirname "${BASH_SOURCE[0]}")/../../lib.sh"
# shellcheck source=cluster-setup/1-kubernetes/virtual/names.env
source "$here/names.env"

kind='' workers=2 cpus=6 memory=12 disk=80
number() {
    [[ $2 =~ ^[1-9][0-9]*$ ]] || wrong_call "Expected a number after $1, received: '$2'"
}
while (($#)); do
    case $1 in
    libvirt | multipass) kind=$1 ;;
    --workers) number "$1" "${2:-}" && workers=$2 && shift ;;
    --cpus) number "$1" "${2:-}" && cpus=$2 && shift ;;
    --memory) number "$1" "${2:-}" && memory=$2 && shift ;;
    --disk) number "$1" "${2:-}" && disk=$2 && shift ;;
    *) common_option "$1" || wrong_call "unknown option $1" ;;
    esac
    shift
done
[[ -n $kind ]] || wrong_call "Expected libvirt or multipass"
need ssh-keygen "the package openssh-client"
case $kind in
libvirt)
    need virsh "the package libvirt-clients"
    need virt-install "the package virtinst"
    export LIBVIRT_DEFAULT_URI=${LIBVIRT_DEFAULT_URI:-qemu:///system}
    ;;
multipass) need multipass "https://canonical.com/multipass" ;;
esac

##### A key of their own #####

key=$secrets/id_ed25519 user_data=$secrets/user-data.yaml
if [[ -n $dry_run || ! -f $key ]]; then
    run mkdir -p -m 0700 "$secrets"
    run ssh-keygen -q -t ed25519 -N '' -C kalecast -f "$key"
fi
say "+ write $user_data"
[[ -n $dry_run ]] || sed "s|SSH_PUBLIC_KEY|$(<"$key.pub")|" "$here/user-data.yaml" >"$user_data"

##### Machines #####

# The pinned image in libvirt's pool, below the disks of all machines; prints its path.
ubuntu_image() {
    local image=kalecast-ubuntu-$UBUNTU_RELEASE.qcow2 file
    if [[ -n $dry_run ]] || ! virsh vol-info --pool "$pool" "$image" >/dev/null 2>&1; then
        file=$(fetch "https://cloud-images.ubuntu.com/releases/noble/release-$UBUNTU_RELEASE/ubuntu-24.04-server-cloudimg-$(architecture).img" "$(pinned UBUNTU_SHA256)")
        run virsh vol-create-as "$pool" "$image" 1 --format qcow2 >&2
        run virsh vol-upload --pool "$pool" "$image" "$file" >&2
    fi
    if [[ -n $dry_run ]]; then
        echo "/var/lib/libvirt/images/$image"
    else
        virsh vol-path --pool "$pool" "$image"
    fi
}

# machine_libvirt NAME CPUS GIB GB
machine_libvirt() {
    if [[ -z $dry_run ]] && virsh dominfo "$1" >/dev/null 2>&1; then
        virsh domstate "$1" | grep --quiet running || run virsh start "$1"
        return
    fi
    run virt-install --connect "$LIBVIRT_DEFAULT_URI" --name "$1" --vcpus "$2" --memory $(($3 * 1024)) --import \
        --disk "pool=$pool,size=$4,format=qcow2,backing_store=$image,backing_format=qcow2" \
        --cloud-init "user-data=$user_data,meta-data=$(meta_data "$1"),disable=on" --network network=default \
        --osinfo linux2022 --graphics none --autostart --noautoconsole
}

# The identity of a machine, in a file; a name alone would stay that of the image.
meta_data() {
    local file=$secrets/$1.meta-data.yaml
    [[ -n $dry_run ]] || printf 'instance-id: %s\nlocal-hostname: %s\n' "$1" "$1" >"$file"
    echo "$file"
}

machine_multipass() {
    if [[ -z $dry_run ]] && multipass info "$1" >/dev/null 2>&1; then
        run multipass start "$1"
        return
    fi
    run multipass launch 24.04 --name "$1" --cpus "$2" --memory "${3}G" --disk "${4}G" --cloud-init "$user_data"
}

address_libvirt() {
    virsh domifaddr "$1" | awk '$3 == "ipv4" { sub("/.*", "", $4); print $4; exit }'
}

address_multipass() {
    multipass info "$1" --format csv | awk -F, 'NR == 2 { print $3 }'
}

# Wait until a machine has an address and lets us in, and until cloud-init is through; prints the
# address.
address_of() {
    local address end=$((SECONDS + 300))
    if [[ -n $dry_run ]]; then
        echo "address-of-$1"
        return
    fi
    say "waiting for $1"
    until address=$("address_$kind" "$1") && [[ -n $address ]] &&
        ssh "${ssh_options[@]}" "kalecast@$address" "cloud-init status --wait >/dev/null || test \$? = 2" </dev/null 2>/dev/null; do
        ((SECONDS < end)) || fail "$1 cannot be reached after five minutes: look at its console"
        sleep 5
    done
    echo "$address"
}

known_hosts=$secrets/known_hosts
ssh_options=(-o IdentitiesOnly=yes -i "$key" -o StrictHostKeyChecking=accept-new -o "UserKnownHostsFile=$known_hosts")
image=''
[[ $kind != libvirt ]] || image=$(ubuntu_image)

"machine_$kind" "$control_plane" 2 4 30
for ((index = 1; index <= workers; index++)); do
    "machine_$kind" "$(worker_name "$index")" "$cpus" "$memory" "$disk"
done

##### The cluster #####

address=$(address_of "$control_plane")
machines=(--control-plane "$address")
for ((index = 1; index <= workers; index++)); do
    address=$(address_of "$(worker_name "$index")")
    machines+=(--worker "$address")
done
"$here/../machines/apply.sh" "${machines[@]}" --user kalecast --identity "$key" --known-hosts "$known_hosts" ${dry_run:+--dry-run}
