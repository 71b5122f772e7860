"""Which convolutions are asked for, by name or by kind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ..errors import UsageError
from ..ops import Op


@dataclass(frozen=True)
class Selection:
    """What ``--only``, ``--skip`` and ``--pointwise-only`` leave.

    Attributes:
        only: patterns of names, of which a node must have one; all nodes if empty.
        skip: patterns of names that a node must not have.
        pointwise_only: whether a convolution must be 1x1.
    """

    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    pointwise_only: bool = False

    def reason_to_leave(self, op: Op, pointwise: bool) -> str | None:
        """Why a node stays as it is; ``None`` if it is asked for."""
        if self.only and not _named(op, self.only):
            return "--only names others"
        if _named(op, self.skip):
            return "--skip names it"
        if self.pointwise_only and not pointwise:
            return "is not 1x1, and --pointwise-only was given"
        return None

    def require_known(self, ops: Iterable[Op]) -> None:
        """Refuse a name that no such node has; it would be overlooked.

        Raises:
            UsageError: there is one.
        """
        candidates = list(ops)
        for flag, patterns in (("--only", self.only), ("--skip", self.skip)):
            for pattern in patterns:
                if not any(_named(op, (pattern,)) for op in candidates):
                    known = ", ".join(f"'{op.name or op.outputs[0]}'" for op in candidates[:8])
                    more = f" and {len(candidates) - 8} more" if len(candidates) > 8 else ""
                    raise UsageError(f"{flag} '{pattern}': no node to rewrite has this name; there are: {known}{more}")


def _named(op: Op, patterns: Iterable[str]) -> bool:
    """True if the node's name, or its result's, is one of the patterns or matches it."""
    names = [name for name in (op.name, *op.outputs[:1]) if name]
    return any(name == p or fnmatchcase(name, p) for name in names for p in patterns)
