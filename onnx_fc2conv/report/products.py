"""What is said of a model whose convolutions became matrix products, or whose heads became FC again: data only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from .data import CheckRow, LeftRow, finite

SCHEMA = 1  #: raised when a field changes its meaning or goes


@dataclass
class ProductRow:
    """One node as a product with a matrix; costs are those of one image, null where they follow from an open size.

    ``count`` matrices of ``rows`` (what is summed) and ``columns`` (what comes out). ``before`` and ``after`` are
    multiplications, ``bytes_before`` and ``bytes_after`` of weights and biases, ``gathered`` the bytes of the patches
    that are laid out side by side, ``zeros`` the share of the matrix that is zero because of its structure.
    """

    node: str
    what: str
    to: list[str]
    count: int
    rows: int
    columns: int
    before: int | None
    after: int | None
    bytes_before: int
    bytes_after: int
    gathered: int | None
    zeros: float


@dataclass
class RestoredRow:
    """One FC that came back: the nodes that it was, its weight with the dims that it has now, and how it was had."""

    node: str
    was: list[str]
    weight: str
    weight_shape: list[int]
    how: str


@dataclass
class ReverseReport:
    """Everything that the reverse direction says about one model. The field names are the JSON keys.

    ``form`` is ``matmul``, ``dense`` or ``reverted``. ``size`` is the one that costs are counted at, null if none is
    known. ``left`` lists the convolutions that stay. ``products`` is empty where heads were reverted, ``restored``
    where they were not. ``notes`` are sentences that a user has to know.
    """

    tool: str
    input: str
    output: str | None
    status: Literal["would rewrite", "rewritten"]
    form: str
    verified: bool
    runtime: str | None
    size: list[int] | None = None
    products: list[ProductRow] = field(default_factory=list)
    restored: list[RestoredRow] = field(default_factory=list)
    restructured: list[str] = field(default_factory=list)
    left: list[LeftRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    checks: list[CheckRow] = field(default_factory=list)
    schema: int = field(default=SCHEMA)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; numbers that are not finite become null, because JSON has none."""
        ready: dict[str, Any] = finite(asdict(self))
        return ready

    def to_json(self) -> str:
        """The JSON text that ``--report FILE.json`` writes."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def headline(self) -> str:
        """What happened, in one line."""
        count = len(self.restored if self.form == "reverted" else self.products)
        what = {"matmul": "as matrix products", "dense": "as dense matrices", "reverted": "as FC again"}[self.form]
        nodes = f"{count} node{'s' if count != 1 else ''}"
        if self.status == "would rewrite":
            return f"{self.input}: {nodes} can be written {what} (nothing was written or checked)"
        checked = "verified" if self.verified else "NOT verified"
        if self.runtime is not None and not self.runtime.startswith("onnxruntime"):
            checked += f" with {self.runtime} (onnxruntime was not used)"
        return f"{self.input} -> {self.output or 'memory'}: {nodes} {what}, {checked}"

    def total(self) -> ProductRow | None:
        """All products together; ``None`` where there are fewer than two."""
        rows = self.products
        if len(rows) < 2:
            return None
        return ProductRow(
            node=f"all {len(rows)}",
            what="",
            to=[],
            count=sum(p.count for p in rows),
            rows=0,
            columns=0,
            before=_sum(p.before for p in rows),
            after=_sum(p.after for p in rows),
            bytes_before=sum(p.bytes_before for p in rows),
            bytes_after=sum(p.bytes_after for p in rows),
            gathered=_sum(p.gathered for p in rows),
            zeros=share_of_zeros(rows),
        )


def share_of_zeros(rows: Sequence[ProductRow]) -> float:
    """Of all matrices together."""
    entries = sum(p.count * p.rows * p.columns for p in rows)
    return sum(p.zeros * p.count * p.rows * p.columns for p in rows) / entries if entries else 0.0


def _sum(numbers: Iterable[int | None]) -> int | None:
    known = list(numbers)
    return None if any(n is None for n in known) else sum(n or 0 for n in known)
