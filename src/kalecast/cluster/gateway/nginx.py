"""The gateway's configuration: the files in `gateway/`, filled in for a place where it stands.

One set of rules for every place: this machine (`kalecast protect`) and the cluster (`manifests`)
differ in addresses, folders and certificates alone.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path

from kalecast.project import PROJECT

SOURCE = PROJECT / "cluster-setup" / "6-protection" / "gateway"

# Where Debian's packages put what the gateway is made of.
MODULES = "/usr/lib/nginx/modules"
CRS_RULES = "/usr/share/modsecurity-crs/rules"
CRS_SETUP = "/etc/modsecurity/crs/crs-setup.conf"
UNICODE_MAP = "/usr/share/nginx/docs/modsecurity/unicode.mapping"

SPARE_FILES = 128
"""Of those that a worker may open: logs, listeners, parts of uploads."""

FOLDERS = ("bodies", "answers", "unused", "files", "rules")
"""What the gateway writes into, below its folder; `rules` it reads."""

REFUSALS = {
    400: "This request does not have the form that the forecast page expects: a history is "
    "numbers separated by commas or spaces, a start is a time such as 2026-01-31 13:00.",
    401: "Please sign in: open the forecast page anew.",
    403: "This request looks like an attack and was not passed on. If it was none, please tell "
    "those who run this service its number: $refusal_number.",
    404: "There is no such address here.",
    405: "This address does not take requests of this kind.",
    408: "The request did not come in time.",
    413: "This is more than the forecast page takes at once: 20 MB in a file, 512 KB in a request "
    "to /api/forecast, 64 KB of pasted text that is more than names, times and numbers.",
    414: "This address is too long.",
    421: "This service is known by another name.",
    429: "You are asking faster than this service answers one client. Please wait a moment.",
    431: "The headers of this request are too large.",
    500: "Something went wrong here. Please try again in a moment.",
    503: "The forecast page does not answer at the moment. Please try again in a few seconds.",
}
"""What customers read when they are refused; the same sentence as JSON and as a page."""

SAME_AS = {494: 431, 495: 400, 496: 400, 497: 400, 501: 405, 502: 503, 504: 503, 505: 400}
"""Codes that nginx has of its own, and what is said instead."""

SIGN_IN = tuple(f"sign-in{part}.conf" for part in ("", "-maps", "-addresses", "-passed-on"))
"""Files that say nothing where there is no sign-in."""

EDGE = "edge.conf"
"""The file that says nothing where another proxy stands before the gateway."""
SOCKETS = FRONT_SOCKET, PLAIN_SOCKET = "front.sock", "plain.sock"
"""Where the edge hands on what came in, with TLS and without."""
LONGEST_SOCKET = 107
"""Characters in the path of a socket, on Linux."""

FORWARDED = (
    *("Forwarded-For", "Forwarded-Proto", "Forwarded-Host"),
    *("Request-Id", "Auth-Request-User"),
)
"""What only the gateway may say of a customer, in headers that begin with `X-`."""

PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Kalecast</title>'
    "<style>body{font:18px/1.5 system-ui,sans-serif;max-width:36em;margin:15vh auto;"
    "padding:0 1em;color:#0f172a}</style><h1>Kalecast</h1><p>SENTENCE</p></html>"
)

ENGINES = ("On", "DetectionOnly")

PLACEHOLDER = re.compile(r"@([a-z_]+)@")


class GatewayError(ValueError):
    """The gateway cannot be set up like this; the text says why."""


@dataclass(frozen=True)
class Limits:
    """How many requests one client may send, a second, and how much more for a moment.

    One client is an address; 5,000 customers at once are 5,000 of them. A page opens with about
    90 requests, nearly all of them for its own files.
    """

    all_rate: int = 200
    all_burst: int = 600
    forecast_rate: int = 20
    """Of `/api/`, without a key."""
    forecast_burst: int = 100
    key_rate: int = 100
    """Of `/api/`, with a customer's key, wherever it is used, where the page requires keys."""
    key_burst: int = 400
    event_rate: int = 5
    """Forecasts on the page."""
    event_burst: int = 30
    upload_rate: int = 12
    """A minute: the largest file takes the page a second."""
    upload_burst: int = 10
    document_rate: int = 5
    document_burst: int = 30
    looked_at_rate: int = 10
    """Of what the positive list leaves open, for signatures to look at."""
    looked_at_burst: int = 200
    """Of those, how many wait for their turn."""
    looked_at_connections: int = 8
    """Of those, how many are looked at at the same time."""
    large_rate: int = 2
    """Of bodies of 100 KB and more."""
    large_burst: int = 20
    large_connections: int = 4
    """Of those, how many of one client are in progress at the same time."""
    large_held: int = 192
    """Of those, how many of all clients together: they wait on the disk until they are whole."""
    open_connections: int = 100
    """Requests in progress at the same time."""
    connections_of_one: int = 400
    """Open, whatever they do, where the gateway is the edge: an office behind one address."""
    send_rate: int = 8000
    """KB a second over one connection, where the gateway is the edge: a 20 MB file in 2.5 s."""
    uploads_of_one: int = 3
    """In progress at the same time."""
    uploads_held: int = 64
    """Of all clients together, on the disk until they are whole."""
    uploads_at_once: int = 8
    """Whole ones, of all clients together: each is held in memory several times."""
    head_seconds: int = 10
    """Within which a handshake, and a request's head, must come whole."""
    body_seconds: int = 10
    """Within which the next part of a body must come."""
    read_seconds: int = 15
    """Within which a client must read the next part of an answer."""


