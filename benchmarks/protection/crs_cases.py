"""The Core Rule Set's own regression cases, read from its YAML: what is sent, what its log says.

Both generations are read: that of 3.x (`test_title`, `log_contains`) and that of 4.x (`test_id`,
`log.expect_ids`), and requests are made as the rule set's own runners make them. Of those go-ftw
reads only the second, judges a running service by status 403 alone, and does not tell what came
back; ftw pins a PyYAML that cannot be built any more.
"""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, unquote_plus

import yaml

FORM = "application/x-www-form-urlencoded"
RULE = re.compile(r"\b9\d{5}\b")
LOGGED_ID = re.compile(r'\[id "(\d+)"\]')
"""A rule's number in a line of the error log."""
# The one function of the second generation's templates which cases use.
REPEATED = re.compile(r'\{\{\s*"([^"]*)"\s*\|\s*repeat\s+(\d+)\s*\}\}')


class CaseError(ValueError):
    """A file has no regression cases that can be read; the text says which and why."""


@dataclass(frozen=True)
class Expected:
    """What its authors expect of a request."""

    matches: tuple[str, ...] = ()
    """Expressions each of which some line of the log matches, such as that of a rule's number."""
    no_matches: tuple[str, ...] = ()
    """Expressions that no line matches."""
    statuses: frozenset[int] = frozenset()
    """Any of them; none stands for every answer."""
    no_answer: bool = False
    isolated: bool = False
    """Whether no other rule may tell of it."""

    @classmethod
    def of(cls, output: Mapping[str, Any]) -> "Expected":
        """As a case's `output` has it, in either generation."""
        log, status = output.get("log") or {}, output.get("status", [])
        some = [log.get("match_regex"), output.get("log_contains")]
        none = [log.get("no_match_regex"), output.get("no_log_contains")]
        some += [rf'\[id "{rule}"\]' for rule in log.get("expect_ids") or ()]
        none += [rf'\[id "{rule}"\]' for rule in log.get("no_expect_ids") or ()]
        return cls(
            tuple(filter(None, some)),
            tuple(filter(None, none)),
            frozenset(status if isinstance(status, list) else [status]),
            no_answer=bool(output.get("expect_error")),
            isolated=bool(output.get("isolated")),
        )

    @property
    def is_attack(self) -> bool:
        """Whether a rule has something against it, or the server itself."""
        return bool(self.matches) or (bool(self.statuses) and min(self.statuses) >= 400)

    @property
    def rules(self) -> frozenset[int]:
        """Those that are named, whether or not they are to tell of it."""
        return _rules(RULE, (*self.matches, *self.no_matches))

    def found_in(self, lines: Sequence[str], status: int | None) -> bool:
        """Whether a log's lines about the request, and its answer, are as expected.

        Args:
            lines: of the error log, about this request alone.
            status: of the answer; None where the server hung up without one.
        """

        def logged(expression: str) -> bool:
            return any(re.search(expression, line) for line in lines)

        if self.no_answer:
            return status is None
        return (
            all(map(logged, self.matches))
            and not any(map(logged, self.no_matches))
            and not (self.isolated and _rules(LOGGED_ID, lines) != _rules(RULE, self.matches))
            and (not self.statuses or status in self.statuses)
        )


def _rules(pattern: re.Pattern[str], texts: Sequence[str]) -> frozenset[int]:
    return frozenset(int(rule) for text in texts for rule in pattern.findall(text))


@dataclass(frozen=True)
class Case:
    """One regression case: requests, each with what is expected of it."""

    title: str
    """Such as `942100-3`."""
    generation: int
    """3 or 4: that of the rule set it was written for."""
    stages: tuple[tuple[bytes, Expected], ...]

    @property
    def is_attack(self) -> bool:
        """Whether any of its requests is one."""
        return any(expected.is_attack for _, expected in self.stages)

    @property
    def rules(self) -> frozenset[int]:
        """Those that it is about."""
        return frozenset().union(*(expected.rules for _, expected in self.stages))


