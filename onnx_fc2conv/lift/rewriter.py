"""What a rule holds in its hands: one node of the head, and the means to emit what replaces it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ..constants import Constants
from ..dtypes import fc_refusal, numpy_type
from ..ops import Array, Op
from ..rewrite import Rewrite, Windowed
from ..shapes import Shapes


@dataclass(frozen=True)
class RunTime:
    """An operand that does not depend on the image and is not a constant either (it depends on the batch size)."""

    name: str


Operand = Windowed | Array | RunTime | None


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


class Shared:
    """What all rewriters of one conversion share.

    Attributes:
        runtime: name of the runtime that will check the conversion.
        made: names of new constants by what they hold, so that equal ones are made once.
        spent: the flattened windows by map and window.
        reshaped: for each reshaped value (by its tensor) the value that it was reshaped from.
    """

    def __init__(self, constants: Constants, shapes: Shapes, names: Names, runtime: str) -> None:
        self.constants, self.shapes, self.names, self.runtime = constants, shapes, names, runtime
        self.rewrite = Rewrite()
        self.made: dict[tuple[Any, ...], str] = {}
        self.spent: dict[tuple[Any, ...], Windowed] = {}
        self.reshaped: dict[str, Windowed] = {}


class Rewriter:
    """One node under conversion."""

    def __init__(self, op: Op, shared: Shared) -> None:
        self.op = op
        self.emitted: list[NodeProto] = []
        self._shared = shared
        self.shapes = shared.shapes
        self.batch = shared.shapes.batch

    # -- reading ---------------------------------------------------------------------------------------------------

    @property
    def op_type(self) -> str:
        """The operator."""
        return self.op.op_type

    @property
    def since(self) -> int:
        """Opset version that the model imports."""
        return self.op.since

    @property
    def attrs(self) -> dict[str, Any]:
        """All attributes of the node."""
        return self.op.attrs

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute, or its default."""
        return self.op.attr(name, default)

    def refuse(self, reason: str) -> Exception:
        """The error that names this node; raise it."""
        return self.op.refuse(reason)

    def refuse_if(self, condition: object, reason: str) -> None:
        """Refuse if the condition holds."""
        self.op.refuse_if(condition, reason)

    def fc_refusal(self, elem_type: int) -> str | None:
        """Why an FC of this element type cannot become a Conv here; ``None`` if it can."""
        return fc_refusal(elem_type, self.op.since, self._shared.runtime)

    def out_type(self, i: int = 0) -> int:
        """Element type of the i-th output."""
        name = self.op.outputs[i]
        if name not in self.shapes.elem_types:
            raise self.refuse(f"the element type of its result '{name}' is not known")
        return self.shapes.elem_types[name]

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
        """An axis of the original value, made >= 0; the batch axis is refused."""
        self.refuse_if(not -x.rank <= axis < x.rank, f"axis {axis} does not exist in a value of rank {x.rank}")
        axis %= x.rank
        self.refuse_if(axis == 0, "works along the batch axis, so it mixes the windows of different images")
        return axis

    # -- emitting --------------------------------------------------------------------------------------------------

    def emit(self, op_type: str, *inputs: Windowed | Array | str | None, outputs: int = 1, **attrs: Any) -> str:
        """Add a node and return the name of its (first) output; further ones are ``emitted[-1].output``."""
        base = self.op.name or next(o for o in self.op.outputs if o)
        names = [self._shared.names.fresh(f"{base}_{op_type}") for _ in range(outputs)]
        inputs_ = [
            "" if i is None else i if isinstance(i, str) else i.name if isinstance(i, Array) else i.tensor
            for i in inputs
        ]
        for key, value in attrs.items():
            attrs[key] = numpy_helper.from_array(value.values) if isinstance(value, Array) else value
        node = helper.make_node(op_type, inputs_, names, name=self._shared.names.fresh(f"{base}/{op_type}"), **attrs)
        self.emitted.append(node)
        return names[0]

    def again(self, x: Windowed, *others: Windowed | Array | str | None, outputs: int = 1, **changed: Any) -> str:
        """Emit the node's own operator on lifted values, with its own attributes except for the changed ones."""
        attrs = {k: v for k, v in {**self.attrs, **changed}.items() if v is not None}
        return self.emit(self.op_type, x, *others, outputs=outputs, **attrs)

    def with_dims(self, array: Array, dims: tuple[int, ...]) -> str:
        """The constant with other dims and the same bytes; they are not read. Itself, if the dims are its own."""
        if tuple(dims) == array.shape:
            return array.name
        key = ("dims", array.name, tuple(dims))
        if key not in self._shared.made:
            if array.tensor is not None:
                tensor = TensorProto()
                tensor.CopyFrom(array.tensor)
                del tensor.dims[:]
                tensor.dims.extend(dims)
            else:
                tensor = numpy_helper.from_array(array.values.reshape(dims))
            self._add(tensor, array.name, key)
        return self._shared.made[key]

    def constant(self, values: np.ndarray, made_from: str, *key: Any) -> str:
        """A new constant; equal keys share one."""
        full_key = ("values", made_from, *key) if key else ("ints", made_from, tuple(np.ravel(values).tolist()))
        if full_key not in self._shared.made:
            self._add(numpy_helper.from_array(np.ascontiguousarray(values)), made_from, full_key)
        return self._shared.made[full_key]

    def frozen(self, array: Array) -> Array:
        """A number that was computed from a shape, as the constant that it is for one window.

        At another input size its node would compute something else; the head must see what it saw at the trained size.
        """
        name = self.constant(array.values, array.name, "frozen", array.values.tobytes())
        return Array.of(name, array.values)

    def _add(self, tensor: TensorProto, made_from: str, key: tuple[Any, ...]) -> None:
        tensor.name = self._shared.names.fresh(f"{made_from}_lifted")
        self._shared.rewrite.initializers.append(tensor)
        self._shared.rewrite.made_from[tensor.name] = made_from
        self._shared.made[key] = tensor.name

    def read(self, x: Windowed) -> Windowed:
        """Spend a pending window: the value with its features laid out as channels.

        A grouped Conv with one-hot kernels ``[C*h*w, 1, h, w]``, group C, is the flattening of every window.
        """
        if x.unread is None:
            return x
        key = (x.tensor, x.unread.window)
        if key not in self._shared.spent:
            reason = self.fc_refusal(x.elem_type)
            self.refuse_if(reason, f"needs the flattened vector itself, and {reason}")
            self._shared.spent[key] = self._flatten_windows(x)
        flat = self._shared.spent[key]
        if not x.unread.in_map_order:
            order = self.constant(x.unread.order.ravel().astype(np.int64), "order")
            flat = flat.spent(self.emit("Gather", flat, order, axis=1), (x.unread.order.size,))
        return self.reshape_features(flat, x.features)

    def _flatten_windows(self, x: Windowed) -> Windowed:
        assert x.unread is not None
        window, size = x.unread.window, x.unread.size
        cells = int(np.prod(window))
        one_hot = np.tile(np.eye(cells, dtype=numpy_type(x.elem_type)), (x.unread.channels, 1)).reshape(
            size, 1, *window
        )
        kernel = self.constant(one_hot, "flatten_kernel", x.elem_type, x.unread.channels, window)
        tensor = self.emit("Conv", x, kernel, group=x.unread.channels, **conv_attrs(window))
        return x.spent(tensor, (size,))

    def reshape_features(self, x: Windowed, features: tuple[int, ...]) -> Windowed:
        """A spent value with its features in another shape; the grid stays."""
        source = self._shared.reshaped.get(x.tensor)
        if source is not None and source.features == features:
            return source  # there and back: the first reshape is left unused
        if features == x.features:
            return x
        g = x.grid_rank
        if len(features) == len(x.features):
            shape = self.constant(np.array([0, *features, *[0] * g], np.int64), "shape")
        else:
            all_dims = self.emit("Shape", x)
            last = self.constant(np.arange(x.rank, x.rank + g, dtype=np.int64), "grid_axes")
            grid = self.emit("Gather", all_dims, last, axis=0)
            front = self.constant(np.array([0, *features], np.int64), "features")
            shape = self.emit("Concat", front, grid, axis=0)
        result = x.spent(self.emit("Reshape", x, shape), features)
        self._shared.reshaped[result.tensor] = x
        return result

    def grid_first(self, x: Windowed) -> str:
        """``[N, *grid, *features]``: for operators that work on all axes from one on."""
        r, g = len(x.features), x.grid_rank
        return self.emit("Transpose", x, perm=[0, *range(1 + r, 1 + r + g), *range(1, 1 + r)])

    def grid_last(self, tensor: str, x: Windowed) -> str:
        """The inverse of ``grid_first``."""
        r, g = len(x.features), x.grid_rank
        return self.emit("Transpose", tensor, perm=[0, *range(1 + g, 1 + g + r), *range(1, 1 + g)])


def conv_attrs(kernel: tuple[int, ...]) -> dict[str, Any]:
    """Attributes of a Conv with this kernel at stride 1, all written out: some parsers know no defaults."""
    ones, zeros = [1] * len(kernel), [0] * len(kernel)
    return {"kernel_shape": list(kernel), "strides": ones, "pads": zeros * 2, "dilations": ones}


def rename(nodes: list[onnx.NodeProto], old: str, new: str) -> None:
    """Rename a value in these nodes."""
    for node in nodes:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == old:
                    names[i] = new