@dataclass(frozen=True)
class Gateway:
    """A place where the gateway stands."""

    folder: str
    """For its files; where it runs, not where it is written."""
    pages: tuple[str, ...] = ("127.0.0.1:7860",)
    """The forecast page's replicas, as `host:port`."""
    names: tuple[str, ...] = ("localhost",)
    """The names by which customers call it; any other is refused."""
    host: str = "127.0.0.1"
    port: int = 8443
    plain_port: int = 0
    """Where unencrypted requests are sent on to `port`; 0 for nowhere."""
    public_port: int = 0
    """What customers type after the name; 0 for `port`, or behind a proxy for none."""
    operators: str = "127.0.0.1:8444"
    signatures_port: int = 8445
    list_port: int = 8446
    certificate: str = ""
    """PEM file of the certificate and those it needs; without one, TLS ends before the gateway."""
    certificate_key: str = ""
    trusted: tuple[str, ...] = ()
    """Networks of the proxies before the gateway, whose X-Forwarded-For counts."""
    keys: bool = False
    """Whether the page requires keys of programs: only then do they have limits of their own."""
    sign_in: str = ""
    """oauth2-proxy's `host:port`; without one the page needs no account."""
    paranoia: int = 1
    executing_paranoia: int = 1
    engine: str = "On"
    """Whether rules refuse; `DetectionOnly` only logs what they match, for a first look."""
    page_requests: int = 10_000
    """After which a connection to the page is opened anew, maybe to a newer replica of it."""
    limits: Limits = field(default_factory=Limits)
    workers: str = "auto"
    open_files: int = 65536
    error_log: str = "stderr"
    error_level: str = "error"
    access_log: str = "/dev/stdout"

    def __post_init__(self) -> None:
        if not self.pages or not self.names:
            raise GatewayError("Expected at least one page and one name.")
        for name in self.names:
            if not re.fullmatch(r"[A-Za-z0-9.-]+", name):
                raise GatewayError(
                    f"Expected a host's name such as app.example.org, received: {name!r}"
                )
        if not 1 <= self.paranoia <= self.executing_paranoia <= 4:
            raise GatewayError(
                "Expected paranoia levels from 1 to 4, the executing one not below the other, "
                f"received: {self.paranoia} and {self.executing_paranoia}"
            )

        if self.is_edge and len(f"{self.folder}/{PLAIN_SOCKET}") > LONGEST_SOCKET:
            raise GatewayError(
                "Expected a folder with a shorter path, as the name of a socket in it has at most "
                f"{LONGEST_SOCKET} characters, received: {self.folder}"
            )
        if self.engine not in ENGINES:
            raise GatewayError(
                f"Expected the engine as one of {ENGINES}, received: {self.engine!r}"
            )

    @property
    def is_edge(self) -> bool:
        """Whether strangers connect to the gateway, and not to a proxy before it."""
        return bool(self.certificate) and not self.trusted

    @property
    def scheme(self) -> str:
        """What customers type before the name."""
        return "https" if self.certificate or self.trusted else "http"

    @property
    def after_name(self) -> str:
        """The port in the address that customers type, with its colon; empty for the scheme's."""
        usual = 443 if self.scheme == "https" else 80
        port = self.public_port or (usual if self.trusted else self.port)
        return "" if port == usual else f":{port}"


