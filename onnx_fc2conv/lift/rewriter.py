"""What a rule holds in its hands: one node of the head, and the means to emit what replaces it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, defs, helper, numpy_helper

from ..dtypes import fc_refusal, numpy_type
from ..errors import Unliftable
from ..ops import Array, Op
from ..places import View
from ..plan import Cause
from ..rewrite import Affine, Windowed
from .shared import Repeated, RunTime, Shared, Side
from .windows import conv_attrs, of_cell

Operand = Windowed | Array | Repeated | RunTime | Side | None

FIXED_TYPES = {
    "tensor(bool)": TensorProto.BOOL,
    "tensor(int32)": TensorProto.INT32,
    "tensor(int64)": TensorProto.INT64,
}


class Rewriter:
    """One node under conversion."""

    def __init__(self, op: Op, shared: Shared, start: Op) -> None:
        self.op, self.start = op, start
        self.emitted: list[NodeProto] = []
        self._shared = shared
        self.shapes = shared.shapes
        self.runtime = shared.runtime
        self.batch, self.any_batch = shared.shapes.batch, shared.constants.any_batch

    # -- reading ---------------------------------------------------------------------------------------------------

    @property
    def op_type(self) -> str:
        """The operator."""
        return self.op.op_type

    @property
    def since(self) -> int:
        """Version of the default domain that the model imports, whatever domain the node itself is of."""
        return self._shared.model.opset

    @property
    def attrs(self) -> dict[str, Any]:
        """All attributes of the node."""
        return self.op.attrs

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute, or its default."""
        return self.op.attr(name, default)

    def refuse(self, reason: str) -> Unliftable:
        """The error that names this node; raise it."""
        return self.op.refuse(reason)

    def refuse_if(self, condition: object, reason: str) -> None:
        """Refuse if the condition holds."""
        self.op.refuse_if(condition, reason)

    def fc_refusal(self, elem_type: int) -> str | None:
        """Why an FC of this element type cannot become a Conv here; ``None`` if it can."""
        return fc_refusal(elem_type, self.since, self._shared.runtime)

    def out_type(self, i: int = 0) -> int:
        """Element type of the i-th output."""
        name = self.op.outputs[i]
        known = self.shapes.elem_types.get(name, 0) or self._type_by_schema(i)
        if not known:
            raise self.refuse(f"the element type of its result '{name}' is not known")
        return known

    def _type_by_schema(self, i: int) -> int:
        """What the operator's definition says, where a node in front of this one has stopped ONNX's inference."""
        if self.op_type == "Cast":
            return int(self.attr("to"))
        if not defs.has(self.op_type, self.op.since, self.op.domain):
            return 0
        schema = defs.get_schema(self.op_type, self.op.since, self.op.domain)
        declared = schema.outputs[min(i, len(schema.outputs) - 1)].type_str
        for j, name in enumerate(self.op.inputs):
            if name and schema.inputs[min(j, len(schema.inputs) - 1)].type_str == declared:
                lifted = self._shared.rewrite.values.get(name)
                return lifted.elem_type if lifted else self.shapes.elem_types.get(name, 0)
        allowed = next(
            (c.allowed_type_strs for c in schema.type_constraints if c.type_param_str == declared), [declared]
        )
        return FIXED_TYPES.get(allowed[0], 0) if len(allowed) == 1 else 0

    def producer(self, name: str) -> Op | None:
        """The node of the original that makes a value."""
        return self._shared.model.producer.get(name)

    def array(self, name: str) -> Array | None:
        """The constant behind a value of the original, or ``None`` if it is none."""
        return self._shared.constants.get(name)

    def ints(self, i: int, what: str) -> list[int] | None:
        """The i-th input as constant integers; ``None`` where it is left out.

        Raises:
            Unliftable: it is computed at run time.
        """
        if len(self.op.inputs) <= i or not self.op.inputs[i]:
            return None
        array = self._shared.constants.get(self.op.inputs[i])
        self.refuse_if(array is None, f"its {what} is computed at run time")
        assert array is not None
        return array.ints()

    def view_operand(self, i: int = 1) -> list[int] | None:
        """Like ``ints``, but at the trained size and batch: for views, which are judged by what they do there."""
        if len(self.op.inputs) <= i or not self.op.inputs[i]:
            return None
        array = self._shared.constants.at_trained_size(self.op.inputs[i])
        self.refuse_if(array is None, "its target shape is computed in a way that is not understood")
        assert array is not None
        return array.ints()

    def feature_axis(self, axis: int, x: Windowed) -> int:
        """The lifted axis of an axis of the original value; the batch axis is refused."""
        self.refuse_if(not -x.rank <= axis < x.rank, f"axis {axis} does not exist in a value of rank {x.rank}")
        feature = x.layout.feature(axis % x.rank)
        if feature is None:
            raise self.refuse("works along the batch axis, so it mixes the windows of different images")
        return feature + 1

    def blame_phase(self, detail: str) -> None:
        """Note that this node is right at sizes of the form trained + n * stride, and not in between."""
        cause = Cause(str(self.op), "phase", detail)
        if cause not in self._shared.causes:
            self._shared.causes.append(cause)

    # -- emitting --------------------------------------------------------------------------------------------------

    def emit(self, op_type: str, *inputs: Windowed | Array | str | None, outputs: int = 1, **attrs: Any) -> str:
        """Add a node and return the name of its (first) output; further ones are ``emitted[-1].output``."""
        base = self.op.name or next(o for o in self.op.outputs if o)
        names = [self._shared.names.fresh(f"{base}_{op_type}") for _ in range(outputs)]
        assert not any(isinstance(i, Windowed) and (i.affine or i.parts) for i in inputs), "a value is still pending"
        inputs_ = [
            "" if i is None else i if isinstance(i, str) else i.name if isinstance(i, Array) else i.tensor
            for i in inputs
        ]
        while inputs_ and not inputs_[-1]:
            inputs_.pop()
        for key, value in attrs.items():
            attrs[key] = numpy_helper.from_array(value.values) if isinstance(value, Array) else value
        node = helper.make_node(op_type, inputs_, names, name=self._shared.names.fresh(f"{base}/{op_type}"), **attrs)
        self.emitted.append(node)
        return names[0]

    def again(self, x: Windowed, *others: Windowed | Array | str | None, outputs: int = 1, **changed: Any) -> str:
        """Emit the node's own operator on lifted values, with its own attributes except for the changed ones."""
        return self.again_on(x.tensor, *others, outputs=outputs, **changed)

    def again_on(self, tensor: str, *others: Windowed | Array | str | None, outputs: int = 1, **changed: Any) -> str:
        """The same on a tensor that is no lifted value."""
        domain = {} if self.op.standard else {"domain": self.op.domain}
        attrs = {k: v for k, v in {**self.attrs, **changed, **domain}.items() if v is not None}
        return self.emit(self.op_type, tensor, *others, outputs=outputs, **attrs)

    def with_dims(self, array: Array, dims: tuple[int, ...]) -> str:
        """The constant with other dims and the same bytes; they are not read. Itself, if the dims are its own."""
        return self._shared.with_dims(array, dims)

    def moved(self, array: Array, view: View, dims: tuple[int, ...], key: tuple[Any, ...]) -> str | None:
        """A large constant with its values listed in another order; they are not read. ``None`` for a small one."""
        return self._shared.moved(array, view, dims, key)

    def constant(self, values: np.ndarray, made_from: str, *key: Any) -> str:
        """A new constant; equal keys share one."""
        return self._shared.constant(values, made_from, *key)

    def frozen(self, array: Array) -> Array:
        """A number that was computed from a shape, as the constant that it is for one window.

        At another input size its node would compute something else; the head must see what it saw at the trained size.
        """
        name = self.constant(array.values, array.name, "frozen", array.values.tobytes())
        return Array.of(name, array.values)

    def once(self, key: tuple[Any, ...], make: Callable[[], Windowed]) -> Windowed:
        """A value that several nodes may need: emitted for the first that asks."""
        if key not in self._shared.spent:
            self._shared.spent[key] = make()
        return self._shared.spent[key]

    def read(self, x: Windowed) -> Windowed:
        """Spend a pending window: the value with its features laid out as channels.

        A grouped Conv with one-hot kernels ``[C*h*w, 1, h, w]``, group C, is the flattening of every window.
        """
        if x.unread is None:
            return x
        key = (x.tensor, x.unread.window, x.unread.steps)
        if set(x.unread.window) == {1}:
            self._shared.spent[key] = x.spent(x.tensor, (x.unread.channels,))
        flatten = self._cut_windows if self.fc_refusal(x.elem_type) else self._flatten_windows
        flat = self.once(key, lambda: flatten(replace(x, affine=None)))
        if not x.unread.in_map_order:
            order = self.constant(x.unread.order.ravel().astype(np.int64), "order")
            flat = flat.spent(self.emit("Gather", flat, order, axis=1), (x.unread.order.size,))
        flat = self.reshape_features(flat, x.features).placed(x.layout)
        if x.affine is None:
            return flat
        affine, scaled = x.affine, ("scaled", flat.tensor, x.affine.scale.tobytes(), x.affine.shift.tobytes())
        return self.once(scaled, lambda: self._scaled(flat, affine)).placed(x.layout)

    def _scaled(self, x: Windowed, affine: Affine) -> Windowed:
        """The pending scale and shift, carried out."""
        for op_type, values, neutral in (("Mul", affine.scale, 1), ("Add", affine.shift, 0)):
            if np.any(values != neutral):
                dims = (*values.shape, *[1] * x.grid_rank)
                constant = values.astype(numpy_type(x.elem_type)).reshape(dims)
                x = x.on(self.emit(op_type, x, self.constant(constant, op_type.lower(), dims, constant.tobytes())))
        return x

    def _cut_windows(self, x: Windowed) -> Windowed:
        """The flattening of every window for types that have no Conv: one shifted map for each cell of the window."""
        assert x.unread is not None
        window, cells = x.unread.window, int(np.prod(x.unread.window))
        axes, steps = list(range(2, 2 + len(window))), x.unread.steps
        shifted = [self.sliced(x.tensor, axes, *of_cell(cell, window, steps)) for cell in np.ndindex(*window)]
        tensor = self.emit("Concat", *shifted, axis=1) if cells > 1 else shifted[0]
        order = np.arange(x.unread.size).reshape(cells, -1).T.ravel()
        if cells > 1 and x.unread.channels > 1:
            tensor = self.emit("Gather", tensor, self.constant(order, "order"), axis=1)
        return x.spent(tensor, (x.unread.size,))

    def sliced(self, tensor: str, axes: list[int], starts: list[int], ends: list[int]) -> str:
        """A part of a tensor along some axes."""
        operands: dict[str, Any] = {"starts": starts, "ends": ends, "axes": axes}
        if self.since < 10:
            return self.emit("Slice", tensor, **operands)
        return self.emit("Slice", tensor, *(self.constant(np.array(v, np.int64), k) for k, v in operands.items()))

    def _flatten_windows(self, x: Windowed) -> Windowed:
        assert x.unread is not None
        window, size = x.unread.window, x.unread.size
        cells = int(np.prod(window))
        one_hot = np.tile(np.eye(cells, dtype=numpy_type(x.elem_type)), (x.unread.channels, 1)).reshape(
            size, 1, *window
        )
        kernel = self.constant(one_hot, "flatten_kernel", x.elem_type, x.unread.channels, window)
        tensor = self.emit("Conv", x, kernel, group=x.unread.channels, **conv_attrs(window, x.unread.steps))
        return x.spent(tensor, (size,))

    def reshape_features(self, x: Windowed, features: tuple[int, ...]) -> Windowed:
        """A spent value with its features in another shape; the grid stays."""
        source = self._shared.reshaped.get(x.tensor)
        if source is not None and source.features == features:
            return source.placed(x.layout)  # there and back: the first reshape is left unused
        if features == x.features:
            return x
        result = x.spent(self._reshape(x, [0, *features]), features)
        self._shared.reshaped[result.tensor] = x
        return result

    def _reshape(self, x: Windowed, front: list[int]) -> str:
        """The lifted value with other dims in front of the grid's; 0 in the first place keeps the batch."""
        g, rank = x.grid_rank, 1 + len(x.features)
        if len(front) == rank:
            return self.emit("Reshape", x, self.constant(np.array([*front, *[0] * g], np.int64), "shape"))
        last = self.constant(np.arange(rank, rank + g, dtype=np.int64), "grid_axes")
        grid = self.emit("Gather", self.emit("Shape", x), last, axis=0)
        shape = self.emit("Concat", self.constant(np.array(front, np.int64), "features"), grid, axis=0)
        return self.emit("Reshape", x, shape)

    def as_original(self, x: Windowed) -> str:
        """A spent value with the batch where the original keeps it; the grid axes trail."""
        layout = x.layout
        if layout.before is None:
            return self._reshape(x, list(x.features))
        if layout.merged:
            return self._reshape(x, [-1, *x.features[1:]])
        if layout.before == 0:
            return x.tensor
        front = [*range(1, layout.before + 1), 0]
        rest = range(layout.before + 1, 1 + len(x.features) + x.grid_rank)
        return self.emit("Transpose", x, perm=[*front, *rest])

    def permute(self, x: Windowed, order: list[int]) -> Windowed:
        """The features' axes in another order; the layout is the caller's to say."""
        if order == sorted(order):
            return x
        if x.unread is not None:
            return x.reordered(x.unread.order.transpose(order))
        rank = 1 + len(order)
        perm = [0, *(f + 1 for f in order), *range(rank, rank + x.grid_rank)]
        return x.spent(self.emit("Transpose", x, perm=perm), tuple(x.features[f] for f in order))

    def grid_first(self, x: Windowed) -> str:
        """``[N, *grid, *features]``: for operators that work on all axes from one on."""
        r, g = len(x.features), x.grid_rank
        return self.emit("Transpose", x, perm=[0, *range(1 + r, 1 + r + g), *range(1, 1 + r)])

    def grid_last(self, tensor: str, x: Windowed) -> str:
        """The inverse of ``grid_first``."""
        r, g = len(x.features), x.grid_rank
        return self.emit("Transpose", tensor, perm=[0, *range(1 + g, 1 + g + r), *range(1, 1 + g)])