def cases(folder: Path) -> list[Case]:
    """All cases of the YAML files below a folder, in the order of their names.

    Raises:
        CaseError: there are none, or a file is none of theirs.
    """
    found = [case for path in sorted(folder.rglob("*.y*ml")) for case in _cases(path)]
    if not found:
        raise CaseError(f"Expected YAML files with regression cases below {folder}, found none.")
    return found


def _cases(path: Path) -> Iterator[Case]:
    try:
        content = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        if not isinstance(content, dict) or not (content.get("meta") or {}).get("enabled", True):
            return
        for test in content.get("tests") or ():
            if test.get("enabled", True):
                yield _case(content, test)
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise CaseError(
            f"Expected regression cases in {path}, received what cannot be read: {error}"
        ) from error


def _case(content: Mapping[str, Any], test: Mapping[str, Any]) -> Case:
    generation = 3 if "test_title" in test else 4
    title = test["test_title"] if generation == 3 else f"{content['rule_id']}-{test['test_id']}"
    stages = [stage["stage"] if generation == 3 else stage for stage in test["stages"]]
    parts = [(_request(s["input"], generation), Expected.of(s.get("output") or {})) for s in stages]
    return Case(str(title), generation, tuple(parts))


def _request(content: Mapping[str, Any], generation: int) -> bytes:
    if content.get("encoded_request"):
        return base64.b64decode(content["encoded_request"])
    if content.get("raw_request"):
        return str(content["raw_request"]).encode().decode("unicode_escape").encode()
    headers, data = _headers(content), _data(content)
    kinds = [value for name, value in headers if name.lower() == "content-type"]
    if any("multipart/form-data;" in kind for kind in kinds) and b"\r\n" not in data:
        # Its readers want the lines of a form in several parts to end like those of a head.
        data = data.replace(b"\n", b"\r\n")
    method = content.get("method", "GET")
    if content.get("autocomplete_headers", not content.get("stop_magic", False)):
        # The second generation's runner tells a length of these even where there is no body.
        has_length = generation == 4 and method in {"POST", "PUT", "PATCH", "DELETE"}
        data = _completed(headers, data, bool(data) or has_length)
    head = f"{method} {content.get('uri', '/')} {content.get('version', 'HTTP/1.1')}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"{head}\r\n".encode() + data


def _headers(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "ordered_headers" in content:
        return [(str(one["name"]), str(one["value"])) for one in content["ordered_headers"]]
    given = content.get("headers") or {}
    return [(str(name), "" if value is None else str(value)) for name, value in given.items()]


def _data(content: Mapping[str, Any]) -> bytes:
    if "encoded_data" in content:
        return base64.b64decode(content["encoded_data"])
    data = content.get("data") or ""
    text = "\r\n".join(data) if isinstance(data, list) else str(data)
    return REPEATED.sub(lambda found: found.group(1) * int(found.group(2)), text).encode()


def _completed(headers: list[tuple[str, str]], data: bytes, has_length: bool) -> bytes:
    """Add the headers that a case leaves to the runner; returns the body in its final form."""
    given = {name.lower(): value for name, value in headers}
    if data:
        if "content-type" not in given:
            headers.append(("Content-Type", FORM))
        if given.get("content-type", FORM).lower() == FORM:
            data = _encoded(data)
    if "connection" not in given:
        headers.append(("Connection", "close"))
    if has_length and "content-length" not in given:
        headers.append(("Content-Length", str(len(data))))
    return data


def _encoded(data: bytes) -> bytes:
    """A form's fields, where it looks as if nobody has encoded them yet."""
    text = data.decode()
    if unquote_plus(text) != text or re.search("%(?![0-9A-Fa-f]{2})", text):
        return data
    fields = (field.split("=", 1) for field in text.split("&"))
    return "&".join("=".join(map(quote_plus, field)) for field in fields).encode()
