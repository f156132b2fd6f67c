#!/usr/bin/env bash
# Whether the cluster of the current KUBECONFIG is what the next steps count on.
#
#     check.sh [--image IMAGE] [--any-version]
#
# Prints a line a check, and exits with 1 and the reason at the first that fails. Storage, names
# and network policies are tried by two pods in a namespace of their own, which is always removed;
# nothing else changes. IMAGE holds busybox, for clusters that cannot reach Docker Hub.
# --any-version takes another minor of Kubernetes, too, as managed clusters may have it.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

image=$BUSYBOX_IMAGE any_version='' timeout=${TIMEOUT:-${PATIENCE:-30}} # seconds for a network to apply a policy
while (($#)); do
    case $1 in
    --image) image=${2:?--image needs an image} && shift ;;
    --any-version) any_version=yes ;;
    *) common_option "$1" || wrong_call "unknown option $1" ;;
    esac
    shift
done
need_cluster

##### Nodes #####

version=$(kubectl get --raw /version | sed -n 's/.*"gitVersion": *"v\([^"]*\)".*/\1/p')
[[ -n $any_version || $version == "$KUBERNETES_MINOR".* ]] ||
    failed "Expected Kubernetes $KUBERNETES_MINOR, which Kubeflow and Seldon Core both name, received: $version"
passed "Kubernetes $version"

nodes=$(kubectl get nodes --output 'jsonpath={range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status} {.status.nodeInfo.kubeletVersion} {.status.nodeInfo.containerRuntimeVersion} {.status.allocatable.cpu} {.status.allocatable.memory} {.spec.unschedulable} {.spec.taints[?(@.effect=="NoSchedule")].key}{"\n"}{end}')
unready=$(awk '$2 != "True" { print $1 }' <<<"$nodes" | xargs)
[[ -z $unready ]] || failed "nodes are not ready: $unready. Is there a network (addons/apply.sh)? kubectl describe node says more"
passed "nodes are ready: $(awk '{ print $1 }' <<<"$nodes" | xargs)"
others=$(awk -v minor="v$KUBERNETES_MINOR." 'index($3, minor) != 1 { print $1 " (" $3 ")" }' <<<"$nodes" | xargs)
[[ -n $any_version || -z $others ]] || failed "kubelets of another version than $KUBERNETES_MINOR: $others. Run machines/upgrade.sh"
others=$(awk '$4 !~ /^containerd:/ { print $1 " (" $4 ")" }' <<<"$nodes" | xargs)
[[ -z $others ]] || failed "nodes with another runtime than containerd: $others"
passed "kubelets are of $(awk '{ print $3 }' <<<"$nodes" | sort -u | xargs), containers run in containerd"
free=$(awk 'NF < 7 { cpu += $5 ~ /m$/ ? $5 / 1000 : $5; memory += $6 / 1048576; count++ }
    END { if (count) printf "%d take pods, with %.1f CPUs and %.0f GiB for them", count, cpu, memory }' <<<"$nodes")
[[ -n $free ]] || failed "no node takes pods: kubectl get nodes shows who is cordoned or tainted"
passed "nodes: $free"

waiting=$(kubectl get certificatesigningrequests --field-selector spec.signerName=kubernetes.io/kubelet-serving \
    --output 'jsonpath={range .items[*]}{.metadata.name} {.status.conditions[0].type}{"\n"}{end}' | awk 'NF == 1 { print $1 }' | xargs)
[[ -z $waiting ]] || failed "kubelets wait for their certificates: $waiting. Run machines/approve-certificates.sh"
passed "no kubelet waits for a certificate"

##### What autoscalers and volumes need #####

available=$(kubectl get apiservice v1beta1.metrics.k8s.io --ignore-not-found --output 'jsonpath={.status.conditions[?(@.type=="Available")].status} {.status.conditions[?(@.type=="Available")].message}')
[[ $available == True* ]] || failed "the Metrics API does not answer: ${available:-there is no metrics-server (addons/apply.sh)}"
measured=$(kubectl get nodes.metrics.k8s.io --output name | wc -l)
((measured == $(wc -l <<<"$nodes"))) || failed "Expected figures of $(wc -l <<<"$nodes") nodes from the Metrics API, received $measured; a node that is new needs a minute"
passed "the Metrics API has figures of all nodes"

classes=$(kubectl get storageclasses --output 'jsonpath={range .items[?(@.metadata.annotations.storageclass\.kubernetes\.io/is-default-class=="true")]}{.metadata.name}{"\n"}{end}')
[[ $(wc -w <<<"$classes") == 1 ]] || failed "Expected one default StorageClass, received: '$(xargs <<<"$classes")'"
passed "default StorageClass: $classes"

##### Two pods #####

namespace=kalecast-check-$$
kube() {
    kubectl --namespace "$namespace" "$@"
}
trap 'kubectl delete namespace "$namespace" --ignore-not-found --timeout 180s >/dev/null' EXIT
kubectl create namespace "$namespace" >/dev/null
kubectl label namespace "$namespace" pod-security.kubernetes.io/enforce=restricted >/dev/null

# pod NAME COMMAND
pod() {
    cat <<YAML
---
apiVersion: v1
kind: Pod
metadata: { name: $1, labels: { app: $1, part-of: check } }
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  securityContext: { runAsNonRoot: true, runAsUser: 10001, fsGroup: 10001, seccompProfile: { type: RuntimeDefault } }
  affinity:
    podAntiAffinity:
      preferredDuringSchedulingIgnoredDuringExecution:
        - weight: 100
          podAffinityTerm: { topologyKey: kubernetes.io/hostname, labelSelector: { matchLabels: { part-of: check } } }
  containers:
    - name: busybox
      image: $image
      command: ["sh", "-c", "$2"]
      securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: [ALL] } }
      resources: { requests: { cpu: 10m, memory: 16Mi }, limits: { memory: 64Mi } }
