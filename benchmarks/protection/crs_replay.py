"""The Core Rule Set's own regression cases against the running gateway: are all as expected?

Two questions a case. Of the signatures by themselves: do those rules tell of it that its authors
name? Of the gateway as shipped: is an attack refused, and what is none not refused as one? Both
must be answered well. Of cases for a newer rule set than the installed one only the second is.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import yaml

from benchmarks.load.gateway import gateway
from benchmarks.protection.crs_cases import Case, cases
from benchmarks.protection.raw_requests import RawReply, clients, lines_by_client, send_all
from benchmarks.protection.running_stack import ProofPart, ProtectedStack
from kalecast.cluster.gateway import nginx

EXPLAINED = Path(__file__).with_name("crs_explained.yaml")

WHERE = (
    "The Core Rule Set's cases come with its sources (github.com/coreruleset/coreruleset, "
    "tests/regression/tests of the tag v3.3.4): make benchmark-protection CRS_TESTS=folder"
)

NETWORKS = (16, 48)
"""Where the clients of the two questions live, below 127."""

ABOUT = {
    "911": "methods",
    "913": "scanners",
    "920": "protocol",
    "921": "smuggling, splitting",
    "922": "forms in several parts",
    "930": "local files",
    "931": "remote files",
    "932": "commands",
    "933": "PHP",
    "934": "Node.js, templates",
    "941": "scripts in pages (XSS)",
    "942": "SQL injection",
    "943": "session fixation",
    "944": "Java",
}
PAGE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: kalecast/1\r\nAccept: text/html\r\n"
    b"Connection: close\r\n\r\n"
)


@dataclass(frozen=True)
class CaseOutcome:
    """How a case went."""

    case: Case
    signatures_right: bool | None
    """Whether the signatures reported it as expected; None where they were not tried."""
    right: bool
    """Whether the gateway did as it should."""
    statuses: tuple[int | None, ...]
    """The gateway's answers."""
    reached: bool
    """Whether an attack got more of the app than the page that everybody gets."""

    @property
    def as_expected(self) -> bool:
        """In every respect that was looked at."""
        return self.right and self.signatures_right is not False

    def __str__(self) -> str:
        signatures = {None: "", True: ", signatures right", False: ", signatures wrong"}
        kind = ("attack" if self.case.is_attack else "no attack", signatures[self.signatures_right])
        answers = ", ".join(str(status or "hung up") for status in self.statuses)
        return f"{self.case.title} ({''.join(kind)}, the gateway: {answers})"


def measure(stack: ProtectedStack, folder: Path) -> ProofPart:
    """Replay the cases below a folder."""
    # Why cases of 3.3.4 are not as expected, by their titles.
    return as_part(replayed(stack, cases(folder)), yaml.safe_load(EXPLAINED.read_text()))


def replayed(stack: ProtectedStack, found: Sequence[Case]) -> list[CaseOutcome]:
    """Both questions of each case."""
    generation, rules = _installed()
    known = [case for case in found if case.generation == generation and case.rules <= rules]
    signatures_right = dict(zip(map(id, known), _signatures_right(stack, known), strict=True))
    requests = [PAGE, *(request for case in found for request, _ in case.stages)]
    addresses = list(islice(clients(NETWORKS[1]), len(requests)))
    page, *others = send_all(stack.protected.port, requests, addresses, stack.trust)
    replies = iter(others)
    return [
        _outcome(
            case, signatures_right.get(id(case)), list(islice(replies, len(case.stages))), page
        )
        for case in found
    ]


