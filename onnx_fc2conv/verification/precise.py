"""The original's head in double precision, asked where single precision leaves a doubt.

Where a head subtracts numbers that are nearly equal, its own rounding is larger than the bound that holds for sums of
products. Then the question is not whether two roundings agree, but whether the converted answer is as near to the
exact one as the original's own is; and double precision is exact enough to tell.
"""

from __future__ import annotations

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, numpy_helper

from ..tensors import read
from .apart import apart
from .reference import Session
from .session import Feeds
from .weights import Weights

SINGLE = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)


class Doubled:
    """A part of a model whose floating-point numbers are all float64, on ONNX's own evaluator."""

    def __init__(self, part: ModelProto, folder: str) -> None:
        """Load it.

        Raises:
            RuntimeRefusal: the evaluator does not load it.
        """
        parts = apart(part, folder, Weights())
        proto = ModelProto()
        proto.CopyFrom(parts.light)
        values = {name: _wide(v) for name, v in parts.values.items()}
        for tensor in proto.graph.initializer:
            _double(tensor, folder)
        for node in proto.graph.node:
            _double_attributes(node, folder)
        for value in (*proto.graph.input, *proto.graph.output):
            if value.type.tensor_type.elem_type in SINGLE:
                value.type.tensor_type.elem_type = TensorProto.DOUBLE
        self._session = Session(proto, folder, given=values)

    def run(self, feeds: Feeds, outputs: list[str]) -> Feeds:
        """The outputs by name, floating-point ones in float64.

        Raises:
            RuntimeRefusal: an operator is not known in double precision.
        """
        return self._session.run({name: _wide(v) for name, v in feeds.items()}, outputs)


def _wide(values: np.ndarray) -> np.ndarray:
    """Floating-point numbers in float64."""
    floats = np.issubdtype(values.dtype, np.floating) or values.dtype.kind == "V"
    return values.astype(np.float64) if floats else values


def _double(tensor: TensorProto, folder: str) -> None:
    if tensor.data_type in SINGLE:
        values = np.asarray(read(tensor, folder)).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _double_attributes(node: NodeProto, folder: str) -> None:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            _double(attribute.t, folder)
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i in SINGLE:
            attribute.i = TensorProto.DOUBLE