YAML
}
{
    pod server "echo there >/data/index.html && exec httpd -f -p 8080 -h /data"
    cat <<YAML
      volumeMounts: [{ name: data, mountPath: /data }]
      readinessProbe: { httpGet: { path: /, port: 8080 }, periodSeconds: 2 }
  volumes: [{ name: data, persistentVolumeClaim: { claimName: data } }]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: { name: data }
spec: { accessModes: [ReadWriteOnce], resources: { requests: { storage: 16Mi } } }
---
apiVersion: v1
kind: Service
metadata: { name: server }
spec: { selector: { app: server }, ports: [{ port: 80, targetPort: 8080 }] }
YAML
    pod client "exec sleep 900"
} | kube apply --filename - >/dev/null

kube wait --for condition=Ready --timeout 180s pod/server pod/client >/dev/null 2>&1 ||
    failed "two pods with a volume are not ready after three minutes: $(last_warnings "$namespace")"
passed "a pod got a volume of $classes and wrote to it"

reached() {
    [[ $(kube exec client -- wget -q -T 3 -O - http://server/ 2>/dev/null) == there ]]
}

# Network and names take a moment: within SECONDS COMMAND...
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < end)) || return 1
        sleep 1
    done
}
unreached() {
    ! reached
}

within "$timeout" reached || failed "a pod does not reach another by its Service's name: $(kube exec client -- wget -T 3 -O - http://server/ 2>&1 | tail -n 1)"
passed "a pod reaches another by its Service's name"

# policy NAME RULES-OF-INGRESS
policy() {
    kube apply --filename - >/dev/null <<YAML
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: $1 }
spec:
  podSelector: { matchLabels: { app: server } }
  policyTypes: [Ingress]
  ingress: $2
YAML
}
policy nobody "[]"
within "$timeout" unreached || failed "NetworkPolicies are not enforced: a pod is reached that must not be. Calico, Cilium and kindnet do; others store them only"
policy client "[{ from: [{ podSelector: { matchLabels: { app: client } } }] }]"
within "$timeout" reached || failed "a connection is denied that a NetworkPolicy allows"
passed "NetworkPolicies are enforced"
