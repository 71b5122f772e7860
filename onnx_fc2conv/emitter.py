"""New nodes and constants in place of a node, under names that are not taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from .errors import Unliftable
from .ops import Array, Model, Op
from .rewrite import Rewrite

TO_THE_LAST = 2**31 - 1  #: an end of a Slice that means "to the last"
SLICE_OPERANDS = 10  #: the opset from which Slice takes its numbers as inputs, and steps
PAD_OPERANDS = 11
AXES_OPERANDS = 13  #: the same of Squeeze and Unsqueeze


class Names:
    """Value and node names that are not taken yet."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)

    def fresh(self, hint: str) -> str:
        """``hint``, or ``hint_2`` and so on."""
        name, n = hint, 1
        while name in self._taken or not name:
            n += 1
            name = f"{hint}_{n}"
        self._taken.add(name)
        return name


class Emitter:
    """Writes what takes the place of nodes, one node of the original after the other."""

    def __init__(self, model: Model, rewrite: Rewrite, taken: Iterable[str] = ()) -> None:
        """Start on a model.

        Args:
            model: the original; never changed.
            rewrite: takes up the nodes and constants.
            taken: names that are not free, besides the model's.
        """
        self.model, self.opset = model, model.opset
        self._rewrite, self._names = rewrite, Names(model.names.union(taken))
        self._made: dict[tuple[Any, ...], str] = {}
        self._nodes: list[NodeProto] = []
        self._op: Op | None = None

    def begin(self, op: Op) -> None:
        """What is emitted from here on takes the place of this node, and is named after it."""
        self._op, self._nodes = op, []

    def finish(self, *results: str, named: bool = True) -> None:
        """These values are the node's outputs; without any, nothing takes its place but what was emitted.

        Args:
            results: names of emitted values.
            named: whether the last node gets the name of the one that it takes the place of.
        """
        assert self._op is not None
        new = dict(zip(results, self._op.outputs, strict=False))
        emitted = {o for n in self._nodes for o in n.output}
        for result in [r for r in new if r not in emitted]:  # a value that was there before
            self.emit("Identity", result)
            new[self._nodes[-1].output[0]] = new.pop(result)
        for node in self._nodes:
            for names in (node.input, node.output):
                for i, name in enumerate(names):
                    names[i] = new.get(name, name)
        if named and self._nodes and self._op.name:
            self._nodes[-1].name = self._op.name
        self._rewrite.replaced[self._op.index] = self._nodes
        self._op = None

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def emit(self, op_type: str, *inputs: str | None, outputs: int = 1, title: str = "", **attrs: Any) -> str:
        """Add a node and return the name of its (first) output; ``title`` is a certain name for the node itself."""
        assert self._op is not None
        base = self._op.name or next(o for o in self._op.outputs if o)
        names = [self._names.fresh(f"{base}_{op_type}") for _ in range(outputs)]
        operands = [name or "" for name in inputs]
        while operands and not operands[-1]:
            operands.pop()
        self._nodes.append(
            helper.make_node(op_type, operands, names, name=title or self._names.fresh(f"{base}/{op_type}"), **attrs)
        )
        return names[0]

    def again(self, op: Op, inputs: Sequence[str], outputs: Sequence[str] = ()) -> str:
        """Add a node of the original, with all of its attributes.

        Args:
            op: the node.
            inputs: what it reads instead.
            outputs: what it gives; default: one new value, and then it keeps its name.

        Returns:
            The name of its first output.
        """
        node, base = NodeProto(), op.name or op.outputs[0]
        node.CopyFrom(self.model.proto.graph.node[op.index])
        node.name = self._names.fresh(f"{base}/{op.op_type}") if outputs else node.name
        del node.input[:], node.output[:]
        node.input.extend(inputs)
        node.output.extend(outputs or [self._names.fresh(f"{base}_{op.op_type}")])
        self._nodes.append(node)
        return str(node.output[0])

    def reshape(self, x: str, dims: Sequence[int]) -> str:
        """Reshape to dims, of which 0 keeps the one at its place and -1 takes the rest."""
        return self.emit("Reshape", x, self.ints(dims, "shape"))

    def transpose(self, x: str, perm: Sequence[int]) -> str:
        """Transpose; itself, if the axes stay in order."""
        return x if list(perm) == sorted(perm) else self.emit("Transpose", x, perm=list(perm))

    def unsqueeze(self, x: str, axis: int) -> str:
        """A new axis of one entry."""
        if self.opset < AXES_OPERANDS:
            return self.emit("Unsqueeze", x, axes=[axis])
        return self.emit("Unsqueeze", x, self.ints([axis], "axes"))

    def slice(self, x: str, axis: int, start: int, end: int, step: int = 1) -> str:
        """Every ``step``-th entry from ``start`` on and before ``end`` along an axis.

        A step needs opset 10.
        """
        if self.opset < SLICE_OPERANDS:
            assert step == 1
            return self.emit("Slice", x, starts=[start], ends=[end], axes=[axis])
        operands = [self.ints([n], hint) for n, hint in ((start, "starts"), (end, "ends"), (axis, "axes"))]
        return self.emit("Slice", x, *operands, *([self.ints([step], "steps")] if step != 1 else []))

    def pad(self, x: str, before: Sequence[int], after: Sequence[int], value: str | None = None) -> str:
        """Pad every axis, with zeros, or from opset 11 on with the constant of this name."""
        if not any(before) and not any(after):
            return x
        pads = [*before, *after]
        if self.opset < PAD_OPERANDS:
            assert value is None
            return self.emit("Pad", x, pads=pads, mode="constant")
        return self.emit("Pad", x, self.ints(pads, "pads"), value, mode="constant")

    def fresh(self, hint: str) -> str:
        """A name that is not taken, for a value of a body."""
        return self._names.fresh(hint)

    # -- constants -----------------------------------------------------------------------------------------------------

    def ints(self, values: Sequence[int], hint: str) -> str:
        """A constant list of whole numbers; equal ones are shared.

        Raises:
            Unliftable: one of them fits no tensor, because an attribute of the node is absurd.
        """
        if any(abs(n) >= 2**63 for n in values):
            raise Unliftable("its attributes lead to numbers that no tensor holds", str(self._op))
        return self.constant(np.array(list(values), np.int64), hint, ("ints", *values))

    def constant(self, values: np.ndarray, hint: str, key: tuple[Any, ...] | None = None) -> str:
        """A new constant.

        Args:
            values: what it holds.
            hint: its name, if that is not taken; the name of a constant of the original that it takes the place of is
                given to it where that one goes.
            key: equal ones share one constant; default: it is not shared.
        """
        if key is None or key not in self._made:
            name = self._add(numpy_helper.from_array(np.asarray(values, order="C")), hint)
            if key is None:
                return name
            self._made[key] = name
        return self._made[key]

    def with_dims(self, array: Array, dims: Sequence[int]) -> str:
        """The constant with other dims and the same bytes, which are not read; itself, if the dims are its own."""
        if tuple(dims) == array.shape:
            return array.name
        key = ("dims", array.name, *dims)
        if key not in self._made:
            self._made[key] = self._add(array.with_dims(dims), array.name)
        return self._made[key]

    def large(self, make: Callable[[], np.ndarray], hint: str) -> str:
        """A new constant that is held twice at most, while its bytes go from the array into the tensor."""
        values = make()
        tensor = TensorProto(data_type=helper.np_dtype_to_tensor_dtype(values.dtype), dims=values.shape)
        data = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
        del values
        tensor.raw_data = data
        del data
        return self._add(tensor, hint)

    def _add(self, tensor: TensorProto, hint: str) -> str:
        tensor.name = self._names.fresh(hint if hint not in self.model.constants else f"{hint}_matrix")
        self._rewrite.initializers.append(tensor)
        self._rewrite.made_from[tensor.name] = hint
        return tensor.name
