"""Payload lists of security tools against the running stack, in every place that takes a word.

Each payload goes to each place: fields of the forecast API, of the page's event and of an upload,
query, path and headers. Counted is what was blocked, by which wall, and what passed; and of what
passed, what it reached.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import batched
from typing import Any
from urllib.parse import quote

import pandas as pd

from benchmarks.protection.payload_lists import REMEDY, Payload, missing, payloads
from benchmarks.protection.raw_requests import (
    AT_ONCE,
    BY_LIMITS,
    BY_LIST,
    BY_SIGNATURES,
    HUNG_UP,
    PASSED,
    Client,
    RawReply,
    clients,
    form,
    send_all,
    written,
)
from benchmarks.protection.running_stack import ProofPart, ProtectedStack, event_number

NETWORK = 80
"""Where the clients live, below 127."""

ONE_IN = 8
"""Of the payloads, where not all are wanted: they stand in their lists by kinds."""

A_CLIENT = 8
"""Requests of each: fewer than its limits let through at once."""

HISTORY = ",".join(str(300 + 10 * (hour % 24)) for hour in range(72))
TABLE = "unique_id,ds,y\r\n" + "".join(
    f"hall,2026-01-{1 + hour // 24:02d} {hour % 24:02d}:00,{300 + hour % 24}\r\n"
    for hour in range(72)
)
CLIENT = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "*/*",
}

SLEPT_SECONDS = 4.5
"""Payloads that make a database or a shell sleep ask for 5 s."""

FILES = re.compile(rb"root:x?:0:0:|\[boot loader\]|\[extensions\]|uid=\d+\(|-----BEGIN [A-Z ]*KEY")
"""What an answer has in it where a file was read or a command was run."""
MARKUP = re.compile(r"<[A-Za-z!/?]")
FAULT = b"Something went wrong on our side"

Build = Callable[[str], bytes]


def measure(stack: ProtectedStack) -> ProofPart:
    """Replay the payloads that are there: every one, or one in eight."""
    found = payloads()
    absent = missing()
    if not found:
        note = f"left out: {', '.join(absent)} are not there ({REMEDY})"
        return ProofPart("payload lists", [["payloads"], ["0"]], {"payloads": 0}, [note])
    notes = [f"not there: {', '.join(absent)} ({REMEDY})"] if absent else []
    return replayed(stack, found if stack.whole else found[::ONE_IN], notes)


def replayed(
    stack: ProtectedStack, found: Sequence[Payload], notes: Sequence[str] = ()
) -> ProofPart:
    """Replay payloads in every place, and look at the app afterwards."""
    before = _forecast(stack)
    hits = _hits(stack, found)
    problems = [
        f"{hit['place']}, {hit['kind']}: {finding}: {hit['text'][:80]!r}"
        for hit in hits.to_dict("records")
        for finding in hit["findings"]
    ]
    if _forecast(stack) != before:
        problems.append("the app answers another forecast than before")
    for service in (stack.app, stack.server):
        service.check()
        if "Traceback (most recent call last)" in service.log.read_text(errors="replace"):
            problems.append(f"the {service.name}'s log has tracebacks")
    remarks = [*notes, *(f"found: {problem}" for problem in dict.fromkeys(problems))]
    return ProofPart(
        "payload lists of security tools", _table(hits), _figures(hits, problems), remarks
    )


def places(stack: ProtectedStack) -> dict[str, Build]:
    """What takes a word, and how a request with it looks."""
    number, client = event_number(stack.app), f"127.{NETWORK}.0.0"
    port, requests = stack.protected.port, [_upload("table.csv")]
    (uploaded,) = send_all(port, requests, [client], stack.trust)
    file = {
        "path": json.loads(uploaded.body)[0],
        "orig_name": "table.csv",
        "size": len(TABLE),
        "mime_type": "text/csv",
        "meta": {"_type": "gradio.FileData"},
    }

    def api(field: str) -> Build:
        forecast = {"history": HISTORY, "start": "2026-01-04 00:00", "horizon": "24"}
        return lambda text: _post("/api/forecast", {**forecast, field: text})

    def event(change: Callable[[list[Any], str], None], source: str = "Your numbers") -> Build:
        def build(text: str) -> bytes:
            data = [source, None, dict(file), None, HISTORY, "", 24]
            change(data, text)
            content = {"fn_index": number, "session_hash": "attack", "data": data}
            return _post("/gradio_api/run/predict", content)

        return build

    def control(at: int) -> Callable[[list[Any], str], None]:
        return lambda data, text: data.__setitem__(at, text)

    def of_file(name: str) -> Callable[[list[Any], str], None]:
        return lambda data, text: data[2].__setitem__(name, text)

    return {
        "API: history": api("history"),
        "API: start": api("start"),
        "API: horizon": api("horizon"),
        "API: an unknown field": api("comment"),
        "page: source": event(control(0)),
        "page: sample": event(control(1), "Sample"),
        "page: series of a file": event(control(3), "Your file"),
        "page: pasted text": event(control(4)),
        "page: start": event(control(5)),
        "page: upload's token": event(of_file("path"), "Your file"),
        "page: upload's name": event(of_file("orig_name"), "Your file"),
        "upload: file name": _upload,
        "query of the page": lambda text: _get("/?q=" + quote(text, safe="")),
        "path": lambda text: _get("/" + _in_line(text)),
        "path of an asset": lambda text: _get("/assets/" + _in_line(text)),
        "header: User-Agent": lambda text: _get("/", **{"User-Agent": text}),
        "header: Referer": lambda text: _get("/", Referer=text),
        "header: Cookie": lambda text: _get("/", Cookie="session=" + text),
        "header: unknown": lambda text: _get("/", **{"X-Forwarded-Scheme": text}),
    }


def findings(payload: Payload, reply: RawReply, seconds: float) -> Iterator[str]:
    """What an answer of the app's shows that it should not.

    Args:
        payload: what was sent.
        reply: what came back.
        seconds: how long that took.
    """
    if (reply.status or 0) >= 500 or FAULT in reply.body:
        yield f"the app failed ({reply.status})"
    if FILES.search(reply.body):
        yield "a file or a command's output came back"
    if seconds > SLEPT_SECONDS and "5" in payload.text:
        yield f"it took {seconds:.1f} s"
    if MARKUP.search(payload.text) and payload.text in _rendered(reply):
        yield "markup came back unescaped"


def _hits(stack: ProtectedStack, found: Sequence[Payload]) -> pd.DataFrame:
    """What became of each payload in each place."""
    port, addresses = stack.protected.port, clients(NETWORK)
    (page,) = send_all(port, [_get("/")], [next(addresses)], stack.trust)
    built = places(stack)
    print(f"  {len(found):,} payloads in each of {len(built)} places", flush=True)

    def visit(place: str, few: Sequence[Payload], address: str) -> list[dict[str, Any]]:
        with Client(port, address, stack.trust) as client:
            return [_hit(client, place, built[place], payload, page) for payload in few]

    visits = [(place, few, next(addresses)) for place in built for few in batched(found, A_CLIENT)]
    with ThreadPoolExecutor(AT_ONCE) as several:
        of_visits = several.map(visit, *zip(*visits, strict=True))
        return pd.DataFrame([hit for of_visit in of_visits for hit in of_visit])


def _hit(
    client: Client, place: str, build: Build, payload: Payload, page: RawReply
) -> dict[str, Any]:
    began = time.monotonic()
    reply = client.send(build(payload.text))
    seconds = time.monotonic() - began
    same = reply.is_same_page(page)
    passed = reply.verdict == PASSED and not same
    return {
        "place": place,
        "kind": payload.kind,
        "text": payload.text,
        "verdict": reply.verdict,
        "answer": "the page as for all" if same else str(reply.status),
        # What it reached that it should not.
        "findings": list(findings(payload, reply, seconds)) if passed else [],
    }


def _rendered(reply: RawReply) -> str:
    """What a browser would show of an answer as a page: a document, or the parts of an event."""
    if reply.kind.startswith("text/html"):
        return reply.body.decode(errors="replace")
    try:
        answer = json.loads(reply.body)
    except ValueError:
        return ""
    if not isinstance(answer, dict) or not isinstance(answer.get("data"), list):
        return ""
    # What is shown as Markdown is the value of a part; lists of choices are shown as text.
    values = [part.get("value") for part in answer["data"] if isinstance(part, dict)]
    return "\n".join(value for value in values if isinstance(value, str))


def _forecast(stack: ProtectedStack) -> Any:
    answer = json.loads(
        stack.app.request("POST", "/api/forecast", json.dumps({"history": HISTORY}).encode())[1]
    )
    return answer["forecast"]


def _upload(name: str) -> bytes:
    body = form({_in_head(name): TABLE.encode()}, "edge")
    kind = "multipart/form-data; boundary=edge"
    return written("POST", "/gradio_api/upload?upload_id=a1", CLIENT, body, kind)


def _post(path: str, content: Any) -> bytes:
    return written("POST", path, CLIENT, json.dumps(content).encode(), "application/json")


def _get(path: str, **headers: str) -> bytes:
    return written("GET", path, CLIENT | {k: _in_head(v) for k, v in headers.items()})


def _in_line(text: str) -> str:
    """As part of a request line: as written, but for what would end it."""
    return quote(text, safe="".join(map(chr, range(33, 127))))


def _in_head(text: str) -> str:
    """As a header's value: as written, but for what would end it."""
    return re.sub(r"[\0-\x1f\x7f]", lambda found: f"%{ord(found.group()):02x}", text)


