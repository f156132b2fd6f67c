#!/usr/bin/env bash
# Delete the virtual machines that apply.sh made, and all that is on their disks.
#
#     remove.sh libvirt | multipass --yes [--dry-run]
source "$(dirname "${BASH_SOURCE[0]}")/../../lib.sh"
# shellcheck source=cluster-setup/1-kubernetes/virtual/names.env
source "$here/names.env"

kind='' sure=''
while (($#)); do
    case $1 in
    libvirt | multipass) kind=$1 ;;
    --yes) sure=yes ;;
    *) common_option "$1" || wrong_call "unknown option $1" ;;
    esac
    shift
done
[[ -n $kind ]] || wrong_call "Expected libvirt or multipass"
[[ -n $sure$dry_run ]] || fail "this deletes the cluster, with all that is in it: --yes"

mine() {
    grep --extended-regexp --only-matching "^($control_plane|$(worker_name '[0-9]+'))(,|$)" | tr --delete , || true
}

case $kind in
libvirt)
    need virsh "the package libvirt-clients"
    export LIBVIRT_DEFAULT_URI=${LIBVIRT_DEFAULT_URI:-qemu:///system}
    for machine in $([[ -n $dry_run ]] || virsh list --all --name | mine); do
        [[ $(virsh domstate "$machine") != running ]] || run virsh destroy "$machine"
        run virsh undefine "$machine" --nvram --remove-all-storage
    done
    image=kalecast-ubuntu-$UBUNTU_RELEASE.qcow2
    if [[ -n $dry_run ]] || virsh vol-info --pool "$pool" "$image" >/dev/null 2>&1; then
        run virsh vol-delete --pool "$pool" "$image"
    fi
    ;;
multipass)
    need multipass "https://canonical.com/multipass"
    for machine in $([[ -n $dry_run ]] || multipass list --format csv | mine); do
        run multipass delete --purge "$machine"
    done
    ;;
esac
run rm --recursive --force "$secrets"
concluded removed