def files(gateway: Gateway) -> dict[str, str]:
    """The gateway's files, by their names below its folder."""
    values = _values(gateway)
    texts = {
        str(path.relative_to(SOURCE)): path.read_text() for path in sorted(SOURCE.rglob("*.conf"))
    }
    if not gateway.sign_in:
        texts.update(dict.fromkeys(SIGN_IN, "# No sign-in here.\n"))
    if not gateway.is_edge:
        texts[EDGE] = "# Another proxy is the edge.\n"
    texts["refusal-codes.conf"], texts["refusals.conf"] = _refusal_codes(), _refusals()
    texts["refusal-bodies.conf"] = _refusal_bodies()
    return {name: _filled(name, text, values) for name, text in texts.items()}


def write(gateway: Gateway, folder: Path) -> Path:
    """Write the gateway's files into a folder of this machine; returns nginx's own file."""
    for name in FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    # A gateway that was killed left it, and the next could not listen.
    for name in SOCKETS:
        (folder / name).unlink(missing_ok=True)
    for name, text in files(gateway).items():
        (folder / name).write_text(text)
    return folder / "nginx.conf"


def _values(gateway: Gateway) -> dict[str, str]:
    plain = {
        name: str(value) for name, value in asdict(gateway).items() if isinstance(value, str | int)
    }
    limits = {name: str(value) for name, value in asdict(gateway.limits).items()}
    return {
        **plain,
        **limits,
        "names": " ".join(gateway.names),
        "scheme": gateway.scheme,
        "after_name": gateway.after_name,
        "key": "$http_authorization" if gateway.keys else '""',
        "page_servers": "\n".join(f"        server {page} max_fails=0;" for page in gateway.pages),
        "connections": str(gateway.open_files - SPARE_FILES),
        "front_listen": _listen(gateway, ""),
        "default_listen": _listen(gateway, " default_server"),
        "redirect_server": _redirect(gateway),
        "strict_transport": _strict_transport(gateway),
        "operators_listen": gateway.operators,
        "sign_in_server": gateway.sign_in,
        "spellings": "\n".join(f'proxy_set_header {name} "";' for name in _spellings()),
        "modules": MODULES,
        "crs_rules": CRS_RULES,
        "crs_setup": CRS_SETUP,
        "unicode_map": UNICODE_MAP,
        "plain_listen": f"\n        listen {gateway.host}:{gateway.plain_port};"
        * bool(gateway.plain_port),
    }


def _listen(gateway: Gateway, options: str) -> str:
    at = _at(gateway, FRONT_SOCKET, gateway.port)
    # What concerns the socket is said once, where the default server listens.
    if options:
        at += f"{options}{'' if gateway.is_edge else ' reuseport'} backlog=16384"
    if not gateway.certificate:
        return f"    listen {at};" + _real_address(gateway)
    return (
        f"    listen {at} ssl http2;\n"
        f"    ssl_certificate {gateway.certificate};\n"
        f"    ssl_certificate_key {gateway.certificate_key};\n"
        "    include tls.conf;" + _real_address(gateway)
    )


def _at(gateway: Gateway, socket: str, port: int) -> str:
    if gateway.is_edge:
        return f"unix:{gateway.folder}/{socket} proxy_protocol"
    return f"{gateway.host}:{port}"


