"""All mutants of a file, in order, each with a name that stays when lines move."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from .mutators import LEFT, changes
from .targets import ROOT

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
BODIES = ("body", "orelse", "finalbody", "handlers", "cases")


@dataclass(frozen=True)
class Mutant:
    """One change of one file.

    Attributes:
        file: relative to the root.
        scope: the function that it is in; empty outside of any.
        first, last: the lines of its statement, without the statements inside of that.
        was, now: that statement before and after.
        kind: the mistake.
        nth: how many mutants before it in this scope have the same texts.
        place: number of the changed node in the order of ``ast.walk``, and of the change.
        depending: of what runs at import, the lines of the functions that it shapes, or that name it.
    """

    file: str
    scope: str
    first: int
    last: int
    was: str
    now: str
    kind: str
    nth: int
    place: tuple[int, int]
    depending: tuple[tuple[int, int], ...] = ()

    @property
    def name(self) -> str:
        """What it is called in reports and tables: it does not contain the line, which moves."""
        again = f" #{self.nth + 1}" if self.nth else ""
        return f"{self.file} {self.scope or 'import'}: {self.was} => {self.now}{again}"


def mutants(file: str, root: Path = ROOT, source: str | None = None) -> list[Mutant]:
    """All of a file's mutants."""
    text = (root / file).read_text() if source is None else source
    tree = ast.parse(text)
    ignored, homes = _ignored(tree), _homes(tree)
    seen: Counter[tuple[str, str, str]] = Counter()
    found = []
    for i, node in enumerate(ast.walk(tree)):
        if id(node) in ignored or id(node) not in homes:
            continue
        statement, scope = homes[id(node)]
        was = _header(statement)
        for j, (kind, instead) in enumerate(changes(node)):
            changed = _replaced(statement, node, instead)
            now = _header(changed) if changed is not None else _header(instead)
            if now == was:
                continue
            key = (scope, was, now)
            first, last = _lines(statement)
            depending = () if scope else _depending(tree, statement)
            found.append(Mutant(file, scope, first, last, was, now, kind, seen[key], (i, j), depending))
            seen[key] += 1
    return found


def mutated(mutant: Mutant, root: Path = ROOT, source: str | None = None) -> ast.Module:
    """The file's syntax tree with this mistake in it."""
    tree = ast.parse((root / mutant.file).read_text() if source is None else source)
    i, j = mutant.place
    node = next(n for k, n in enumerate(ast.walk(tree)) if k == i)
    _, instead = changes(node)[j]
    result = _Replace(node, instead).visit(tree)
    assert isinstance(result, ast.Module)
    return ast.fix_missing_locations(result)


class _Replace(ast.NodeTransformer):
    """One node replaced by another at its place."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self._old, self._new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        """The new node for the old one."""
        if node is self._old:
            return ast.copy_location(self._new, node) if hasattr(node, "lineno") else self._new
        visited: ast.AST = super().generic_visit(node)
        return visited


def _replaced(statement: ast.AST, old: ast.AST, new: ast.AST) -> ast.AST | None:
    """A copy of the statement with one node replaced; None if the statement itself is."""
    if statement is old:
        return None
    place = next(k for k, n in enumerate(ast.walk(statement)) if n is old)
    copy = deepcopy(statement)
    return _Replace(next(n for k, n in enumerate(ast.walk(copy)) if k == place), new).visit(copy)


def _homes(tree: ast.Module) -> dict[int, tuple[ast.stmt, str]]:
    """For each node the innermost statement that holds it, and the functions and classes around that."""
    homes: dict[int, tuple[ast.stmt, str]] = {}

    def walk(node: ast.AST, home: ast.stmt | None, scope: str, runs_in: str) -> None:
        if isinstance(node, ast.stmt):
            home, runs_in = node, scope
        if home is not None:
            homes[id(node)] = (home, runs_in)
        if isinstance(node, ast.FunctionDef):
            inner = f"{scope}.{node.name}" if scope else node.name
            for child in (*node.decorator_list, node.args):
                walk(child, home, scope, scope)
            for child in node.body:
                walk(child, None, inner, inner)
            return
        for child in ast.iter_child_nodes(node):
            walk(child, home, scope, runs_in)

    for statement in tree.body:
        walk(statement, None, "", "")
    return homes


def _ignored(tree: ast.Module) -> set[int]:
    """What no test could or should notice: docstrings, annotations, assertions, and the text of messages."""
    found: set[int] = set()

    def drop(node: ast.AST | None) -> None:
        if node is not None:
            found.update(id(n) for n in ast.walk(node))

    for node in ast.walk(tree):
        if isinstance(node, ast.Assert | ast.JoinedStr | ast.Import | ast.ImportFrom) or _is_text(node):
            drop(node)
        elif isinstance(node, ast.FunctionDef):
            drop(node.returns)
        elif isinstance(node, ast.arg | ast.AnnAssign):
            drop(node.annotation)
        elif isinstance(node, ast.ClassDef):
            for decorator in node.decorator_list:
                drop(decorator)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("TypeVar", "cast"):
            drop(node)
    return found


def _is_text(node: ast.AST) -> bool:
    """Docstrings, arguments that are text for readers, and the list of what a module exports."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.keyword):
        return node.arg in LEFT
    return isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets)


def _header(node: ast.AST) -> str:
    """A statement on one line, without the statements that it holds."""
    copy = deepcopy(node)
    for name in BODIES:
        if isinstance(getattr(copy, name, None), list):
            setattr(copy, name, [ast.Pass()] if name == "body" else [])
    text = ast.unparse(ast.fix_missing_locations(copy))
    lines = [line for line in text.splitlines() if line.strip() != "pass" or text == "pass"]
    return " ".join(line.strip() for line in lines)


def _lines(statement: ast.stmt) -> tuple[int, int]:
    """First and last line of a statement, without the statements that it holds."""
    inner = [child.lineno for name in BODIES[:1] for child in getattr(statement, name, []) if hasattr(child, "lineno")]
    first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", []))])
    return first, max(first, min(inner) - 1) if inner else (statement.end_lineno or first)


def _depending(tree: ast.Module, statement: ast.stmt) -> tuple[tuple[int, int], ...]:
    """The lines that show what a statement of the module did."""
    if isinstance(statement, ast.FunctionDef):
        return ((statement.body[0].lineno, statement.end_lineno or statement.lineno),)
    targets = [*getattr(statement, "targets", []), getattr(statement, "target", None)]
    names = {n.id for target in targets if target is not None for n in ast.walk(target) if isinstance(n, ast.Name)}
    lines = {n.lineno for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id in names}
    return tuple((line, line) for line in sorted(lines - set(range(*_span(statement)))))


def _span(statement: ast.stmt) -> tuple[int, int]:
    return statement.lineno, (statement.end_lineno or statement.lineno) + 1


def walk_all(files: list[str], root: Path = ROOT) -> Iterator[Mutant]:
    """All mutants of several files."""
    for file in files:
        yield from mutants(file, root)
