"""Read-only: where feature maps turn into vectors, and which nodes from there to the outputs form the heads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from onnx import ValueInfoProto

from ..backbone import Baked, Readings, Ties, Trace, image_inputs, input_map, is_free, settled_axes, spatial_axes
from ..constants import Constants
from ..errors import Contradiction, NothingToConvert, Unliftable
from ..ops import FULLY_CONNECTED, VIEWS, Model, Op
from ..plan import Cause, FeatureMap, Plan
from ..shapes import Shapes, infer
from .images import images_of_heads, origins_of, require_one_batch
from .static import constants_of, find_static
from .walk import Walk
from .windows import require_no_pool, require_window

__all__ = ["constants_of", "find", "find_static", "images", "known"]

DIVISIBLE = 2**5 * 3 * 5 * 7  #: pixels that the strides and blocks of real networks divide


def find(
    model: Model, shapes: Shapes, other_batch: Shapes | None, keep_pools: bool = False, readings: Readings | None = None
) -> Plan:
    """Trace the backbone from the image inputs and collect the heads.

    An image that no FC node depends on, and that meets none of those that one depends on, is not looked at: it keeps
    its fixed size, and its branch stays as it is. With ``keep_pools`` a pool over the whole map stays one: it belongs
    to the backbone, and the head begins behind it. Without any FC there is no head, and every image is freed.

    Raises:
        Baked: nodes carry the trained size; what takes their place is in the error.
        Contradiction: numbers in shapes cannot be meant as they were read.
        NothingToConvert: no FC node depends on an image, and no size is left to free.
        Unliftable: a node of the backbone is unknown or bakes the trained size.
        UnreadableModel: an image input has no fixed size.
    """
    found = image_inputs(model)
    needed = images_of_heads(model, [v.name for v in found])
    headless = not needed
    taking_part = [v for v in found if v.name in needed] or found
    if headless and all(is_free(v) for v in found):
        raise NothingToConvert("no fully connected node depends on the image input, and its size is free already")
    images = [input_map(model, v) for v in taking_part]
    require_one_batch(taking_part)
    readings = readings or Readings()
    walk = _walked(model, images, shapes, other_batch, keep_pools, readings, headless)
    if not headless and _no_fc_left(walk):
        headless = True
        walk = _walked(model, images, shapes, other_batch, keep_pools, readings, headless)
    head, cuts, trace = walk.head, walk.cuts, walk.trace
    if head:
        _require_outputs(model, head, trace)
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
        list(cuts),
        head,
        _causes(model, [*cuts, *(name for name in model.outputs if headless and name in walk.maps)], trace),
        [_settled(m, trace) for m in images],
        instead=walk.instead,
    )


def _no_fc_left(walk: Walk) -> bool:
    """True if no FC is in a head: those that there are work on every position of a map.

    Raises:
        Unliftable: or on a map of one size, because of a node in front of it.
    """
    if any(op.op_type in FULLY_CONNECTED for op in walk.head):
        return False
    for node, reason in walk.trace.stops.items():
        raise Unliftable(reason, node)
    return True


def _require_outputs(model: Model, head: list[Op], trace: Trace) -> None:
    """Refuse heads without weights, and heads that nothing comes of."""
    products = [op for op in head if op.op_type in FULLY_CONNECTED]
    if products and not any(_has_weight(op, trace.constants.static) for op in products):
        reason = "multiplies two values that both depend on an input (a Gram matrix): it has no weights, so it is no FC"
        raise NothingToConvert(f"{reason}, and there is none beside it", str(products[0]))
    if not any(name in op.outputs for op in head for name in model.outputs):
        raise NothingToConvert("no graph output depends on the fully connected nodes")


def _has_weight(op: Op, static: set[str]) -> bool:
    """False for a product of two values that both depend on an input: no weights, so nothing fully connected."""
    operands = (
        op.inputs if op.op_type == "Einsum" else [*op.inputs[:1], *op.inputs[3 if op.op_type[0] == "Q" else 1 :][:1]]
    )
    return len(operands) < 2 or not all(operands) or any(name in static for name in operands)


def images(model: Model) -> list[tuple[ValueInfoProto, list[int]]]:
    """The image inputs with their spatial axes, whether these have fixed sizes or not.

    Raises:
        NothingToConvert: there is none.
    """
    return [(value, spatial_axes(model, value)) for value in image_inputs(model)]


def known(model: Model, shapes: Shapes, other_batch: Shapes | None) -> tuple[list[FeatureMap], Constants]:
    """The image inputs, and what is known of the model before run time at other sizes of them too.

    Raises:
        NothingToConvert: there is no image input.
        UnreadableModel: an image input has no fixed size.
    """
    images = [input_map(model, value) for value in image_inputs(model)]
    return images, Constants(model, shapes, other_batch, _at_other_sizes(model, [images], shapes))


def _settled(m: FeatureMap, trace: Trace) -> FeatureMap:
    m = settled_axes(m)
    return replace(m, dims=trace.ties.settled(m.dims), pooled=trace.ties.settled_axes(m.pooled))


def _walked(
    model: Model,
    images: list[FeatureMap],
    shapes: Shapes,
    other_batch: Shapes | None,
    keep_pools: bool,
    readings: Readings,
    headless: bool,
) -> Walk:
    """The walk that knows all gates.

    Which inputs have sizes of their own is known behind a first walk only. If some have, it is made again without the
    numbers that follow from the size of one of them alone.

    Raises:
        Baked: nodes carry the trained size.
    """
    names = model.names
    enlarged = [images]
    while True:
        constants = Constants(model, shapes, other_batch, _at_other_sizes(model, enlarged, shapes))

        def trace(constants: Constants = constants) -> Trace:
            return Trace(constants, shapes, Ties(images), {}, readings, keep_pools=keep_pools, names=set(names))

        walk = _with_gates(model, images, trace, headless)
        if walk.trace.unbaked:
            raise Baked(walk.trace.unbaked)
        classes = walk.trace.ties.classes()
        if len(classes) == 1 or len(enlarged) > 1:
            return walk
        enlarged = [images, *classes]


def _with_gates(model: Model, images: list[FeatureMap], trace: Callable[[], Trace], headless: bool) -> Walk:
    """The walk that knows all gates.

    A view may be one too: a shuffle, blocks, tokens. Where the backbone cannot go through it as one, it begins the head
    after all; should the head not go through it either, the first reason is the one that is said.
    """
    instead: Unliftable | None = None
    for view_gates in (True, False):
        gates: set[int] = set()
        met: set[int] | None = set()
        while met is not None:
            gates |= met
            walk = Walk(model, images, trace(), gates, view_gates, headless)
            try:
                met = walk.run()
            except Unliftable as e:
                if walk.trace.unbaked:
                    raise Baked(walk.trace.unbaked) from e
                views = view_gates and any(op.op_type in VIEWS for op in model.ops if op.index in gates)
                if not views or (isinstance(e, Contradiction) and walk.trace.readings.met):
                    raise instead or e
                instead = e
                break
        if met is None:
            walk.instead = instead
            return walk
    raise AssertionError("the second walk raises or returns")


def _at_other_sizes(model: Model, enlarged: list[list[FeatureMap]], shapes: Shapes) -> list[Shapes]:
    """Shapes at larger sizes of each group of images, so that no number that follows from them is a constant.

    One pixel more changes every remainder, and more than twice the size every quotient; the last size is one that also
    models take whose blocks and strides must divide the image.
    """
    if not any(op.op_type in ("Shape", "Size") for op in model.ops):
        return []
    found = []
    for group in enlarged:
        for factor, more in ((1, 1), (2, 1), (1, DIVISIBLE)):
            larger = {
                m.name: {p: factor * a.trained + more for p, a in zip(m.spatial, m.axes, strict=True)} for m in group
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
