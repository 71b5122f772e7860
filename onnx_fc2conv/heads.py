"""Read-only: where feature maps turn into vectors, and which nodes from there to the outputs form the heads."""

from __future__ import annotations

from collections.abc import Iterable

from onnx import ValueInfoProto

from .backbone import SLIDING, Ties, Trace, image_inputs, input_map, move, reshape_in_disguise
from .constants import Constants
from .errors import NothingToConvert, Unliftable
from .flatten import axes_of, covers_map
from .geometry import Axis
from .ops import FULLY_CONNECTED, REDUCTIONS, STANDARD_DOMAINS, VIEWS, Model, Op
from .plan import Cause, FeatureMap, Plan
from .shapes import Shapes, infer

HEAD_DOMAINS = (*STANDARD_DOMAINS, "com.microsoft")
POOLS_ALL = frozenset(("GlobalAveragePool", "GlobalMaxPool", "QLinearGlobalAveragePool"))


def find(model: Model, shapes: Shapes, other_batch: Shapes | None) -> Plan:
    """Trace the backbone from the image inputs and collect the heads.

    An image that no FC node depends on, and that meets none of those that one depends on, is not looked at: it keeps
    its fixed size, and its branch stays as it is.

    Raises:
        NothingToConvert: no FC node depends on an image.
        Unliftable: a node of the backbone is unknown or bakes the trained size.
        UnreadableModel: an image input has no fixed size.
    """
    found = image_inputs(model)
    needed = _images_of_heads(model, [v.name for v in found])
    images = [input_map(model, v) for v in found if v.name in needed]
    _require_one_batch([v for v in found if v.name in needed])
    walk = _walked(model, images, shapes, other_batch)
    head, cuts, trace = walk.head, walk.cuts, walk.trace
    static = trace.constants.static
    if not any(op.op_type in FULLY_CONNECTED and any(name in static for name in op.inputs[:4]) for op in head):
        raise NothingToConvert("no fully connected node stands behind a flattened feature map")
    if not any(name in op.outputs for op in head for name in model.outputs):
        raise NothingToConvert("no graph output depends on the fully connected nodes")
    origins = _origins(model, [m.name for m in images], False)
    for name in cuts:
        sources = {a.source for a in walk.maps[name].axes} or origins[name]
        _require_window(walk.maps[name], next(m for m in images if m.name in sources), model, trace)
    return Plan(
        model,
        shapes,
        trace.constants,
        {name: FeatureMap(name, trace.ties.settled(m.dims)) for name, m in walk.maps.items()},
        {name: trace.ties.settled(dims) for name, dims in trace.shadows.items()},
        trace.unbaked,
        list(cuts),
        head,
        _causes(model, cuts, trace),
        [FeatureMap(m.name, trace.ties.settled(m.dims)) for m in images],
    )


def _walked(model: Model, images: list[FeatureMap], shapes: Shapes, other_batch: Shapes | None) -> _Walk:
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
            walk = _Walk(model, images, Trace(constants, shapes, Ties(images)), gates)
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


def _images_of_heads(model: Model, images: list[str]) -> set[str]:
    """The images that an FC depends on, or something that may hide one, and all that meet them in some node.

    Raises:
        NothingToConvert: there is none.
    """
    origins, needed = _origins(model, images, False), set[str]()
    for op in model.ops:
        if op.op_type in FULLY_CONNECTED or not op.standard or op.captured:
            needed |= set().union(*(origins.get(name, set()) for name in op.reads()))
    if not needed:
        raise NothingToConvert("no fully connected node depends on the image input")
    together = _origins(model, images, True)
    while True:
        met = [set().union(*(together.get(name, set()) for name in op.reads())) for op in model.ops]
        more = needed.union(*(m for m in met if m & needed))
        if more == needed:
            return needed
        needed = more


def _origins(model: Model, images: list[str], through_shapes: bool) -> dict[str, set[str]]:
    """For each value the images that it is computed from; also from their shapes only, if asked."""
    origins = {name: {name} for name in images}
    for op in model.ops:
        read = set().union(*(origins.get(name, set()) for name in op.reads()))
        if read and (through_shapes or op.op_type not in ("Shape", "Size")):
            origins |= {name: read for name in op.outputs if name}
    return origins


def _require_one_batch(images: list[ValueInfoProto]) -> None:
    batches: dict[int, tuple[str, int | str]] = {}
    for value in images:
        dim = value.type.tensor_type.shape.dim[0]
        batches.setdefault(dim.dim_value if dim.dim_value > 0 else 0, (value.name, dim.dim_value or dim.dim_param))
    if len(batches) > 1:
        (one, first), (other, second) = list(batches.values())[:2]
        reason = f"the batch of image input '{one}' is {first or 'free'} and that of '{other}' is {second or 'free'}"
        raise Unliftable(f"{reason}; give them the same first")


class _Walk:
    """One pass over the nodes that tells the backbone from the heads.

    A pool over the whole map starts a head, unless what it leads to meets the map again (a squeeze-and-excitation
    gate, a decomposed normalisation): then it belongs to the backbone, and the pass is made again knowing that.
    """

    def __init__(self, model: Model, images: list[FeatureMap], trace: Trace, gates: set[int]) -> None:
        self.model, self.trace, self.gates = model, trace, gates
        self.maps = {m.name: m for m in images}
        self.cuts: dict[str, None] = {}
        self.head: list[Op] = []
        self._pools: dict[str, set[int]] = {}  # for each value of a head, the pools that it was started by
        self._inputs: dict[str, set[str]] = {}  # and the image inputs whose maps it is computed from

    def run(self) -> set[int] | None:
        """Walk all nodes; the pools that turned out to be gates, or ``None`` if there are none."""
        for op in self.model.ops:
            behind = [name for name in op.reads() if name in self._pools]
            read_maps = [name for name in op.reads() if name in self.maps]
            if not (behind or read_maps) or (op.op_type in ("Shape", "Size") and op.standard):
                continue
            starts = not behind and op.domain in HEAD_DOMAINS and self._starts_head(op)
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
            inputs = set().union(*(self._inputs.get(name, set()) for name in behind))
            inputs |= {axis.source for name in read_maps for axis in self.maps[name].axes}
            self._inputs |= {name: inputs for name in op.outputs if name}
        for op in self.head:  # only now is it known that none of them is part of a gate
            self.trace.ties.tie(op, set().union(*(self._inputs[name] for name in op.outputs if name)))
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
