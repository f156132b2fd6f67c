"""Rendered manifests, what controllers make of them, and the schemas they are held against."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from kalecast.cluster import manifests, policies
from kalecast.cluster.policies import title
from kalecast.cluster.seldon_deployment import SeldonDeployment
from kalecast.cluster.standalone import stand_alone

ROOT = Path(__file__).resolve().parents[2]

KUBERNETES = "1.35"
"""The newest that Seldon Core 1.19 and Kubeflow 26.03.1 both name as theirs."""

SELDONS_KUBERNETES = "1.28"
"""Whose pods the SeldonDeployment's definition in Seldon's chart 1.19.0 knows: it cuts off what is
newer, such as the hook `sleep`."""

Object = dict[str, Any]


@cache
def rendered() -> dict[str, list[Object]]:
    """What each overlay sends to the cluster."""
    command = manifests.kubectl()
    return {
        name: list(yaml.safe_load_all(manifests.build(folder, command)))
        for name, folder in manifests.overlays().items()
    }


@cache
def expanded() -> dict[str, list[Object]]:
    """The same, and beside custom resources what their operators make of them."""
    return {name: policies.expanded(objects) for name, objects in rendered().items()}


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    """Those of some kinds."""
    return [one for one in objects if one["kind"] in kinds]


@dataclass(frozen=True)
class Template:
    """The pods that an object leads to."""

    overlay: str
    owner: str
    metadata: Object
    spec: Object

    @property
    def labels(self) -> dict[str, str]:
        """The pods' labels."""
        labels: dict[str, str] = self.metadata.get("labels", {})
        return labels

    @property
    def ports(self) -> dict[str, int]:
        """Their containers' ports by name."""
        return {
            port["name"]: port["containerPort"]
            for container in self.spec["containers"]
            for port in container.get("ports", [])
        }


def templates(overlay: str) -> Iterator[Template]:
    """Every pod template of an overlay, out of custom resources too."""
    for one in expanded()[overlay]:
        if one["kind"] in ("Deployment", "Notebook"):
            found = one["spec"]["template"]
            yield Template(overlay, title(one), found.get("metadata", {}), found["spec"])


##### Schemas #####


def validate(one: Object) -> None:
    """Hold an object against its schema, without a field that the schema does not know.

    Raises:
        Exception: names the field.
    """
    if one["kind"] in CUSTOM:
        api_version, schema, parts = CUSTOM[one["kind"]]
        assert one["apiVersion"] == api_version
        jsonschema.validate(one["spec"], schema)
        for version, part in parts(one):
            kubernetes_validate.validate(part, version, strict=True)
    else:
        kubernetes_validate.validate(one, KUBERNETES, strict=True)


def _fields(*required: str, **known: Any) -> Object:
    return {
        "type": "object",
        "properties": known,
        "required": list(required),
        "additionalProperties": False,
    }


def _list(of: Any) -> Object:
    return {"type": "array", "items": of}


TEXT, COUNT, FLAG = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
TEXTS = {"type": "object", "additionalProperties": TEXT}
ELSEWHERE: Object = {}
"""A part of Kubernetes' own, which is held against its schema by itself."""

# Seldon Core 1.19, operator/apis/machinelearning.seldon.io/v1/seldondeployment_types.go: of its
# fields those that a server of one's own without an engine has a use for.
SELDON_DEPLOYMENT = _fields(
    "predictors",
    name=TEXT,
    protocol={"enum": ["seldon", "tensorflow", "kfserving", "v2"]},
    replicas=COUNT,
    annotations=TEXTS,
    predictors=_list(
        _fields(
            "name",
            "graph",
            name=TEXT,
            annotations=TEXTS,
            labels=TEXTS,
            replicas=COUNT,
            traffic={"type": "integer", "minimum": 0, "maximum": 100},
            shadow=FLAG,
            progressDeadlineSeconds=COUNT,
            graph=_fields(
                "name",
                name=TEXT,
                type={"enum": ["MODEL"]},
                parameters=_list(
                    _fields(
                        "name",
                        "type",
                        "value",
                        name=TEXT,
                        value=TEXT,
                        type={"enum": ["INT", "FLOAT", "DOUBLE", "STRING", "BOOL"]},
                    )
                ),
            ),
            componentSpecs=_list(
                _fields(
                    metadata=_fields(name=TEXT, annotations=TEXTS, labels=TEXTS),
                    spec=ELSEWHERE,
                    replicas=COUNT,
                    pdbSpec=_fields(minAvailable=ELSEWHERE, maxUnavailable=ELSEWHERE),
                    hpaSpec=_fields(
                        "maxReplicas",
                        minReplicas=COUNT,
                        maxReplicas=COUNT,
                        metricsv2=_list(ELSEWHERE),
                    ),
                )
            ),
        )
    ),
)


