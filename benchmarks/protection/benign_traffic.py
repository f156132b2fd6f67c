"""No false alarm: thousands of benign requests, through the gateway and past it.

    python -m benchmarks.protection.benign_traffic [--paranoia 2]

Each request is sent to the app itself and through the gateway, and both answers are compared. Sent
by itself it tells for another paranoia level which rules would have raised an alarm.
"""

import argparse
import gzip
import http.client
import json
import re
import ssl
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.load.gateway import NAME, Protected, gateway
from benchmarks.load.local_service import LocalService
from benchmarks.load.stack import app, model_server
from benchmarks.protection.benign_requests import KINDS, Benign, BenignRequest
from benchmarks.protection.running_stack import Answer, ProofPart, ProtectedStack
from kalecast.lifetime import end_in_order

REQUESTS_A_CLIENT = 8
"""After as many another client comes, from another address: no limit is to be met here."""
SECONDS = 120.0
REFUSED = 403
SHOWN = 12

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
    app: Answer
    gateway: Answer

    @property
    def outcome(self) -> str:
        """Whether the gateway let it through, and what it said if not."""
        if self.gateway.status == self.app.status and self._said_the_same():
            return SAME
        if self.gateway.status == REFUSED or self.app.status < 400 <= self.gateway.status:
            return ALARM
        return EXPLAINED if 400 <= self.app.status < 500 and self.gateway.status == 400 else OTHER

    def _said_the_same(self) -> bool:
        return _plain(self.app) == _plain(self.gateway)


@dataclass
class Found:
    """All of them."""

    compared: list[Compared] = field(default_factory=list)

    def count(self, outcome: str, kind: str = "") -> int:
        """How many ended so."""
        return len(self.of(outcome, kind))

    def of(self, outcome: str, kind: str = "") -> list[Compared]:
        """Those that ended so."""
        return [
            one
            for one in self.compared
            if one.outcome == outcome and kind in ("", one.request.kind)
        ]


def measure(stack: ProtectedStack) -> ProofPart:
    """Send all of them through the gateway as it is shipped."""
    found = compare(stack.app, stack.protected)
    alarms, others = found.of(ALARM), found.of(OTHER)
    return ProofPart(
        "Benign requests",
        _table(found),
        {
            "benign": len(found.compared),
            "false_positives": len(alarms),
            "benign_answered_otherwise": len(others),
            "benign_explained_by_gateway": found.count(EXPLAINED),
        },
        [
            "Each was sent to the app itself, too: the same is the same status and the same body.",
            "Explained by the gateway are mistakes that the app, too, answers with 400, otherwise.",
            *(_described(one) for one in (*alarms, *others)[:SHOWN]),
        ],
    )


def compare(page: LocalService, protected: Protected, share: float = 1.0) -> Found:
    """Send a share of all requests to the app and through a gateway, and keep both answers."""
    home = f"https://{NAME}:{protected.port}"
    requests = list(Benign(page, home, share).requests())
    direct = _directly(page, home, requests)
    plain = [request for request in requests if not request.is_http2]
    through = dict(zip(map(id, plain), _through(protected, plain), strict=True))
    over_http2 = [request for request in requests if request.is_http2]
    with tempfile.TemporaryDirectory() as folder:
        answers = _over_http2(protected, over_http2, Path(folder))
        through |= zip(map(id, over_http2), answers, strict=True)
    pairs = zip(requests, direct, strict=True)
    return Found([Compared(request, app, through[id(request)]) for request, app in pairs])


def _directly(page: LocalService, home: str, requests: Sequence[BenignRequest]) -> Iterator[Answer]:
    """As the gateway would ask, which tells the page by which name customers call it."""
    host = home.removeprefix("https://")
    named = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": host}
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=SECONDS)
    with closing(connection):
        for request in requests:
            headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP}
            yield _answer(connection, request, {"Host": host, **headers, **named})


HOP = {"connection", "accept-encoding", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}


