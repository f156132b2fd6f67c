"""Benign requests of every kind, the same ones each time: what customers and their clients send."""

import http.client
import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import Any
from urllib.parse import quote

from benchmarks.load.local_service import LocalService
from benchmarks.protection.benign_clients import Clients
from benchmarks.protection.benign_files import START, files, form, lines
from benchmarks.protection.benign_numbers import NOTATIONS, STARTS, WRONG_STARTS, quoted, table

SEED = 7
MOST_FILES = 300
"""Of the page's own; it has more, for parts that this page does not show."""
LARGEST = 19
"""Megabytes of the largest upload; a selection has none of the large ones."""
EVENT = "/gradio_api/run/predict"

CONTENT_TYPES = (
    *("application/json", "application/json; charset=utf-8", "application/json;charset=UTF-8"),
    *("Application/JSON", 'application/json; charset="utf-8"'),
)

QUERIES = (
    *(
        "",
        "?__theme=light",
        "?__theme=dark",
        "?__theme=system",
        "?utm_source=news&utm_medium=email",
    ),
    *(
        "?utm_campaign={plus}",
        "?utm_content={text}",
        "?gclid=Cj0KCQjw-{number}_wcB",
        "?ref=a{number}",
    ),
    *("?fbclid=IwAR0{number}", "?msclkid=0a1b{number}&__theme=dark", "?mc_cid={number}&mc_eid=ab"),
    *("?utm_id={number}", "?_gl=1*1abc*_ga*MTIz*_ga_X*MTc2{number}", "?utm_term=%E9%9B%BB{number}"),
)

KINDS = ("forecast", "mistake", "reading", "event", "upload", "document", "asset")


@dataclass(frozen=True)
class BenignRequest:
    """What a client sends."""

    kind: str
    """One of `KINDS`."""
    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""
    is_http2: bool = False
    is_chunked: bool = False
    """Whether its body comes in pieces, with no length announced."""


