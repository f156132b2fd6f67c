"""The real gateway before the real page: what it knows, leaves to signatures, and refuses."""

import re
import ssl
from collections.abc import Iterator

import gateway_process
import page_process
import pytest
import requests
from gateway_process import Gateway

pytestmark = pytest.mark.slow

HISTORY = ",".join(str(hour % 24) for hour in range(336))
CHROME = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Safari/537.36",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
    "Accept-Language": "de-DE,de;q=0.9,en;q=0.8",
    "sec-ch-ua": '"Chromium";v="141", "Not?A_Brand";v="8"',
    "sec-ch-ua-mobile": "?0",
    "sec-ch-ua-platform": '"Linux"',
    "Sec-Fetch-Mode": "navigate",
}
JSON = {"Content-Type": "application/json"}
PROGRAMS = [
    {"User-Agent": "curl/8.5.0"},
    {"User-Agent": "Python/3.12 aiohttp/3.13.0"},
    {"User-Agent": "okhttp/4.12.0", "Accept-Encoding": "gzip"},
    {"User-Agent": "Go-http-client/1.1"},
    {"User-Agent": None, "Accept": None},
    {"Authorization": f"Bearer kalecast_k1_{'x' * 43}"},
    {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
]


@pytest.fixture(scope="module")
def gateway(page: page_process.Page) -> Iterator[Gateway]:
    with gateway_process.opened(page.url, ["--log-level", "info"]) as gateway:
        yield gateway


class Visitor:
    """Sends requests through the gateway, and reads its log of them."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._read = len(gateway.log)

    def send(self, method: str, path: str, **options: object) -> requests.Response:
        return self._gateway.send(method, path, **options)

    def forecast(self, headers: dict | None = None, **fields: object) -> requests.Response:
        return self.send("POST", "/api/forecast", json=fields, headers=headers)

    @property
    def left_to_signatures(self) -> bool:
        """Whether the requests since the last call were."""
        log = self._gateway.log
        new, self._read = log[self._read :], len(log)
        return 'id "10251"' in new


@pytest.fixture
def visitor(gateway: Gateway) -> Visitor:
    return Visitor(gateway)


@pytest.mark.parametrize("headers", [CHROME, *PROGRAMS])
def test_a_request_of_known_words_skips_signatures(visitor: Visitor, headers: dict):
    answer = visitor.forecast(headers, history=HISTORY, start="2026-01-01 00:00", horizon=24)
    assert answer.status_code == 200
    assert len(answer.json()["forecast"]["0.5"]) == 24
    assert not visitor.left_to_signatures


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Unlisted": "1"},
        {"Cookie": "a=b"},
        {"Referer": "https://localhost/?q=1"},
        {"User-Agent": "a tool: of mine"},
        {"Accept": "text/html;level=1"},
        {"Accept-Language": "Klingon, please"},
    ],
)
def test_whatever_else_a_head_says_is_left_to_signatures(visitor: Visitor, headers: dict):
    assert visitor.forecast(headers, history=HISTORY).status_code == 200
    assert visitor.left_to_signatures


@pytest.mark.parametrize(
    "headers",
    [
        {"User-Agent": "sqlmap/1.7"},
        {"X-Unlisted": "${jndi:ldap://127.0.0.1/a}"},
        {"X-Unlisted": "%24%7bjndi:ldap://127.0.0.1/a}"},
        {"X-Unlisted": "() { :; }; /bin/id"},
        {"X-Unlisted": "<script>alert(1)</script>"},
        {"Referer": "<script>alert(1)</script>"},
        {"Cookie": "a=' or 1=1 -- "},
    ],
)
def test_an_attack_in_a_header_is_refused_though_the_rest_is_benign(
    visitor: Visitor, headers: dict
):
    answer = visitor.forecast(headers, history=HISTORY)
    assert answer.status_code == 403
    assert re.search(r"its number: [0-9a-f]{32}\.", answer.json()["detail"])


@pytest.mark.parametrize(
    "history",
    ["1,2,<script>", "1\n' or 1=1\n2", "$(id)", "1;2", "../../etc/passwd", "1e3\x00", "{{7*7}}"],
)
def test_a_history_is_numbers(visitor: Visitor, history: str):
    answer = visitor.forecast(history=history)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("This request does not have the form")


@pytest.mark.parametrize(
    "history",
    [
        HISTORY.replace(",", " "),
        HISTORY.replace(",", "\n"),
        "-1.5e-3,+2E4,nan,,NULL,None," + HISTORY,
        "٣,٤," + HISTORY,
        "1\u00a02 " + HISTORY.replace(",", " "),
    ],
)
def test_numbers_have_many_forms(visitor: Visitor, history: str):
    answer = visitor.forecast(history=history)
    assert answer.status_code == 200, answer.text
    assert not visitor.left_to_signatures


def test_a_field_that_the_form_does_not_have_is_left_to_signatures(visitor: Visitor):
    answer = visitor.forecast(history=HISTORY, note="some words")
    assert (answer.status_code, visitor.left_to_signatures) == (400, True)
    assert "received also: 'note'" in answer.json()["detail"]
    assert visitor.forecast(history=HISTORY, note="1 union select 1,2 --").status_code == 403


EVENT = '{"data":["Your numbers",null,null,null,"1 2 3","2026-01-01",6],"fn_index":0%s}'
FORECAST = '{"history":"1,2,3"%s}'
FORMS = [("/gradio_api/run/predict", EVENT), ("/api/forecast", FORECAST)]


@pytest.mark.parametrize(("path", "form"), FORMS)
@pytest.mark.parametrize("empty", ["[]", "{}", "[ ]", '{"a":{}}', "[[[]]]", '{"":[{}]}'])
def test_lists_and_objects_without_anything_in_them_are_seen(
    visitor: Visitor, path: str, form: str, empty: str
):
    def sent(count: int) -> requests.Response:
        more = f',"x":[{",".join([empty] * count)}]'
        return visitor.send("POST", path, data=form % more, headers=JSON)

    few, left = sent(2), visitor.left_to_signatures
    many = sent(5000)
    assert few.status_code in {200, 400}  # the page's own answer
    assert left
    assert many.status_code == 400
    assert many.json()["detail"].startswith("This request does not have the form")


def test_brackets_in_a_text_are_none_of_the_form(visitor: Visitor):
    names = 'a "b" [1] {2} \\ [[[' + "[" * 50
    upload = {"path": "kalecast-table-1.", "orig_name": names, "meta": {"_type": "x"}}
    event = {"fn_index": 0, "data": ["Your file", None, upload, names, names, None, 6]}
    answer = visitor.send("POST", "/gradio_api/run/predict", json=event)
    assert answer.status_code == 200


@pytest.mark.parametrize(("path", "form"), FORMS)
@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "text/xml", "a/b", "*/*"]
)
def test_what_is_read_as_json_is_looked_at_as_json(
    visitor: Visitor, path: str, form: str, kind: str | None
):
    attack = r""","x":"\u0027 or 1=1 -- \u003cscript\u003ealert(1)\u003c/script\u003e" """
    headers = {"Content-Type": kind} if kind else {}
    answer = visitor.send("POST", path, data=(form % attack).encode(), headers=headers)
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/docs", 404),
        ("GET", "/config", 404),
        ("GET", "/metrics", 404),
        ("GET", "/ready", 404),
        ("GET", "/gradio_api/file=/etc/passwd", 404),
        ("POST", "/gradio_api/queue/join", 404),
        ("GET", "/assets/../config", 404),
        ("GET", "/assets/%2e%2e/config", 404),
        ("GET", "/?file=1", 404),
        ("GET", "/api/forecast", 405),
        ("POST", "/", 405),
        ("TRACE", "/", 405),
        ("PROPFIND", "/", 405),
        ("GET", "/?utm_source=mail&__theme=dark", 200),
        ("HEAD", "/api/model", 200),
    ],
)
def test_only_what_customers_need_is_there(visitor: Visitor, method: str, path: str, code: int):
    session = requests.Session()
    request = requests.Request(method, visitor._gateway.url).prepare()
    request.url = visitor._gateway.url + path  # as it is typed: a client would tidy it up
    answer = session.send(request, verify=visitor._gateway.certificate, timeout=30)
    assert answer.status_code == code
    if code >= 400:
        assert answer.json()["detail"]


def test_another_name_is_refused(visitor: Visitor):
    answer = visitor.send("GET", "/", headers={"Host": "elsewhere.example"})
    assert (answer.status_code, answer.json()["detail"]) == (
        421,
        "This service is known by another name.",
    )


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("https://localhost/", "elsewhere.example"),
        ("https://LOCALHOST:1/", "elsewhere.example:2"),
        ("/", "localhost:99999"),
        ("/", "localhost."),
    ],
)
def test_the_page_is_named_as_the_gateway_is(gateway: Gateway, target: str, host: str):
    context = ssl.create_default_context(cafile=gateway.certificate)
    with gateway.connect(context) as connection:
        head = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    assert answer.startswith("HTTP/1.1 200 ")
    assert f'"root":"{gateway.url}"' in answer
    assert "elsewhere" not in answer
    assert "99999" not in answer


def test_people_read_a_refusal_as_a_page(visitor: Visitor):
    answer = visitor.send("GET", "/nowhere", headers={"Accept": "text/html"})
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "<p>There is no such address here.</p>" in answer.text


def test_the_access_log_has_no_personal_data(gateway: Gateway, visitor: Visitor):
    before = len(gateway.protected.access_log.read_text())
    visitor.send(
        "GET",
        "/?utm_source=jane.doe",
        headers={"User-Agent": "Secret/1", "Cookie": "c=Secret", "Authorization": "Secret"},
    )
    assert gateway.logged("document", since=before)["network"] == "127.0.0.0/24"
    text = gateway.protected.access_log.read_text()
    assert "jane" not in text
    assert "Secret" not in text


def test_no_other_user_reads_the_certificate_key(gateway: Gateway):
    key = gateway.protected.service.folder / "certificate.key"
    assert key.stat().st_mode & 0o077 == 0
