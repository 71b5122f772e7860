"""What can be checked of the converted model without running it: it is valid, it loads, and it is what it claims."""

from __future__ import annotations

from math import prod

import onnx
from onnx import ModelProto, NodeProto, TensorProto

from ..conversion import Conversion
from ..errors import UnreadableModel, VerificationFailed
from ..ops import FULLY_CONNECTED
from ..plan import FeatureMap
from ..tensors import bytes_for, tensors
from .choice import runtime
from .session import RuntimeRefusal, one_line

CONVS = frozenset("Conv ConvInteger QLinearConv".split())
DEQUANTISING = frozenset(("DequantizeLinear",))


def require_valid(proto: ModelProto, original: ModelProto) -> None:
    """Accepted by the ONNX checker with full shape inference.

    Raises:
        VerificationFailed: it is not.
        UnreadableModel: it is not, and neither is the original, for the same kind of reason.
    """
    complaint = _complaint(proto)
    if complaint is None:
        return
    if _complaint(original) is not None:
        raise UnreadableModel(f"the ONNX checker rejects the original model: {_complaint(original)}")
    raise VerificationFailed(f"structure: the ONNX checker rejects the converted model: {complaint}")


def _complaint(proto: ModelProto) -> str | None:
    try:
        onnx.checker.check_model(_without_external(proto), full_check=True)
    except Exception as e:  # the checker raises several types
        return one_line(e)
    return None


def require_loads(path: str, name: str) -> None:
    """The file on the disk is loaded by the runtime of this name in a default session.

    Raises:
        VerificationFailed: it is not.
    """
    checker = runtime(name)
    try:
        checker.load(path, default=True)
    except RuntimeRefusal as e:
        raise VerificationFailed(f"structure: {checker.name} does not load the written file: {e}") from e


def require_converted(conversion: Conversion, proto: ModelProto) -> None:
    """No FC is left behind the flattened maps, and the spatial dims of the image inputs are free.

    Raises:
        VerificationFailed: one is left, one is still fixed, or inputs that must have one size declare two.
    """
    behind = set(conversion.plan.cuts)
    head = {op.index for op in conversion.plan.head}
    backbone = {name for op in conversion.plan.model.ops if op.index not in head for name in op.outputs}
    for node in proto.graph.node:
        if node.op_type in ("Shape", "Size") or not any(name in behind for name in node.input):
            continue
        if backbone.issuperset(node.output):  # on the way to a second map: it reads positions, not a window
            continue
        if node.op_type in FULLY_CONNECTED and not all(name in behind for name in node.input[:2]):
            raise VerificationFailed(
                "structure: a fully connected node is left in the head", node.name or node.output[0]
            )
        behind |= set(node.output)
    for images in conversion.plan.tied.values():
        declared = [_require_free(image, proto) for image in images]
        for image, names in zip(images, declared, strict=True):
            if names != declared[0]:
                reason = f"inputs '{images[0].name}' and '{image.name}' must have one size and declare two"
                raise VerificationFailed(f"structure: {reason}")


def require_limits(conversion: Conversion, proto: ModelProto) -> None:
    """No Conv that was written is over a limit that was asked for.

    Raises:
        VerificationFailed: one is.
    """
    max_kernel, max_channels = conversion.limits
    if max_kernel is None and max_channels is None:
        return
    dims = {t.name: tuple(t.dims) for t in proto.graph.initializer}
    dims |= {
        n.output[0]: dims[n.input[0]] for n in proto.graph.node if n.op_type in DEQUANTISING and n.input[0] in dims
    }
    before = {node.SerializeToString() for node in conversion.plan.model.proto.graph.node}
    kept = {(n.op_type, n.name, *n.input) for n in _dilated(conversion)}
    for node in proto.graph.node:
        kernel = next((dims[name] for name in node.input if len(dims.get(name, ())) > 2), None)
        if node.op_type not in CONVS or kernel is None or node.SerializeToString() in before:
            continue
        if (node.op_type, node.name, *node.input) in kept:
            continue
        group = next((a.i for a in node.attribute if a.name == "group"), 1)
        over = max_kernel is not None and max(kernel[2:]) > max_kernel
        if over or (max_channels is not None and max(kernel[0], kernel[1] * group) > max_channels):
            what = f"a kernel of dims {list(kernel)} in {group} groups is over the limits"
            raise VerificationFailed(f"structure: {what}", f"{node.op_type} '{node.name}'")


def _dilated(conversion: Conversion) -> list[NodeProto]:
    """The original's nodes of which only attributes were changed."""
    kept = conversion.plan.dense.kept if conversion.plan.dense else frozenset[int]()
    return [conversion.plan.model.proto.graph.node[i] for i in kept]


def _require_free(image: FeatureMap, proto: ModelProto) -> list[str]:
    """The names of the spatial dims of an image input."""
    found = next((i for i in proto.graph.input if i.name == image.name), None)
    if found is None:
        raise VerificationFailed(f"structure: input '{image.name}' is gone")
    dims = found.type.tensor_type.shape.dim
    if len(dims) != len(image.dims) or any(not dims[i].dim_param for i in image.spatial):
        raise VerificationFailed(f"structure: input '{image.name}' still has a fixed spatial dim")
    if len({dims[i].dim_param for i in image.spatial}) < len(image.spatial):
        raise VerificationFailed(f"structure: spatial dims of input '{image.name}' share one dim_param")
    return [dims[i].dim_param for i in image.spatial]


def _without_external(proto: ModelProto) -> ModelProto:
    """A stand-in for the checker, which would look for data files: external weights become inputs, or zeros."""
    if not any(t.data_location == TensorProto.EXTERNAL for t in tensors(proto)):
        return proto
    stand_in = ModelProto()
    stand_in.CopyFrom(proto)
    graph = stand_in.graph
    external = [t for t in proto.graph.initializer if t.data_location == TensorProto.EXTERNAL]
    names, listed = {t.name for t in external}, {i.name for i in graph.input}
    del graph.initializer[:]
    graph.initializer.extend(t for t in proto.graph.initializer if t.name not in names)
    graph.input.extend(
        onnx.helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in external if t.name not in listed
    )
    for tensor in tensors(stand_in):
        if tensor.data_location == TensorProto.EXTERNAL:  # in a subgraph or an attribute
            tensor.data_location = TensorProto.DEFAULT
            del tensor.external_data[:]
            tensor.raw_data = bytes(bytes_for(tensor.data_type, prod(tensor.dims)) or 0)
    return stand_in
