"""Which rule lifts which operator. There is no default rule: an operator that is not here is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..ops import Op

Rule = Callable[..., Any]


@dataclass(frozen=True)
class Entry:
    """One row: the operator, its family, and its rule or the reason why it never can have one."""

    op_type: str
    family: str
    rule: Rule | None
    because: str | None = None


RULES: dict[str, Entry] = {}


def lifts(*op_types: str, family: str) -> Callable[[Rule], Rule]:
    """Register a rule: lifted values and constants in, lifted values out, or ``Unliftable``."""

    def register(rule: Rule) -> Rule:
        for op_type in op_types:
            _add(Entry(op_type, family, rule))
        return rule

    return register


def refused(*op_types: str, because: str) -> None:
    """Register operators that can never be lifted, and why; ``{start}`` in it stands for the head's first node."""
    for op_type in op_types:
        _add(Entry(op_type, "refused", None, because))


def _add(entry: Entry) -> None:
    assert entry.op_type not in RULES, f"{entry.op_type} has two rules"
    RULES[entry.op_type] = entry


def rule_for(op: Op, start: Op) -> Rule:
    """The rule of this node, in the head that begins at ``start``.

    Raises:
        Unliftable: the operator has none.
    """
    entry = RULES.get(op.op_type) if op.standard else None
    if entry is None:
        raise op.refuse("no rule lifts this operator")
    if entry.rule is None:
        raise op.refuse(f"{entry.because}".format(start=start))
    return entry.rule
