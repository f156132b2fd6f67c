"""What is read of security tools' payload lists, and what is a finding in an answer."""

import json
from pathlib import Path

import pytest

from benchmarks.protection.attack_lists import findings
from benchmarks.protection.payload_lists import SQLMAP, WAPITI, WFUZZ, Payload, payloads
from benchmarks.protection.raw_requests import (
    BY_LIMITS,
    BY_LIST,
    BY_SIGNATURES,
    HUNG_UP,
    PASSED,
    RawReply,
)

MARKUP = Payload("scripts", "<b onclick=x>5")


def event(value: str) -> RawReply:
    body = json.dumps({"data": [{"__type__": "update", "value": value}]}).encode()
    return RawReply(200, "application/json", body)


@pytest.mark.parametrize(
    ("reply", "seconds", "message"),
    [
        (event("Expected numbers, received: &lt;b onclick=x&gt;5"), 0.1, ""),
        (event(f"Expected numbers, received: {MARKUP.text}"), 0.1, "unescaped"),
        (RawReply(200, "text/html; charset=utf-8", b"<p><b onclick=x>5</p>"), 0.1, "unescaped"),
        (RawReply(400, "application/json", b'{"error": "<b onclick=x>5"}'), 0.1, ""),
        (RawReply(200, "application/json", b'{"x": "root:x:0:0:root"}'), 0.1, "file"),
        (RawReply(200, "application/json", b"{}"), 5.2, "took"),
        (RawReply(500, "application/json", b"{}"), 0.1, "failed"),
        (event("Something went wrong on our side. Please try again"), 0.1, "failed"),
    ],
)
def test_what_attacks_reach_is_found(reply: RawReply, seconds: float, message: str) -> None:
    found = list(findings(MARKUP, reply, seconds))
    assert len(found) == bool(message)
    assert message in " ".join(found)


@pytest.mark.parametrize(
    ("reply", "word"),
    [
        (RawReply(None), HUNG_UP),
        (RawReply(403, "application/json", b'{"detail": "No.", "error": "No."}'), BY_SIGNATURES),
        (RawReply(404, "application/json", b'{"detail": "No.", "error": "No."}'), BY_LIST),
        (RawReply(429, "application/json", b'{"detail": "No.", "error": "No."}'), BY_LIMITS),
        (RawReply(400, "text/html", b"<h1>Kalecast</h1><p>No.</p>"), BY_LIST),
        (RawReply(505, "text/html", b"<hr><center>nginx</center>"), BY_LIST),
        (RawReply(400, "application/json", b'{"error": "Expected numbers"}'), PASSED),
        (RawReply(200, "text/html", b"<p>a page</p>"), PASSED),
    ],
)
def test_the_gateways_answers_are_reported_from_the_apps(reply: RawReply, word: str) -> None:
    assert reply.verdict == word


def test_lists_of_all_tools_are_read_each_payload_once(tmp_path: Path) -> None:
    texts = {
        f"{WFUZZ}/Injections/SQL.txt": "one' or 1\n\ntwo\n",
        f"{WFUZZ}/Injections/All_attack.txt": "two\nthree%n\n",
        f"{WAPITI}/execPayloads.txt": "a;sleep [TIME][LF]\n",
        f"{WAPITI}/xssPayloads.ini": "[a]\npayload = <i>__XSS__</i>\ntag = i\n",
        f"{SQLMAP}/inline.xml": "<request><payload>AND [RANDNUM]&gt;1</payload></request>",
    }
    for name, text in texts.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = {payload.text: payload.kind for payload in payloads(tmp_path)}
    ours = {text: kind for text, kind in found.items() if kind != "naughty strings"}
    assert ours == {
        "one' or 1": "SQL injection",
        "two": "SQL injection",
        "AND 4711>1": "SQL injection",
        "1' AND 4711>1-- -": "SQL injection",
        '1") AND 4711>1 AND ("1"="1': "SQL injection",
        "<i>kalecast</i>": "scripts in pages (XSS)",
        "a;sleep 5\n": "commands",
        "three%n": "LDAP, XPath, formats, overflow",
    }