def _table(hits: pd.DataFrame) -> list[list[str]]:
    rows = [["place", "payloads", BY_LIST, BY_SIGNATURES, HUNG_UP, PASSED, "the app answered"]]
    for place, some in (*hits.groupby("place", sort=False), ("all", hits)):
        verdicts = Counter(some["verdict"])
        answers = Counter(some.loc[some["verdict"] == PASSED, "answer"])
        counts = (verdicts[word] for word in (BY_LIST, BY_SIGNATURES, HUNG_UP, PASSED))
        passed = ", ".join(f"{count:,} × {answer}" for answer, count in sorted(answers.items()))
        rows.append([str(place), *(f"{count:,}" for count in (len(some), *counts)), passed])
    return rows


def _figures(hits: pd.DataFrame, problems: Sequence[str]) -> dict[str, Any]:
    verdicts, different = Counter(hits["verdict"]), hits.drop_duplicates("text")
    return {
        "payloads": len(different),
        "payload_classes": dict(Counter(different["kind"])),
        "payload_places": hits["place"].nunique(),
        "payload_requests": len(hits),
        "payload_blocked_by_list": verdicts[BY_LIST],
        "payload_blocked_by_signatures": verdicts[BY_SIGNATURES],
        "payload_hung_up": verdicts[HUNG_UP],
        "payload_limited": verdicts[BY_LIMITS],
        "payload_passed": verdicts[PASSED],
        "payload_exploits": len(set(problems)),
    }
