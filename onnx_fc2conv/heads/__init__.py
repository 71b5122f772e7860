"""Read-only: where feature maps turn into vectors, and which nodes from there to the outputs form the heads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..backbone import Ties, Trace, image_inputs, input_map
from ..constants import Constants
from ..errors import NothingToConvert
from ..ops import FULLY_CONNECTED, Model, Op
from ..plan import Cause, FeatureMap, Plan
from ..shapes import Shapes, infer
from .images import images_of_heads, origins_of, require_one_batch
from .static import constants_of, find_static
from .walk import Walk
from .windows import require_no_pool, require_window

__all__ = ["constants_of", "find", "find_static", "known"]


def find(model: Model, shapes: Shapes, other_batch: Shapes | None, keep_pools: bool = False) -> Plan:
    """Trace the backbone from the image inputs and collect the heads.

    An image that no FC node depends on, and that meets none of those that one depends on, is not looked at: it keeps
    its fixed size, and its branch stays as it is. With ``keep_pools`` a pool over the whole map stays one: it belongs
    to the backbone, and the head begins behind it.

    Raises:
        NothingToConvert: no FC node depends on an image.
        Unliftable: a node of the backbone is unknown or bakes the trained size.
        UnreadableModel: an image input has no fixed size.
    """
    found = image_inputs(model)
    needed = images_of_heads(model, [v.name for v in found])
    images = [input_map(model, v) for v in found if v.name in needed]
    require_one_batch([v for v in found if v.name in needed])
    walk = _walked(model, images, shapes, other_batch, keep_pools)
    head, cuts, trace = walk.head, walk.cuts, walk.trace
    static = trace.constants.static
    _require_weights([op for op in head if op.op_type in FULLY_CONNECTED], static)
    if not any(name in op.outputs for op in head for name in model.outputs):
        raise NothingToConvert("no graph output depends on the fully connected nodes")
    origins = origins_of(model, [m.name for m in images], False)
    for name in cuts:
        sources = {a.source for a in walk.maps[name].axes} or origins[name]
        require_window(walk.maps[name], next(m for m in images if m.name in sources), model, trace)
    if keep_pools:
        require_no_pool(walk)
    return Plan(
        model,
        shapes,
        trace.constants,
        {name: _settled(m, trace) for name, m in walk.maps.items()},
        {name: trace.ties.settled(dims) for name, dims in trace.shadows.items()},
        trace.unbaked,
        list(cuts),
        head,
        _causes(model, cuts, trace),
        [_settled(m, trace) for m in images],
    )


def _require_weights(products: list[Op], static: set[str]) -> None:
    if any(_has_weight(op, static) for op in products):
        return
    if products:
        reason = "multiplies two values that both depend on an input (a Gram matrix): it has no weights, so it is no FC"
        raise NothingToConvert(f"{reason}, and there is none beside it", str(products[0]))
    raise NothingToConvert("no fully connected node stands behind a flattened feature map")


def _has_weight(op: Op, static: set[str]) -> bool:
    """False for a product of two values that both depend on an input: no weights, so nothing fully connected."""
    operands = (
        op.inputs if op.op_type == "Einsum" else [*op.inputs[:1], *op.inputs[3 if op.op_type[0] == "Q" else 1 :][:1]]
    )
    return len(operands) < 2 or not all(operands) or any(name in static for name in operands)


def known(model: Model, shapes: Shapes, other_batch: Shapes | None) -> tuple[list[FeatureMap], Constants]:
    """The image inputs, and what is known of the model before run time at other sizes of them too.

    Raises:
        NothingToConvert: there is no image input.
        UnreadableModel: an image input has no fixed size.
    """
    images = [input_map(model, value) for value in image_inputs(model)]
    return images, Constants(model, shapes, other_batch, _at_other_sizes(model, [images], shapes))


def _settled(m: FeatureMap, trace: Trace) -> FeatureMap:
    return replace(m, dims=trace.ties.settled(m.dims), pooled=trace.ties.settled_axes(m.pooled))


def _walked(
    model: Model, images: list[FeatureMap], shapes: Shapes, other_batch: Shapes | None, keep_pools: bool
) -> Walk:
    """The walk that knows all gates.

    Which inputs have sizes of their own is known behind a first walk only. If some have, it is made again without the
    numbers that follow from the size of one of them alone.
    """
    walk, enlarged = None, [images]
    while True:
        constants = Constants(model, shapes, other_batch, _at_other_sizes(model, enlarged, shapes))
        met: set[int] | None = set()
        while met is not None:
            gates = walk.gates | met if walk else met
            walk = Walk(model, images, Trace(constants, shapes, Ties(images), keep_pools=keep_pools), gates)
            met = walk.run()
        assert walk is not None
        classes = walk.trace.ties.classes()
        if len(classes) == 1 or len(enlarged) > 1:
            return walk
        enlarged = [images, *classes]


def _at_other_sizes(model: Model, enlarged: list[list[FeatureMap]], shapes: Shapes) -> list[Shapes]:
    """Shapes at two larger sizes of each group of images, so that no number that follows from them is a constant.

    One pixel more changes every remainder, and more than twice the size every quotient.
    """
    if not any(op.op_type in ("Shape", "Size") for op in model.ops):
        return []
    found = []
    for group in enlarged:
        for factor in (1, 2):
            larger = {
                m.name: {p: factor * axis.trained + 1 for p, axis in zip(m.spatial, m.axes, strict=True)} for m in group
            }
            found.append(infer(model, shapes.batch, larger))
    return found


def _causes(model: Model, cuts: Iterable[str], trace: Trace) -> list[Cause]:
    """What was noted against the nodes that the flattened maps depend on; other branches do not count."""
    needed, names = list(cuts), set[str]()
    while needed:
        op = model.producer.get(needed.pop())
        if op is not None and str(op) not in names:
            names.add(str(op))
            needed += op.reads()
    return [c for c in trace.causes if c.node in names]
