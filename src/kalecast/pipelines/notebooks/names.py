"""Which names a cell uses, which cells make them, and whether a pipeline's step will have them.

In a notebook every cell sees what ran before it. In a pipeline each step is a process of its own:
it has the pipeline's parameters, the cells tagged `imports` and `functions`, and what the steps
make that its `prev:` tags lead to. A name from anywhere else fails there, minutes into a run.
"""

import ast
import difflib
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

from kalecast.pipelines.notebooks.cells import GLOBAL_ROLES, Cell, NotebookError, cells_of

IPYTHON_NAMES = frozenset({"display", "get_ipython", "In", "Out", "exit", "quit"})
HISTORY = re.compile(r"_(i{0,3}|i?\d+|_{1,2}|[iod]h)")  # _, __, _3, _ih and so on
SHARED_ROLES = ("imports", "functions")


class _CodeCell(Cell):
    """A cell with code, and the names that it leaves in the namespace."""

    @cached_property
    def _bindings(self) -> dict[str, Any]:
        from pyflakes import checker

        scopes = checker.Checker(ast.parse(self.source), builtins=IPYTHON_NAMES).deadScopes
        module = next(scope for scope in scopes if isinstance(scope, checker.ModuleScope))
        # An annotation alone says what a name would be, and makes none.
        none = (checker.Builtin, checker.Annotation)
        return {name: b for name, b in module.items() if not isinstance(b, none)}

    @cached_property
    def imported(self) -> set[str]:
        """The names that it imports."""
        from pyflakes.checker import Importation

        return {name for name, b in self._bindings.items() if isinstance(b, Importation)}

    @cached_property
    def made(self) -> set[str]:
        """The names that it assigns or defines."""
        return set(self._bindings) - self.imported


def check_names_in_order(notebook: Any) -> None:
    """Raise a `NotebookError` for the first name that no earlier cell makes."""
    cells = _code_cells(notebook)
    _check_undefined(cells, cells, set())


def check_names_in_pipeline(notebook: Any) -> None:
    """Raise a `NotebookError` for the first name that the step which uses it will not have."""
    cells = _code_cells(notebook)
    if any(tag.startswith("notebook:") for cell in cells for tag in cell.tags):
        return  # what another notebook makes is known when Kale compiles both
    of_role = {role: [c for c in cells if c.role == role] for role in {c.role for c in cells}}
    shared = [cell for role in SHARED_ROLES for cell in of_role.get(role, [])]
    parameters = _made_by(of_role.get("pipeline-parameters", []))
    steps = [role for role in of_role if role not in GLOBAL_ROLES]
    _check_parameters_are_kept(cells, parameters)
    made = parameters | _made_by(c for step in steps for c in of_role[step])
    # A shared function may use what the steps that call it make, but not what none makes.
    _check_undefined(shared, cells, made)
    for step in sorted(steps, key=lambda step: of_role[step][0].number):
        flows_in = _made_by(c for s in _ancestors(step, of_role) for c in of_role[s])
        _check_undefined([*shared, *of_role[step]], cells, parameters | flows_in, step)
    _check_undefined(of_role.get("pipeline-metrics", []), cells, made)


def _code_cells(notebook: Any) -> list[_CodeCell]:
    return [_CodeCell(cell.number, cell.node) for cell in cells_of(notebook) if cell.has_code]


def _made_by(cells: Iterable[_CodeCell]) -> set[str]:
    return {name for cell in cells for name in cell.made}


def _undefined(cells: list[_CodeCell]) -> Iterator[tuple[_CodeCell, str]]:
    """Names that cells use, run one after another, without any of them having made it."""
    from pyflakes import checker, messages

    owners = [cell for cell in cells for _ in range(cell.source.count("\n") + 1)]
    tree = ast.parse("\n".join(cell.source for cell in cells))
    found = checker.Checker(tree, builtins=IPYTHON_NAMES).messages
    undefined = [m for m in found if isinstance(m, messages.UndefinedName)]
    for message in sorted(undefined, key=lambda m: (m.lineno, m.col)):
        if not HISTORY.fullmatch(message.message_args[0]):
            yield owners[message.lineno - 1], message.message_args[0]


def _ancestors(step: str, of_role: dict[str, list[_CodeCell]]) -> set[str]:
    """The steps to which a step's `prev:` tags lead, and theirs."""
    found: set[str] = set()
    ahead = [step]
    while ahead:
        for cell in of_role.get(ahead.pop(), []):
            before = {t.removeprefix("prev:") for t in cell.tags if t.startswith("prev:")}
            ahead += sorted(before - found)
            found |= before
    return found & set(of_role)


def _check_parameters_are_kept(cells: list[_CodeCell], parameters: set[str]) -> None:
    for cell in cells:
        changed = sorted((cell.made | cell.imported) & parameters)
        if changed and cell.role not in ("pipeline-parameters", "skip"):
            raise NotebookError(
                f"{cell}: assigns the pipeline parameter {changed[0]!r}. Other steps would still "
                "have the value that the run was started with: use another name."
            )


def _check_undefined(
    run: list[_CodeCell], cells: list[_CodeCell], known: set[str], role: str = ""
) -> None:
    """Raise for the first name that cells which run together use and do not have.

    Args:
        run: the cells, in the order in which they run.
        cells: all cells of the notebook, one of which may make the name.
        known: names that come from elsewhere.
        role: of the cells to look at, where the others have been.
    """
    for cell, name in _undefined(run):
        if name not in known and role in ("", cell.role):
            raise NotebookError(f"{cell}: uses {name!r}, {_origin(cell, name, cells)}")


def _origin(user: _CodeCell, name: str, cells: list[_CodeCell]) -> str:
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
    if name in maker.imported:
        return (
            f"which {maker} imports for step {maker.role!r}. Each step is a process of its own: "
            "import it here too."
        )
    return (
        f"which {maker} makes in step {maker.role!r}, but no 'prev:' tag leads from "
        f"{user.role!r} to that step."
    )