def _trigger(kind: str, metadata: Object, **known: Any) -> Object:
    return _fields("type", "metadata", type={"const": kind}, metadata=metadata, name=TEXT, **known)


# KEDA 2.20, config/crd/bases/keda.sh_scaledobjects.yaml, and of the two scalers their metadata in
# pkg/scalers/cpu_memory_scaler.go and pkg/scalers/prometheus_scaler.go.
SCALED_OBJECT = _fields(
    "scaleTargetRef",
    "triggers",
    scaleTargetRef=_fields("name", apiVersion=TEXT, kind=TEXT, name=TEXT),
    pollingInterval=COUNT,
    cooldownPeriod=COUNT,
    minReplicaCount=COUNT,
    maxReplicaCount=COUNT,
    fallback=_fields(
        "failureThreshold", "replicas", failureThreshold=COUNT, replicas=COUNT, behavior=TEXT
    ),
    advanced=_fields(
        restoreToOriginalReplicaCount=FLAG,
        horizontalPodAutoscalerConfig=_fields(name=TEXT, behavior=ELSEWHERE),
    ),
    triggers=_list(
        {
            "oneOf": [
                _trigger("cpu", _fields("value", value=TEXT), metricType={"enum": ["Utilization"]}),
                _trigger(
                    "prometheus",
                    _fields(
                        "serverAddress",
                        "query",
                        "threshold",
                        serverAddress=TEXT,
                        query=TEXT,
                        threshold=TEXT,
                        activationThreshold=TEXT,
                        ignoreNullValues=TEXT,
                    ),
                    metricType={"enum": ["AverageValue", "Value"]},
                    useCachedMetrics=FLAG,
                ),
            ]
        }
    ),
)

# Kubeflow 26.03.1, kubeflow.org_notebooks.yaml: the template has no metadata.
NOTEBOOK = _fields("template", template=_fields("spec", spec=ELSEWHERE))

# Kubeflow 26.03.1, poddefaults-webhooks/base/crd.yaml.
POD_DEFAULT = _fields(
    "selector",
    selector=_fields(matchLabels=TEXTS),
    desc=TEXT,
    env=_list(ELSEWHERE),
    envFrom=_list(ELSEWHERE),
    volumes=_list(ELSEWHERE),
    volumeMounts=_list(ELSEWHERE),
    annotations=TEXTS,
    labels=TEXTS,
    automountServiceAccountToken=FLAG,
    serviceAccountName=TEXT,
)

DURATION = {
    "type": "string",
    "pattern": r"^(0|(\d+y)?(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?)$",
}

# Prometheus operator 0.92, monitoring.coreos.com_podmonitors.yaml and _prometheusrules.yaml: of the
# fields those that a scrape inside a cluster has a use for.
POD_MONITOR = _fields(
    "selector",
    "podMetricsEndpoints",
    jobLabel=TEXT,
    podTargetLabels=_list(TEXT),
    selector=_fields(matchLabels=TEXTS),
    namespaceSelector=_fields(any=FLAG, matchNames=_list(TEXT)),
    podMetricsEndpoints=_list(
        _fields(
            port=TEXT,
            path=TEXT,
            scheme={"enum": ["http", "https", "HTTP", "HTTPS"]},
            interval=DURATION,
            scrapeTimeout=DURATION,
            honorLabels=FLAG,
        )
    ),
)
PROMETHEUS_RULE = _fields(
    groups=_list(
        _fields(
            "name",
            name=TEXT,
            interval=DURATION,
            limit=COUNT,
            labels=TEXTS,
            rules=_list(
                _fields(
                    "expr",
                    record=TEXT,
                    alert=TEXT,
                    expr=TEXT,
                    **{"for": DURATION},
                    keep_firing_for=DURATION,
                    labels=TEXTS,
                    annotations=TEXTS,
                )
            ),
        )
    )
)

