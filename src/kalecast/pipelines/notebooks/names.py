"""Which names a cell uses, which cells make them, and whether a pipeline's step will have them.

In a notebook every cell sees what ran before it. In a pipeline each step is a process of its own:
it has the pipeline's parameters, the cells tagged `imports` and `functions`, and what the steps
make that its `prev:` tags lead to. A name from anywhere else fails there, minutes into a run.
"""

import ast
import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from kalecast.pipelines.notebooks.cells import GLOBAL_ROLES, NotebookError, has_code, role_of, where

IPYTHON_NAMES = frozenset({"display", "get_ipython", "In", "Out", "exit", "quit"})
HISTORY = re.compile(r"_(i{0,3}|i?\d+|_{1,2}|[iod]h)")  # _, __, _3, _ih and so on
SHARED_ROLES = ("imports", "functions")


@dataclass(frozen=True)
class Cell:
    """A code cell with its place among all cells, its role, and the names it makes."""

    number: int
    cell: Any
    role: str
    made: frozenset[str]
    imported: frozenset[str]

    @property
    def source(self) -> str:
        """Its code."""
        return str(self.cell.source)

    def __str__(self) -> str:
        return where(self.number, self.cell)


def check_names_in_order(notebook: Any) -> None:
    """Raise a `NotebookError` for the first name that no earlier cell makes."""
    cells = list(_code_cells(notebook))
    for cell, name in _undefined(cells):
        raise NotebookError(f"{cell}: uses {name!r}, {_origin(cell, name, cells)}")


def check_names_in_pipeline(notebook: Any) -> None:
    """Raise a `NotebookError` for the first name that the step which uses it will not have."""
    cells = list(_code_cells(notebook))
    if any(tag.startswith("notebook:") for c in cells for tag in _tags(c.cell)):
        return  # what another notebook makes is known when Kale compiles both
    of_role = {role: [c for c in cells if c.role == role] for role in {c.role for c in cells}}
    shared = [cell for role in SHARED_ROLES for cell in of_role.get(role, [])]
    parameters = _made_by(of_role.get("pipeline-parameters", []))
    steps = [role for role in of_role if role not in GLOBAL_ROLES]
    _check_parameters_are_kept(cells, parameters)
    _check_shared(shared, parameters | _made_by(c for s in steps for c in of_role[s]), cells)
    for step in sorted(steps, key=lambda step: of_role[step][0].number):
        flows_in = _made_by(c for s in _ancestors(step, of_role) for c in of_role[s])
        for cell, name in _undefined([*shared, *of_role[step]]):
            if cell.role == step and name not in parameters | flows_in:
                raise NotebookError(f"{cell}: uses {name!r}, {_origin(cell, name, cells)}")
    metrics = of_role.get("pipeline-metrics", [])
    made = parameters | _made_by(c for s in steps for c in of_role[s])
    for cell, name in _undefined(metrics):
        if name not in made:
            raise NotebookError(f"{cell}: uses {name!r}, {_origin(cell, name, cells)}")


def _code_cells(notebook: Any) -> Iterator[Cell]:
    for number, cell in enumerate(notebook.cells, start=1):
        if has_code(cell):
            made, imported = _bindings(cell.source)
            yield Cell(number, cell, role_of(cell), made, imported)


def _tags(cell: Any) -> list[str]:
    return list(cell.metadata.get("tags", []))


def _bindings(source: str) -> tuple[frozenset[str], frozenset[str]]:
    """The names that a cell's top level assigns or defines, and those that it imports."""
    finder = _Bindings()
    finder.visit(ast.parse(source))
    return frozenset(finder.made - finder.imported), frozenset(finder.imported)


