"""All windows of all images as the columns of one image: ``[1, K, 1, .., P]``, one column for each window.

A product is a 1x1 Conv there. The rank is that of the lifted value, so whatever works channel by channel is the same.
"""

from __future__ import annotations

from .products import WEIGHT_AT, Product, same_everywhere
from .writer import Origin, Writer

KINDS = frozenset(WEIGHT_AT)  #: products that there are of this kind


def enter(writer: Writer, product: Product) -> tuple[str, Origin]:
    """Lay the windows of a product out."""
    if product.one_cell:
        flat = [0, product.summed, *[1] * product.rank]
        x = writer.reshape(product.x, flat) if product.taps > 1 else product.x
        return writer.transpose(x, [2, 1, *range(3, 2 + product.rank), 0]), Origin(x, (), True)
    x, origin = writer.windows(product)
    front = [1, 2] if product.taps > 1 else [1]
    x = writer.transpose(x, [*front, 0, *origin.grid])
    return writer.reshape(x, [1, product.summed, *[1] * (product.rank - 1), -1]), origin


def times(writer: Writer, product: Product, x: str) -> str:
    """The product of every column with the kernel."""
    at, ones = WEIGHT_AT[product.node.op_type], (1,) * product.rank
    inputs = [x, *product.node.input[1:]]
    inputs[at] = writer.reshaped(product.weight, (product.units, product.summed, *ones))
    return writer.emit(product.node.op_type, *inputs, title=product.node.name, kernel_shape=list(ones), group=1)


def leave(writer: Writer, y: str, units: int, rank: int, origin: Origin) -> str:
    """``[N, units, *grid]`` again."""
    if origin.one_cell:
        return writer.transpose(y, [1 + rank, 1, 0, *range(2, 1 + rank)])
    shape = writer.emit("Concat", writer.ints([units], "units"), writer.sizes(origin), axis=0)
    return writer.transpose(writer.emit("Reshape", y, shape), [1, 0, *range(2, 2 + rank)])


def constant(writer: Writer, name: str, dims: tuple[int, ...], rank: int) -> str | None:
    """What takes the place of a constant that is combined with each window; ``None`` if it differs between them."""
    return name if same_everywhere(dims, rank) else None
