"""The flattened vector in element types that have no Conv: every window is put together of shifted maps."""

from __future__ import annotations

import math

import pytest
from onnx import TensorProto

import onnx_fc2conv as fc2conv

from ..networks import Head, network
from .tables import Lifts, every, head, table

TYPES = {
    "bool": TensorProto.BOOL,
    "int8": TensorProto.INT8,
    "uint8": TensorProto.UINT8,
    "int16": TensorProto.INT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "float64": TensorProto.DOUBLE,
}
ORDERS = {
    "C, H, W": {(3, 2): "", (6,): "", (2, 1, 3): "", (1, 1): ""},
    "H, W, C": {(3, 2): "[0, 2, 3, 1]", (6,): "[0, 2, 1]", (2, 1, 3): "[0, 2, 3, 4, 1]"},
    "mixed": {(3, 2): "[0, 3, 1, 2]", (2, 1, 3): "[0, 4, 2, 1, 3]"},
}


def cast(type_name: str, window: tuple[int, ...], perm: str, channels: int = 2, opset: int = 17) -> Head:
    """A head of which the cast vector is an output beside the answer of an FC; signs are dropped in front."""
    size = channels * math.prod(window)
    moved = f"n = Transpose <perm = {perm}> (map)\nf = Flatten(n)" if perm else "f = Flatten(map)"
    text = f"{moved}\nv = Abs(f)\ni = Cast <to = {TYPES[type_name]}> (v)\ny = MatMul(v, M)"
    return head(text, opset, window=window, channels=channels, outputs="y i", M=(size, 3))


LIFTS = table(
    {
        f"{type_name}, window {window}, {order} order, opset {opset}": Lifts(cast(type_name, window, perm, opset=opset))
        for type_name in TYPES
        for order, windows in ORDERS.items()
        for window, perm in windows.items()
        for opset in ((9, 13, 26) if order == "C, H, W" else (9, 17))
    },
    {
        f"{type_name}, {channels} channels": Lifts(cast(type_name, (3, 2), "[0, 2, 3, 1]", channels))
        for type_name in ("bool", "int64")
        for channels in (1, 3)
    },
)


@every(LIFTS)
def test_lifts(row: Lifts) -> None:
    row.check()


@pytest.mark.parametrize("window", [(3, 2), (2, 1, 3), (1, 1)])
def test_one_shifted_map_for_each_cell_of_the_window(window: tuple[int, ...]) -> None:
    model = fc2conv.convert(network(cast("int64", window, "")), verify=False).model
    counts = [n.op_type for n in model.graph.node]
    assert counts.count("Slice") == (math.prod(window) if math.prod(window) > 1 else 0)
    assert counts.count("Concat") == (math.prod(window) > 1)
    assert counts.count("Conv") == 2


def test_windows_of_one_map_are_cut_once() -> None:
    text = "i = Cast <to = 7> (v)\nj = Identity(i)\nr = Reshape(i, d)\nk = ReduceMax <axes = [1]> (r)\ny = MatMul(v, M)"
    made = head(f"v = Flatten(map)\n{text}", d=[0, 3, 4], M=(12, 3), outputs="y i k")
    Lifts(made).check()
    model = fc2conv.convert(network(made), verify=False).model
    assert [n.op_type for n in model.graph.node].count("Slice") == 6
