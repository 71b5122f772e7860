"""Small mistakes in expressions and statements: what each kind of node of the syntax tree can become.

A mutator takes a node and gives its replacements, each with the name of the mistake. The nodes that it gets are its to
change. The mistakes are those that are made in such code: a bound that is off by one, a comparison turned around, an
argument forgotten or swapped, a statement lost, ``None`` instead of an answer.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

Change = tuple[str, ast.AST]  #: name of the mistake, what stands there instead
Mutator = Callable[[Any], Iterator[Change]]
MUTATORS: dict[type[ast.AST], list[Mutator]] = {}

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
TWINS = {"all": "any", "any": "all", "min": "max", "max": "min"}
WITHOUT = frozenset(("reversed", "sorted", "abs"))  #: calls that may be forgotten
LEFT = frozenset(("family", "because", "strict"))  #: arguments that are text for readers, or an assertion
SYMMETRIC = frozenset(("min", "max", "isinstance", "gcd", "lcm"))  #: whose arguments may stand in any order


def mutates(*kinds: type[ast.AST]) -> Callable[[Mutator], Mutator]:
    """Register a mutator for these kinds of nodes."""

    def register(mutator: Mutator) -> Mutator:
        for kind in kinds:
            MUTATORS.setdefault(kind, []).append(mutator)
        return mutator

    return register


def changes(node: ast.AST) -> list[Change]:
    """What can stand in the place of this node."""
    return [change for mutator in MUTATORS.get(type(node), []) for change in mutator(node)]


def _with(node: Any, **fields: Any) -> Any:
    """A copy of a node with other fields."""
    copy = deepcopy(node)
    for name, value in fields.items():
        setattr(copy, name, value)
    return copy


def _negated(test: ast.expr) -> ast.expr:
    return (
        test.operand if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not) else ast.UnaryOp(ast.Not(), test)
    )


@mutates(ast.Compare)
def comparison(node: ast.Compare) -> Iterator[Change]:
    """``<`` becomes ``<=`` and ``>=``, ``==`` becomes ``!=``, ``in`` becomes ``not in``."""
    for i, op in enumerate(node.ops):
        for other in COMPARISONS[type(op)]:
            yield "comparison", _with(node, ops=[other() if k == i else o for k, o in enumerate(node.ops)])


@mutates(ast.BinOp)
def arithmetic(node: ast.BinOp) -> Iterator[Change]:
    """``+`` becomes ``-``, ``*`` becomes ``//``, ``%`` becomes ``//``, ``|`` becomes ``&``."""
    if type(node.op) in ARITHMETIC:
        yield "arithmetic", _with(node, op=ARITHMETIC[type(node.op)]())


@mutates(ast.BoolOp)
def logic(node: ast.BoolOp) -> Iterator[Change]:
    """``and`` becomes ``or``; one of the conditions is forgotten."""
    yield "and / or", _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    for i in range(len(node.values)):
        left = [value for k, value in enumerate(node.values) if k != i]
        yield "condition lost", left[0] if len(left) == 1 else _with(node, values=left)


@mutates(ast.UnaryOp)
def sign(node: ast.UnaryOp) -> Iterator[Change]:
    """``not`` and ``-`` are lost."""
    if isinstance(node.op, ast.Not | ast.USub):
        yield "sign", node.operand


@mutates(ast.If, ast.IfExp, ast.While)
def condition(node: ast.If | ast.IfExp | ast.While) -> Iterator[Change]:
    """The condition is turned around, where it is no comparison: those have mutants of their own."""
    if not isinstance(node.test, ast.Compare | ast.UnaryOp):
        yield "not", _with(node, test=_negated(node.test))


@mutates(ast.Constant)
def constant(node: ast.Constant) -> Iterator[Change]:
    """Numbers are off by one, booleans turned around, names misspelt. Text with blanks is for readers and stays."""
    value = node.value
    if isinstance(value, bool):
        yield "constant", ast.Constant(not value)
    elif isinstance(value, int):
        yield "constant", ast.Constant(value + 1)
        yield "constant", ast.Constant(value - 1)
    elif isinstance(value, float):
        yield "constant", ast.Constant(value + 1.0)
    elif isinstance(value, str) and value and " " not in value:
        yield "constant", ast.Constant(f"{value}X")


@mutates(ast.Return)
def answer(node: ast.Return) -> Iterator[Change]:
    """``None`` is returned instead."""
    if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
        yield "return None", _with(node, value=ast.Constant(None))


@mutates(ast.Expr, ast.AugAssign, ast.Raise, ast.Delete)
def statement(node: ast.stmt) -> Iterator[Change]:
    """A statement that only has an effect is removed."""
    yield "statement removed", ast.Pass()


@mutates(ast.Assign)
def assignment(node: ast.Assign) -> Iterator[Change]:
    """What is stored in something that exists already is not stored. (A name that is missing would tell at once.)"""
    if all(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets):
        yield "statement removed", ast.Pass()


@mutates(ast.Break, ast.Continue)
def jump(node: ast.stmt) -> Iterator[Change]:
    """``continue`` becomes ``break``, and the other way round."""
    yield "jump", ast.Break() if isinstance(node, ast.Continue) else ast.Continue()


@mutates(ast.Call)
def call(node: ast.Call) -> Iterator[Change]:
    """Two arguments are swapped, a named one is forgotten, ``all`` is ``any``, ``reversed`` is left out."""
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    starred = any(isinstance(a, ast.Starred) for a in node.args)
    if not starred and name not in SYMMETRIC:
        for i in range(len(node.args) - 1):
            if ast.dump(node.args[i]) != ast.dump(node.args[i + 1]):
                swapped = [*node.args[:i], node.args[i + 1], node.args[i], *node.args[i + 2 :]]
                yield "arguments swapped", _with(node, args=swapped)
    for i, keyword in enumerate(node.keywords):
        if keyword.arg is not None and keyword.arg not in LEFT:
            yield "argument lost", _with(node, keywords=[k for j, k in enumerate(node.keywords) if j != i])
    if name in TWINS:
        yield "twin", _with(node, func=ast.Name(TWINS[name], ast.Load()))
    if name in WITHOUT and len(node.args) == 1:
        kept: ast.expr = node.args[0]
        yield "call lost", ast.Call(ast.Name("list", ast.Load()), [kept], []) if name != "abs" else kept


@mutates(ast.Slice)
def bounds(node: ast.Slice) -> Iterator[Change]:
    """A bound that is not a plain number is off by one; any bound is forgotten."""
    for field in ("lower", "upper", "step"):
        value = getattr(node, field)
        if value is None:
            continue
        if field != "step" and not isinstance(value, ast.Constant):
            yield "slice", _with(node, **{field: ast.BinOp(value, ast.Add(), ast.Constant(1))})
        yield "slice", _with(node, **{field: None})


@mutates(ast.comprehension)
def filtered(node: ast.comprehension) -> Iterator[Change]:
    """A condition of a comprehension is forgotten."""
    for i in range(len(node.ifs)):
        yield "condition lost", _with(node, ifs=[test for k, test in enumerate(node.ifs) if k != i])
