"""``--form matmul``: every convolution is a matrix product, in standard operators and at any size.

``product.py``     patches times the kernel as a matrix, of which ``taps.py`` and ``patches.py`` gather the one, and
                   ``weights.py`` and ``arrangement.py`` lay out the other
``layout.py``      channels behind the spatial axes and back, with groups
``same.py``        pads that follow from the size
``whole_map.py``   a kernel that covers the map: Flatten and Gemm
``quantised.py``   products of integers
``fused.py``       activations that onnxruntime's optimiser has put into a Conv
``costs.py``       multiplications and bytes
``left.py``        what stays, and why
"""

from __future__ import annotations

from ...constants import Constants
from ...emitter import Emitter
from ...errors import Unliftable
from ...ops import Model, Op
from ...shapes import Shapes
from ..convolution import OPERANDS, Convolution, read
from ..lowering import Lowering
from ..selection import Selection
from .costs import costs
from .fused import activated, summand
from .left import is_rewritten, others
from .product import patches_times_kernel
from .quantised import conv_integer, qlinear_conv
from .weights import Stored, find
from .whole_map import covers_map, fully_connected

__all__ = ["lower"]


def lower(
    model: Model, shapes: Shapes, constants: Constants, selection: Selection, at: Shapes | None = None
) -> Lowering:
    """Rewrite the convolutions of a model as matrix products.

    Args:
        model: the model, with functions and static branches written out; never changed.
        shapes: of its values, at one batch size.
        constants: of it; where its batch is symbolic, they know another batch size.
        selection: which are asked for.
        at: the shapes at a size that counts where the model leaves it open; default: as declared.

    Raises:
        UsageError: the selection names a node that is no convolution of the model.
    """
    lowering = Lowering(left=others(model))
    emitter = Emitter(model, lowering.rewrite)
    known = constants.any_batch_shapes()
    convs = [op for op in model.ops if is_rewritten(op)]
    selection.require_known(convs)
    rounded: dict[int, int] = {}
    for op in convs:
        try:
            rounded[op.index] = _lower(op, emitter, known, at or known, constants, selection, lowering)
        except Unliftable as e:
            lowering.left[str(op)] = e.reason
    lowering.roundings = _most_on_a_path(model, rounded)
    return lowering


def _lower(
    op: Op,
    emitter: Emitter,
    shapes: Shapes,
    at: Shapes,
    constants: Constants,
    selection: Selection,
    lowering: Lowering,
) -> int:
    """Rewrite a node; returns how many sums of its result are rounded that were not before."""
    model, position = emitter.model, OPERANDS.get(op.op_type, (0, 1, 2))[1]
    op.refuse_if(len(op.inputs) <= position, "it has no kernel")
    weight = op.inputs[position]
    dims = shapes.of(weight)
    if dims is None:
        raise op.refuse("the dims of its kernel are not known before it runs")
    conv = read(op, shapes, dims)
    if reason := selection.reason_to_leave(op, conv.pointwise):
        raise op.refuse(reason)
    stored = find(model, constants, weight, len(dims))
    whole = not conv.integers and covers_map(conv)
    emitter.begin(op)
    emitter.finish(_result(emitter, constants, conv, stored, whole))
    to = tuple(node.op_type for node in lowering.rewrite.replaced[op.index])
    lowering.products.append(costs(model, constants, read(op, at, dims), stored, to, whole))
    return 0 if conv.integers else int(conv.bias is not None and not whole) + int(summand(conv) is not None)


def _result(emitter: Emitter, constants: Constants, conv: Convolution, stored: Stored | None, whole: bool) -> str:
    if conv.op.op_type == "ConvInteger":
        return conv_integer(emitter, constants, conv, stored)
    if conv.op.op_type == "QLinearConv":
        return qlinear_conv(emitter, constants, conv, stored)
    y = fully_connected(emitter, conv, stored) if whole else patches_times_kernel(emitter, constants, conv, stored)
    return activated(emitter, conv, y)


def _most_on_a_path(model: Model, counts: dict[int, int]) -> int:
    """The largest sum of the nodes' numbers on a path to an output."""
    depth: dict[str, int] = {}
    for op in model.ops:
        here = max((depth.get(name, 0) for name in op.reads()), default=0)
        depth |= dict.fromkeys(op.outputs, here + counts.get(op.index, 0))
    return max((depth.get(name, 0) for name in model.outputs), default=0)