@dataclass
class Benign:
    """All that is sent to an app, by kind.

    Args:
        app: what is asked for what only it knows: the files of its page, tokens of uploads.
        home: the page's address as customers type it.
        share: of the whole, from 0 to 1.
    """

    app: LocalService
    home: str
    share: float = 1.0
    dice: Random = field(default_factory=lambda: Random(SEED))

    def __post_init__(self) -> None:
        self.clients = Clients(self.dice, self.home)

    def requests(self) -> Iterator[BenignRequest]:
        """All of them; every fifth of those that curl can send comes over HTTP/2."""
        sources = (
            *(self._forecasts(), self._mistakes(), self._readings(), self._events()),
            *(self._uploads(), self._documents(), self._assets()),
        )
        seen = set()
        for source in sources:
            for at, request in enumerate(source):
                if self.share < 1 and self.dice.random() > self.share:
                    continue
                key = (request.method, request.path, str(request.headers), request.body)
                if key in seen:
                    continue
                seen.add(key)
                yield request if at % 5 or request.is_chunked else _over_http2(request)

    def _forecasts(self) -> Iterator[BenignRequest]:
        for at in range(900):
            notation = NOTATIONS[at % len(NOTATIONS)]
            values = [self._value() for _ in range(self.dice.choice((48, 60, 168, 336, 504)))]
            fields: dict[str, Any] = {"history": notation(self.dice, values)}
            if at % 3:
                fields["start"] = STARTS[at % len(STARTS)](START + timedelta(hours=at))
            if at % 4 == 0:
                fields["horizon"] = self.dice.choice((1, 6, 24, 48, None))
            yield self._forecast(fields, at)
        for count in (5000, 20_000):
            history = ",".join(str(self._value()) for _ in range(count))
            yield self._forecast({"history": history, "start": "2020-01-01"}, count)
        long = " " * (500 * 1024) + ",".join(["1.5", "2.5"] * 100)
        yield self._forecast({"history": long}, 0)

    def _forecast(self, fields: dict[str, Any], at: int, kind: str = "forecast") -> BenignRequest:
        headers = self.clients.program("/api/forecast")
        headers["Content-Type"] = CONTENT_TYPES[at % len(CONTENT_TYPES)]
        body = json.dumps(fields, ensure_ascii=bool(at % 2), indent=(None, None, 2)[at % 3])
        chunked = at % 17 == 1
        return BenignRequest(
            kind, "POST", "/api/forecast", headers, body.encode(), is_chunked=chunked
        )

    def _mistakes(self) -> Iterator[BenignRequest]:
        """What the app itself answers with 400, in words."""
        good = ", ".join(str(hour % 24) for hour in range(100))
        payloads: list[dict[str, Any]] = [{"history": text} for text in lines("mistakes")]
        payloads += [{"history": text} for text in lines("sentences")]
        payloads += [{"history": good, "start": text} for text in WRONG_STARTS]
        payloads += [
            {"history": good, "horizon": value} for value in ("ten", 1.5, "24", True, -1, 0)
        ]
        payloads += [
            {},
            {"history": [1, 2, 3]},
            {"history": 5},
            {"values": good},
            {"history": None},
        ]
        payloads += [{"history": good, "unique_id": name} for name in lines("series")[:40]]
        for at, fields in enumerate(payloads):
            yield self._forecast(fields, at, "mistake")

    def _readings(self) -> Iterator[BenignRequest]:
        for at in range(160):
            path = ("/api/model", "/api/example.csv")[at % 2]
            client = self.clients.program if at % 3 else self.clients.browser
            yield BenignRequest("reading", "HEAD" if at % 7 == 0 else "GET", path, client(path))

    def _events(self) -> Iterator[BenignRequest]:
        number, samples = self._page()
        for at in range(120):
            yield self._event(number, at, sample=self.dice.choice(samples))
        for at, text in enumerate(self._pasted()):
            start = STARTS[at % len(STARTS)](START) if at % 4 == 0 else ""
            yield self._event(number, at, source="Your numbers", text=text, start=start)
        for at, (file, token, series) in enumerate(self._tokens()):
            yield self._event(number, at, source="Your file", file=file, token=token, series=series)

    def _event(  # noqa: PLR0913 - the controls of the page
        self,
        number: int,
        at: int,
        *,
        source: str = "Sample",
        sample: str | None = None,
        file: str = "",
        token: str = "",
        series: str | None = None,
        text: str = "",
        start: str = "",
    ) -> BenignRequest:
        upload = self._upload_of(file, token) if token else None
        horizon = self.dice.choice((48, 48, 24, 7, 1))
        body = {
            "data": [source, sample, upload, series, text, start, horizon],
            "event_data": None,
            "fn_index": number,
            "trigger_id": self.dice.choice((None, 9, 14)),
            "session_hash": f"{self.dice.getrandbits(52):x}"[:11],
        }
        query = ("", "", "?__theme=dark", "?utm_source=news")[at % 4]
        headers = {**self.clients.browser(EVENT), "Origin": self.home, "x-gradio-user": "app"}
        headers["Content-Type"] = "application/json"
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        return BenignRequest("event", "POST", EVENT + query, headers, content)

    def _upload_of(self, file: str, token: str) -> dict[str, Any]:
        return {
            "path": token,
            "url": f"{self.home}/gradio_api/file={token}",
            "orig_name": file,
            "size": self.dice.randrange(1000, 900_000),
            "mime_type": self.dice.choice(("text/csv", "application/vnd.ms-excel", "")),
            "is_stream": False,
            "meta": {"_type": "gradio.FileData"},
        }

    def _pasted(self) -> Iterator[str]:
        for at in range(260):
            values = [self._value() for _ in range(self.dice.choice((72, 100, 300)))]
            timestamps = [START + timedelta(hours=at + hour) for hour in range(len(values))]
            yield table(
                at, self.dice, lines("series")[at % len(lines("series"))], timestamps, values
            )
        for notation in NOTATIONS:
            yield notation(self.dice, [self._value() for _ in range(150)])
        yield from (*lines("mistakes"), *lines("sentences"))
        # Half a mail around the numbers, as they come out of one.
        for sentence in lines("sentences"):
            yield f"{sentence}\n\n" + "\n".join(str(self._value()) for _ in range(60))

    def _tokens(self) -> Iterator[tuple[str, str, str]]:
        """Files as the app took them, with each of their series."""
        names = lines("series")
        for at in range(0, len(names), 4):
            if self.dice.random() > self.share:
                continue
            content = "unique_id,ds,y\n" + "\n".join(
                f"{quoted(name)},{START + timedelta(hours=hour):%Y-%m-%d %H:%M},{self._value()}"
                for name in names[at : at + 4]
                for hour in range(60)
            )
            file = f"{lines('files')[at // 4 % len(lines('files'))]}.csv"
            body, kind = form(self.dice, file, content.encode(), 0)
            answer = self._send("POST", "/gradio_api/upload", body, kind)
            (token,) = json.loads(answer)
            for name in names[at : at + 4]:
                yield file, token, name
                yield file, token, f"{name} 2"  # typed, and not there

    def _uploads(self) -> Iterator[BenignRequest]:
        for at, (file, content) in enumerate(files(self.dice, LARGEST if self.share == 1 else 1)):
            path = f"/gradio_api/upload?upload_id={self.dice.getrandbits(50):x}"
            headers = {**self.clients.browser(path), "Origin": self.home}
            body, headers["Content-Type"] = form(self.dice, file, content, at)
            yield BenignRequest("upload", "POST", path, headers, body)
            if at % 10 == 0:
                progress = path.replace("upload?", "upload_progress?")
                yield BenignRequest("upload", "GET", progress, self.clients.browser(progress))

    def _documents(self) -> Iterator[BenignRequest]:
        for at in range(240):
            words = self.dice.choice(lines("sentences"))[:30]
            path = "/" + QUERIES[at % len(QUERIES)].format(
                text=quote(words), plus=quote(words).replace("%20", "+"), number=at
            )
            client = self.clients.program if at % 9 == 0 else self.clients.browser
            yield BenignRequest("document", "HEAD" if at % 11 == 0 else "GET", path, client(path))

    def _assets(self) -> Iterator[BenignRequest]:
        for at, path in enumerate(self._files_of_the_page()):
            headers = self.clients.browser(path)
            yield BenignRequest("asset", "HEAD" if at % 13 == 0 else "GET", path, headers)
            if at % 4 == 0:
                known = {"If-None-Match": self._etag(path)}
                yield BenignRequest("asset", "GET", path, {**self.clients.browser(path), **known})

    def _files_of_the_page(self) -> list[str]:
        """All that its document leads to, as far as its scripts say."""
        document = self._send("GET", "/").decode()
        found = re.findall(
            r'"\.?(/(?:assets|static|theme)[^"]*\.(?:js|css|svg|png)[^"]*)"', document
        )
        waiting = [*dict.fromkeys(found), "/static/js/iframeResizer.contentWindow.min.js"]
        known = dict.fromkeys([*waiting, "/favicon.ico"])
        while waiting and len(known) < MOST_FILES * self.share:
            path = waiting.pop(0)
            for name in re.findall(rb'"\./([\w.-]+\.(?:js|css))"', self._send("GET", path)):
                if (other := f"/assets/{name.decode()}") not in known:
                    known[other] = None
                    waiting.append(other)
        return list(known)

    def _page(self) -> tuple[int, list[str]]:
        """The number of its event, and the names of its samples."""
        config = json.loads(self._send("GET", "/config"))
        (number,) = [d["id"] for d in config["dependencies"] if d["api_name"] == "show"]
        choices = [c["props"].get("choices") for c in config["components"]]
        samples = [value for offered in choices if offered for _, value in offered]
        return number, samples[3:] or ["x"]

    def _etag(self, path: str) -> str:
        return self._answer("HEAD", path)[0].get("etag", '"none"')

    def _send(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> bytes:
        return self._answer(method, path, body, kind)[1]

    def _answer(
        self, method: str, path: str, body: bytes | None = None, kind: str = ""
    ) -> tuple[dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.app.port, timeout=60)
        with closing(connection):
            connection.request(method, path, body, {"Content-Type": kind} if kind else {})
            answer = connection.getresponse()
            return {name.lower(): text for name, text in answer.getheaders()}, answer.read()

    def _value(self) -> float:
        return round(self.dice.uniform(-50, 900), self.dice.choice((0, 1, 2, 5)))


def _over_http2(request: BenignRequest) -> BenignRequest:
    """The same over HTTP/2, which has no connections to tell about."""
    headers = {k: v for k, v in request.headers.items() if k.lower() != "connection"}
    return replace(request, headers=headers, is_http2=True)
