"""The base of every handler, which allows only the user's own requests.

Starting a run means running any code as the user. So a request must carry the secret that
`lab.jupyter` made (other users of the machine reach loopback too), must name this server as its
host (a name that resolves to loopback would not), and must not come from another site's page.

A browser sends cookies to every port of a host, to those of other users as well. So the cookie is
not the secret but follows from it, and opens what is only read: the page, its JSON, the reports.
A request that changes something needs the secret in a header. The page's script has it from the
link, and keeps it where pages of this port alone can read it.
"""

import hmac
from http import HTTPStatus
from typing import Any

import tornado.web

from kalecast.pipelines.lab.local_kfp.api_errors import ApiError, error_body
from kalecast.pipelines.local.run_folder import full_disk, is_full_disk

OPEN_BY_LINK = "Open the page by the link that `make lab` printed."
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
OWN_SITES = ("same-origin", "none")


class Guarded(tornado.web.RequestHandler):
    """A handler that only the user's own programs and pages reach."""

    content_policy = CONTENT_POLICY

    def initialize(self, **options: Any) -> None:
        """Take what the application holds: the secret `token` and the `port`, for all handlers."""
        token, port = options["token"], options["port"]
        self._token: str = token
        self._hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        self._cookie = f"kalecast-runs-{port}"  # cookies know no ports
        self._pass = hmac.digest(token.encode(), b"reading", "sha256").hex()

    def set_default_headers(self) -> None:
        """Headers of every answer."""
        self.clear_header("Server")
        self.set_header("Content-Security-Policy", self.content_policy)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        self.set_header("Cache-Control", "no-store")

    def prepare(self) -> None:
        """Refuse what does not come from the user."""
        headers = self.request.headers
        if headers.get("Host", "").lower() not in self._hosts:
            raise ApiError(403, "Expected a request to this server by its own name.")
        origin = headers.get("Origin")
        if origin is not None and origin.lower() not in [f"http://{host}" for host in self._hosts]:
            raise ApiError(403, "Expected a request from this server's own page.")
        if self.request.method != "GET" and headers.get("Sec-Fetch-Site", "none") not in OWN_SITES:
            raise ApiError(403, "Expected a request from this server's own page.")
        self._check_secret()

    def remember(self) -> None:
        """Let the browser read what is here until the next start."""
        self.set_cookie(self._cookie, self._pass, httponly=True, samesite="Strict")

    def may_change(self) -> bool:
        """Whether the request carries the secret in its header."""
        scheme, _, bearer = self.request.headers.get("Authorization", "").partition(" ")
        return scheme == "Bearer" and _equal(bearer, self._token)

    def may_read(self) -> bool:
        """Whether it carries the cookie, or the secret in its header or its address."""
        return (
            _equal(self.get_cookie(self._cookie) or "", self._pass)
            or _equal(self.get_query_argument("token", ""), self._token)
            or self.may_change()
        )

    def _check_secret(self) -> None:
        if not self.may_change():
            raise ApiError(401, OPEN_BY_LINK)

    def answer(self, content: dict[str, Any]) -> None:
        """Answer with JSON."""
        self.finish(content)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say in JSON, as KFP does, what is wrong."""
        error = kwargs.get("exc_info", (None, None))[1]
        if error_response := _api_error_of(error):
            self.set_status(error_response.status)
            self.finish(error_body(error_response.status, error_response.message))
            return
        self.finish(error_body(status_code, HTTPStatus(status_code).phrase))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Refusals are no news; anything else is."""
        if not _api_error_of(value):
            super().log_exception(typ, value, tb)


class Readable(Guarded):
    """A handler that changes nothing, and so is content with the cookie."""

    def _check_secret(self) -> None:
        if not self.may_read():
            raise ApiError(401, OPEN_BY_LINK)


class Nothing(Guarded):
    """Every path that is not served."""

    def prepare(self) -> None:
        """Answer 404 to authorised callers."""
        super().prepare()
        raise ApiError(
            404, f"The stand-in for KFP has no {self.request.method} {self.request.path}."
        )


def _api_error_of(error: Any) -> ApiError | None:
    """The error to respond with; None where it is an unexpected one."""
    if is_full_disk(error):
        return ApiError(507, full_disk(error))
    return error if isinstance(error, ApiError) else None


def _equal(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())