def as_part(outcomes: Sequence[CaseOutcome], explained: dict[str, str]) -> ProofPart:
    """The table and the figures."""
    attacks = [outcome for outcome in outcomes if outcome.case.is_attack]
    tried = [outcome for outcome in outcomes if outcome.signatures_right is not None]
    newer = [outcome for outcome in outcomes if outcome.signatures_right is None]
    odd = [outcome for outcome in outcomes if not outcome.as_expected]
    # Other generations have other cases of the same titles.
    unexplained = [o for o in odd if o.case.generation != 3 or o.case.title not in explained]
    expected = len(outcomes) - len(odd)
    figures = {
        "crs_cases": len(outcomes),
        "crs_as_expected": expected,
        "crs_share": round(expected / len(outcomes), 4),
        "crs_signatures_cases": len(tried),
        "crs_signatures_as_expected": sum(bool(outcome.signatures_right) for outcome in tried),
        "crs_attacks": len(attacks),
        "crs_attacks_refused": sum(outcome.right for outcome in attacks),
        "crs_attacks_passed": sum(not outcome.right for outcome in attacks),
        "crs_exploits": sum(outcome.reached for outcome in attacks),
        "crs_newer_cases": len(newer),
        "crs_newer_as_expected": sum(outcome.as_expected for outcome in newer),
        "crs_unexplained": [outcome.case.title for outcome in unexplained],
    }
    notes = [
        f"{len(newer):,} are for a newer rule set, and judged by the gateway's answer alone",
        *(f"not as expected, and not explained: {outcome}" for outcome in unexplained),
        f"{len(odd) - len(unexplained)} not as expected are explained in {EXPLAINED.name}",
    ]
    return ProofPart("the Core Rule Set's regression cases", _table(outcomes), figures, notes)


def _installed() -> tuple[int, frozenset[int]]:
    """The rule set that the gateway has: its generation and the numbers of its rules."""
    paths = sorted(Path(nginx.CRS_RULES).glob("*.conf"))
    lines = [line for path in paths for line in path.read_text().splitlines()]
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    version = re.search(r"ver:'OWASP_CRS/(\d+)\.", text)
    numbers = frozenset(map(int, re.findall(r"\bid:(\d+)", text)))
    return int(version.group(1)) if version else 0, numbers


def _signatures_right(stack: ProtectedStack, found: Sequence[Case]) -> list[bool]:
    """Whether the second tier by itself tells of each case as expected."""
    options = ("--executing-paranoia", "4", "--log-level", "info")
    protected = gateway(stack.app, stack.folder / "signatures", options)
    stages = [stage for case in found for stage in case.stages]
    addresses = list(islice(clients(NETWORKS[0]), len(stages)))
    with protected.service:
        requests = [request for request, _ in stages]
        replies = send_all(protected.signatures_port, requests, addresses)
    # It has ended: every line is written.
    lines = lines_by_client(protected.error_log)
    right = iter(
        expected.found_in(lines.get(address, []), reply.status)
        for (_, expected), address, reply in zip(stages, addresses, replies, strict=True)
    )
    return [all(list(islice(right, len(case.stages)))) for case in found]


def _outcome(
    case: Case, signatures_right: bool | None, replies: list[RawReply], page: RawReply
) -> CaseOutcome:
    pairs = [(expected, reply) for (_, expected), reply in zip(case.stages, replies, strict=True)]
    right = all(
        _is_refusal(reply) if expected.is_attack else reply.status != 403
        for expected, reply in pairs
    )
    reached = any(expected.is_attack and not _is_harmless(reply, page) for expected, reply in pairs)
    return CaseOutcome(case, signatures_right, right, tuple(r.status for r in replies), reached)


def _is_refusal(reply: RawReply) -> bool:
    # 505 is what HTTP has for a version that a server does not speak.
    return reply.status is None or 400 <= reply.status < 500 or reply.status == 505


def _is_harmless(reply: RawReply, page: RawReply) -> bool:
    """Whether it is a refusal, the page that everybody gets, or only its head."""
    if _is_refusal(reply) or reply.is_of_gateway:
        return True
    return reply.status == 200 and (not reply.body or reply.is_same_page(page))


def _table(outcomes: Sequence[CaseOutcome]) -> list[list[str]]:
    rows = [["rules", "about", "cases", "as expected", "attacks", "refused", "passed"]]
    families = defaultdict(list)
    for outcome in outcomes:
        families[outcome.case.title[:3]].append(outcome)
    rows += [[name, ABOUT.get(name, ""), *_counts(some)] for name, some in sorted(families.items())]
    return [*rows, ["all", "", *_counts(outcomes)]]


def _counts(outcomes: Sequence[CaseOutcome]) -> list[str]:
    attacks = [outcome for outcome in outcomes if outcome.case.is_attack]
    refused = sum(outcome.right for outcome in attacks)
    expected = sum(outcome.as_expected for outcome in outcomes)
    counts = (len(outcomes), expected, len(attacks), refused, len(attacks) - refused)
    return [f"{count:,}" for count in counts]
