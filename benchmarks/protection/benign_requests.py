"""Benign requests of every kind, the same ones each time: what customers and their clients send.

What is said in them is data, in `benign/`; here it is put together.
"""

import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

import httpx
import pandas as pd
import yaml

from benchmarks.load.local_service import LocalService
from benchmarks.protection.running_stack import event_number

DATA = Path(__file__).parent / "benign"
SEED = 7
MOST_FILES = 300
"""Of the page's own; it has more, for parts that this page does not show."""
LARGEST = 19
"""Megabytes of the largest upload; a selection has none of the large ones."""
FORECAST, EVENT = "/api/forecast", "/gradio_api/run/predict"
UPLOAD = "/gradio_api/upload"
START = datetime(2026, 1, 5)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

KINDS = ("forecast", "mistake", "reading", "event", "upload", "document", "asset")

Headers = dict[str, str]


@dataclass(frozen=True)
class BenignRequest:
    """What a client sends."""

    kind: str
    """One of `KINDS`."""
    method: str
    path: str
    headers: Headers
    body: bytes = b""
    is_http2: bool = False
    is_chunked: bool = False
    """Whether its body comes in pieces, with no length announced."""


@cache
def lines(name: str) -> list[str]:
    """The texts of one kind: `series`, `sentences`, `files` or `mistakes`."""
    return (DATA / f"{name}.txt").read_text().splitlines()


