"""HTTP whose secrets stay with the host that they were meant for."""

import ssl
import urllib.request
from http.client import HTTPMessage
from typing import IO, override
from urllib.parse import urlsplit

SECRETS = ("Authorization", "Cookie")
PORTS = {"http": 80, "https": 443}


def opener(
    context: ssl.SSLContext | None = None, *, proxies: bool = True
) -> urllib.request.OpenerDirector:
    """An opener like that of `urllib` which sends credentials to no other host.

    Args:
        context: for addresses with https, in place of the library's own.
        proxies: whether to go through those that the environment names.
    """
    handlers: list[urllib.request.BaseHandler] = [
        _Redirects(),
        urllib.request.HTTPSHandler(context=context),
    ]
    if not proxies:
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects; `urllib` itself would send all headers wherever they lead."""

    @override
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """The request for the new address, without secrets where that is another host."""
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None and _host(newurl) != _host(req.full_url):
            for name in SECRETS:
                following.remove_header(name)
        return following


def _host(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or PORTS.get(parts.scheme)
