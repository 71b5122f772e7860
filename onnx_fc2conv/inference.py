"""Types and shapes of one node's outputs, also of onnxruntime's own operators, which ONNX's inference does not know."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from onnx import NodeProto, TensorProto, TypeProto, helper

from .inferring import has_negative
from .ops import Model, Op


@dataclass(frozen=True)
class Like:
    """A standard operator whose result has the same shape.

    Attributes:
        op_type: the operator.
        operands: which inputs of the node are its operands; all if ``None``.
    """

    op_type: str
    operands: tuple[int, ...] | None = (0,)


LIKE = {
    **dict.fromkeys(("Gelu", "QuickGelu", "FastGelu", "BiasGelu"), Like("Identity")),
    **dict.fromkeys(("QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax"), Like("Identity")),
    **dict.fromkeys(("QLinearAdd", "QLinearMul"), Like("Add", (0, 3))),
    "FusedConv": Like("Conv", (0, 1)),
    "FusedGemm": Like("Gemm", (0, 1, 2)),  # before opset 11 it has to have all three
    "FusedMatMul": Like("MatMul", (0, 1)),
    "QGemm": Like("Gemm", (0, 3)),
    "QLinearAveragePool": Like("AveragePool"),
    "QLinearGlobalAveragePool": Like("GlobalAveragePool"),
    "QuantizeLinear": Like("QuantizeLinear", None),
    "DequantizeLinear": Like("DequantizeLinear", None),
}


#: of those, what works on integers and gives integers of the same type
INTEGERS = frozenset(op_type for op_type in LIKE if op_type.startswith("QLinear") or op_type == "QGemm")


def infer_node(op: Op, model: Model, types: dict[str, TypeProto], data: dict[str, TensorProto]) -> dict[str, TypeProto]:
    """Types of a node's outputs by ONNX's own rule for its operator; nothing where that knows no more.

    Args:
        op: the node.
        model: the model that it is of.
        types: of all its inputs.
        data: values of inputs that are constants.
    """
    if any(has_negative(value) for value in types.values()):
        return {}
    node, like = model.proto.graph.node[op.index], None
    elem_type = next((types[name].tensor_type.elem_type for name in op.inputs if name), 0)
    if not op.standard:
        like = LIKE.get(op.op_type) if op.domain == "com.microsoft" else None
        if like is None:
            return {}
        node, types = _in_its_place(op, node, like, types, model.opset)
    try:
        schema = onnx.defs.get_schema(node.op_type, model.opset, "")
        inferred: dict[str, TypeProto] = onnx.shape_inference.infer_node_outputs(
            schema, node, types, data, opset_imports=list(model.proto.opset_import)
        )
    except Exception:  # the rule raises several types for what does not fit; then it stays unknown
        return {}
    if like is not None and op.op_type in INTEGERS:
        for value in inferred.values():
            value.tensor_type.elem_type = elem_type
    return inferred


def _in_its_place(
    op: Op, node: NodeProto, like: Like, types: dict[str, TypeProto], opset: int
) -> tuple[NodeProto, dict[str, TypeProto]]:
    """A node of the standard operator, with what it takes of the operands and attributes."""
    operands = [node.input[i] for i in like.operands or range(len(node.input)) if i < len(node.input)]
    stand_in = helper.make_node(like.op_type, operands, list(node.output)[:1])
    attributes = onnx.defs.get_schema(like.op_type, opset, "").attributes
    stand_in.attribute.extend(a for a in node.attribute if a.name in attributes)
    taken = {name: types[name] for name in operands}
    if op.op_type in INTEGERS:  # the standard operators are defined for floating-point types
        taken = {name: _of_type(value, TensorProto.FLOAT) for name, value in taken.items()}
    if op.op_type == "FusedMatMul":
        for name, side in zip(operands, "AB", strict=False):
            taken[name] = _transposed(
                taken[name], bool(op.attr(f"transBatch{side}", 0)), bool(op.attr(f"trans{side}", 0))
            )
    return stand_in, taken


def _of_type(value: TypeProto, elem_type: int) -> TypeProto:
    return helper.make_tensor_type_proto(elem_type, [d.dim_value for d in value.tensor_type.shape.dim])


def _transposed(value: TypeProto, batch: bool, last: bool) -> TypeProto:
    dims = [d.dim_value for d in value.tensor_type.shape.dim]
    if batch and len(dims) > 2:
        dims = [*dims[1:-1], dims[0], dims[-1]]
    if last:
        dims[-2:] = dims[:-3:-1]
    return helper.make_tensor_type_proto(value.tensor_type.elem_type, dims)
