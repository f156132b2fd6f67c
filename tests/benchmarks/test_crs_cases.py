"""The Core Rule Set's regression format: what is read of it, and when a case is as expected."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.protection.crs_cases import CaseError, Expected, cases

FIRST = """
meta: {author: us, enabled: true, name: 900.yaml, description: ours}
tests:
  - test_title: 900-1
    stages:
      - stage:
          input:
            method: POST
            uri: /here
            headers: {Host: localhost, User-Agent: ours}
            data: "word=a b"
          output: {log_contains: 'id "942100"'}
  - test_title: 900-2
    stages:
      - stage:
          input:
            headers: {Host: localhost}
            data: ["first", "second"]
            stop_magic: true
          output: {status: [400, 403], no_log_contains: 'id "942100"'}
  - test_title: 900-3
    stages:
      - stage:
          input: {encoded_request: "R0VUIC8K"}
          output: {expect_error: true}
"""

SECOND = """
meta: {author: us}
rule_id: 942100
tests:
  - test_id: 7
    stages:
      - input:
          method: POST
          headers: {Host: localhost, Content-Type: "multipart/form-data; boundary=x"}
          data: "--x\\nContent-Disposition: form-data; name=a\\n\\nb\\n--x--\\n"
        output:
          log: {expect_ids: [942100], no_expect_ids: [920170]}
          isolated: true
  - test_id: 8
    stages:
      - input:
          method: POST
          autocomplete_headers: false
          ordered_headers: [{name: Host, value: a}, {name: Host, value: b}]
          version: HTTP/1.0
        output: {status: 200, log: {match_regex: "ARGS:word", no_match_regex: "sleep"}}
  - test_id: 9
    stages:
      - input: {method: PUT, data: '{{ "ab" | repeat 3 }}'}
        output: {log: {no_expect_ids: [942100]}}
"""


def test_first_generation_is_sent_as_its_runner_sends_it(tmp_path: Path) -> None:
    (tmp_path / "900.yaml").write_text(FIRST)
    encoded, plain, raw = cases(tmp_path)
    assert (encoded.title, encoded.generation, encoded.rules) == ("900-1", 3, {942100})
    assert encoded.stages[0][0] == (
        b"POST /here HTTP/1.1\r\nHost: localhost\r\nUser-Agent: ours\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n"
        b"Content-Length: 8\r\n\r\nword=a+b"
    )
    assert plain.stages[0][0] == b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nfirst\r\nsecond"
    assert raw.stages[0][0] == b"GET /\n"


def test_second_generation_is_sent_as_its_runner_sends_it(tmp_path: Path) -> None:
    (tmp_path / "942100.yaml").write_text(SECOND)
    form, ordered, repeated = cases(tmp_path)
    assert (form.title, form.generation) == ("942100-7", 4)
    head, _, body = form.stages[0][0].partition(b"\r\n\r\n")
    assert body.startswith(b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert ordered.stages[0][0] == b"POST / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"
    assert repeated.stages[0][0].endswith(b"Content-Length: 6\r\n\r\nababab")


def line(rule: int) -> str:
    return f'[info] ModSecurity: Warning. found within ARGS:word [id "{rule}"] [msg "x"]'


@pytest.mark.parametrize(
    ("output", "rules", "status", "is_right"),
    [
        ({"log": {"expect_ids": [942100]}}, [942100, 920170], 403, True),
        ({"log": {"expect_ids": [942100, 941100]}}, [942100], 403, False),
        ({"log": {"no_expect_ids": [942100]}}, [942100], 403, False),
        ({"log": {"expect_ids": [942100]}, "isolated": True}, [942100, 920170], 403, False),
        ({"log": {"expect_ids": [942100]}, "isolated": True}, [942100], 403, True),
        ({"log_contains": 'id "942100"'}, [942100], 403, True),
        ({"log": {"match_regex": 'id "942100"'}}, [], 200, False),
        ({"no_log_contains": "ARGS:word"}, [942100], 403, False),
        ({"log": {"no_match_regex": "ARGS:word"}}, [], 200, True),
        ({"status": [400, 403]}, [], 403, True),
        ({"status": 400}, [], 200, False),
        ({"expect_error": True}, [], None, True),
        ({"expect_error": True}, [], 200, False),
    ],
)
def test_a_case_is_as_expected(
    output: dict[str, Any], rules: list[int], status: int | None, is_right: bool
) -> None:
    assert Expected.of(output).found_in([line(rule) for rule in rules], status) is is_right


def test_folders_without_cases_are_reported(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="found none"):
        cases(tmp_path)
    (tmp_path / "broken.yaml").write_text("tests:\n  - test_title: x\n    stages: 5\n")
    with pytest.raises(CaseError, match=r"broken\.yaml"):
        cases(tmp_path)
