"""What the rewriting of convolutions gives: the new nodes, what each costs, and what was left as it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..rewrite import Rewrite


@dataclass(frozen=True)
class Product:
    """One node as a product with a matrix, before and after; costs are for one image at the size that is known.

    Attributes:
        node: its title.
        what: what it was, in a few words (``3x3 stride 2, 32 groups``).
        to: op_types of the nodes that take its place, in order.
        count: matrices, one for each group.
        rows, columns: of a matrix: what is summed, and what comes out.
        before, after: multiplications; ``None`` where a size is not known.
        bytes_before, bytes_after: of weights and biases.
        gathered: bytes of the patches that are laid out side by side; ``None`` where a size is not known.
        zeros: share of the matrix that is zero because of its structure.
    """

    node: str
    what: str
    to: tuple[str, ...]
    count: int
    rows: int
    columns: int
    before: int | None
    after: int | None
    bytes_before: int
    bytes_after: int
    gathered: int | None = 0
    zeros: float = 0.0


@dataclass
class Lowering:
    """A model whose convolutions are matrix products.

    Attributes:
        rewrite: the nodes and constants that take the place of others.
        products: what was rewritten, in the order of the model.
        left: convolutions that stay, by title, and why.
        roundings: results that are rounded once more than in the original, on any path from an input to an output.
    """

    rewrite: Rewrite = field(default_factory=Rewrite)
    products: list[Product] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    roundings: int = 0
