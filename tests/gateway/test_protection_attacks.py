"""Published attacks, replayed against model server, app and gateway: a selection, in small."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_process import nginx
from missing import missing

from benchmarks.protection import attack_lists, crs_cases, crs_replay, payload_lists
from benchmarks.protection.running_stack import ProtectedStack, standing

pytestmark = pytest.mark.slow

A_CLASS = 40
"""Payloads of each class: what they add up to is replayed within seconds."""

FIRST = """
meta: {author: us, enabled: true, name: 942.yaml, description: ours}
tests:
  - test_title: 942100-1
    stages: [{stage: {
      input: {
        uri: "/api/model?name=1%27%20or%20%271%27%3D%271",
        headers: {Host: localhost, User-Agent: ours, Accept: "*/*"}},
      output: {log_contains: 'id "942100"'}}}]
  - test_title: 942100-2
    stages: [{stage: {
      input: {
        uri: /api/model,
        headers: {Host: localhost, User-Agent: ours, Accept: "*/*"}},
      output: {no_log_contains: 'id "9[0-9]+"'}}}]
  - test_title: 942100-3
    stages: [{stage: {
      input: {
        uri: "/api/model?name=hello",
        headers: {Host: localhost, User-Agent: ours, Accept: "*/*"}},
      output: {log_contains: 'id "942100"'}}}]
  - test_title: 941100-4
    stages: [{stage: {
      input: {encoded_request: "R0VUIC8gSFRUUC8xLjEgeHh4DQoNCg=="},
      output: {status: 400}}}]
"""

SECOND = """
meta: {author: us}
rule_id: 999999
tests:
  - test_id: 1
    stages:
      - input:
          method: POST
          uri: /api/forecast
          headers: {Host: localhost, User-Agent: ours, Content-Type: application/json}
          data: '{"history": "1,2,$(cat /etc/passwd)"}'
        output: {log: {expect_ids: [999999]}}
  - test_id: 2
    stages:
      - input: {uri: /, headers: {Host: localhost, User-Agent: ours, Cache-Control: private}}
        output: {log: {expect_ids: [999999]}}
  - test_id: 3
    stages:
      - input: {uri: /, headers: {Host: localhost, User-Agent: ours, Accept: "*/*"}}
        output: {log: {no_expect_ids: [999999]}}
"""


@pytest.fixture(scope="module")
def stack(model_file: Path) -> Iterator[ProtectedStack]:
    nginx()
    with standing(model_file) as stack:
        yield stack


def test_cases_of_both_generations_are_judged(stack: ProtectedStack, tmp_path: Path) -> None:
    (tmp_path / "first.yaml").write_text(FIRST)
    (tmp_path / "second.yaml").write_text(SECOND)
    found = crs_cases.cases(tmp_path)
    outcomes = crs_replay.replayed(stack, found)
    judged = {outcome.case.title: (outcome.signatures_right, outcome.right) for outcome in outcomes}
    assert judged == {
        "942100-1": (True, True),
        "942100-2": (True, True),
        "942100-3": (False, True),  # nothing in it for the rule, and no address of ours
        "941100-4": (True, True),
        "999999-1": (None, True),
        "999999-2": (None, False),  # it passes, and gets the page as every client does
        "999999-3": (None, True),
    }
    part = crs_replay.as_part(outcomes, {"942100-3": "ours"})
    assert part.figures["crs_cases"] == 7
    assert part.figures["crs_as_expected"] == 5
    assert part.figures["crs_unexplained"] == ["999999-2"]
    assert part.figures["crs_exploits"] == 0


def test_payloads_of_security_tools_reach_nothing(stack: ProtectedStack) -> None:
    if absent := payload_lists.missing():
        missing(", ".join(absent), payload_lists.REMEDY)
    chosen = _some(payload_lists.payloads())
    part = attack_lists.replayed(stack, chosen)
    assert not part.notes
    figures = part.figures
    assert len(figures["payload_classes"]) >= 6
    assert figures["payload_exploits"] == figures["payload_limited"] == 0
    blocked = figures["payload_blocked_by_list"] + figures["payload_blocked_by_signatures"]
    assert blocked + figures["payload_hung_up"] > figures["payload_requests"] / 2


def _some(found: list[payload_lists.Payload]) -> list[payload_lists.Payload]:
    """The same ones in each run, of every class."""
    chance = random.Random(7)
    kinds = dict.fromkeys(payload.kind for payload in found)
    of_kinds = [[payload for payload in found if payload.kind == kind] for kind in kinds]
    return [payload for few in of_kinds for payload in chance.sample(few, min(A_CLASS, len(few)))]