# F5 NGINX Ingress Controller 5.5.4, k8s.nginx.org_virtualservers.yaml and _policies.yaml: of the
# fields those that we use, with the bounds that the controller's own validation has.
HEADERS = _list(_fields("name", "value", name=TEXT, value=TEXT))
POLICIES = _list(_fields("name", name=TEXT, namespace=TEXT))
NGINX_TIME = {"type": "string", "pattern": r"^\d+(ms|s|m|h|d)?$"}
NGINX_SIZE = {"type": "string", "pattern": r"^\d+[kKmM]?$"}
VIRTUAL_SERVER = _fields(
    "host",
    "upstreams",
    "routes",
    ingressClassName=TEXT,
    host=TEXT,
    tls=_fields(
        "secret",
        secret=TEXT,
        redirect=_fields(
            enable=FLAG,
            code={"enum": [301, 302, 307, 308]},
            basedOn={"enum": ["scheme", "x-forwarded-proto"]},
        ),
    ),
    policies=POLICIES,
    upstreams=_list(
        _fields(
            "name",
            "service",
            "port",
            name=TEXT,
            service=TEXT,
            port=COUNT,
            **{
                "client-max-body-size": NGINX_SIZE,
                "connect-timeout": NGINX_TIME,
                "read-timeout": NGINX_TIME,
                "send-timeout": NGINX_TIME,
                "next-upstream": TEXT,
                "next-upstream-tries": COUNT,
                "lb-method": TEXT,
            },
            keepalive=COUNT,
            buffering=FLAG,
        )
    ),
    routes=_list(
        _fields(
            "path",
            "action",
            path=TEXT,
            policies=POLICIES,
            errorPages=_list(
                _fields(
                    "codes",
                    "return",
                    codes=_list({"type": "integer", "minimum": 400, "maximum": 599}),
                    **{"return": _fields("body", body=TEXT, code=COUNT, type=TEXT)},
                )
            ),
            action=_fields(
                **{"pass": TEXT},
                proxy=_fields(
                    "upstream",
                    upstream=TEXT,
                    requestHeaders=_fields(**{"pass": FLAG}, set=HEADERS),
                ),
            ),
        )
    ),
)
RATE_LIMIT = _fields(
    "key",
    "rate",
    "zoneSize",
    key={"enum": ["${binary_remote_addr}"]},
    rate={"type": "string", "pattern": r"^[1-9]\d*r/[sSmM]$"},
    burst=COUNT,
    delay=COUNT,
    noDelay=FLAG,
    zoneSize=NGINX_SIZE,
    rejectCode={"type": "integer", "minimum": 400, "maximum": 599},
    logLevel={"enum": ["info", "notice", "warn", "error"]},
    dryRun=FLAG,
    scale=FLAG,
)
NETWORKS = {**_list(TEXT), "minItems": 1}
WAF = _fields(
    "enable",
    enable=FLAG,
    apBundle=TEXT,
    securityLogs=_list(_fields(enable=FLAG, apLogBundle=TEXT, logDest=TEXT)),
)
JWT = _fields("realm", "jwksURI", "keyCache", realm=TEXT, jwksURI=TEXT, keyCache=NGINX_TIME)
OIDC = _fields(
    *("clientID", "authEndpoint", "tokenEndpoint", "jwksURI", "pkceEnable"),
    clientID=TEXT,
    authEndpoint=TEXT,
    tokenEndpoint=TEXT,
    jwksURI=TEXT,
    scope=TEXT,
    pkceEnable={"const": True},  # else it needs a secret
)
POLICY = {
    "oneOf": [
        _fields(kind, ingressClassName=TEXT, **{kind: of})
        for kind, of in {
            "rateLimit": RATE_LIMIT,
            "accessControl": {
                "oneOf": [_fields("allow", allow=NETWORKS), _fields("deny", deny=NETWORKS)]
            },
            "waf": WAF,
            "jwt": JWT,
            "oidc": OIDC,
        }.items()
    ]
}

