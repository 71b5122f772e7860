"""One pass over the nodes that tells the backbone from the heads."""

from __future__ import annotations

from dataclasses import dataclass

from ..backbone import (
    MOVES,
    SLIDING,
    Trace,
    keeps_axes,
    move,
    reshape_in_disguise,
    reshaped,
    settled_axes,
)
from ..errors import PositionDependent, Unliftable
from ..flatten import axes_of, covers_map
from ..geometry import Axis
from ..ops import FULLY_CONNECTED, REDUCTIONS, STANDARD_DOMAINS, VIEWS, Model, Op
from ..plan import FeatureMap, Merged, follows, size

HEAD_DOMAINS = (*STANDARD_DOMAINS, "com.microsoft")
ON_POSITIONS = SLIDING | frozenset(
    "DepthToSpace GroupNormalization InstanceNormalization LRN Pad Resize SpaceToDepth Upsample".split()
)
POOLS_ALL = frozenset(("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "QLinearGlobalAveragePool"))


#: what can take spatial axes away, but for what fits one size of its map only
STARTS = POOLS_ALL | REDUCTIONS | VIEWS | {"AveragePool", "MaxPool", "LpPool"}
REMEMBERED = 4  #: starts of heads; a gate is met soon behind its own


@dataclass(frozen=True)
class Mark:
    """What a pass knew in front of the node at this place of the topological order."""

    at: int
    trace: Trace
    head: list[Op]
    cuts: dict[str, None]
    pools: dict[str, set[int]]
    behind_fc: set[str]
    inputs: dict[str, set[str]]


class Walk:
    """One pass over the nodes that tells the backbone from the heads.

    A head starts where spatial axes are taken away, as a view or by a pool over the whole map, and at a node that fits
    one size of its map only (a value added for each position): on windows of that size it is right. But if a pool
    leads to a node that reads the map again (a squeeze-and-excitation gate, a decomposed normalisation), or either
    to one that slides, then it belongs to the backbone, and the pass is made again knowing that, from there on where
    that is remembered.

    Attributes:
        maps: the feature maps by name.
        cuts: names of those that heads read.
        head: the nodes of the heads.
        gates: nodes, by position in the file, that look like the start of a head and are none.
        instead: why a view is not part of the backbone, for whom the head does not take it either.
    """

    instead: Unliftable | None = None

    def __init__(
        self,
        model: Model,
        images: list[FeatureMap],
        trace: Trace,
        gates: set[int],
        view_gates: bool,
        headless: bool = False,
    ) -> None:
        """Prepare a pass.

        Args:
            model: the model.
            images: its image inputs.
            trace: what is known; maps and causes are noted there.
            gates: nodes that are known to be none of a head.
            view_gates: whether views can be gates too.
            headless: there is no FC, so nothing begins a head; what a view or a pool does to positions, such as
                listing them, it does at every size.
        """
        self.headless = headless
        self.model, self.trace, self.gates = model, trace, gates
        self.view_gates = view_gates
        trace.gates |= gates
        trace.maps |= {m.name: m for m in images}
        self.maps = trace.maps
        self.cuts: dict[str, None] = {}
        self.head: list[Op] = []
        self._pools: dict[str, set[int]] = {}  # for each value of a head, the pools that it was started by
        self._behind_fc: set[str] = set()
        self._inputs: dict[str, set[str]] = {}  # and the image inputs whose maps it is computed from
        self._marks: dict[int, Mark] = {}  # of the last nodes that look like the start of a head, by position in file

    def run(self) -> set[int] | None:
        """Walk all nodes; the gates that it has to begin again with, or ``None`` if there are none."""
        at = 0
        while at < len(self.model.ops):
            gates = self._step(at)
            if not gates:
                at += 1
            elif gates <= self._marks.keys():
                at = self._back(gates)
            else:
                return gates
        for op in self.head:  # only now is it known that none of them is part of a gate
            self.trace.ties.tie(op, set().union(*(self._inputs[name] for name in op.outputs if name)))
        return None

    def _step(self, at: int) -> set[int]:
        """Walk one node; the pools that turn out to be gates because of it."""
        op = self.model.ops[at]
        behind = [name for name in op.reads() if name in self._pools]
        read_maps = [name for name in op.reads() if name in self.maps]
        if not (behind or read_maps) or (op.op_type in ("Shape", "Size") and op.standard):
            return set()
        starts = not behind and op.domain in HEAD_DOMAINS and self._starts_head_here(op, at)
        if not behind and not starts:
            starts = not self._moves(op)
        if not behind and not starts:
            return set()
        pools = set().union(*(self._pools[name] for name in behind)) if behind else set()
        if behind and pools and (read_maps or self._slides_over_map(op, behind)):
            return pools
        if starts and (self.view_gates or op.op_type not in VIEWS) and not self.trace.keep_pools:
            pools = {op.index}
        self.head.append(op)
        for name in read_maps:
            self.maps[name] = settled_axes(self.maps[name])
        if self._mixes_all(op) or any(name in self._behind_fc for name in behind):
            self._behind_fc |= set(op.outputs)
        self.cuts |= {name: None for name in read_maps}
        self._pools |= {name: pools for name in op.outputs if name}
        inputs = set().union(*(self._inputs.get(name, set()) for name in behind))
        inputs |= {axis.source for name in read_maps for axis in self.maps[name].axes}
        self._inputs |= {name: inputs for name in op.outputs if name}
        return set()

    def _starts_head_here(self, op: Op, at: int) -> bool:
        """The same as ``_starts_head``, and if so, what was known before is remembered."""
        if op.op_type not in STARTS or op.index in self.gates:
            return self._starts_head(op)
        mark = Mark(
            at,
            self.trace.copy(),
            list(self.head),
            dict(self.cuts),
            dict(self._pools),
            set(self._behind_fc),
            dict(self._inputs),
        )
        starts = self._starts_head(op)
        if starts:
            self._marks[op.index] = mark
            if len(self._marks) > REMEMBERED:
                del self._marks[next(iter(self._marks))]
        return starts

    def _back(self, gates: set[int]) -> int:
        """Forget all from the first of these nodes on, and that it looks like the start of a head."""
        mark = min((self._marks[gate] for gate in gates), key=lambda m: m.at)
        self._marks = {index: m for index, m in self._marks.items() if m.at < mark.at}
        self.trace.names.difference_update(self.trace.made[len(mark.trace.made) :])
        self.gates |= gates
        mark.trace.gates |= gates
        self.trace, self.maps = mark.trace, mark.trace.maps
        self.head, self.cuts, self._pools = mark.head, mark.cuts, mark.pools
        self._behind_fc, self._inputs = mark.behind_fc, mark.inputs
        return mark.at

    def _moves(self, op: Op) -> bool:
        """Follow the maps through a node of the backbone; false if it fits one size of its map only."""
        try:
            self.trace.maps |= {m.name: m for m in move(op, self.model, self.maps, self.trace)}
        except PositionDependent:
            if op.index in self.gates or self.trace.keep_pools or self.headless:
                raise
            return False
        return True

    def _starts_head(self, op: Op) -> bool:
        """True if this node ends the backbone: it takes spatial axes away, as a view or by pooling them whole."""
        if self.headless or op.inputs[0] not in self.maps or op.index in self.gates:
            return False
        dims = self.maps[op.inputs[0]].dims
        if op.op_type in VIEWS:
            return self._flattens(op, self.maps[op.inputs[0]])
        if self.trace.keep_pools:  # only what works on vectors can begin a head
            return not self.maps[op.inputs[0]].axes and (op.op_type in FULLY_CONNECTED or op.kind not in MOVES)
        if op.op_type in POOLS_ALL:
            return any(isinstance(d, Axis) and not d.law.is_constant for d in dims)
        if op.op_type in REDUCTIONS:
            operand = self.trace.ints(op, 1, "axes") if len(op.inputs) > 1 and op.inputs[1] else None
            axes = axes_of(op, operand, len(dims)) or ()
            return any(isinstance(dims[a], Axis) for a in axes if a < len(dims))
        if op.op_type in ("AveragePool", "MaxPool", "LpPool"):
            return covers_map(op, [size(d, self.trace.shapes.batch) for d in dims[2:]])
        return False

    def _mixes_all(self, op: Op) -> bool:
        """True for an FC over all features of an image: what it gives are no positions of the map any more."""
        shape = self.trace.shapes.of(op.outputs[0])
        return op.op_type in FULLY_CONNECTED and (
            shape is None or (len(shape) == 2 and shape[0] == self.trace.shapes.batch)
        )

    def _slides_over_map(self, op: Op, behind: list[str]) -> bool:
        """True for an operator that slides over positions of the map; an FC leaves none, nor does a pool of all."""
        made_by_fc = any(name in self._behind_fc for name in behind)
        return op.op_type in ON_POSITIONS and not made_by_fc and not self._on_one_position(op)

    def _on_one_position(self, op: Op) -> bool:
        """True for a 1x1 Conv on a pooled map of one cell: an FC node, spelled otherwise."""
        shapes = [self.trace.shapes.of(name) for name in op.inputs[:2]]
        one = all(shape is not None and set(shape[2:]) == {1} for shape in shapes)
        return op.kind in ("Conv", "com.microsoft.FusedConv") and one and not any(op.attr("pads") or ())

    def _flattens(self, op: Op, x: FeatureMap) -> bool:
        if not self.trace.keep_pools and not any(follows(d) for d in x.dims):
            return False  # a gate that was pooled to one cell: no position is lost
        x = settled_axes(x)
        if any(isinstance(d, Merged) and follows(d) for d in x.dims):
            return False  # a list of positions, which is part of the backbone: no window slides over it
        if op.op_type == "Flatten":
            return True
        if op.op_type == "Reshape":
            disguised = reshape_in_disguise(op, x, self.trace) is not None
            return not disguised and not keeps_axes(x.dims, reshaped(op, x, self.trace, splits=False))
        if op.op_type == "Unsqueeze":
            return False
        operand = self.trace.ints(op, 1, "axes") if len(op.inputs) > 1 and op.inputs[1] else None
        axes = axes_of(op, operand, len(x.dims))
        return any(isinstance(d, Axis) and d.size == 1 for i, d in enumerate(x.dims) if axes is None or i in axes)
