#!/usr/bin/env bash
# Join the cluster that an invitation names; run as root, after prepare.sh. Can be repeated.
#
#     join.sh FILE [--dry-run]
#
# FILE is what invite.sh prints on a control plane; - reads it from standard input.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

file=''
while (($#)); do
    case $1 in
    -) file=/dev/stdin ;;
    -*) common_option "$1" || wrong_call "unknown option $1" ;;
    *) file=$1 ;;
    esac
    shift
done
[[ -n $file ]] || wrong_call "Expected the file that invite.sh printed"
need_root

if is_node; then
    say "this machine is in a cluster"
    exit
fi
invitation=/run/kalecast-invitation.yaml # in memory: it holds a token
if [[ -z $dry_run ]]; then
    trap 'rm -f "$invitation"' EXIT
    put "$invitation" 0600 <"$file"
fi
run kubeadm join --config "$invitation"
