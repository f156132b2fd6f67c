"""`kfp.Client` with retries, timeouts and clear messages. Its import takes seconds."""

import contextlib
import io
import json
import time
import warnings
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

from kalecast.pipelines.kubeflow.connection import (
    KfpConnection,
    KfpError,
    NotFoundError,
    credentials,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import kfp_server_api
    import urllib3
    from kfp import Client

ANSWER_SECONDS = 30.0
"""Timeout of one response; without it, a dead connection would be waited for without end."""

RETRY_TIMEOUT_SECONDS = 600.0
"""How long a query is retried while KFP is away: restarted, or behind a laptop that sleeps."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 15.0
PASSING = (429, 500, 502, 503, 504)
"""Statuses that another try may heal."""

Response = TypeVar("Response")
Log = Callable[[str], None]
"""Is given a line."""


class RemoteKfp:
    """A Kubeflow Pipelines that has answered.

    Args:
        connection: where it is.
        environment: holds the secrets that the connection names.
        log: is given a line when KFP is away, and when it is back.

    Raises:
        KfpError: it has several users, and the connection names no namespace.
    """

    def __init__(
        self, connection: KfpConnection, environment: Mapping[str, str], log: Log = print
    ) -> None:
        self.connection = connection
        self._environment = environment
        self._log = log
        self.client = self._connect()
        self.multi_user = bool(self.query(_health).multi_user)
        if self.multi_user and not self.connection.namespace:
            raise KfpError(
                f"KFP at {self.host} has several users: set KFP_NAMESPACE to your profile's."
            )

    @property
    def host(self) -> str:
        """Its address, without a slash at the end."""
        return str(self.connection.host)

    @property
    def namespace(self) -> str | None:
        """The profile's namespace; None where KFP has one user."""
        return self.connection.namespace if self.multi_user else None

    def run_link(self, run_id: str) -> str:
        """The page of a run."""
        return f"{self.host}/#/runs/details/{run_id}"

    def headers(self) -> dict[str, str]:
        """The caller's credentials as they are now: a token in a file is renewed during a run."""
        return credentials(self.connection, self._environment)

    def query(self, request: Callable[[Client], Response]) -> Response:
        """Send a request that may be sent twice; retries while KFP is away.

        Raises:
            KfpError: it refuses, or is down for too long.
        """
        deadline = time.monotonic() + RETRY_TIMEOUT_SECONDS
        pause, is_away, was_renewed = FIRST_PAUSE, False, False
        while True:
            try:
                answer = self._once(request)
            except _UnavailableError as away:
                if time.monotonic() > deadline:
                    raise KfpError(f"KFP at {self.host} is down for too long ({away}).") from away
                if not is_away:
                    self._log(f"KFP does not answer ({away}), trying again ...")
                is_away = True
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            except _NotAuthenticatedError:
                if was_renewed:
                    raise
                was_renewed = True  # the secret's file may hold a newer one by now
                self._renew()
            else:
                if is_away:
                    self._log("KFP answers again")
                return answer

    def do(self, action: Callable[[Client], Response]) -> Response:
        """Do once what must not be done twice.

        Raises:
            KfpError: KFP refuses, or does not answer.
        """
        try:
            return self._once(action)
        except _UnavailableError as away:
            raise KfpError(f"KFP at {self.host} does not answer ({away}).") from away

    def _once(self, action: Callable[[Client], Response]) -> Response:
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # the client's links, said otherwise
                return action(self.client)
        except kfp_server_api.ApiException as error:
            raise _kfp_error(self.host, error) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _UnavailableError(_reason(error)) from error
        except ValueError as error:  # an answer that is no JSON: a login page, most often
            raise KfpError(f"KFP at {self.host} returned an invalid response: {error}") from error

    def _connect(self) -> Client:
        headers = self.headers()
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            client = Client(
                host=self.host,
                existing_token=headers.get("Authorization", "").removeprefix("Bearer ") or None,
                cookies=headers.get("Cookie"),
                namespace=self.connection.namespace or "kubeflow",
                ssl_ca_cert=self.connection.ssl_ca_cert,
            )
        _guard(client, self.host)
        return client

    def _renew(self) -> None:
        with contextlib.suppress(OSError):
            self.client = self._connect()


class _UnavailableError(KfpError):
    """No answer."""


class _NotAuthenticatedError(KfpError):
    """KFP does not accept the credentials, or no longer does."""


def _health(client: Client) -> Any:
    """What KFP says of itself; the client's own method for it retries without a word."""
    return client._healthz_api.healthz_service_get_healthz()


def _guard(client: Client, host: str) -> None:
    """Have the client wait for no answer without end, retry nothing, and know a login page."""
    rest = client._run_api.api_client.rest_client  # which all of its APIs share
    unguarded = rest.request

    def request(*arguments: Any, **options: Any) -> Any:
        options["_request_timeout"] = options.get("_request_timeout") or ANSWER_SECONDS
        answer = unguarded(*arguments, **options)
        if "html" in (answer.getheader("Content-Type") or ""):
            raise _login_page(host)
        return answer

    rest.request = request
    rest.pool_manager.connection_pool_kw["retries"] = False  # `query` has and logs its own


def _login_page(host: str) -> "_NotAuthenticatedError":
    return _NotAuthenticatedError(f"KFP at {host} shows a login page: is the session still valid?")


def _kfp_error(host: str, error: kfp_server_api.ApiException) -> KfpError:
    status, message = error.status or 0, _message(error.body) or str(error.reason)
    if status == HTTPStatus.UNAUTHORIZED:
        return _NotAuthenticatedError(
            f"KFP at {host} no longer accepts the credentials (HTTP 401): {message}"
        )
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return _login_page(host)
    if status == HTTPStatus.FORBIDDEN:
        return KfpError(f"KFP at {host} does not allow it (HTTP 403): {message}")
    if status in PASSING:
        return _UnavailableError(f"HTTP {status}: {message}")
    kind = NotFoundError if status == HTTPStatus.NOT_FOUND else KfpError
    return kind(f"KFP at {host} refuses (HTTP {status}): {message}")


def _message(body: Any) -> str:
    """The words for people in the JSON with which KFP refuses."""
    try:
        answer = json.loads(body)
        return " ".join(str(answer.get("message") or answer.get("error_message") or "").split())
    except (TypeError, ValueError, AttributeError):
        return ""


def _reason(error: Exception) -> str:
    """The innermost cause, in a few words."""
    inner = getattr(error, "reason", None)
    text = str(inner if isinstance(inner, Exception) else error)
    return text.rpartition(">: ")[2].rpartition("): ")[2] or type(error).__name__