def _through(protected: Protected, requests: Sequence[BenignRequest]) -> Iterator[Answer]:
    host = f"{NAME}:{protected.port}"
    trust = ssl.create_default_context(cafile=str(protected.certificate))
    for at in range(0, len(requests), REQUESTS_A_CLIENT):
        connection = http.client.HTTPSConnection(
            NAME,
            protected.port,
            timeout=SECONDS,
            source_address=(_address(at // REQUESTS_A_CLIENT), 0),
            context=trust,
        )
        with closing(connection):
            for request in requests[at : at + REQUESTS_A_CLIENT]:
                yield _answer(connection, request, {"Host": host, **request.headers})


def _address(number: int) -> str:
    return f"127.77.{number // 250}.{number % 250 + 1}"


def _answer(
    connection: http.client.HTTPConnection, request: BenignRequest, headers: dict[str, str]
) -> Answer:
    connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
    for name, text in headers.items():
        connection.putheader(name, text)
    if request.is_chunked:
        connection.putheader("Transfer-Encoding", "chunked")
    elif request.method == "POST":
        connection.putheader("Content-Length", str(len(request.body)))
    body = _pieces(request.body) if request.is_chunked else request.body or None
    connection.endheaders(body, encode_chunked=request.is_chunked)
    answer = connection.getresponse()
    received = {name.lower(): text for name, text in answer.getheaders()}
    return Answer(answer.status, received, answer.read())


def _pieces(body: bytes) -> Iterable[bytes]:
    return (body[at : at + 1000] for at in range(0, len(body), 1000))


def _over_http2(
    protected: Protected, requests: Sequence[BenignRequest], folder: Path
) -> Iterator[Answer]:
    """By curl, many over one connection."""
    for at in range(0, len(requests), REQUESTS_A_CLIENT):
        batch = requests[at : at + REQUESTS_A_CLIENT]
        configuration = "\nnext\n".join(
            _curl_options(protected, request, folder / str(number), at)
            for number, request in enumerate(batch)
        )
        command = ["curl", "--config", "-"]
        subprocess.run(command, input=configuration.encode(), check=True, stdout=subprocess.DEVNULL)
        for number in range(len(batch)):
            yield _received(folder / str(number))


def _curl_options(protected: Protected, request: BenignRequest, stem: Path, at: int) -> str:
    """One request in the form of curl's configuration file."""
    body = stem.with_suffix(".body")
    body.write_bytes(request.body)
    options = {
        "url": f"https://{NAME}:{protected.port}{request.path}",
        "cacert": str(protected.certificate),
        "interface": _address(20_000 + at // REQUESTS_A_CLIENT),
        "dump-header": str(stem.with_suffix(".head")),
        "output": str(stem.with_suffix(".answer")),
        "request": request.method,
        **({"data-binary": f"@{body}"} if request.method == "POST" else {}),
    }
    lines = [f"{name} = {_quoted(text)}" for name, text in options.items()]
    headers = {"User-Agent": "", "Accept": "", **request.headers}
    lines += [f"header = {_quoted(f'{name}: {text}')}" for name, text in headers.items()]
    flags = ["http2", "silent", "globoff", "path-as-is"]
    return "\n".join([*lines, *flags, *(["head"] if request.method == "HEAD" else [])])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _received(stem: Path) -> Answer:
    head = stem.with_suffix(".head").read_bytes().decode("latin-1").strip().split("\r\n\r\n")[-1]
    first, *rest = head.split("\r\n")
    headers = {name.lower(): text for name, _, text in (line.partition(": ") for line in rest)}
    answer = stem.with_suffix(".answer")
    body = answer.read_bytes() if answer.is_file() else b""
    for file in (answer, stem.with_suffix(".head")):
        file.unlink(missing_ok=True)
    return Answer(int(first.split()[1]), headers, b"" if body.startswith(b"HTTP/2") else body)


def _plain(answer: Answer) -> bytes:
    """What it says, without what the gateway adds to a document."""
    body = answer.body
    if answer.headers.get("content-encoding") == "gzip" and body:
        body = gzip.decompress(body)
    return re.sub(rb' nonce="[0-9a-f]{32}"', b"", body)


def _table(found: Found) -> list[list[str]]:
    rows = [["Kind", "requests", "answered the same", EXPLAINED, "false positives", OTHER]]
    for kind in KINDS:
        outcomes = [found.count(outcome, kind) for outcome in (SAME, EXPLAINED, ALARM, OTHER)]
        rows.append([kind, f"{sum(outcomes):,}", *(f"{count:,}" for count in outcomes)])
    return rows


def _described(one: Compared) -> str:
    request, body = one.request, one.request.body[-200:].decode(errors="replace")
    return (
        f"{one.outcome}: {request.method} {request.path} ({one.app.status}, {one.gateway.status}) "
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


def main() -> int:
    """Try another paranoia level, and print which rules would raise an alarm."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", type=Path, default=Path("models/forecaster.onnx"))
    parser.add_argument("--paranoia", type=int, default=1)
    parser.add_argument("--share", type=float, default=1.0)
    arguments = parser.parse_args()
    end_in_order()
    level = str(arguments.paranoia)
    options = ["--paranoia", level, "--executing-paranoia", level, "--log-level", "info"]
    with tempfile.TemporaryDirectory(prefix="kalecast-benign-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's workers may run as another user
        with (
            model_server(arguments.model.resolve(), folder / "server") as server,
            app([server], folder / "app") as page,
        ):
            protected = gateway(page, folder / "gateway", options)
            with protected.service:
                found = compare(page, protected, arguments.share)
                log = protected.error_log.read_text(errors="replace")
    for row in _table(found):
        print("  ".join(f"{cell:>18}" for cell in row))
    for one in (*found.of(ALARM), *found.of(OTHER)):
        print(_described(one))
    for rule, count in alarms(log).most_common():
        print(f"{count:6}  {rule}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
