#!/usr/bin/env bash
# Approve the serving certificates that kubelets request, of those that request their own
# node's names and addresses alone. A kubelet sends a request when it joins, and each year again.
#
#     approve-certificates.sh [NODE]... [--dry-run]
#
# Waits up to two minutes until each NODE that is named has sent a request, or has had an answer.
source "$(dirname "${BASH_SOURCE[0]}")/../../lib.sh"

nodes=()
while (($#)); do
    case $1 in
    -*) common_option "$1" || wrong_call "unknown option $1" ;;
    *) nodes+=("$1") ;;
    esac
    shift
done
need_cluster
need openssl "the package openssl"
if [[ -n $dry_run ]]; then
    run kubectl certificate approve "each request of a kubelet for its own node"
    exit
fi

# NAME, USER and whether decided, of each request of a kubelet.
requests() {
    kubectl get certificatesigningrequests --field-selector spec.signerName=kubernetes.io/kubelet-serving --output \
        'jsonpath={range .items[*]}{.metadata.name} {.spec.username} {.status.conditions[0].type}{"\n"}{end}'
}

# What the certificate is to say, in the words of openssl, one name or address a line.
requested_names() {
    kubectl get certificatesigningrequest "$1" --output 'jsonpath={.spec.request}' | base64 --decode |
        openssl req -noout -text -nameopt RFC2253 |
        awk '/Subject Alternative Name/ { getline; gsub(/, /, "\n"); gsub(/^ +/, ""); print }'
}

requested_subject() {
    kubectl get certificatesigningrequest "$1" --output 'jsonpath={.spec.request}' | base64 --decode |
        openssl req -noout -subject -nameopt RFC2253
}

# The same of a node, as its own kubelet and the cluster have it.
names_of() {
    kubectl get node "$1" --output 'jsonpath={range .status.addresses[*]}{.type} {.address}{"\n"}{end}' |
        awk '$1 ~ /IP$/ { print "IP Address:" $2 } $1 ~ /(Hostname|DNS)$/ { print "DNS:" $2 }'
}

# Answer a request whose user is the node that it names: answer NAME USER
answer() {
    local name=$1 user=$2 node=${2#system:node:} foreign
    if [[ $user != system:node:* || $(requested_subject "$name") != "subject=CN=$user,O=system:nodes" ]]; then
        say "left alone: $name of '$user' requests $(requested_subject "$name")"
        return
    fi
    foreign=$(comm -23 <(requested_names "$name" | sort --unique) <(names_of "$node" | sort --unique) | xargs)
    if [[ -n $foreign ]]; then
        say "left alone: $name of node '$node' requests what is not its own: $foreign"
        return
    fi
    run kubectl certificate approve "$name"
}

has_requested() {
    awk -v user="system:node:$1" '$2 == user { found = 1 } END { exit !found }' <<<"$2"
}

deadline=$((SECONDS + 120))
for node in "${nodes[@]}"; do
    until has_requested "$node" "$(requests)"; do
        # Requests are forgotten an hour after the answer.
        ((SECONDS < deadline)) || { say "node '$node' requests nothing" && break; }
        sleep 2
    done
done
while read -r name user decided; do
    [[ -n $name && -z $decided ]] || continue
    answer "$name" "$user"
done < <(requests)
