"""The part of every answer that keeps strangers out.

Who may start a run can run any code as the user. So a request must carry the secret that
`kale/lab.py` made (other users of the machine reach loopback too), must name this server as its
host (a name that resolves to loopback would not), and must not come from another site's page.
"""

import hmac
from http import HTTPStatus
from typing import Any

import tornado.web

from local_kfp.refusals import Refusal, refusal_body

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
OWN_SITES = ("same-origin", "none")
COOKIE_DAYS = 7


class Guarded(tornado.web.RequestHandler):
    """A handler that only the user's own programs and pages reach."""

    content_policy = CONTENT_POLICY

    def initialize(self, token: str, port: int, **_: Any) -> None:
        """Take the secret and the port from the application."""
        self._token = token
        self._hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        self._cookie = f"kalecast-runs-{port}"  # cookies know no ports

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
            raise Refusal(403, "Expected a request to this server by its own name.")
        origin = headers.get("Origin")
        if origin is not None and origin.lower() not in [f"http://{host}" for host in self._hosts]:
            raise Refusal(403, "Expected a request from this server's own page.")
        if self.request.method != "GET" and headers.get("Sec-Fetch-Site", "none") not in OWN_SITES:
            raise Refusal(403, "Expected a request from this server's own page.")
        self._check_secret()

    def remember(self) -> None:
        """Let the browser carry the secret from now on."""
        self.set_cookie(
            self._cookie,
            self._token,
            expires_days=COOKIE_DAYS,
            httponly=True,
            samesite="Lax",
        )

    def is_known(self) -> bool:
        """Whether the request carries the secret in one of the three ways."""
        scheme, _, bearer = self.request.headers.get("Authorization", "").partition(" ")
        given = (
            bearer if scheme == "Bearer" else "",
            self.get_cookie(self._cookie) or "",
            self.get_query_argument("token", ""),
        )
        return any(hmac.compare_digest(text.encode(), self._token.encode()) for text in given)

    def _check_secret(self) -> None:
        if not self.is_known():
            raise Refusal(401, "Open the page by the link that `make lab` printed.")

    def answer(self, content: dict[str, Any]) -> None:
        """Answer with JSON."""
        self.finish(content)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say in JSON, as KFP does, what is wrong."""
        error = kwargs.get("exc_info", (None, None))[1]
        if isinstance(error, Refusal):
            self.set_status(error.status)
            self.finish(refusal_body(error.status, error.message))
            return
        self.finish(refusal_body(status_code, HTTPStatus(status_code).phrase))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Refusals are no news; anything else is."""
        if not isinstance(value, Refusal):
            super().log_exception(typ, value, tb)


class Nothing(Guarded):
    """Every path that is not served."""

    def prepare(self) -> None:
        """Say so, to whoever may ask."""
        super().prepare()
        raise Refusal(
            404, f"The stand-in for KFP has no {self.request.method} {self.request.path}."
        )
