"""One pass over the backbone that writes each node as it acts on a map whose cells are spread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto, helper

from ..dilated import Pools, sliced
from ..emitter import TO_THE_LAST, Emitter
from ..geometry import Axis
from ..ops import Op
from ..plan import Cause, FeatureMap, Merged, Plan, parts_of
from ..rewrite import Rewrite
from .choice import dense_stride

Sizes = dict[int, int]  #: cells of a dense map at the trained size, by spatial axis
Rule = Callable[["Walk", Op], Sizes]

RULES: dict[str, Rule] = {}


def rule(*kinds: str) -> Callable[[Rule], Rule]:
    """Register what becomes of these operators, by ``Op.kind``; it gives the sizes of the result."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(kinds, function))
        return function

    return register


@dataclass(frozen=True)
class Writer:
    """Takes the nodes of dilated pools."""

    emitter: Emitter

    def emit(self, op_type: str, *inputs: str, **attrs: Any) -> str:
        """Add a node."""
        return self.emitter.emit(op_type, *inputs, **attrs)

    def constant(self, values: np.ndarray, hint: str) -> str:
        """A constant; equal ones are shared."""
        return self.emitter.constant(values, hint, ("dense", hint, values.dtype.str, values.shape, values.tobytes()))


class Walk:
    """One pass.

    Attributes:
        plan: what was found in the original.
        rewrite: the nodes that are others now.
        kept: positions of those that only have other attributes.
        changes: what was done, one line for each.
        phases: nodes that are right at sizes of the form trained + n * stride only.
    """

    def __init__(self, plan: Plan, wanted: tuple[int, ...]) -> None:
        self.plan, self.rewrite = plan, Rewrite()
        self.emitter = Emitter(plan.model, self.rewrite)
        self.kept: set[int] = set()
        self.changes: list[str] = []
        self.phases: list[Cause] = []
        self._wanted = wanted
        self._sizes: dict[str, Sizes] = {}
        self._global = {c.node for c in plan.causes if c.kind == "global context"}

    # -- what is known -------------------------------------------------------------------------------------------------

    def k(self, axis: Axis) -> int:
        """How many cells of the dense map one of the original's is worth."""
        if axis.law.is_constant:
            return 1
        return int(axis.stride / dense_stride(axis.stride, self._wanted[axis.index]))

    def cells(self, name: str) -> Sizes:
        """Cells of a dense map at the trained size."""
        if name not in self._sizes:
            self._sizes[name] = {a.index: a.size for a in self.plan.maps[name].axes}
        return self._sizes[name]

    def spread(self, name: str) -> bool:
        """True for a map of which one cell of the original's is worth several."""
        found = self.plan.maps.get(name)
        return found is not None and any(self.k(a) > 1 for d in found.dims for a in parts_of(d))

    def looks_at_all(self, op: Op) -> bool:
        """True for a node that looks beyond its window."""
        return str(op) in self._global

    @property
    def pools(self) -> Pools:
        """Writes dilated pools."""
        return Pools(Writer(self.emitter), self.plan.model.opset, self.plan.runtime)

    # -- one node ------------------------------------------------------------------------------------------------------

    def step(self, op: Op) -> None:
        """Follow the maps through a node.

        Raises:
            Unliftable: it does not act alike on maps that are interleaved.
        """
        made = [name for name in op.outputs if name in self.plan.maps]
        read = [name for name in op.reads() if name in self.plan.maps]
        if not made or not read or not any(self.spread(name) for name in (*read, *made)):
            return
        for name in (*read, *made):
            for dim in self.plan.maps[name].dims:
                merged = isinstance(dim, Merged) and any(self.k(a) > 1 for a in dim.parts if isinstance(a, Axis))
                op.refuse_if(merged, "lists positions of a map that --stride makes denser in one axis")
        known = RULES.get(op.kind)
        if known is None:
            raise op.refuse("is not known on a map that --stride makes denser")
        sizes = known(self, op)
        for name in made:
            axes = [a for a in self.plan.maps[name].axes if not a.law.is_constant]
            missing = any(a.index not in sizes for a in axes)
            op.refuse_if(missing, "gives a map whose size follows another one's, which --stride makes denser")
            self._sizes[name] = {a.index: sizes[a.index] for a in axes}
            same = all(-(-sizes[a.index] // self.k(a)) == a.size for a in axes)
            op.refuse_if(not same, "changes the size of a map in a way that --stride does not follow")

    # -- writing -------------------------------------------------------------------------------------------------------

    def alter(self, op: Op, said: str, drop: tuple[str, ...] = (), **attrs: Any) -> None:
        """Let the node have these attributes and not those."""
        node = NodeProto()
        node.CopyFrom(self.plan.model.proto.graph.node[op.index])
        kept = [a for a in node.attribute if a.name not in attrs and a.name not in drop]
        del node.attribute[:]
        node.attribute.extend([*kept, *(helper.make_attribute(k, v) for k, v in attrs.items())])
        self.rewrite.replaced[op.index] = [node]
        self.kept.add(op.index)
        self.changes.append(f"{op}: {said}")

    def write(self, op: Op, make: Callable[[], str], said: str) -> None:
        """Let the nodes that ``make`` emits take the place of this one; it gives the name of their result.

        Raises:
            Unliftable: ``make`` raises ``ValueError`` with the reason.
        """
        self.emitter.begin(op)
        try:
            result = make()
        except ValueError as e:
            raise op.refuse(str(e)) from e
        self.emitter.finish(result)
        self.changes.append(f"{op}: {said}")

    def again(self, op: Op, inputs: list[str], said: str) -> None:
        """Let the node read other values, which were emitted behind ``begin``."""
        outputs = op.outputs if len(op.outputs) > 1 else ()
        result = self.emitter.again(op, inputs, outputs)
        if outputs:
            self.emitter.finish(named=True)
        else:
            self.emitter.finish(result)
        self.changes.append(f"{op}: {said}")

    def cropped(self, m: FeatureMap, tensor: str, cut: Sizes) -> str:
        """The map without so many cells at the ends of its axes."""
        rows = [(m.dims.index(a), n) for a in m.axes if (n := cut.get(a.index, 0))]
        if not rows:
            return tensor
        axes, counts = zip(*sorted(rows), strict=True)
        writer = Writer(self.emitter)
        return sliced(writer, self.plan.model.opset, tensor, axes, [0] * len(axes), [-n for n in counts])

    def every(self, op: Op, m: FeatureMap, axes: list[Axis]) -> str:
        """The original's own cells along some axes: every k-th.

        Raises:
            Unliftable: before opset 10 a Slice has no steps, and the map is none that a pool takes.
        """
        rows = sorted((m.dims.index(a), self.k(a)) for a in axes)
        places, steps = [place for place, _ in rows], [k for _, k in rows]
        opset, writer = self.plan.model.opset, Writer(self.emitter)
        if opset >= 10:
            return sliced(writer, opset, m.name, places, [0] * len(rows), [TO_THE_LAST] * len(rows), steps)
        op.refuse_if(
            min(places) < 2, "looks at all positions of a map that is not laid out as N, C, spatial axes; opset"
        )
        strides = [dict(rows).get(place, 1) for place in range(2, len(m.dims))]
        return writer.emit("MaxPool", m.name, kernel_shape=[1] * len(strides), strides=strides)
