"""Read-only: where feature maps turn into vectors, and which nodes from there to the outputs form the heads."""

from __future__ import annotations

from collections.abc import Iterable

from .backbone import SLIDING, Trace, image_inputs, input_map, move, reshape_in_disguise
from .constants import Constants
from .errors import NothingToConvert
from .flatten import axes_of, covers_map
from .geometry import Axis
from .ops import FULLY_CONNECTED, REDUCTIONS, VIEWS, Model, Op
from .plan import Cause, FeatureMap, Plan
from .shapes import Shapes, infer

POOLS_ALL = frozenset(("GlobalAveragePool", "GlobalMaxPool"))


def find(model: Model, shapes: Shapes, other_batch: Shapes | None) -> Plan:
    """Trace the backbone from the image input and collect the heads.

    Raises:
        NothingToConvert: no FC node depends on an image.
        Unliftable: a node of the backbone is unknown or bakes the trained size.
        UnreadableModel: the image input has no fixed size.
    """
    images = image_inputs(model)
    _require_fc(model, {v.name for v in images})
    if len(images) > 1:
        raise _several_images([v.name for v in images], model)
    image, constants = known(model, shapes, other_batch)
    gates: set[int] = set()
    while True:
        walk = _Walk(model, image, Trace(constants, shapes), gates)
        met = walk.run()
        if met is None:
            break
        gates |= met
    head, cuts, maps, trace = walk.head, walk.cuts, walk.maps, walk.trace
    if not any(op.op_type in FULLY_CONNECTED for op in head):
        raise NothingToConvert("no fully connected node stands behind a flattened feature map")
    if not any(name in op.outputs for op in head for name in model.outputs):
        raise NothingToConvert("no graph output depends on the fully connected nodes")
    for name in cuts:
        _require_window(maps[name], image, model, trace)
    return Plan(
        model,
        shapes,
        constants,
        maps,
        trace.shadows,
        trace.unbaked,
        list(cuts),
        head,
        _causes(model, cuts, trace),
        image,
    )


def known(model: Model, shapes: Shapes, other_batch: Shapes | None) -> tuple[FeatureMap, Constants]:
    """The image input, and what is known of the model before run time at other sizes of it too.

    Raises:
        NothingToConvert: there is no image input.
        UnreadableModel: the image input has no fixed size.
    """
    image = input_map(model, image_inputs(model)[0])
    return image, Constants(model, shapes, other_batch, _at_other_sizes(model, image, shapes))


def _at_other_sizes(model: Model, image: FeatureMap, shapes: Shapes) -> list[Shapes]:
    """Shapes at two larger sizes, so that no number that follows from the size passes for a constant.

    One pixel more changes every remainder, and more than twice the size every quotient.
    """
    if not any(op.op_type in ("Shape", "Size") for op in model.ops):
        return []
    found = []
    for factor in (1, 2):
        larger = {p: factor * axis.trained + 1 for p, axis in zip(image.spatial, image.axes, strict=True)}
        found.append(infer(model, shapes.batch, {image.name: larger}))
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


def _require_fc(model: Model, images: set[str]) -> None:
    tainted = set(images)
    for op in model.ops:
        if any(name in tainted for name in op.reads()) and op.op_type not in ("Shape", "Size"):
            if op.op_type in FULLY_CONNECTED or not op.standard or op.captured:
                return  # an FC, or something that may hide one
            tainted |= {name for name in op.outputs if name}
    raise NothingToConvert("no fully connected node depends on the image input")


def _several_images(names: list[str], model: Model) -> Exception:
    reader = next((op for op in model.ops if names[1] in op.reads()), None)
    listed = ", ".join(f"'{n}'" for n in names)
    return (reader or model.ops[0]).refuse(
        f"the model has {len(names)} image inputs ({listed}); one is supported so far"
    )


