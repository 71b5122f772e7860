"""Which graph inputs are images, and which of their axes are spatial (N,C,H,W or N,H,W,C, found by use)."""

from __future__ import annotations

from collections import deque
from math import prod

import numpy as np
from onnx import TensorProto, ValueInfoProto

from ..errors import NothingToConvert, Unliftable, UnreadableModel
from ..flatten import apply_view, unit_move
from ..geometry import Axis
from ..ops import BROADCASTING, UNARY, Array, Model, Op
from ..plan import Dim, FeatureMap

PIXEL_TYPES = frozenset(
    (
        TensorProto.FLOAT,
        TensorProto.FLOAT16,
        TensorProto.DOUBLE,
        TensorProto.BFLOAT16,
        TensorProto.UINT8,
        TensorProto.INT8,
    )
)
SLIDING = frozenset(
    "Conv ConvInteger QLinearConv FusedConv ConvTranspose MaxPool AveragePool LpPool QLinearAveragePool".split()
)
#: these have the channels at axis 1, and the pixels behind them
LAID_OUT = SLIDING | {"BatchNormalization", "InstanceNormalization", "LRN"}
CHAIN = (
    UNARY
    | BROADCASTING
    | {"Concat", "Transpose", "Unsqueeze", "Squeeze", "Reshape", "Pad", "QuantizeLinear", "DequantizeLinear"}
)
MOST_AXES = 3  #: that onnxruntime's Conv slides over
MAX_PIXELS = 2**31
ANY_BATCH = 2  #: stands for a batch size that is not known


def image_inputs(model: Model) -> list[ValueInfoProto]:
    """The inputs that hold pixels: those of four or more axes, and of three axes those that an operator slides over.

    Three axes that nothing slides over may as well be rows of features, of which none is spatial.

    Raises:
        NothingToConvert: there is none.
    """
    found, rows = [], []
    for value in model.inputs:
        tensor = value.type.tensor_type
        if value.type.WhichOneof("value") != "tensor_type" or tensor.elem_type not in PIXEL_TYPES:
            continue
        rank = len(tensor.shape.dim)
        if rank > 3 or (rank == 3 and slid_over(model, value) is not None):
            found.append(value)
        elif rank == 3:
            rows.append(value.name)
    if rows and not found:
        reason = "three axes and no operator slides over them, so none of them is known to be spatial"
        raise NothingToConvert(f"input '{rows[0]}' has {reason}")
    if not found:
        raise NothingToConvert(
            "no input has height and width (three or more axes of pixels), so there is no size to free"
        )
    return found


def is_free(value: ValueInfoProto) -> bool:
    """True for an image of which no axis but the batch and the channels has a fixed size."""
    dims = list(value.type.tensor_type.shape.dim)[1:]
    return sum(not d.HasField("dim_value") for d in dims) >= len(dims) - 1


def input_map(model: Model, value: ValueInfoProto) -> FeatureMap:
    """The image input as a feature map of itself.

    Raises:
        UnreadableModel: a spatial dim has no fixed size, or sizes are absurd.
        Unliftable: there are more spatial axes than a runtime's Conv slides over.
    """
    spatial = spatial_axes(model, value)
    if len(spatial) > MOST_AXES:
        reason = f"has {len(spatial)} spatial axes, and a Conv slides over up to {MOST_AXES}"
        raise Unliftable(f"input '{value.name}' {reason}")
    dims: list[Dim] = []
    pixels = 1
    for i, d in enumerate(value.type.tensor_type.shape.dim):
        fixed = d.dim_value if d.HasField("dim_value") else None
        if i == 0:
            dims.append("batch")
            if fixed is not None and fixed < 1:
                raise UnreadableModel(f"input '{value.name}' has batch size {fixed}")
            continue
        if fixed is None or fixed < 1:
            what = f"has size {fixed}" if fixed is not None else f"is '{d.dim_param}'" if d.dim_param else "has no size"
            raise UnreadableModel(f"input '{value.name}' axis {i} {what}; give it the trained size first")
        pixels *= fixed
        dims.append(Axis(value.name, spatial.index(i), fixed) if i in spatial else fixed)
    if pixels > MAX_PIXELS:
        raise UnreadableModel(f"input '{value.name}' would hold {pixels} numbers per image")
    return FeatureMap(value.name, tuple(dims))


Origin = list[tuple[int | None, int]]  #: for each axis of a value: the input's axis (None if inserted), and its size


def spatial_axes(model: Model, value: ValueInfoProto) -> list[int]:
    """Which axes of an input are spatial: those that are pixels to the first operator that knows; else 2 and on."""
    return slid_over(model, value) or list(range(2, len(value.type.tensor_type.shape.dim)))


def slid_over(model: Model, value: ValueInfoProto) -> list[int] | None:
    """The axes of an input that are pixels to the first operator that knows, or ``None`` if there is none."""
    dims = value.type.tensor_type.shape.dim
    start: Origin = [(i, d.dim_value if d.dim_value > 0 else ANY_BATCH) for i, d in enumerate(dims)]
    queue = deque([(value.name, start)])
    seen = {value.name}
    while queue:
        name, origin = queue.popleft()
        for op in model.consumers.get(name, ()):
            if op.op_type in LAID_OUT and op.inputs[0] == name:
                found = [a for a, _ in origin[2:] if a is not None]
                if found and origin[0][0] == 0:
                    return found
            if op.op_type in CHAIN and op.outputs[0] not in seen:
                behind = _behind(op, origin, model)
                if behind is not None:
                    seen.add(op.outputs[0])
                    queue.append((op.outputs[0], behind))
    return None


def _behind(op: Op, origin: Origin, model: Model) -> Origin | None:
    if op.op_type == "Transpose":
        perm = op.attr("perm") or list(reversed(range(len(origin))))
        return [origin[p] for p in perm] if sorted(perm) == list(range(len(origin))) else None
    if op.op_type == "Concat":  # the axis is longer then; no Reshape is looked through behind it
        return [(a, 0 if i == op.attr("axis", 1) % len(origin) else n) for i, (a, n) in enumerate(origin)]
    if op.op_type not in ("Unsqueeze", "Squeeze", "Reshape"):
        return origin
    operand = op.attr("axes")
    if operand is None and len(op.inputs) > 1:
        operand = _constant_ints(model, op.inputs[1])
    if operand is None:
        return None
    if op.op_type == "Reshape":
        return _behind_reshape(op, origin, operand)
    result = list(origin)
    if op.op_type == "Unsqueeze":
        for a in sorted(a % (len(origin) + len(operand)) for a in operand):
            result.insert(a, (None, 1))
        return result
    gone = {a % len(origin) for a in operand}
    return [o for i, o in enumerate(result) if i not in gone]


def _behind_reshape(op: Op, origin: Origin, target: list[int]) -> Origin | None:
    sizes = [size for _, size in origin]
    if prod(sizes) > MAX_PIXELS:
        return None
    try:
        perm = unit_move(sizes, apply_view(op, np.empty(sizes, np.bool_), target).shape)
    except ValueError:
        return None
    return None if perm is None else [origin[p] for p in perm]


def _constant_ints(model: Model, name: str) -> list[int] | None:
    if name in model.constants:
        return model.constants[name].ints()
    producer = model.producer.get(name)
    value = producer.attr("value") if producer is not None and producer.op_type == "Constant" else None
    return value.ints() if isinstance(value, Array) else None
