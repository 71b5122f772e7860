"""Which rule lifts which operator. There is no default rule: an operator that is not here is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..ops import Op

Rule = Callable[..., Any]


@dataclass(frozen=True)
class Entry:
    """One row: the operator, its family, and its rule or the reason why it never can have one.

    ``kind`` is the op_type, with its domain in front unless that is the standard one. A rule with ``beside`` takes
    values that are still side by side (see ``joined``), and values of other inputs than images.
    """

    kind: str
    family: str
    rule: Rule | None
    because: str | None = None
    beside: bool = False


RULES: dict[str, Entry] = {}


def lifts(*kinds: str, family: str, beside: bool = False) -> Callable[[Rule], Rule]:
    """Register a rule: lifted values and constants in, lifted values out, or ``Unliftable``."""

    def register(rule: Rule) -> Rule:
        for kind in kinds:
            _add(Entry(kind, family, rule, beside=beside))
        return rule

    return register


def refused(*kinds: str, because: str) -> None:
    """Register operators that can never be lifted, and why; ``{start}`` in it stands for the head's first node."""
    for kind in kinds:
        _add(Entry(kind, "refused", None, because))


def _add(entry: Entry) -> None:
    assert entry.kind not in RULES, f"{entry.kind} has two rules"
    RULES[entry.kind] = entry


def rule_for(op: Op, start: Op) -> Rule:
    """The rule of this node, in the head that begins at ``start``.

    Raises:
        Unliftable: the operator has none.
    """
    entry = RULES.get(op.kind)
    if entry is None:
        raise op.refuse("no rule lifts this operator")
    if entry.rule is None:
        raise op.refuse(f"{entry.because}".format(start=start))
    return entry.rule
