"""What a convolution costs as it is, and as a product."""

from __future__ import annotations

from math import prod

from ... import dtypes
from ...constants import Constants
from ...ops import Model
from ..convolution import Convolution
from ..lowering import Product
from .weights import Stored, find


def costs(
    model: Model, constants: Constants, conv: Convolution, stored: Stored | None, to: tuple[str, ...], whole: bool
) -> Product:
    """A row of the table, for one image at the size that is known.

    Args:
        model: the original.
        constants: of it.
        conv: the convolution.
        stored: its kernel, if that is a constant.
        to: the op_types that take its place.
        whole: whether the kernel covers the map, which then is one patch.
    """
    positions = _count(conv.output_size)
    multiplications = None if positions is None else positions * conv.rows * conv.units
    in_place = whole or (conv.pointwise and not conv.strided)
    gathered = 0 if in_place else None
    if positions is not None and not in_place:
        gathered = positions * conv.rows * conv.group * dtypes.numpy_type(conv.elem_type).itemsize
    bias = find(model, constants, conv.bias, 1) if conv.bias else None
    kept = sum(s.bytes for s in (stored, bias) if s is not None)
    return Product(
        str(conv.op),
        conv.what,
        to,
        conv.group,
        conv.rows,
        conv.columns,
        multiplications,
        multiplications,
        kept,
        kept,
        gathered,
    )


def _count(size: tuple[int | None, ...]) -> int | None:
    known = [n for n in size if n is not None]
    return prod(known) if len(known) == len(size) else None
