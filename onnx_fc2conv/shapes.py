"""Static shapes of every value at the trained size, for one batch size.

Runs ONNX's own shape inference on a skeleton of the model: the weights are replaced by inputs of their shape, so
that nothing large is copied, and declared shapes of inner values and outputs are left out because files lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, count

from onnx import ModelProto, TensorProto, TypeProto, ValueInfoProto, helper

from .errors import UnreadableModel
from .inferring import inferred
from .ops import Model, view

SMALL = 4096  #: elements; larger initializers are never shape operands
PROBED_BATCHES = (13, 17)  #: numbers that no exporter bakes into a shape


@dataclass(frozen=True)
class Shapes:
    """Dims (``None`` where unknown) and element types of values, for one batch size."""

    batch: int
    dims: dict[str, tuple[int | None, ...]]
    elem_types: dict[str, int]

    def of(self, name: str) -> tuple[int, ...] | None:
        """The static shape of a value, or ``None`` if any of its dims is unknown."""
        dims = self.dims.get(name)
        if dims is None or any(d is None for d in dims):
            return None
        return tuple(d for d in dims if d is not None)

    def type_of(self, name: str) -> TypeProto | None:
        """Element type and static shape as ONNX writes them, or ``None`` if they are not known."""
        dims, elem_type = self.of(name), self.elem_types.get(name, 0)
        if dims is None or not elem_type:
            return None
        return helper.make_tensor_type_proto(elem_type, dims)

    def note(self, types: Mapping[str, TypeProto]) -> None:
        """Add what was found out later."""
        for name, value in types.items():
            tensor = value.tensor_type
            if value.WhichOneof("value") != "tensor_type":
                continue
            self.elem_types[name] = tensor.elem_type
            if tensor.HasField("shape"):
                self.dims[name] = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)


def declared_batch(model: Model) -> int | None:
    """The batch size of the input with the most axes, or ``None`` if some input's batch axis is not a fixed number."""
    ranked = [v for v in model.inputs if v.type.tensor_type.shape.dim]
    if not ranked or any(_is_symbolic(v, 0) for v in ranked):
        return None
    image = max(ranked, key=lambda v: len(v.type.tensor_type.shape.dim))
    return int(image.type.tensor_type.shape.dim[0].dim_value)


def with_free_batch(model: Model) -> tuple[Model, int | None]:
    """A model of which the batch of every input that shares the declared one has a name, and the batch it had.

    The inputs that share it are those of that size along their first axis. Where it has a name already, it is ``None``.
    """
    batch = declared_batch(model)
    if batch is None:
        return model, None
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    names = {value.name for value in model.inputs}
    taken = {d.dim_param for v in (*proto.graph.input, *proto.graph.output) for d in v.type.tensor_type.shape.dim}
    symbol = next(name for name in chain(["batch"], (f"batch_{i}" for i in count(2))) if name not in taken)
    for value in proto.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name in names and dims and dims[0].dim_value == batch:
            dims[0].dim_param = symbol
    return view(proto, model.folder), batch


def infer(model: Model, batch: int, sizes: Mapping[str, Mapping[int, int]] | None = None) -> Shapes:
    """Shapes with every symbolic batch dim set to ``batch``.

    Args:
        model: the model.
        batch: the batch size.
        sizes: other sizes for some axes of some inputs; default: as declared.

    Raises:
        UnreadableModel: shape inference itself rejects the model.
    """
    skeleton = _skeleton(model, batch)
    for value in skeleton.graph.input:
        for axis, size in (sizes or {}).get(value.name, {}).items():
            value.type.tensor_type.shape.dim[axis].dim_value = size
    try:
        graph = inferred(skeleton).graph
    except UnreadableModel:
        raise
    except Exception as e:  # the C++ checker raises several types
        raise UnreadableModel(f"ONNX shape inference rejects the model: {e}") from e
    dims: dict[str, tuple[int | None, ...]] = {}
    elem_types: dict[str, int] = {}
    inputs = {value.name for value in graph.input}
    outputs = [value for value in graph.output if value.name not in inputs]  # one may be both, and bare as an output
    for value in [*graph.input, *graph.value_info, *outputs]:
        if value.type.WhichOneof("value") != "tensor_type":
            continue
        tensor = value.type.tensor_type
        elem_types[value.name] = tensor.elem_type
        if tensor.HasField("shape"):
            dims[value.name] = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
    for name, array in model.constants.items():
        dims[name], elem_types[name] = array.shape, array.elem_type
    return Shapes(batch, dims, elem_types)


def at_two_batches(model: Model) -> tuple[Shapes, Shapes | None]:
    """Shapes at the declared batch size, or at two where it is symbolic."""
    declared = declared_batch(model)
    if declared is not None:
        return infer(model, declared), None
    batch, other = PROBED_BATCHES
    return infer(model, batch), infer(model, other)


def can_run(model: Model, shapes: Shapes) -> bool:
    """False if some node cannot be run at this batch size; true also where that is not known."""
    for op in model.ops:
        if op.op_type == "Gemm":  # ONNX's inference does not compare what is summed
            a, b = (shapes.of(name) for name in op.inputs[:2])
            if a and b and a[0 if op.attr("transA", 0) else -1] != b[-1 if op.attr("transB", 0) else 0]:
                return False
        known = all(shapes.of(name) is not None for name in op.inputs if name)
        if op.standard and known and any(shapes.of(name) is None for name in op.outputs if name):
            return False
    return True


def _skeleton(model: Model, batch: int) -> ModelProto:
    graph = model.proto.graph
    symbols = {v.type.tensor_type.shape.dim[0].dim_param for v in model.inputs if _is_symbolic(v, 0)} - {""}
    inputs = [_with_batch(value, batch, symbols) for value in model.inputs]
    kept: list[TensorProto] = []
    for tensor in graph.initializer:
        count = 1
        for d in tensor.dims:
            count *= d
        if count <= SMALL and tensor.data_location != TensorProto.EXTERNAL:
            kept.append(tensor)
        else:
            inputs.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    outputs = [ValueInfoProto(name=o.name) for o in graph.output]
    for bare, o in zip(outputs, graph.output, strict=True):
        if o.type.HasField("tensor_type"):
            bare.type.tensor_type.elem_type = o.type.tensor_type.elem_type
    skeleton = ModelProto(ir_version=max(model.proto.ir_version, 4))
    skeleton.opset_import.extend(model.proto.opset_import)
    skeleton.functions.extend(model.proto.functions)
    skeleton.graph.name = "skeleton"
    skeleton.graph.node.extend(graph.node[op.index] for op in model.ops)
    skeleton.graph.initializer.extend(kept)
    skeleton.graph.sparse_initializer.extend(graph.sparse_initializer)
    skeleton.graph.input.extend(inputs)
    skeleton.graph.output.extend(outputs)
    return skeleton


def _is_symbolic(value: ValueInfoProto, axis: int) -> bool:
    dims = value.type.tensor_type.shape.dim
    return len(dims) > axis and not (dims[axis].HasField("dim_value") and dims[axis].dim_value > 0)


def _with_batch(value: ValueInfoProto, batch: int, symbols: set[str]) -> ValueInfoProto:
    result = ValueInfoProto()
    result.CopyFrom(value)
    for axis, dim in enumerate(result.type.tensor_type.shape.dim):
        if dim.dim_param in symbols or (axis == 0 and _is_symbolic(value, 0)):
            dim.dim_value = batch
    return result