class _Walk:
    """One pass over the nodes that tells the backbone from the heads.

    A pool over the whole map starts a head, unless what it leads to meets the map again (a squeeze-and-excitation
    gate, a decomposed normalisation): then it belongs to the backbone, and the pass is made again knowing that.
    """

    def __init__(self, model: Model, image: FeatureMap, trace: Trace, gates: set[int]) -> None:
        self.model, self.trace, self.gates = model, trace, gates
        self.maps = {image.name: image}
        self.cuts: dict[str, None] = {}
        self.head: list[Op] = []
        self._pools: dict[str, set[int]] = {}  # for each value of a head, the pools that it was started by

    def run(self) -> set[int] | None:
        """Walk all nodes; the pools that turned out to be gates, or ``None`` if there are none."""
        for op in self.model.ops:
            behind = [name for name in op.reads() if name in self._pools]
            read_maps = [name for name in op.reads() if name in self.maps]
            if not (behind or read_maps) or (op.op_type in ("Shape", "Size") and op.standard):
                continue
            starts = not behind and op.standard and self._starts_head(op)
            if not behind and not starts:
                self.maps |= {m.name: m for m in move(op, self.model, self.maps, self.trace)}
                continue
            pools = set().union(*(self._pools[name] for name in behind)) if behind else set()
            if behind and pools and (op.op_type in SLIDING or read_maps):
                return pools
            if starts and op.op_type not in VIEWS:
                pools = {op.index}
            self.head.append(op)
            self.cuts |= {name: None for name in read_maps}
            self._pools |= {name: pools for name in op.outputs if name}
        return None

    def _starts_head(self, op: Op) -> bool:
        """True if this node ends the backbone: it takes spatial axes away, as a view or by pooling them whole."""
        if op.inputs[0] not in self.maps or op.index in self.gates:
            return False
        dims = self.maps[op.inputs[0]].dims
        if op.op_type in VIEWS:
            return self._flattens(op, self.maps[op.inputs[0]])
        if op.op_type in POOLS_ALL:
            return any(isinstance(d, Axis) and not d.law.is_constant for d in dims)
        if op.op_type in REDUCTIONS:
            operand = self.trace.ints(op, 1, "axes") if len(op.inputs) > 1 and op.inputs[1] else None
            axes = axes_of(op, operand, len(dims)) or ()
            return any(isinstance(dims[a], Axis) for a in axes if a < len(dims))
        if op.op_type in ("AveragePool", "MaxPool"):
            return covers_map(op, [d.size if isinstance(d, Axis) else int(d) for d in dims[2:] if d != "batch"])
        return False

    def _flattens(self, op: Op, x: FeatureMap) -> bool:
        if op.op_type == "Flatten":
            return True
        if op.op_type == "Reshape":
            return reshape_in_disguise(op, x, self.trace) is None
        if op.op_type == "Unsqueeze":
            return False
        operand = self.trace.ints(op, 1, "axes") if len(op.inputs) > 1 and op.inputs[1] else None
        axes = axes_of(op, operand, len(x.dims))
        return any(isinstance(d, Axis) and d.size == 1 for i, d in enumerate(x.dims) if axes is None or i in axes)


def _require_window(cut: FeatureMap, image: FeatureMap, model: Model, trace: Trace) -> None:
    reader = model.consumers[cut.name][0]
    pooled = [c for c in trace.causes if c.kind == "global context"]
    whole = f"; the whole map was pooled by {pooled[-1].node}" if pooled else ""
    lost = len(cut.axes) < len(image.axes)
    reader.refuse_if(lost, f"reads '{cut.name}', which has lost {len(image.axes) - len(cut.axes)} spatial axes{whole}")
    reader.refuse_if(
        any(a.law.is_constant for a in cut.axes), f"reads '{cut.name}', whose size does not follow the input's{whole}"
    )
    for axis in cut.axes:
        reader.refuse_if(
            axis.stride.denominator != 1, f"reads '{cut.name}', whose effective stride {axis.stride} is not whole"
        )