class _Bindings(ast.NodeVisitor):
    """Finds what stays in the namespace; what functions, classes and comprehensions make does not.

    Python's own symbol tables would say that a comprehension's variable is the cell's.
    """

    def __init__(self) -> None:
        self.made: set[str] = set()
        self.imported: set[str] = set()

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self.made.add(node.id)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:  # else it says what a name would be, and makes none
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        self.imported |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}

    visit_ImportFrom = visit_Import

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.made.add(node.name)
        # A caller has these.
        self.made |= {
            n for part in ast.walk(node) if isinstance(part, ast.Global) for n in part.names
        }

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.made.add(node.name)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """Its names are its own."""

    def visit_ListComp(self, node: ast.expr) -> None:
        # `:=` alone reaches out of a comprehension.
        walrus = (part for part in ast.walk(node) if isinstance(part, ast.NamedExpr))
        self.made |= {part.target.id for part in walrus}

    visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_ListComp

    def visit_MatchAs(self, node: ast.MatchAs | ast.MatchStar) -> None:
        if node.name:
            self.made.add(node.name)
        self.generic_visit(node)

    visit_MatchStar = visit_MatchAs


def _made_by(cells: Iterable[Cell]) -> set[str]:
    return {name for cell in cells for name in cell.made}


def _undefined(cells: list[Cell]) -> Iterator[tuple[Cell, str]]:
    """Names that cells use, run one after another, without any of them having made it."""
    from pyflakes import checker, messages

    owners = [cell for cell in cells for _ in range(cell.source.count("\n") + 1)]
    tree = ast.parse("\n".join(cell.source for cell in cells))
    found = checker.Checker(tree, builtins=IPYTHON_NAMES).messages
    undefined = [m for m in found if isinstance(m, messages.UndefinedName)]
    for message in sorted(undefined, key=lambda m: (m.lineno, m.col)):
        if not HISTORY.fullmatch(message.message_args[0]):
            yield owners[message.lineno - 1], message.message_args[0]


def _ancestors(step: str, of_role: dict[str, list[Cell]]) -> set[str]:
    """The steps to which a step's `prev:` tags lead, and theirs."""
    found: set[str] = set()
    ahead = [step]
    while ahead:
        for cell in of_role.get(ahead.pop(), []):
            before = {t.removeprefix("prev:") for t in _tags(cell.cell) if t.startswith("prev:")}
            ahead += sorted(before - found)
            found |= before
    return found & set(of_role)


def _check_parameters_are_kept(cells: list[Cell], parameters: set[str]) -> None:
    for cell in cells:
        changed = sorted((cell.made | cell.imported) & parameters)
        if changed and cell.role not in ("pipeline-parameters", "skip"):
            raise NotebookError(
                f"{cell}: assigns the pipeline parameter {changed[0]!r}. Other steps would still "
                "have the value that the run was started with: use another name."
            )


def _check_shared(shared: list[Cell], known: set[str], cells: list[Cell]) -> None:
    """A shared function may use what the steps that call it make, but not what none makes."""
    for cell, name in _undefined(shared):
        if name not in known:
            raise NotebookError(f"{cell}: uses {name!r}, {_origin(cell, name, cells)}")


def _origin(user: Cell, name: str, cells: list[Cell]) -> str:
    """Why a cell will not have a name, and what would help."""
    makers = [cell for cell in cells if name in cell.made | cell.imported and cell is not user]
    before = [cell for cell in makers if cell.number < user.number]
    if not makers:
        close = difflib.get_close_matches(name, _made_by(cells) - {name}, n=1)
        return "which no cell makes." + (f" Is {close[0]!r} meant?" if close else "")
    maker = (before or makers)[-1]
    if not before:
        return f"which is made only below it, by {maker}."
    if maker.role == "skip":
        return f"which {maker} makes: that one is tagged 'skip' and no part of the pipeline."
    if maker.role == user.role:
        return f"which {maker} makes, and then takes away."
    if name in maker.imported:
        return (
            f"which {maker} imports for step {maker.role!r}. Each step is a process of its own: "
            "import it here too."
        )
    return (
        f"which {maker} makes in step {maker.role!r}, but no 'prev:' tag leads from "
        f"{user.role!r} to that step."
    )
