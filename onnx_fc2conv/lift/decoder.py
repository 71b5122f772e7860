"""Operators on positions that an FC has made: a decoder behind a code, such as an autoencoder's.

What an FC gives and a Reshape calls ``[C, h, w]`` is a small image for every window. An operator that treats the images
of a batch alike treats the windows alike if they are counted as images: the grid is moved in front of the features and
merged into the batch for the time being. That is exact for any operator of that kind.

In front of an FC the same operators would work on positions of the map; to cut every window out there would repeat the
backbone's work for each, and what is meant is another spelling of a backbone, so it is refused.
"""

from __future__ import annotations

import numpy as np

from ..errors import Unliftable
from ..ops import Array
from ..rewrite import Windowed
from .registry import lifts
from .rewriter import Operand, Rewriter

SAME_SHAPE = ("GroupNormalization", "InstanceNormalization", "LRN")  #: ONNX infers none for the first
MADE_BY_FC = "positions made by an FC"


@lifts("ConvTranspose", "InstanceNormalization", "GroupNormalization", family=MADE_BY_FC)
def lift_with_weights(op: Rewriter, x: Windowed, *weights: Operand) -> Windowed:
    """Operators of one value and constants that hold for every image."""
    return per_window(op, x, *weights)


@lifts("DepthToSpace", "SpaceToDepth", "LRN", family=MADE_BY_FC)
def lift_plain(op: Rewriter, x: Windowed) -> Windowed:
    """Operators of one value."""
    return per_window(op, x)


@lifts("Pad", family=MADE_BY_FC)
def lift_pad(op: Rewriter, x: Windowed, *constants: Operand) -> Windowed:
    """Pads of feature axes."""
    pads = op.attr("pads") or op.ints(1, "pads") or []
    axes = op.ints(3, "axes") if len(constants) > 2 else None
    batch = [i for i, a in enumerate(axes or range(x.rank)) if a % x.rank == 0]
    op.refuse_if(any(pads[i] or pads[i + len(pads) // 2] for i in batch), "pads the batch")
    return per_window(op, x, *constants)


@lifts("Resize", "Upsample", family=MADE_BY_FC)
def lift_resize(op: Rewriter, x: Windowed, *constants: Operand) -> Windowed:
    """Resizes by factors; sizes would have to name the number of images."""
    given = [c if isinstance(c, Array) and int(np.prod(c.shape)) else None for c in constants]
    op.refuse_if(len(given) > 2 and given[2] is not None, "resizes to sizes instead of by factors")
    return per_window(op, x, *constants)


def per_window(op: Rewriter, x: Windowed, *constants: Operand) -> Windowed:
    """The node's own operator, with every window as an image of its own.

    Raises:
        Unliftable: no FC stands in front, an operand is no constant, or the result's shape is not known.
    """
    if not x.behind_fc:
        raise positions(op)
    op.refuse_if(not x.layout.plain, "reads a value of which the batch axis is not the first")
    op.refuse_if(any(op.op.outputs[1:]), "has a second output")
    op.refuse_if(not all(c is None or isinstance(c, Array) for c in constants), "has operands that are no constants")
    after = op.shapes.of(op.op.outputs[0])
    if op.op_type in SAME_SHAPE:
        after = (op.batch, *x.features)
    if after is None or after[:1] != (op.batch,):
        raise op.refuse("the shape of its result is not known")
    x = op.read(x)
    front = op.grid_first(x)
    images = op.emit("Reshape", front, op.constant(np.array([-1, *x.features], np.int64), "features"))
    names = [c.name if isinstance(c, Array) else None for c in constants]
    result = op.again_on(images, *names)
    kept = op.constant(np.arange(1 + x.grid_rank, dtype=np.int64), "batch_and_grid")
    windows = op.emit("Gather", op.emit("Shape", front), kept, axis=0)
    target = op.emit("Concat", windows, op.constant(np.array(after[1:], np.int64), "features"), axis=0)
    made = x.spent("", after[1:], op.out_type())
    return made.on(op.grid_last(op.emit("Reshape", result, target), made))


def positions(op: Rewriter) -> Unliftable:
    """Why an operator on positions is refused in front of an FC."""
    return op.refuse(
        f"it works on positions, and behind {op.start} they are features: what flattens there, or carries the trained "
        "size in its shape, has to go first"
    )
