"""A model in which every floating-point number is a float64, run by onnx.reference: what its answers would be exactly.

All the weights of the original are float64 numbers too, so the copy is the same function; its own rounding, some
``2 ** -53`` in each operation, is nothing beside that of single precision.
"""

from __future__ import annotations

import warnings

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnx_fc2conv.verification.definitions import OPERATORS

SINGLE = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
TYPED = {"Cast": "to", "EyeLike": "dtype", "RandomNormal": "dtype", "SequenceEmpty": "dtype"}
QUANTISING = ("QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul")


Values = dict[str, np.ndarray]  #: by name


class NotEvaluated(Exception):
    """There is no float64 evaluation, or none of what is asked for; the message says why."""


class Exact:
    """A model in double precision."""

    def __init__(self, model: ModelProto) -> None:
        """Copy a model whose tensors are all inside.

        Raises:
            NotEvaluated: it has operators that onnx.reference does not have, or that round by themselves.
        """
        for node in model.graph.node:
            if node.op_type in QUANTISING:
                raise NotEvaluated("it is quantised: it rounds to steps, and doubled it is another function")
        copy = ModelProto()
        copy.CopyFrom(model)
        _double_graph(copy.graph)
        for function in copy.functions:
            for node in function.node:
                _double_node(node)
        try:
            self._evaluator = ReferenceEvaluator(copy, new_ops=OPERATORS)
        except Exception as e:  # it raises many types
            raise NotEvaluated(_said(e)) from e
        self._outputs = [o.name for o in copy.graph.output]

    def run(self, feeds: Values) -> Values:
        """All outputs; floating-point numbers go in and come out as float64.

        Raises:
            NotEvaluated: an operator fails, or falls back to another type.
        """
        doubled = {name: v.astype(np.float64) if v.dtype.kind == "f" else v for name, v in feeds.items()}
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                found = dict(zip(self._outputs, self._evaluator.run(None, doubled), strict=True))
        except Exception as e:
            raise NotEvaluated(_said(e)) from e
        for name, value in found.items():
            if value.dtype.kind == "f" and value.dtype != np.float64:
                raise NotEvaluated(f"onnx.reference gives '{name}' as {value.dtype}")
        return found


def _said(error: Exception) -> str:
    return f"onnx.reference: {type(error).__name__} {' '.join(str(error).split())[:60]}"


def _double_graph(graph: GraphProto) -> None:
    for tensor in graph.initializer:
        _double_tensor(tensor)
    for value in (*graph.input, *graph.output, *graph.value_info):
        _double_type(value)
    for node in graph.node:
        _double_node(node)


def _double_type(value: ValueInfoProto) -> None:
    if value.type.tensor_type.elem_type in SINGLE:
        value.type.tensor_type.elem_type = TensorProto.DOUBLE


def _double_tensor(tensor: TensorProto) -> None:
    if tensor.data_type in SINGLE:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))


def _double_node(node: NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            _double_tensor(attribute.t)
        elif attribute.type == AttributeProto.GRAPH:
            _double_graph(attribute.g)
        elif TYPED.get(node.op_type) == attribute.name and attribute.i in SINGLE:
            attribute.i = TensorProto.DOUBLE
        elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
            floats = [attribute.f] if attribute.name == "value_float" else list(attribute.floats)
            array = np.array(floats if attribute.name == "value_floats" else floats[0], np.float64)
            attribute.CopyFrom(AttributeProto(name="value", type=AttributeProto.TENSOR))
            attribute.t.CopyFrom(numpy_helper.from_array(array))
    if node.op_type == "ConstantOfShape" and not node.attribute:
        node.attribute.add(name="value", type=AttributeProto.TENSOR).t.CopyFrom(
            numpy_helper.from_array(np.zeros(1, np.float64))
        )
