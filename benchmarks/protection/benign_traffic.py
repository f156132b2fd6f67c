"""No false alarm: thousands of benign requests, through the gateway and past it.

Each request is sent to the app itself and through the gateway, and both answers are compared. At
another paranoia level it says which rules would have raised an alarm.
"""

import json
import re
import ssl
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import batched

import httpx

from benchmarks.load.gateway import NAME, Protected
from benchmarks.load.local_service import LocalService
from benchmarks.protection.benign_requests import KINDS, Benign, BenignRequest
from benchmarks.protection.running_stack import ProofPart, ProtectedStack

REQUESTS_A_CLIENT = 8
"""After as many another client comes, from another address: no limit is to be met here."""
SECONDS = 120.0
REFUSED = 403
SHOWN = 12
HOP = {"connection", "accept-encoding", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}
"""Headers that the page does not get, or from the gateway alone."""

SAME, EXPLAINED, ALARM, OTHER = (
    "same",
    "explained by the gateway",
    "false positive",
    "another answer",
)


@dataclass(frozen=True)
class Compared:
    """A request with both answers to it."""

    request: BenignRequest
    app: httpx.Response
    gateway: httpx.Response

    @property
    def outcome(self) -> str:
        """Whether the gateway let it through, and what it said if not."""
        app, gateway = self.app.status_code, self.gateway.status_code
        if gateway == app and _plain(self.app) == _plain(self.gateway):
            return SAME
        if gateway == REFUSED or app < 400 <= gateway:
            return ALARM
        return EXPLAINED if 400 <= app < 500 and gateway == 400 else OTHER


def measure(stack: ProtectedStack) -> ProofPart:
    """Send all of them through the gateway as it is shipped."""
    found = compare(stack.app, stack.protected)
    counts = Counter(one.outcome for one in found)
    odd = [one for outcome in (ALARM, OTHER) for one in found if one.outcome == outcome]
    rules = alarms(stack.protected.error_log.read_text(errors="replace"))
    return ProofPart(
        "Benign requests",
        _table(found),
        {
            "benign": len(found),
            "false_positives": counts[ALARM],
            "benign_answered_otherwise": counts[OTHER],
            "benign_explained_by_gateway": counts[EXPLAINED],
        },
        [
            "Each was sent to the app itself, too: the same is the same status and the same body.",
            "Explained by the gateway are mistakes that the app, too, answers with 400, otherwise.",
            *(_described(one) for one in odd[:SHOWN]),
            *(f"{count:6}  {rule}" for rule, count in rules.most_common()),
        ],
    )


def compare(page: LocalService, protected: Protected, share: float = 1.0) -> list[Compared]:
    """Send a share of all requests to the app and through a gateway, and keep both answers."""
    host = f"{NAME}:{protected.port}"
    requests = list(Benign(page, f"https://{host}", share).requests())
    through: dict[int, httpx.Response] = {}
    for version in (False, True):
        some = [request for request in requests if request.is_http2 == version]
        through |= zip(map(id, some), _through(protected, some, version), strict=True)
    # As the gateway would ask, which tells the page by which name customers call it.
    named = {"Host": host, "X-Forwarded-Proto": "https", "X-Forwarded-Host": host}
    with httpx.Client(timeout=SECONDS) as client:
        return [
            Compared(
                request,
                _send(
                    client,
                    request,
                    f"http://{page.address}",
                    {k: v for k, v in request.headers.items() if k.lower() not in HOP} | named,
                ),
                through[id(request)],
            )
            for request in requests
        ]


def _through(
    protected: Protected, requests: Sequence[BenignRequest], over_http2: bool
) -> Iterator[httpx.Response]:
    home = f"https://{NAME}:{protected.port}"
    trust = ssl.create_default_context(cafile=str(protected.certificate))
    for number, few in enumerate(batched(requests, REQUESTS_A_CLIENT)):
        transport = httpx.HTTPTransport(
            verify=trust,
            http1=not over_http2,
            http2=over_http2,
            local_address=f"127.{78 if over_http2 else 77}.{number // 250}.{number % 250 + 1}",
        )
        with httpx.Client(transport=transport, timeout=SECONDS) as client:
            for request in few:
                yield _send(client, request, home, request.headers)


def _send(
    client: httpx.Client, request: BenignRequest, home: str, headers: dict[str, str]
) -> httpx.Response:
    body = request.body
    pieces = (body[at : at + 1000] for at in range(0, len(body), 1000))
    # The path as it is: a client would tidy it up.
    target = {"target": request.path.encode()}
    return client.send(
        httpx.Request(
            request.method,
            home,
            headers=headers,
            content=pieces if request.is_chunked else body or None,
            extensions=target,
        )
    )


def _plain(answer: httpx.Response) -> bytes:
    """What it says, without what the gateway adds to a document."""
    return re.sub(rb' nonce="[0-9a-f]{32}"', b"", answer.content)


def _table(found: Sequence[Compared]) -> list[list[str]]:
    outcomes = (SAME, EXPLAINED, ALARM, OTHER)
    counts = Counter((one.request.kind, one.outcome) for one in found)
    rows = [["Kind", "requests", "answered the same", EXPLAINED, "false positives", OTHER]]
    for kind in KINDS:
        of_kind = [counts[kind, outcome] for outcome in outcomes]
        rows.append([kind, f"{sum(of_kind):,}", *(f"{count:,}" for count in of_kind)])
    return rows


def _described(one: Compared) -> str:
    request, body = one.request, one.request.body[-200:].decode(errors="replace")
    statuses = (one.app.status_code, one.gateway.status_code)
    return (
        f"{one.outcome}: {request.method} {request.path} {statuses} "
        f"{json.dumps(request.headers)} {body!r}"
    )


def alarms(log: str) -> Counter[str]:
    """How often each rule raised an alarm that refused, from an error log at level `info`."""
    refused, raised = set(), []
    for line in log.splitlines():
        unique, rule = (re.search(rf'\[{name} "(\w+)"\]', line) for name in ("unique_id", "id"))
        if not unique or not rule:
            continue
        if "Access denied with code 403" in line:
            refused.add(unique[1])
        elif where := re.search(r"against variable `([^']+)'|found within ([A-Z_]+:\S+)", line):
            raised.append((unique[1], f"{rule[1]} {where[1] or where[2]}"))
    return Counter(rule for unique, rule in raised if unique in refused)
