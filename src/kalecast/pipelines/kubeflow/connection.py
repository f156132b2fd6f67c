"""Which Kubeflow Pipelines the panel and the commands reach, and their credentials.

Read from the environment, with the variables that KFP's own client knows where it knows one:

    KFP_HOST        address of KFP's API, e.g. https://kubeflow.example.org/pipeline
                    (KF_PIPELINES_ENDPOINT in KFP's own words)
    KFP_NAMESPACE   the profile's namespace, where KFP has several users
    KFP_CA          file with the certificate authority of the address
    KF_PIPELINES_TOKEN, KF_PIPELINES_TOKEN_FILE        a bearer token, or the file that holds it
    KF_PIPELINES_COOKIES, KF_PIPELINES_COOKIES_FILE    a session's cookies (Dex), or their file
    KF_PIPELINES_SA_TOKEN_PATH                         a service account's token, mounted in a pod

Secrets stay where they are: what is written for Kale names the variable or file.
"""

import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kalecast.client.http import opener

SERVICE_ACCOUNT_TOKEN = "/var/run/secrets/kubeflow/pipelines/token"
IN_CLUSTER_HOST = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
ANSWER_SECONDS = 5.0


@dataclass(frozen=True)
class KfpConnection:
    """How to reach KFP, in the words of Kale's configuration file."""

    host: str | None = None
    auth_type: str = "none"
    auth_config: dict[str, str] = field(default_factory=dict)
    namespace: str | None = None
    ssl_ca_cert: str | None = None

    def write(self, file: Path) -> None:
        """Write Kale's configuration."""
        known = {name: value for name, value in asdict(self).items() if value}
        file.write_text(json.dumps(known, indent=2) + "\n")


def connection_of(environment: Mapping[str, str]) -> KfpConnection | None:
    """The connection that the environment sets; None where it names no KFP."""
    host = environment.get("KFP_HOST") or environment.get("KF_PIPELINES_ENDPOINT") or ""
    if not host and "NB_PREFIX" in environment:  # a Notebook Server of Kubeflow
        host = IN_CLUSTER_HOST
    if not host:
        return None
    auth_type, auth_config = _authentication(environment)
    host = host.rstrip("/")
    return KfpConnection(
        host if "://" in host else f"https://{host}",
        auth_type,
        auth_config,
        environment.get("KFP_NAMESPACE") or None,
        environment.get("KFP_CA") or None,
    )


def _authentication(environment: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    for auth_type, variable in (
        ("existing_bearer_token", "KF_PIPELINES_TOKEN"),
        ("dex", "KF_PIPELINES_COOKIES"),
    ):
        if environment.get(variable):
            return auth_type, {"env_var": variable}
        if environment.get(f"{variable}_FILE"):
            return auth_type, {"file_path": environment[f"{variable}_FILE"]}
    token = environment.get("KF_PIPELINES_SA_TOKEN_PATH", SERVICE_ACCOUNT_TOKEN)
    if Path(token).is_file():
        return "kubernetes_service_account_token", {"token_path": token}
    return "none", {}


class KfpError(RuntimeError):
    """KFP cannot do what was requested; the message is for the user."""


class NotFoundError(KfpError):
    """KFP has nothing of that name."""


def usable_connection(environment: Mapping[str, str]) -> KfpConnection:
    """The connection that the environment sets, if KFP answers.

    Raises:
        KfpError: the environment names no KFP, or it cannot be used.
    """
    connection = connection_of(environment)
    if connection is None:
        raise KfpError(
            "Expected the address of Kubeflow Pipelines in KFP_HOST, such as "
            "KFP_HOST=https://kubeflow.example.org/pipeline: it is not set."
        )
    problem = problem_with(connection, environment)
    if problem:
        raise KfpError(problem)
    return connection


def problem_with(connection: KfpConnection, environment: Mapping[str, str]) -> str | None:
    """Why a click on *Run* would not work, in one sentence; None if KFP answers."""
    try:
        headers = credentials(connection, environment)
        context = ssl.create_default_context(cafile=connection.ssl_ca_cert)
    except OSError as error:
        return f"Expected the secret and certificates for KFP in files that can be read: {error}."
    try:
        _get_json(f"{connection.host}/apis/v2beta1/healthz", headers, context)
    except urllib.error.HTTPError as error:
        return f"KFP at {connection.host} refuses (HTTP {error.code}): {_advice(connection)}"
    except json.JSONDecodeError:
        return f"KFP at {connection.host} shows a login page: {_advice(connection)}"
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        return f"Expected KFP at {connection.host}, which does not answer ({reason})."
    except ValueError:  # its text may hold the secret
        return f"Expected the address of KFP and a secret of one line, received: {connection.host}."
    return None


def _get_json(address: str, headers: dict[str, str], context: ssl.SSLContext) -> None:
    request = urllib.request.Request(address, headers=headers)
    without_proxy = opener(context, proxies=False)  # KFP's client knows of none
    with without_proxy.open(request, timeout=ANSWER_SECONDS) as answer:
        json.load(answer)


def credentials(connection: KfpConnection, environment: Mapping[str, str]) -> dict[str, str]:
    """The header with the secret that the connection names.

    Raises:
        OSError: its file cannot be read.
    """
    config = connection.auth_config
    if "env_var" in config:
        secret = environment[config["env_var"]]
    elif config:
        secret = Path(next(iter(config.values()))).read_text()
    else:
        return {}
    if connection.auth_type == "dex":
        return {"Cookie": secret.strip()}
    return {"Authorization": f"Bearer {secret.strip()}"}


def _advice(connection: KfpConnection) -> str:
    if connection.auth_type == "none":
        return "set KF_PIPELINES_TOKEN or KF_PIPELINES_COOKIES, or a file for either."
    return f"is the secret of {connection.auth_type} still valid?"


def by_name(name: str) -> str:
    """KFP's filter for one display name."""
    equal = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
    return json.dumps({"predicates": [equal]})
