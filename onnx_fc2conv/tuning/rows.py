"""All windows of all images as rows: ``[P, K]``, one row for each window.

A product is a Gemm there, with the kernel as the matrix ``[M, K]``: the one that the original's FC has, if that has its
weight in this order. At the trained size a row is what that reads for an image.
"""

from __future__ import annotations

from .products import Product, same_everywhere
from .writer import Origin, Writer

KINDS = frozenset(("Conv",))
OPTIONAL_C = 11  #: the opset from which Gemm does without a bias


def enter(writer: Writer, product: Product) -> tuple[str, Origin]:
    """Lay the windows of a product out."""
    x, origin = writer.windows(product)
    behind = [1, 2] if product.taps > 1 else [1]
    x = writer.transpose(x, [0, *origin.grid, *behind])
    return writer.reshape(x, [-1, product.summed]), origin


def times(writer: Writer, product: Product, x: str) -> str:
    """The product of every row with the kernel."""
    weight = writer.reshaped(product.weight, (product.units, product.summed))
    bias: list[str | None] = [name for name in product.node.input[2:] if name]
    if not bias and writer.opset < OPTIONAL_C:
        bias = [writer.zero(writer.type_of(weight))]
    return writer.emit("Gemm", x, weight, *bias, title=product.node.name, transB=1)


def leave(writer: Writer, y: str, units: int, rank: int, origin: Origin) -> str:
    """``[N, units, *grid]`` again."""
    shape = writer.emit("Concat", writer.sizes(origin), writer.ints([units], "units"), axis=0)
    return writer.transpose(writer.emit("Reshape", y, shape), [0, 1 + rank, *range(1, 1 + rank)])


def constant(writer: Writer, name: str, dims: tuple[int, ...], rank: int) -> str | None:
    """What takes the place of a constant that is combined with each window; ``None`` if it differs between them."""
    if not same_everywhere(dims, rank):
        return None
    per_window = dims[-1 - rank : len(dims) - rank] if len(dims) > rank else dims[:1]
    return writer.reshaped(name, per_window) if per_window != dims else name
