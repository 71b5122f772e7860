"""The head of a converted model at its trained size, where a grid has one cell: ``[N, K, 1, 1]`` is ``[N, K]``.

A value of the head is *flat* once it is ``[N, K]``, under its old name. Convs become Gemm on flat values, elementwise
operators, concatenations and the like run on them as they are. Whatever else reads a value of the head gets it with
its grid axes back, by a Reshape: so nothing has to be known of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ..dtypes import numpy_type
from ..ops import BROADCASTING, UNARY, VIEWS, Model, Op
from ..shapes import Shapes
from .restored import Row
from .spenders import Spender, kernel_dims, vector_of

SAME_BITS = "the bits of the converted model's kernel"
BIAS_IS_OPTIONAL = 11  #: first opset in which a Gemm may go without
ALONG_ONE_AXIS = 13  #: first opset in which Softmax works along one axis; before, on all from one on
SOFTMAX = ("Softmax", "LogSoftmax", "Hardmax")
UNCHANGED_BY_ONE = ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum")
AS_THEY_ARE = UNARY | {"Dropout", "BatchNormalization"}


@dataclass
class Flattened:
    """The nodes of a model whose head is being flattened.

    Attributes:
        model: the converted model.
        shapes: of all values at the trained size.
        spenders: where its heads begin, by position.
        nodes: what has been written.
        flat: values that are ``[N, K]`` now.
        cells: values of the head that have their grid axes still, all of size 1.
        rows: the FC nodes.
        made: new constants.
        of: the old constant that a new one is, with other dims.
    """

    model: Model
    shapes: Shapes
    spenders: dict[int, Spender]
    nodes: list[NodeProto] = field(default_factory=list)
    flat: set[str] = field(default_factory=set)
    cells: set[str] = field(default_factory=set)
    rows: list[Row] = field(default_factory=list)
    made: dict[str, TensorProto] = field(default_factory=dict)
    of: dict[str, str] = field(default_factory=dict)
    _names: dict[tuple[str, ...], str] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)

    def run(self) -> None:
        """Write all nodes.

        Raises:
            Unliftable: a subgraph reads a value of the head.
        """
        self._taken |= self.model.names
        for op in self.model.ops:
            spender = self.spenders.get(op.index)
            if spender is not None and spender.why_not is None:
                self._fc(op)
            elif spender is not None and self._is_flattening(op):
                self._emit("Flatten", [op.inputs[0]], op.outputs[0], op)
                self.flat.add(op.outputs[0])
            elif spender is not None:
                self._keep(op)
                self.cells |= {name for name in op.outputs if name and self._is_cell(name)}
            elif not any(name in self.flat or name in self.cells for name in op.reads()):
                self._keep(op)
            elif not self._on_flat(op):
                self._on_cells(op)

    # -- nodes -----------------------------------------------------------------------------------------------------

    def _keep(self, op: Op) -> NodeProto:
        node = NodeProto()
        node.CopyFrom(self.model.proto.graph.node[op.index])
        self.nodes.append(node)
        return node

    def _on_cells(self, op: Op) -> None:
        """The node as it was, on values that have their grid axes."""
        op.refuse_if(any(name in self.flat for name in op.captured), "a subgraph of it reads a value of the head")
        inputs = [self._with_grid(name) if name in self.flat else name for name in op.inputs]
        node = self._keep(op)
        node.input[:] = inputs
        self.cells |= {name for name in op.outputs if name and self._is_cell(name)}

    def _on_flat(self, op: Op) -> bool:
        """The node on flat values, if that is the same; false if it is not known to be."""
        x = next((name for name in op.inputs if name), "")
        if op.op_type == "Conv" and op.standard and x in self.flat | self.cells and self._is_pointwise(op):
            self._fc(op)
            return True
        if not op.standard or not any(name in self.flat for name in op.inputs):
            return False
        if self._is_same(op):
            self._keep(op)
        elif self._broadcasts(op):
            names = [self._vector(name) for name in op.inputs]
            self._keep(op).input[:] = names
        elif self._along_features(op):
            self._with_axis(op)
        elif self._pools_grid(op) or self._drops_grid(op):
            self._emit("Identity", [x], op.outputs[0], op)
        else:
            return False
        self.flat |= {name for name in op.outputs if name}
        return True

    def _with_axis(self, op: Op) -> None:
        node = self._keep(op)
        kept = [a for a in node.attribute if a.name != "axis"]
        rest = NodeProto(attribute=[*kept, helper.make_attribute("axis", 1)])
        del node.attribute[:]
        node.attribute.extend(rest.attribute)

    def _fc(self, op: Op) -> None:
        """A Conv that sees all of its input, as a Gemm."""
        x, weight = op.inputs[:2]
        producer = self.model.producer.get(x)
        vector = vector_of(producer, self.shapes) if producer is not None else None
        if vector is not None:
            x = vector
        elif x not in self.flat:
            x = self._once("Flatten", x, lambda result: helper.make_node("Flatten", [x], [result], axis=1))
        dims = kernel_dims(self.model, op)
        matrix = self._matrix(weight, dims if weight in self.model.constants else None)
        bias = [op.inputs[2]] if len(op.inputs) > 2 and op.inputs[2] else self._no_bias(op, weight)
        node = self._emit("Gemm", [x, matrix, *bias], op.outputs[0], op)
        node.attribute.append(helper.make_attribute("transB", 1))
        self.flat.add(op.outputs[0])
        stored = dims is not None and weight in self.model.constants
        size = (dims[0], prod(dims[1:])) if dims is not None and stored else ()
        new_title = str(op).replace("Conv", "Gemm", 1)
        self.rows.append(Row(new_title, (str(op),), matrix, size, SAME_BITS))

    def _no_bias(self, op: Op, weight: str) -> list[str]:
        if self.model.opset >= BIAS_IS_OPTIONAL:
            return []
        array = self.model.constants.get(weight)
        reason = f"has no bias, which a Gemm needs before opset {BIAS_IS_OPTIONAL}, and no stored weight"
        op.refuse_if(array is None, reason)
        assert array is not None
        return [self._constant("no_bias", np.zeros(1, numpy_type(array.elem_type)))]

    def _emit(self, op_type: str, inputs: list[str], output: str, op: Op) -> NodeProto:
        node = helper.make_node(op_type, inputs, [output], name=op.name)
        self.nodes.append(node)
        return node

    def _once(self, what: str, x: str, make: Callable[[str], NodeProto]) -> str:
        if (what, x) not in self._names:
            result = self._names[what, x] = self.fresh(f"{x}_{what.lower()}")
            node = make(result)
            node.name = self.fresh(f"{x}/{what}")
            self.nodes.append(node)
        return self._names[what, x]

    def _with_grid(self, x: str) -> str:
        """A flat value with its grid axes."""
        dims = self.shapes.of(x) or (0, 0, 1, 1)
        shape = self._constant("with_grid", np.array([0, 0, *[1] * (len(dims) - 2)], np.int64))
        return self._once("Map", x, lambda result: helper.make_node("Reshape", [x, shape], [result]))

    def drop_grid(self, name: str, grid: int) -> None:
        """Drop the grid axes of a graph output that has them still."""
        inner = self.fresh(f"{name}_map")
        for node in self.nodes:
            node.input[:] = [inner if i == name else i for i in node.input]
            node.output[:] = [inner if o == name else o for o in node.output]
        rank = len(self.shapes.of(name) or ()) - grid
        shape = self._constant("without_grid", np.zeros(rank, np.int64))  # 0 copies a dim; what is left is of size 1
        self.nodes.append(helper.make_node("Reshape", [inner, shape], [name], name=self.fresh(f"{name}/Reshape")))

    # -- what is known -----------------------------------------------------------------------------------------------

    def _is_cell(self, name: str) -> bool:
        dims = self.shapes.of(name)
        return dims is not None and len(dims) > 2 and set(dims[2:]) == {1}

    def _is_pointwise(self, op: Op) -> bool:
        dims, pads = kernel_dims(self.model, op), op.attr("pads", ())
        plain = op.attr("group", 1) == 1 and not any(pads) and self._is_cell(op.inputs[0])
        return plain and dims is not None and len(dims) > 2 and set(dims[2:]) == {1} and self._is_cell(op.outputs[0])

    def _is_flattening(self, op: Op) -> bool:
        """Whether a grouped Conv lists the values of its window: its kernels are one-hot."""
        dims, array = kernel_dims(self.model, op), self.model.constants.get(op.inputs[-1])
        if op.op_type != "Conv" or dims is None or len(op.inputs) != 2 or array is None or dims[1] != 1:
            return False
        cells = prod(dims[2:])
        plain = not any(op.attr("pads", ())) and all(n == 1 for n in op.attr("dilations", ()))
        if not plain or op.attr("group", 1) * cells != dims[0] or not self._is_cell(op.outputs[0]):
            return False
        one_hot = np.tile(np.eye(cells, dtype=array.values.dtype), (dims[0] // cells, 1)).reshape(dims)
        return np.array_equal(array.values, one_hot)

    def _is_same(self, op: Op) -> bool:
        """Whether an operator does the same to a flat value, with its other operands as they are."""
        rest = [name for name in op.inputs[1:] if name]
        if op.op_type in AS_THEY_ARE:
            return not any(name in self.flat for name in rest)
        scalar = all(self.shapes.of(name) in ((), (1,)) for name in rest)
        return op.op_type == "Clip" and scalar and not any(name in self.flat for name in rest)

    def _broadcasts(self, op: Op) -> bool:
        """Whether each operand is flat, or a constant that is the same for all images and cells."""
        dims = self.shapes.of(op.outputs[0])
        if op.op_type not in BROADCASTING or dims is None:
            return False
        for name in (i for i in op.inputs if i not in self.flat):
            array = self.model.constants.get(name)
            if array is None or len(array.shape) > len(dims):
                return False
            padded = (1,) * (len(dims) - len(array.shape)) + array.shape
            if padded[0] != 1 or prod(padded[2:]) != 1:
                return False
        return True

    def _vector(self, name: str) -> str:
        array = self.model.constants.get(name)
        if name in self.flat or array is None or array.shape in ((), (1,)):
            return name
        return self._redimensioned(name, (prod(array.shape),))

    def _along_features(self, op: Op) -> bool:
        """Whether an operator works along the features of flat values only."""
        dims = self.shapes.of(op.outputs[0])
        if dims is None or not all(name in self.flat for name in op.inputs):
            return False
        softmax = op.op_type in SOFTMAX and self.model.opset >= ALONG_ONE_AXIS
        return (softmax or op.op_type == "Concat") and int(op.attr("axis", -1)) % len(dims) == 1

    def _pools_grid(self, op: Op) -> bool:
        """Whether a reduction is one over the grid's only cell, which leaves it as it is."""
        dims = self.shapes.of(op.inputs[0])
        if op.op_type not in UNCHANGED_BY_ONE or dims is None or op.attr("keepdims", 1):
            return False
        axes = op.attr("axes")
        if len(op.inputs) > 1:
            array = self.model.constants.get(op.inputs[1])
            axes = array.ints() if array is not None else None
        return axes is not None and sorted(a % len(dims) for a in axes) == list(range(2, len(dims)))

    def _drops_grid(self, op: Op) -> bool:
        """Whether a view makes ``[N, K]`` of a value whose grid has one cell."""
        before, after = self.shapes.of(op.inputs[0]), self.shapes.of(op.outputs[0])
        return op.op_type in VIEWS and before is not None and after == before[:2]

    # -- constants -----------------------------------------------------------------------------------------------------

    def _matrix(self, weight: str, dims: tuple[int, ...] | None) -> str:
        """The kernel as a matrix: the stored one with other dims, or a view of what is computed."""
        if dims is not None:
            return self._redimensioned(weight, (dims[0], prod(dims[1:])))
        return self._once("Matrix", weight, lambda result: helper.make_node("Flatten", [weight], [result], axis=1))

    def _redimensioned(self, name: str, dims: tuple[int, ...]) -> str:
        array = self.model.constants[name]
        if array.shape == dims:
            return name
        key = ("dims", name, *map(str, dims))
        if key not in self._names:
            tensor = TensorProto()
            assert array.tensor is not None
            tensor.CopyFrom(array.tensor)
            del tensor.dims[:]
            tensor.dims.extend(dims)
            tensor.name = self._names[key] = self.fresh(name)
            self.of[tensor.name] = name
            self.made[tensor.name] = tensor
        return self._names[key]

    def _constant(self, hint: str, values: np.ndarray) -> str:
        key = ("values", hint, values.dtype.name, *map(str, values.tolist()))
        if key not in self._names:
            name = self._names[key] = self.fresh(hint)
            self.made[name] = numpy_helper.from_array(values, name)
        return self._names[key]

    def fresh(self, wanted: str) -> str:
        """A name that nothing has."""
        name, n = wanted, 1
        while name in self._taken:
            n += 1
            name = f"{wanted}_{n}"
        self._taken.add(name)
        return name