@cache
def known(name: str) -> dict[str, Any]:
    """What is known of `clients`, or of `forms`."""
    return dict(yaml.safe_load((DATA / f"{name}.yaml").read_text()))


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
        clients = known("clients")
        self._clients = {name: cycle(clients[name]) for name in clients if name != "document"}
        self._app = httpx.Client(base_url=f"http://{self.app.address}", timeout=60)

    def requests(self) -> Iterator[BenignRequest]:
        """All of them; every fifth of those with a length comes over HTTP/2."""
        sources = (
            *(self._forecasts(), self._mistakes(), self._readings(), self._events()),
            *(self._uploads(), self._documents(), self._assets()),
        )
        seen = set()
        for source in sources:
            for at, request in enumerate(source):
                # Of the page's files there are only as many as are wanted.
                if request.kind != "asset" and self.dice.random() > self.share:
                    continue
                key = (request.method, request.path, str(request.headers), request.body)
                if key not in seen:
                    seen.add(key)
                    yield request if at % 5 or request.is_chunked else _over_http2(request)

    # Who sends.

    def _program(self) -> Headers:
        headers = dict(next(self._clients["programs"]))
        if self.dice.random() < 0.4:
            name, secret = self._letters(8), "".join(self.dice.choices(LETTERS + "-_", k=43))
            headers["Authorization"] = f"Bearer kalecast_{name}_{secret}"
        return headers | self._on_the_way(0.4)

    def _browser(self, path: str) -> Headers:
        headers = {
            **next(self._clients["browsers"]),
            "Accept-Encoding": "gzip, deflate, br, zstd",
            "Accept-Language": next(self._clients["languages"]),
            **self._fetched(path.partition("?")[0]),
        }
        return headers | self._on_the_way(0.3)

    def _fetched(self, path: str) -> Headers:
        clients = known("clients")
        if path != "/":
            kinds = clients["files"]
            ending = path.rpartition(".")[2]
            kind = next((kind for kind in kinds if ending in kind["ends"]), kinds[-1])
            return {**kind["headers"], "Referer": f"{self.home}/"}
        where = self.dice.choice(("none", "cross-site", "same-origin"))
        referer = {"cross-site": "https://www.example.com/", "same-origin": f"{self.home}/"}
        came = {"Sec-Fetch-Site": where, "Referer": referer.get(where, "")}
        return {**clients["document"], **{name: text for name, text in came.items() if text}}

    def _on_the_way(self, share: float) -> Headers:
        return dict(next(self._clients["on_the_way"])) if self.dice.random() < share else {}

    # What is sent.

    def _forecasts(self) -> Iterator[BenignRequest]:
        for at in range(900):
            fields: dict[str, Any] = {"history": self._history(at, (48, 60, 168, 336, 504))}
            if at % 3:
                fields["start"] = self._start(at)
            if at % 4 == 0:
                fields["horizon"] = self.dice.choice((1, 6, 24, 48, None))
            yield self._forecast(fields, at)
        for count in (5000, 20_000):
            history = ",".join(map(str, self._values(count)))
            yield self._forecast({"history": history, "start": "2020-01-01"}, count)
        long = " " * (500 * 1024) + ",".join(["1.5", "2.5"] * 100)
        yield self._forecast({"history": long}, 0)

    def _forecast(self, fields: dict[str, Any], at: int, kind: str = "forecast") -> BenignRequest:
        types = known("forms")["content_types"]
        headers = self._program() | {"Content-Type": types[at % len(types)]}
        body = json.dumps(fields, ensure_ascii=bool(at % 2), indent=(None, None, 2)[at % 3])
        return BenignRequest(
            kind, "POST", FORECAST, headers, body.encode(), is_chunked=at % 17 == 1
        )

    def _mistakes(self) -> Iterator[BenignRequest]:
        """What the app itself answers with 400, in words."""
        good = ", ".join(str(hour % 24) for hour in range(100))
        payloads: list[dict[str, Any]] = [
            *({"history": text} for text in (*lines("mistakes"), *lines("sentences"))),
            *({"history": good, "start": text} for text in known("forms")["wrong_starts"]),
            *({"history": good, "horizon": value} for value in ("ten", 1.5, "24", True, -1, 0)),
            *({"history": value} for value in ([1, 2, 3], 5, None)),
            {},
            {"values": good},
            *({"history": good, "unique_id": name} for name in lines("series")[:40]),
        ]
        for at, fields in enumerate(payloads):
            yield self._forecast(fields, at, "mistake")

    def _readings(self) -> Iterator[BenignRequest]:
        for at in range(160):
            path = ("/api/model", "/api/example.csv")[at % 2]
            headers = self._program() if at % 3 else self._browser(path)
            yield BenignRequest("reading", "HEAD" if at % 7 == 0 else "GET", path, headers)

    def _events(self) -> Iterator[BenignRequest]:
        number, samples = event_number(self.app), self._samples()
        for at in range(120):
            yield self._event(number, at, ["Sample", self.dice.choice(samples), None, None, "", ""])
        for at, text in enumerate(self._pasted()):
            start = self._start(at, hours=0) if at % 4 == 0 else ""
            yield self._event(number, at, ["Your numbers", None, None, None, text, start])
        for at, (upload, series) in enumerate(self._uploaded()):
            yield self._event(number, at, ["Your file", None, upload, series, "", ""])

    def _event(self, number: int, at: int, controls: list[Any]) -> BenignRequest:
        body = {
            "data": [*controls, self.dice.choice((48, 48, 24, 7, 1))],
            "event_data": None,
            "fn_index": number,
            "trigger_id": self.dice.choice((None, 9, 14)),
            "session_hash": f"{self.dice.getrandbits(52):x}"[:11],
        }
        query = ("", "", "?__theme=dark", "?utm_source=news")[at % 4]
        headers = {**self._browser(EVENT), "Origin": self.home, "x-gradio-user": "app"}
        headers["Content-Type"] = "application/json"
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        return BenignRequest("event", "POST", EVENT + query, headers, content)

    def _pasted(self) -> Iterator[str]:
        for at in range(260):
            values = self._values(self.dice.choice((72, 100, 300)))
            yield self._table(at, values, START + timedelta(hours=at))
        for at in range(len(known("forms")["notations"])):
            yield self._history(at, (150,))
        yield from (*lines("mistakes"), *lines("sentences"))
        # Half a mail around the numbers, as they come out of one.
        for sentence in lines("sentences"):
            yield f"{sentence}\n\n" + "\n".join(map(str, self._values(60)))

    def _uploaded(self) -> Iterator[tuple[dict[str, Any], str]]:
        """Files as the app took them, as a page names them, with each of their series."""
        names = lines("series")
        for at in range(0, len(names), 4):
            if self.dice.random() > self.share:
                continue
            some = names[at : at + 4]
            rows = [
                (name, f"{START + timedelta(hours=hour):%Y-%m-%d %H:%M}", self._values(1)[0])
                for name in some
                for hour in range(60)
            ]
            table = pd.DataFrame(rows, columns=["unique_id", "ds", "y"]).to_csv(index=False)
            file = f"{lines('files')[at // 4 % len(lines('files'))]}.csv"
            body, kind = self._form(file, table.encode(), 0)
            sent = self._app.post(UPLOAD, content=body, headers={"Content-Type": kind})
            (token,) = sent.json()
            for name in some:
                yield self._upload_of(file, token), name
                yield self._upload_of(file, token), f"{name} 2"  # typed, and not there

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

    def _uploads(self) -> Iterator[BenignRequest]:
        for at, (file, content) in enumerate(self._files()):
            path = f"{UPLOAD}?upload_id={self.dice.getrandbits(50):x}"
            headers = {**self._browser(path), "Origin": self.home}
            body, headers["Content-Type"] = self._form(file, content, at)
            yield BenignRequest("upload", "POST", path, headers, body)
            if at % 10 == 0:
                progress = path.replace("upload?", "upload_progress?")
                yield BenignRequest("upload", "GET", progress, self._browser(progress))

    def _files(self) -> Iterator[tuple[str, bytes]]:
        """Names and contents; some are no tables, which the page says."""
        files, forms = lines("files"), known("forms")
        for at in range(330):
            values = self._values(self.dice.choice((48, 60, 200, 336)))
            text = self._table(at, values, START + timedelta(hours=at))
            encoding = forms["encodings"][at % len(forms["encodings"])]
            ending = forms["endings"][at % len(forms["endings"])] if at % 2 else ".csv"
            yield f"{files[at % len(files)]}{ending}", text.encode(encoding, errors="replace")
        for at, sentence in enumerate(lines("sentences")):
            yield f"letter {at}.csv", f"{sentence}\n{sentence}\n".encode()
        for at in range(20):
            yield f"{files[at]}.parquet", _parquet(lines("series")[at : at + 3], self.dice)
        largest = LARGEST if self.share == 1 else 1
        for size in {1, largest // 2 or 1, largest}:
            yield f"large {size} MB.csv", _large(size)
        # No tables: what a wrong click chooses.
        yield "picture.png", b"\x89PNG\r\n\x1a\n" + self.dice.randbytes(50_000)
        yield "book.xlsx", b"PK\x03\x04" + self.dice.randbytes(30_000)
        yield "notes.pdf", b"%PDF-1.7\n" + self.dice.randbytes(40_000)
        yield "page.html", b"<!doctype html><title>Sites</title><table><tr><td>1</td></tr></table>"
        yield "empty.csv", b""

    def _form(self, file: str, content: bytes, at: int) -> tuple[bytes, str]:
        """A form with one file as different clients write it; its bytes and its type."""
        unique = self._letters(16)
        boundary = (
            *(f"----WebKitFormBoundary{unique}", f"----geckoformboundary{unique.lower()}"),
            f"---------------------------{self.dice.getrandbits(96)}",
            f"{self.dice.getrandbits(128):032x}",
        )[at % 4]
        name = file.replace("\\", "_")
        disposition = f'filename="{name.replace(chr(34), "%22")}"'
        if at % 4 == 3 and not name.isascii():
            disposition = f"filename*=utf-8''{quote(name)}"  # as Python's clients write it
        kind = ("text/csv", "application/vnd.ms-excel", "application/octet-stream")[at % 3]
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; {disposition}\r\n'
        whole = f"{head}Content-Type: {kind}\r\n\r\n".encode() + content
        return (
            whole + f"\r\n--{boundary}--\r\n".encode(),
            f"multipart/form-data; boundary={boundary}",
        )

    def _documents(self) -> Iterator[BenignRequest]:
        queries = known("forms")["queries"]
        for at in range(240):
            words = quote(self.dice.choice(lines("sentences"))[:30])
            query = queries[at % len(queries)]
            path = "/" + query.format(text=words, plus=words.replace("%20", "+"), number=at)
            headers = self._program() if at % 9 == 0 else self._browser(path)
            yield BenignRequest("document", "HEAD" if at % 11 == 0 else "GET", path, headers)

    def _assets(self) -> Iterator[BenignRequest]:
        for at, path in enumerate(self._files_of_the_page()):
            method = "HEAD" if at % 13 == 0 else "GET"
            yield BenignRequest("asset", method, path, self._browser(path))
            if at % 4 == 0:
                etag = self._app.head(path).headers.get("etag", '"none"')
                headers = {**self._browser(path), "If-None-Match": etag}
                yield BenignRequest("asset", "GET", path, headers)

    # What only the app knows, and what its words are made of.

    def _files_of_the_page(self) -> list[str]:
        """All that its document leads to, as far as its scripts say."""
        links = r'"\.?(/(?:assets|static|theme)[^"]*\.(?:js|css|svg|png)[^"]*)"'
        found = re.findall(links, self._app.get("/").text)
        waiting = [*dict.fromkeys(found), "/static/js/iframeResizer.contentWindow.min.js"]
        paths = dict.fromkeys([*waiting, "/favicon.ico"])
        while waiting and len(paths) < MOST_FILES * self.share:
            text = self._app.get(waiting.pop(0)).text
            for name in re.findall(r'"\./([\w.-]+\.(?:js|css))"', text):
                if (other := f"/assets/{name}") not in paths:
                    paths[other] = None
                    waiting.append(other)
        return list(paths)

    def _samples(self) -> list[str]:
        components = self._app.get("/config").json()["components"]
        choices = [one["props"].get("choices") or [] for one in components]
        return [value for offered in choices for _, value in offered][3:] or ["x"]

    def _letters(self, count: int) -> str:
        return "".join(self.dice.choices(LETTERS, k=count))

    def _values(self, count: int) -> list[float]:
        decimals = (0, 1, 2, 5)
        return [
            round(self.dice.uniform(-50, 900), self.dice.choice(decimals)) for _ in range(count)
        ]

    def _history(self, at: int, lengths: Sequence[int]) -> str:
        """Numbers in one of the notations that the page understands."""
        notations = known("forms")["notations"]
        form, values = notations[at % len(notations)], self._values(self.dice.choice(lengths))
        words = [
            format(form.get("scale", 1) * value, form.get("format", "g")).replace(
                form.get("without", ""), form.get("with", "")
            )
            for value in values
        ]
        if "unknown" in form:
            words = [form["unknown"] if self.dice.random() < 0.1 else word for word in words]
        text = form.get("separator", ",").join(words)
        digits = form.get("digits", "0123456789")
        whole = form.get("before", "") + text + form.get("after", "")
        return str(whole.translate(str.maketrans("0123456789", digits)))

    def _start(self, at: int, hours: int | None = None) -> str:
        starts = known("forms")["starts"]
        return (
            f"{START + timedelta(hours=at if hours is None else hours):{starts[at % len(starts)]}}"
        )

    def _table(self, at: int, values: Sequence[float], start: datetime) -> str:
        """Rows of timestamps and numbers as somebody pastes them, each time in another form."""
        stamp = (
            *("%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S+00:00"),
            "%Y-%m-%dT%H:%MZ",
        )[at % 4]
        separator, decimal = ((",", "."), (";", ","), ("\t", "."), (", ", "."), (";", ","))[at % 5]
        rows = []
        for hour, value in enumerate(values):
            word = f"{value:.1f}".replace(".", decimal)
            if self.dice.random() < 0.03:
                word = self.dice.choice(known("forms")["unknown"])
            rows.append([f"{start + timedelta(hours=hour):{stamp}}", word])
        if at % 3:
            rows.insert(0, ["ds", "y"])
        if at % 3 == 2:
            name = lines("series")[at % len(lines("series"))]
            if any(character in name for character in ',;\t"'):
                name = '"' + name.replace('"', '""') + '"'
            rows = [["unique_id" if row[0] == "ds" else name, *row] for row in rows]
        return ("\n", "\r\n")[at % 2].join(separator.join(row) for row in rows)


def _parquet(names: Sequence[str], dice: Random) -> bytes:
    rows = [
        (name, START + timedelta(hours=hour), dice.uniform(0, 500))
        for name in names
        for hour in range(100)
    ]
    file = io.BytesIO()
    pd.DataFrame(rows, columns=["unique_id", "ds", "y"]).to_parquet(file)
    return file.getvalue()


def _large(megabytes: int) -> bytes:
    rows = ["unique_id,ds,y"]
    size = 0
    while size < megabytes * 2**20:
        number, hour = divmod(len(rows) - 1, 1000)
        rows.append(f"site {number},{START + timedelta(hours=hour):%Y-%m-%d %H:%M},{hour % 24}.5")
        size += len(rows[-1]) + 1
    return "\n".join(rows).encode()


def _over_http2(request: BenignRequest) -> BenignRequest:
    """The same over HTTP/2, which has no connections to tell about."""
    headers = {k: v for k, v in request.headers.items() if k.lower() != "connection"}
    return replace(request, headers=headers, is_http2=True)
