"""What happens to the weights of a model: their dims, types and bytes, and where those are said to lie."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from .edits import DIMS, FLOATS, NAMES, Rng, edits, pick

LOCATIONS = (
    "weights.bin",
    "nothing.bin",
    "../in.onnx",
    "/etc/hostname",
    "in.onnx",
    "",
    ".",
    "link.bin",
    "fifo",
    "a\0b",
)
OFFSETS = ("0", "1", "4096", "-1", "9999999999", "x", "", "1e3", "18446744073709551616")


def a_tensor(rng: Rng, model: ModelProto) -> TensorProto:
    """One of the initializers, or what an attribute holds."""
    inside = [a.t for n in model.graph.node for a in n.attribute if a.HasField("t")]
    found = [*model.graph.initializer, *inside]
    tensor: TensorProto = pick(rng, found) if found else model.graph.initializer.add(name="made")
    return tensor


@edits
def tensor_dims(rng: Rng, model: ModelProto) -> None:
    """Dims that do not fit the bytes, or that do in another order."""
    t = a_tensor(rng, model)
    what = int(rng.integers(5))
    if what == 0:
        t.dims.append(pick(rng, DIMS))
    elif what == 1 and t.dims:
        t.dims[int(rng.integers(len(t.dims)))] = pick(rng, DIMS)
    elif what == 2 and t.dims:
        del t.dims[-1]
    elif what == 3:
        t.dims[:] = list(reversed(t.dims))
    else:
        t.dims[:] = [int(np.prod(list(t.dims), dtype=object)) % 2**62]


@edits
def tensor_type(rng: Rng, model: ModelProto) -> None:
    """Another element type than its bytes are of, or the same values in one."""
    t = a_tensor(rng, model)
    if rng.integers(2):
        t.data_type = int(pick(rng, [*TensorProto.DataType.values(), 55, -3]))
        return
    kind = pick(rng, (np.float16, np.float64, np.int64, np.int32, np.int8, np.bool_))
    _set(t, _values(t).astype(kind))


@edits
def tensor_bytes(rng: Rng, model: ModelProto) -> None:
    """Too few bytes, too many, none, or in two places."""
    t = a_tensor(rng, model)
    what = int(rng.integers(5))
    if what == 0:
        t.raw_data = t.raw_data[: -int(rng.integers(1, 9))]
    elif what == 1:
        t.raw_data = t.raw_data + rng.bytes(int(rng.integers(1, 9)))
    elif what == 2:
        t.ClearField("raw_data")
    elif what == 3:
        t.float_data.extend([1.0, 2.0])
    else:
        t.segment.begin, t.segment.end = 0, 3


@edits
def tensor_field(rng: Rng, model: ModelProto) -> None:
    """The same values in a typed field, as old exporters write them."""
    t = a_tensor(rng, model)
    values = _values(t)
    if values.dtype == np.float32 and values.size < 20000:
        made = helper.make_tensor(t.name, TensorProto.FLOAT, list(t.dims), values.ravel().tolist())
        t.CopyFrom(made)


@edits
def tensor_values(rng: Rng, model: ModelProto) -> None:
    """Values that are zero, huge, or no numbers."""
    t = a_tensor(rng, model)
    values = _values(t).copy()
    if not values.size:
        return
    with np.errstate(all="ignore"):
        if rng.integers(2):
            values.ravel()[int(rng.integers(values.size))] = _fitting(values, pick(rng, FLOATS))
        elif rng.integers(2):
            values[...] = _fitting(values, pick(rng, (0.0, 1.0, -1.0)))
        else:
            values = values.ravel()[::-1].reshape(values.shape)
    _set(t, np.ascontiguousarray(values))


def _fitting(values: np.ndarray, number: float) -> float:
    return number if values.dtype.kind == "f" else float(np.clip(np.nan_to_num(number), 0, 100))


def _values(t: TensorProto) -> np.ndarray:
    try:
        return numpy_helper.to_array(t)
    except Exception:  # it is damaged already
        return np.zeros(3, np.float32)


def _set(t: TensorProto, values: np.ndarray) -> None:
    t.CopyFrom(numpy_helper.from_array(values, t.name))


@edits
def tensor_outside(rng: Rng, model: ModelProto) -> None:
    """The bytes are said to lie in another file."""
    t = a_tensor(rng, model)
    t.data_location = TensorProto.EXTERNAL
    if rng.integers(3):
        t.ClearField("raw_data")
    t.external_data.add(key="location", value=pick(rng, LOCATIONS))
    for key in ("offset", "length"):
        if rng.integers(2):
            t.external_data.add(key=key, value=pick(rng, OFFSETS))
    if rng.integers(5) == 0:
        t.external_data.add(key=pick(rng, ("location", "checksum", *NAMES)), value=pick(rng, NAMES))


@edits
def tensor_in_a_node(rng: Rng, model: ModelProto) -> None:
    """An initializer becomes a Constant node."""
    if not model.graph.initializer:
        return
    at = int(rng.integers(len(model.graph.initializer)))
    t = TensorProto()
    t.CopyFrom(model.graph.initializer[at])
    del model.graph.initializer[at]
    node: NodeProto = helper.make_node("Constant", [], [t.name], value=t)
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([node, *rest])


@edits
def sparse_tensor(rng: Rng, model: ModelProto) -> None:
    """An initializer is sparse, with indices that may not fit."""
    t = a_tensor(rng, model)
    values = _values(t)
    if values.dtype != np.float32 or t not in model.graph.initializer:
        return
    flat = values.ravel()[:50]
    indices = np.arange(flat.size, dtype=np.int64) + int(rng.choice([0, 0, 1, 10**6, -5]))
    sparse = model.graph.sparse_initializer.add(dims=list(t.dims))
    sparse.values.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(flat), t.name))
    sparse.indices.CopyFrom(numpy_helper.from_array(indices, ""))
    model.graph.initializer.remove(t)


@edits
def tensor_name(rng: Rng, model: ModelProto) -> None:
    """An initializer without a name, or with another's."""
    a_tensor(rng, model).name = pick(rng, (*NAMES, *(t.name for t in model.graph.initializer)))