def _real_address(gateway: Gateway) -> str:
    if gateway.is_edge:
        return "\n    set_real_ip_from unix:;\n    real_ip_header proxy_protocol;"
    if not gateway.trusted:
        return ""
    networks = "".join(f"\n    set_real_ip_from {network};" for network in gateway.trusted)
    return f"{networks}\n    real_ip_header X-Forwarded-For;\n    real_ip_recursive on;"


def _redirect(gateway: Gateway) -> str:
    if not gateway.plain_port:
        return ""
    at = _at(gateway, PLAIN_SOCKET, gateway.plain_port)
    return (
        "server {\n"
        f"    listen {at} default_server;\n"
        "    include refusals.conf;\n"
        "    location / {\n"
        "        return 421;\n"
        "    }\n"
        "}\n\n"
        "server {\n"
        f"    listen {at};{_real_address(gateway)}\n"
        f"    server_name {' '.join(gateway.names)};\n"
        "    include refusals.conf;\n"
        "    location / {\n"
        "        if ($request_method !~ ^(?:GET|HEAD)$) { return 405; }\n"
        f"        return 308 https://$host{gateway.after_name}$request_uri;\n"
        "    }\n"
        "}"
    )


def _strict_transport(gateway: Gateway) -> str:
    if gateway.scheme != "https":
        return ""
    return 'add_header Strict-Transport-Security "max-age=63072000" always;'


def _spellings() -> Iterator[str]:
    """The names of `FORWARDED` with _ in place of some or all of their -."""
    for words in (("X", *name.split("-")) for name in FORWARDED):
        for joints in product("-_", repeat=len(words) - 1):
            if "_" in joints:
                yield "".join(map(str.__add__, words, (*joints, "")))


def _refusal_codes() -> str:
    """Which address answers each refusal; the page's own answers pass as they are."""
    lines = ["# What refuses, and where it is said. The page's own answers pass as they are."]
    for code in sorted({*REFUSALS, *SAME_AS}):
        said = SAME_AS.get(code, code)
        lines.append(f"error_page {code} ={said} /refused/{said}/$refusal_form;")
    return "\n".join(lines) + "\n"


def _refusals() -> str:
    """What answers each refusal, of nginx or of ModSecurity, in one form."""
    # Whatever was refused may have been larger than such an address takes.
    locations = (
        f"location = /refused/{code}/{form} {{\n"
        "    internal;\n"
        "    modsecurity off;\n"
        "    client_max_body_size 0;\n"
        f'    default_type "{kind}";\n'
        f"    return {code} $refused_{code}_{form};\n"
        "}\n"
        for code in sorted(REFUSALS)
        for form, kind in (("json", "application/json"), ("page", "text/html; charset=utf-8"))
    )
    return "include refusal-codes.conf;\n" + "".join(locations)


def _refusal_bodies() -> str:
    """The refusals' sentences, as JSON for programs and scripts, as a page for people."""
    lines = [
        "# The number by which the logs know a request: what the front tier gave it.",
        "map $http_x_request_id $refusal_number {",
        "    default $request_id;",
        '    "~^[0-9a-f]{32}$" $http_x_request_id;',
        "}",
        "# A browser gets a page; programs and the page's own scripts read JSON.",
        "map $http_accept $refusal_form {",
        "    default json;",
        '    "~^text/html" page;',
        "}",
    ]
    for code, sentence in sorted(REFUSALS.items()):
        body = json.dumps({"detail": sentence, "error": sentence})
        for form, text in (("json", body), ("page", PAGE.replace("SENTENCE", sentence))):
            quoted = text.replace("\\", "\\\\").replace("'", "\\'")
            # A map, as nothing else gives a variable to all servers.
            lines += [
                f"map $refusal_form $refused_{code}_{form} {{",
                f"    default '{quoted}';",
                "}",
            ]
    return "\n".join(lines) + "\n"


def _filled(name: str, text: str, values: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        key = found.group(1)
        if key not in values:
            raise GatewayError(f"Expected a known value in {name}, received: {found.group()}")
        return values[key]

    return PLACEHOLDER.sub(value, text)
