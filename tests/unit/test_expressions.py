"""Regular expressions of what meets strangers' text: each takes time in proportion to the text."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("src/kalecast",)
METHODS = {"match", "search", "fullmatch", "findall", "finditer", "split", "sub"}

# Runs in a process of its own, as nothing else ends an expression that has begun.
TIMED = r"""
import re, sys, time
from re import _parser

own = set()

def example(parts):
    "A short text that the pattern matches; `own` gets the characters that it knows."
    text = ""
    for kind, what in parts:
        name = str(kind)
        if name == "LITERAL":
            text += chr(what)
            own.add(chr(what))
        elif name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            text += example(what[2]) * max(what[0], 1)
        elif name == "SUBPATTERN":
            text += example(what[3])
        elif name == "ATOMIC_GROUP":
            text += example(what)
        elif name == "BRANCH":
            text += [example(branch) for branch in what[1]][0]
        elif name in ("IN", "ANY", "NOT_LITERAL", "GROUPREF"):
            known = [c for c in "0a-. :,\t" if name != "IN" or inside(what, c)] or ["a"]
            text += known[0]
            own.update(known[:2])
    return text

def inside(members, character):
    "Whether a class holds a character."
    negated, found = False, False
    for kind, what in members:
        name = str(kind)
        negated |= name == "NEGATE"
        found |= name == "LITERAL" and chr(what) == character
        found |= name == "RANGE" and what[0] <= ord(character) <= what[1]
        if name == "CATEGORY":
            kinds = {"DIGIT": str.isdigit, "SPACE": str.isspace, "WORD": str.isalnum}
            word = str(what).removeprefix("CATEGORY_").removeprefix("UNI_")
            found |= kinds[word.removeprefix("NOT_")](character) != word.startswith("NOT_")
    return found != negated

for line in sys.stdin:
    where, pattern, methods = eval(line)
    print(where, repr(pattern), flush=True)
    of = re.compile(pattern)
    kind = bytes if isinstance(pattern, bytes) else str
    spell = (lambda text: text.encode()) if kind is bytes else str
    source = pattern.decode() if kind is bytes else pattern
    own.clear()
    begin = example(_parser.parse(source))
    characters = sorted(own)
    texts = [character * 1_000_000 + "\0" for character in characters]
    texts += [begin * (100_000 // max(len(begin), 1)) + "\0"]
    heads = [begin[:at] for at in range(1, min(len(begin), 24) + 1)]
    texts += [head + character * 30_000 + "\0" for head in heads for character in characters]
    for method in methods:
        call = getattr(of, method)
        for text in texts:
            started = time.perf_counter()
            call(*map(spell, ["", text] if method == "sub" else [text]))
            if time.perf_counter() - started > 10:
                sys.exit(f"{method} takes long on {text[:30]!r}")
"""


@cache
def modules() -> list[tuple[Path, ast.Module]]:
    """The package's modules."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    return [(path, ast.parse(path.read_text())) for path in paths]


def expressions() -> Iterator[tuple[str, str | bytes, set[str]]]:
    """Where each stands in the code, its pattern, and how it is used."""
    for path, tree in modules():
        constants = {
            node.targets[0].id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        for node in ast.walk(tree):
            if method := _method(node):
                where = f"{path.relative_to(ROOT)}:{node.lineno}"  # type: ignore[attr-defined]
                used = _used(node, tree) if method == "compile" else {method}
                for pattern in _patterns(node.args[0], constants):  # type: ignore[attr-defined]
                    yield where, pattern, used


def _method(node: ast.AST) -> str:
    """What is done with an expression here; nothing where there is none."""
    if not (isinstance(node, ast.Call) and node.args):
        return ""
    name = ast.unparse(node.func)
    if name == "_text":  # parameters.py: a form that a text must have
        return "fullmatch"
    method = name.removeprefix("re.")
    return method if name != method and method in {*METHODS, "compile"} else ""


def _patterns(node: ast.expr, constants: dict[str, ast.expr]) -> list[str | bytes]:
    """What a pattern may be: a text, a name of one, or texts put together of such."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str | bytes) else []
    if isinstance(node, ast.Name) and node.id in constants:
        return _patterns(constants[node.id], constants)
    if isinstance(node, ast.JoinedStr):
        parts = [
            _patterns(part.value if isinstance(part, ast.FormattedValue) else part, constants)
            for part in node.values
        ]
        return ["".join(str(part[0]) for part in parts)] if all(parts) else []
    if isinstance(node, ast.BinOp):  # text % values
        return _patterns(node.left, constants)
    if isinstance(node, ast.IfExp):
        return _patterns(node.body, constants) + _patterns(node.orelse, constants)
    return []


def _used(call: ast.AST, tree: ast.Module) -> set[str]:
    """The methods that the code uses of an expression that is compiled here."""
    targets = {
        ast.unparse(target)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and node.value is call
        for target in node.targets
    }
    used = {
        node.attr
        for _, other in modules()
        for node in ast.walk(other)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in targets
    }
    return used & METHODS or {"search"}  # given to who knows whom


@pytest.mark.slow
def test_no_expression_takes_long_for_a_megabyte_of_its_own_characters() -> None:
    found = list(expressions())
    assert len(found) > 25
    lines = "".join(f"{one!r}\n" for one in found)
    run = subprocess.run(
        [sys.executable, "-c", TIMED],
        input=lines,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout.splitlines()[-1:] + run.stderr.splitlines()[-1:]
