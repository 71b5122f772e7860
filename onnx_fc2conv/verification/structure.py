"""What can be checked of the converted model without running it: it is valid, it loads, and it is what it claims."""

from __future__ import annotations

import os
from collections.abc import Callable

import onnx
from onnx import ModelProto, NodeProto

from ..conversion import Conversion
from ..errors import UnreadableModel, VerificationFailed
from ..inferring import require_accepted
from ..ops import FULLY_CONNECTED, title
from ..plan import FeatureMap
from .apart import lightened
from .choice import runtime
from .session import OutOfMemory, RuntimeRefusal, one_line, refusal
from .watched import enough_memory

CONVS = frozenset("Conv ConvInteger QLinearConv".split())
DEQUANTISING = frozenset(("DequantizeLinear",))
LOADED_WHOLE = 2**26  #: bytes; larger files are read back and not loaded by a path, which holds their weights twice


def require_valid(proto: ModelProto, folder: str, original: ModelProto, original_folder: str) -> None:
    """Accepted by the ONNX checker with full shape inference.

    Args:
        proto: the model under test.
        folder: where its external data lies.
        original: the original.
        original_folder: the same of that.

    Raises:
        VerificationFailed: it is not.
        UnreadableModel: it is not, and neither is the original, for the same kind of reason.
    """
    complaint = _complaint(proto, folder)
    if complaint is None:
        return
    given = _complaint(original, original_folder)
    if given is not None:
        raise UnreadableModel(f"the ONNX checker rejects the original model: {given}")
    raise VerificationFailed(f"structure: the ONNX checker rejects the converted model: {complaint}")


def _complaint(proto: ModelProto, folder: str) -> str | None:
    try:
        require_accepted(_without_large(proto, folder))
    except Exception as e:  # the checker raises several types
        found = refusal(e)
        if isinstance(found, OutOfMemory):
            raise found from e
        return one_line(e)
    return None


def require_loads(path: str, name: str, read: Callable[[str], ModelProto] | None = None) -> None:
    """The file on the disk is loaded by the runtime of this name, its nodes as they are written.

    What a default session makes of the model was checked before it was written. A runtime that reads a large file holds
    its tensors twice; so such a file is read back with its tensors left where they are, the ONNX checker sees what was
    read, and the runtime is given the tensors from where they lie in the file.

    Args:
        path: of the file.
        name: of the runtime.
        read: reads a file back, large tensors as references into it; without it every file is loaded as it is.

    Raises:
        VerificationFailed: it is not.
        NotVerified: there is not enough memory to tell.
        UnreadableModel: it cannot be read back.
    """
    checker = runtime(name)
    with enough_memory(lambda: "structure"):
        try:
            if read is None or os.path.getsize(path) < LOADED_WHOLE:
                checker.load(path)
                return
            written = read(path)
            complaint = _complaint(written, os.path.dirname(path))
            if complaint is not None:
                raise VerificationFailed(f"structure: the ONNX checker rejects the written file: {complaint}")
            checker.load(written, os.path.dirname(path))
        except RuntimeRefusal as e:
            raise VerificationFailed(f"structure: {checker.name} does not load the written file: {e}") from e


def require_converted(conversion: Conversion, proto: ModelProto) -> None:
    """No FC is left behind the flattened maps but those of the head's form, and the images' spatial dims are free.

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
        fixed = node.op_type in FULLY_CONNECTED and not all(name in behind for name in node.input[:2])
        if fixed and title(node) not in conversion.kept:
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


def _without_large(proto: ModelProto, folder: str) -> ModelProto:
    """A stand-in for the checker, which would look for data files and copy weights: those become inputs."""
    light, large = lightened(proto, folder)
    if not large:
        return light
    stand_in = ModelProto()
    stand_in.CopyFrom(light)
    listed = {i.name for i in stand_in.graph.input}
    stand_in.graph.input.extend(
        onnx.helper.make_tensor_value_info(name, t.data_type, list(t.dims))
        for name, t in large.items()
        if name not in listed
    )
    return stand_in
