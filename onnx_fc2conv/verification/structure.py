"""What can be checked of the converted model without running it: it is valid, it loads, and it is what it claims."""

from __future__ import annotations

import os

import onnx
from onnx import ModelProto, TensorProto

from ..conversion import Conversion
from ..errors import VerificationFailed
from ..ops import FULLY_CONNECTED
from .runtime import RuntimeRefusal, Session, newest_opset, one_line, opset_of


def require_valid(proto: ModelProto) -> None:
    """Accepted by the ONNX checker with full shape inference.

    Raises:
        VerificationFailed: it is not.
    """
    try:
        onnx.checker.check_model(_without_external(proto), full_check=True)
    except Exception as e:  # the checker raises several types
        raise VerificationFailed(f"structure: the ONNX checker rejects the converted model: {one_line(e)}") from e


def require_loads(path: str) -> None:
    """The file on the disk is loaded by onnxruntime in a default session.

    Raises:
        VerificationFailed: it is not.
    """
    try:
        proto = onnx.load(path, load_external_data=False)
        Session(path if opset_of(proto) <= newest_opset() else proto, os.path.dirname(path), default=True)
    except RuntimeRefusal as e:
        raise VerificationFailed(f"structure: onnxruntime does not load the written file: {e}") from e


def require_converted(conversion: Conversion, proto: ModelProto) -> None:
    """No FC is left behind the flattened maps, and the spatial dims of the input are free.

    Raises:
        VerificationFailed: one is left, or one is still fixed.
    """
    behind = set(conversion.plan.cuts)
    for node in proto.graph.node:
        if node.op_type in ("Shape", "Size") or not any(name in behind for name in node.input):
            continue
        if node.op_type in FULLY_CONNECTED and any(o in conversion.rewrite.values for o in node.output):
            raise VerificationFailed(
                "structure: a fully connected node is left in the head", node.name or node.output[0]
            )
        behind |= set(node.output)
    image = conversion.plan.image
    found = next((i for i in proto.graph.input if i.name == image.name), None)
    if found is None:
        raise VerificationFailed(f"structure: input '{image.name}' is gone")
    dims = found.type.tensor_type.shape.dim
    if len(dims) != len(image.dims) or any(not dims[i].dim_param for i in image.spatial):
        raise VerificationFailed(f"structure: input '{image.name}' still has a fixed spatial dim")
    if len({dims[i].dim_param for i in image.spatial}) < len(image.spatial):
        raise VerificationFailed(f"structure: spatial dims of input '{image.name}' share one dim_param")


def _without_external(proto: ModelProto) -> ModelProto:
    """A stand-in for the checker: external weights become inputs of their shape, since their files are not here."""
    external = [t for t in proto.graph.initializer if t.data_location == TensorProto.EXTERNAL]
    if not external:
        return proto
    stand_in = ModelProto()
    stand_in.CopyFrom(proto)
    names = {t.name for t in external}
    listed = {i.name for i in proto.graph.input}
    del stand_in.graph.initializer[:]
    stand_in.graph.initializer.extend(t for t in proto.graph.initializer if t.name not in names)
    stand_in.graph.input.extend(
        onnx.helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in external if t.name not in listed
    )
    return stand_in