# cert-manager 1.20.2, which Kubeflow 26.03.1 brings: deploy/crds.
ISSUER = _fields("selfSigned", selfSigned=_fields())
CERTIFICATE = _fields(
    "secretName",
    "issuerRef",
    secretName=TEXT,
    dnsNames={**_list(TEXT), "minItems": 1},
    usages=_list({"enum": ["digital signature", "key encipherment", "server auth"]}),
    renewBefore={"type": "string", "pattern": r"^\d+h$"},
    privateKey=_fields(
        algorithm={"enum": ["RSA", "ECDSA", "Ed25519"]},
        size=COUNT,
        rotationPolicy={"enum": ["Never", "Always"]},
    ),
    issuerRef=_fields("name", group=TEXT, kind={"enum": ["Issuer", "ClusterIssuer"]}, name=TEXT),
)


def _template(spec: Object) -> Object:
    return {"apiVersion": "v1", "kind": "PodTemplate", "template": {"spec": spec}}


def _of_seldon_deployment(one: Object) -> Iterator[tuple[str, Object]]:
    for predictor in one["spec"]["predictors"]:
        for component in predictor["componentSpecs"]:
            yield SELDONS_KUBERNETES, _template(component["spec"])
    for made in stand_alone(SeldonDeployment(one)):
        yield KUBERNETES, made


def _of_scaled_object(one: Object) -> Iterator[tuple[str, Object]]:
    """The autoscaler that KEDA makes of it, but for the metrics."""
    spec = one["spec"]
    config = spec.get("advanced", {}).get("horizontalPodAutoscalerConfig", {})
    made = {
        "scaleTargetRef": spec["scaleTargetRef"],
        "minReplicas": spec["minReplicaCount"],
        "maxReplicas": spec["maxReplicaCount"],
        **({"behavior": config["behavior"]} if "behavior" in config else {}),
    }
    kind = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler"}
    yield KUBERNETES, {**kind, "spec": made}


def _of_notebook(one: Object) -> Iterator[tuple[str, Object]]:
    yield KUBERNETES, _template(one["spec"]["template"]["spec"])


def _of_pod_default(one: Object) -> Iterator[tuple[str, Object]]:
    """A pod with what it adds."""
    spec = one["spec"]
    added = {key: spec[key] for key in ("env", "envFrom", "volumeMounts") if key in spec}
    container = {"name": "any", "image": "any", **added}
    yield KUBERNETES, _template({"containers": [container], "volumes": spec.get("volumes", [])})


def _of_nothing_else(_: Object) -> Iterator[tuple[str, Object]]:
    yield from ()


CUSTOM = {
    "SeldonDeployment": (
        "machinelearning.seldon.io/v1",
        SELDON_DEPLOYMENT,
        _of_seldon_deployment,
    ),
    "ScaledObject": ("keda.sh/v1alpha1", SCALED_OBJECT, _of_scaled_object),
    "Notebook": ("kubeflow.org/v1", NOTEBOOK, _of_notebook),
    "PodDefault": ("kubeflow.org/v1alpha1", POD_DEFAULT, _of_pod_default),
    "PodMonitor": ("monitoring.coreos.com/v1", POD_MONITOR, _of_nothing_else),
    "VirtualServer": ("k8s.nginx.org/v1", VIRTUAL_SERVER, _of_nothing_else),
    "Policy": ("k8s.nginx.org/v1", POLICY, _of_nothing_else),
    "Issuer": ("cert-manager.io/v1", ISSUER, _of_nothing_else),
    "Certificate": ("cert-manager.io/v1", CERTIFICATE, _of_nothing_else),
    "PrometheusRule": ("monitoring.coreos.com/v1", PROMETHEUS_RULE, _of_nothing_else),
}
