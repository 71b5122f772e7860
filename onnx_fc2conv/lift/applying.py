"""One rule applied to one node: its operands brought into the form that the rule takes."""

from __future__ import annotations

from ..ops import Op
from ..plan import Plan
from ..rewrite import Windowed
from .joined import materialised
from .registry import RULES, rule_for
from .rewriter import Operand, Rewriter
from .shared import Repeated, RunTime, Side


def applied(rewriter: Rewriter, start: Op, operands: list[Operand], plan: Plan) -> tuple[Windowed, ...]:
    """What the node's rule makes of these operands.

    Args:
        rewriter: the node.
        start: the first node of its head.
        operands: as they were found.
        plan: tells what is known of values that are neither lifted nor constant.

    Raises:
        Unliftable: the node has no rule, or its rule refuses.
    """
    op = rewriter.op
    rule = rule_for(op, start)
    entry = RULES[op.kind]
    operands = list(operands)
    for i, operand in enumerate(operands):
        if isinstance(operand, RunTime) and entry.beside and (i > 1 or entry.family != "linear"):
            row = plan.constants.row(operand.name)
            operands[i] = operand = Repeated(rewriter.frozen(row)) if row else operand
        if isinstance(operand, RunTime) and entry.family != "view":
            raise op.refuse(f"its input '{operand.name}' is computed at run time, not a constant")
        if isinstance(operand, Side) and not entry.beside:
            raise op.refuse(f"its input '{operand.name}' is neither a constant nor computed from the image")
    if not entry.beside:
        operands = [materialised(rewriter, x) if isinstance(x, Windowed) else x for x in operands]
    if not entry.scaled:
        operands = [rewriter.read(x) if isinstance(x, Windowed) and x.affine else x for x in operands]
    try:
        results = rule(rewriter, *operands)
    except (TypeError, AttributeError, ValueError, IndexError, KeyError) as e:
        raise op.refuse(f"its operands or attributes are not of the kinds that are lifted ({e})") from e
    return results if isinstance(results, tuple) else (results,)
