"""Backbones that must not be converted, each by node and reason. A new case is a new row of ``REFUSALS``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

import onnx_fc2conv as fc2conv
from onnx_fc2conv.errors import NothingToConvert, PositionDependent, Unliftable, UnreadableModel

from ..networks import integers
from .cases import floats, int64

INT_MAX = 2**63 - 1


@dataclass(frozen=True)
class Refusal:
    """A model that must not be converted.

    Attributes:
        text: nodes from the inputs to ``map``; ``Flatten`` and ``Gemm`` are put behind it.
        features: of the flattened map.
        node: the node that is named.
        reason: part of the reason.
        inputs: dims of the inputs.
    """

    text: str
    features: int
    node: str | None
    reason: str
    weights: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, tuple[Any, ...]] = field(default_factory=lambda: {"x": ("N", 2, 8, 6)})
    opset: int = 17
    error: type[Exception] = Unliftable
    types: Mapping[str, int] = field(default_factory=dict)

    @property
    def model(self) -> ModelProto:
        lines = [line.strip() for line in self.text.strip().splitlines()]
        lines += ["flat = Flatten (map)", "y = Gemm <transB = 1> (flat, fc, bias)"]
        nodes = parser.parse_graph("g (float x) => (float y) {\n" + "\n".join(lines) + "\n}").node
        arrays = {"fc": (3, self.features), "bias": (3,), **self.weights}
        graph = helper.make_graph(
            nodes,
            "refused",
            [
                helper.make_tensor_value_info(name, self.types.get(name, TensorProto.FLOAT), dims)
                for name, dims in self.inputs.items()
            ],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
            [
                numpy_helper.from_array(integers(v, 11) if isinstance(v, tuple) else np.asarray(v), name)
                for name, v in arrays.items()
            ],
        )
        domains = {node.domain for node in nodes} - {""}
        opsets = [helper.make_opsetid("", self.opset), *(helper.make_opsetid(d, 1) for d in domains)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def slid(text: str, reason: str, **weights: Any) -> Refusal:
    """Nodes that make ``a`` of ``x``, the last of which fits one size of its map, and a Conv that slides over it."""
    node = f"{text.splitlines()[-1].split()[2]} 'a'"
    weights |= {"one_cell": (2, 2, 1, 1)}
    return Refusal(f"{text}\nmap = Conv (a, one_cell)", 96, node, reason, weights, error=PositionDependent)


def positional(text: str, shape: tuple[int, ...]) -> Refusal:
    """A constant with a value per position, and a Conv that slides over the result."""
    return slid(text, f"its constant 'k' has one value per position ({list(shape)}), so it fits the trained", k=shape)


def sliced(start: int, end: int, axis: int, step: int) -> Refusal:
    """A Slice at fixed positions, and a Conv that slides over the result."""
    left = {2: 8, 3: 6}[axis] - end
    word = ("height", "width")[axis - 2] + (f" - {left}" if left else "")
    unclear = f"its constant {end} may be {word} or a fixed number, and nothing tells which"
    from_the_start = start >= 0 and step > 0
    refusal = slid(
        "a = Slice (x, starts, ends, axes, steps)",
        unclear if from_the_start else f"crops to fixed positions [{start}:{end}:{step}] of the trained size",
        starts=int64(start),
        ends=int64(end),
        axes=int64(axis),
        steps=int64(step),
    )
    cells = len(range({2: 8, 3: 6}[axis])[start:end:step]) * {2: 6, 3: 8}[axis]
    return replace(refusal, error=Unliftable, features=2 * cells) if from_the_start else refusal


UNKNOWN = "this operator is not known on a feature map in front of the head"
HALF = "whose effective stride 1/2 is not whole"
SHAPE_OF_X = """shape = Shape (x)
h = Gather (shape, two)
"""

REFUSALS: dict[str, Refusal] = {
    # -- operators
    "an unknown operator": Refusal("map = CumSum (x, two)", 96, "CumSum 'map'", UNKNOWN, {"two": np.int64(2)}),
    "Trilu": Refusal("map = Trilu (x)", 96, "Trilu 'map'", UNKNOWN),
    "a custom operator": Refusal("map = my.domain.Warp (x)", 96, "my.domain.Warp 'map'", UNKNOWN),
    "a standard name in a custom domain": Refusal("map = my.domain.Relu (x)", 96, "my.domain.Relu 'map'", UNKNOWN),
    "the map as a shape": Refusal(
        "map = Expand (one, x)",
        96,
        "Expand 'map'",
        "reads the feature map as something other than its data input",
        {"one": np.float32(1)},
    ),
    "the map as a weight": Refusal(
        "map = Conv (z, x)",
        4,
        "Conv 'map'",
        "reads the feature map as something other than its data input",
        {"z": (1, 2, 8, 6)},
    ),
    # -- sizes that are fixed
    "Resize to sizes": Refusal(
        "map = Resize (x, , , sizes)", 384, "Flatten 'flat'", HALF, {"sizes": int64(1, 2, 16, 12)}, {"x": (1, 2, 8, 6)}
    ),
    "Resize to sizes computed from the trained size": Refusal(
        """shape = Shape (x)
        sizes = Mul (shape, factors)
        map = Resize (x, , , sizes)""",
        384,
        "Flatten 'flat'",
        HALF,
        {"factors": int64(1, 1, 2, 2)},
    ),
    "Resize by one and a half": Refusal(
        "map = Resize (x, , scales)",
        216,
        "Resize 'map'",
        "resizes by 1.5, not a whole factor",
        {"scales": floats(1, 1, 1.5, 1.5)},
    ),
    "Resize the channels": Refusal(
        "map = Resize (x, , scales)",
        192,
        "Resize 'map'",
        "resizes the batch or the channels",
        {"scales": floats(1, 2, 1, 1)},
    ),
    "crop to fixed positions, then a Conv": sliced(0, 4, 2, 1),
    "crop from the end, then a Conv": sliced(-4, INT_MAX, 2, 1),
    "crop from the end up to the border, then a Conv": sliced(-4, -1, 3, 1),
    "every second pixel up to a fixed one, then a Conv": sliced(0, 6, 3, 2),
    "every second pixel from the end, then a Conv": sliced(-5, INT_MAX, 3, 2),
    "flip, then a Conv": sliced(-1, -INT_MAX, 3, -1),
    "flip by twos, then a Conv": sliced(INT_MAX, -INT_MAX, 2, -2),
    "crop to fixed positions by attributes, then a pool": Refusal(
        "a = Slice <starts = [1], ends = [5], axes = [2]> (x)\nmap = MaxPool <kernel_shape = [2, 2]> (a)",
        30,
        "Slice 'a'",
        "its constant 5 may be height - 3 or a fixed number, and nothing tells which",
        opset=9,
    ),
    "a crop that starts where the trained size says": Refusal(
        SHAPE_OF_X + "start = Div (h, two)\nmap = Slice (x, start, end, two)",
        48,
        "Slice 'map'",
        "size",
        {"two": int64(2), "end": int64(INT_MAX)},
    ),
    "pads computed from the trained size": Refusal(
        SHAPE_OF_X + "p = Mod (h, three)\npads = Concat <axis = 0> (zeros, p, zero)\nmap = Pad (x, pads)",
        120,
        "Pad 'map'",
        "size",
        {"two": int64(2), "three": int64(3), "zeros": int64(*[0] * 6), "zero": int64(0)},
    ),
    "pads at run time": Refusal(
        "map = Pad (x, p)",
        96,
        "Pad 'map'",
        "its input 'p' is neither a constant nor a feature map",
        inputs={"x": ("N", 2, 8, 6), "p": (8,)},
        types={"p": TensorProto.INT64},
    ),
    "ConvTranspose to an output_shape": Refusal(
        "map = ConvTranspose <strides = [2, 2], output_shape = [16, 12]> (x, w)",
        384,
        "ConvTranspose 'map'",
        "its output_shape is fixed to the trained size",
        {"w": (2, 2, 2, 2)},
    ),
    "ConvTranspose SAME": Refusal(
        'map = ConvTranspose <strides = [2, 2], auto_pad = "SAME_UPPER"> (x, w)',
        384,
        "ConvTranspose 'map'",
        "auto_pad is not supported here",
        {"w": (2, 2, 3, 3)},
    ),
    **{
        f"{op_type}, where ONNX counts a window behind the map and onnxruntime does not": Refusal(
            f"map = {op_type} <kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1, pads = [0, 0, 1, 1]> (x)",
            40,
            f"{op_type} 'map'",
            "by its size law",
        )
        for op_type in ("MaxPool", "AveragePool")
    },
    # -- one value per position
    "a positional addend": positional("a = Add (x, k)", (1, 2, 8, 6)),
    "a factor per column": positional("a = Mul (x, k)", (6,)),
    "a factor per row": positional("a = Mul (k, x)", (8, 1)),
    "a slope per position": positional("a = PRelu (x, k)", (1, 8, 6)),
    "a choice per position": slid("a = Where (k, x, x)", "so it fits the trained size only", k=np.eye(8, 6) > 0),
    "a positional addend behind another one": positional("b = Relu (x)\na = Sub (k, b)", (8, 6)),
    **{
        f"a positional addend, then {line.split()[0]}": Refusal(
            f"a = Add (x, k)\nmap = {line}",
            features,
            "Add 'a'",
            "so it fits the trained size only",
            weights,
            error=PositionDependent,
        )
        for line, features, weights in (
            ("MaxPool <kernel_shape = [3, 3]> (a)", 48, {"k": (8, 6)}),
            ("AveragePool <kernel_shape = [8, 6], pads = [1, 1, 1, 1]> (a)", 18, {"k": (8, 6)}),
            ("ConvTranspose (a, w)", 189, {"k": (8, 6), "w": (2, 3, 2, 2)}),
        )
    },
    "a positional addend, then a gate on the map": Refusal(
        """a = Add (x, k)
        p = GlobalMaxPool (a)
        b = Mul (a, p)
        map = Conv (b, w)""",
        96,
        "Add 'a'",
        "so it fits the trained size only",
        {"k": (8, 6), "w": (2, 2, 1, 1)},
        error=PositionDependent,
    ),
    "a positional addend that meets the map again": Refusal(
        "a = Add (x, k)\nmap = Mul (a, x)",
        96,
        "Add 'a'",
        "so it fits the trained size only",
        {"k": (8, 6)},
        error=PositionDependent,
    ),
    "a positional addend of a map that was pooled along the width": Refusal(
        """p = ReduceMax <axes = [3]> (x)
        a = Add (p, k)
        map = Conv (a, w)""",
        16,
        "Add 'a'",
        "so it fits the trained size only",
        {"k": (8, 1), "w": (2, 2, 1, 1)},
        error=PositionDependent,
    ),
    "LayerNormalization over height and width": slid(
        "a = LayerNormalization <axis = 2> (x, k)",
        "scales every position on its own, so it fits the trained size only",
        k=(8, 6),
    ),
    "LayerNormalization over the width": slid(
        "a = LayerNormalization <axis = 3> (x, k, b)", "scales every position on its own", k=(6,), b=(6,)
    ),
    "LayerNormalization with a shift per position": slid(
        "a = LayerNormalization <axis = 1> (x, k, b)", "scales every position on its own", k=(1,), b=(2, 8, 6)
    ),
    # -- products
    "a product over the width": slid(
        "a = MatMul (x, k)", "multiplies positions, so it fits the trained size only", k=(6, 6)
    ),
    "a product over the height": slid(
        "a = MatMul (k, x)", "multiplies positions, so it fits the trained size only", k=(8, 8)
    ),
    "a matrix for each column": Refusal(
        """t = Transpose <perm = [0, 2, 3, 1]> (x)
        a = MatMul (t, k)
        b = Transpose <perm = [0, 3, 1, 2]> (a)
        map = Conv (b, w)""",
        96,
        "MatMul 'a'",
        "multiplies positions, so it fits the trained size only",
        {"k": (8, 2, 2), "w": (2, 2, 1, 1)},
        error=PositionDependent,
    ),
    "a product of two maps": Refusal(
        """t = Transpose <perm = [0, 1, 3, 2]> (x)
        a = MatMul (x, t)
        map = Conv (a, w)""",
        128,
        "MatMul 'a'",
        "multiplies positions, so it fits the trained size only",
        {"w": (2, 2, 1, 1)},
        error=PositionDependent,
    ),
    "an Einsum over positions": slid(
        'a = Einsum <equation = "bchw,hk->bckw"> (x, k)',
        "is not known on a feature map in front of the head",
        k=(8, 8),
    ),
    "a product over the batch": Refusal(
        """p = GlobalMaxPool (x)
        f = Flatten (p)
        t = Transpose (f)
        g = MatMul (t, k)
        q = Transpose (g)
        e = Unsqueeze (q, axes)
        map = Add (x, e)""",
        96,
        "MatMul 'g'",
        "sums over the batch",
        {"k": (2, 2), "axes": int64(2, 3)},
        {"x": (2, 2, 8, 6)},
    ),
    "a Gemm over the batch": Refusal(
        """p = GlobalMaxPool (x)
        f = Flatten (p)
        g = Gemm <transA = 1> (f, k)
        e = Unsqueeze (g, axes)
        map = Add (x, e)""",
        96,
        "Gemm 'g'",
        "sums over the batch",
        {"k": (2, 2), "axes": int64(2, 3)},
        {"x": (2, 2, 8, 6)},
    ),
    # -- views of a pooled map
    "a gate whose batch is merged with the channels": Refusal(
        """p = GlobalMaxPool (x)
        f = Reshape (p, row)
        g = Mul (f, f)
        e = Reshape (g, shape)
        map = Add (x, e)""",
        96,
        "Reshape 'f'",
        "moves or merges the batch axis of a pooled map",
        {"row": int64(-1), "shape": int64(-1, 2, 1, 1)},
    ),
    "a gate whose batch axis moves": Refusal(
        """p = GlobalMaxPool (x)
        f = Flatten <axis = 0> (p)
        e = Reshape (f, shape)
        map = Add (x, e)""",
        96,
        "Flatten 'f'",
        "moves or merges the batch axis of a pooled map",
        {"shape": int64(-1, 2, 1, 1)},
    ),
    "a gate whose shape follows from the image's size": Refusal(
        SHAPE_OF_X
        + """p = GlobalMaxPool (x)
        d = Div (h, four)
        row = Concat <axis = 0> (minus, d)
        f = Reshape (p, row)
        g = Gemm (f, k)
        e = Reshape (g, back)
        map = Add (x, e)""",
        96,
        "Reshape 'f'",
        "its target shape is computed from the size of the image",
        {"two": int64(2), "four": int64(4), "minus": int64(-1), "k": (2, 2), "back": int64(-1, 2, 1, 1)},
    ),
    "a scale per row": Refusal(
        "q = QuantizeLinear <axis = 2> (x, s, z)\nmap = DequantizeLinear <axis = 2> (q, s, z)",
        96,
        "QuantizeLinear 'q'",
        "fits the trained size only",
        {"s": np.ones(8, np.float32), "z": np.zeros(8, np.uint8)},
    ),
    "a constant with more axes": Refusal(
        "map = Add (x, k)", 96, "Add 'map'", "has more axes than the map", {"k": (1, 1, 1, 1, 1)}
    ),
    "a factor that is the trained height": Refusal(
        SHAPE_OF_X + "f = Cast <to = 1> (h)\nmap = Mul (x, f)", 96, "Mul 'map'", "size", {"two": int64(2)}
    ),
    "a factor computed from the trained size, on the left": Refusal(
        SHAPE_OF_X + "f = Cast <to = 1> (h)\nmap = Mul (f, x)", 96, "Mul 'map'", "size", {"two": int64(2)}
    ),
    "channels picked by the trained size": Refusal(
        SHAPE_OF_X + "i = Mod (h, two)\nmap = Gather <axis = 1> (x, i)",
        48,
        "Gather 'map'",
        "its choice is computed from the size of its input",
        {"two": int64(2)},
    ),
    "an operator of another domain with a standard name": Refusal(
        "map = com.microsoft.Relu (x)", 96, "com.microsoft.Relu 'map'", UNKNOWN
    ),
    "FusedConv that adds a map of another size law": Refusal(
        "a = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)\n"
        'z = MaxPool <kernel_shape = [2, 2], strides = [2, 2], auto_pad = "SAME_UPPER"> (x)\n'
        'map = com.microsoft.FusedConv <activation = "Relu"> (a, k, , z)',
        24,
        "com.microsoft.FusedConv 'map'",
        "adds a map whose size does not follow its own",
        {"k": (2, 2, 1, 1)},
    ),
    # -- branches
    "Concat along the height": Refusal(
        "map = Concat <axis = 2> (x, x)", 192, "Concat 'map'", "concatenates along a spatial axis or the batch"
    ),
    "Concat along the batch": Refusal(
        "map = Concat <axis = 0> (x, x)", 96, "Concat 'map'", "concatenates along a spatial axis or the batch"
    ),
    "Concat with coordinates": Refusal(
        "map = Concat <axis = 1> (x, k)",
        144,
        "Concat 'map'",
        "concatenates a map with a constant of fixed size",
        {"k": (1, 1, 8, 6)},
        {"x": (1, 2, 8, 6)},
    ),
    "maps of different strides": Refusal(
        """a = Conv <strides = [2, 2]> (x, w)
        b = Conv (x, v)
        map = Add (a, b)""",
        36,
        "Add 'map'",
        "combines maps with effective strides 2 and 1, sizes 4 and 4",
        {"w": (3, 2, 2, 2), "v": (3, 2, 5, 4)},
    ),
    "height meets width": Refusal(
        """t = Transpose <perm = [0, 1, 3, 2]> (x)
        map = Add (x, t)""",
        72,
        "Add 'map'",
        "combines maps with swapped spatial axes",
        inputs={"x": ("N", 2, 6, 6)},
    ),
    "channels meet the width": Refusal(
        """t = Transpose <perm = [0, 3, 2, 1]> (x)
        map = Add (x, t)""",
        72,
        "Add 'map'",
        "combines values whose axes do not correspond",
        inputs={"x": ("N", 6, 2, 6)},
    ),
    "Split along the width": Refusal(
        "map, rest = Split <axis = 3> (x)", 48, "Split 'map'", "picks along a spatial axis or the batch", opset=13
    ),
    "Gather along the height": Refusal(
        "map = Gather <axis = 2> (x, two)",
        12,
        "Gather 'map'",
        "picks along a spatial axis or the batch",
        {"two": np.int64(2)},
    ),
    # -- the batch
    "Softmax over the batch": Refusal("map = Softmax <axis = 0> (x)", 96, "Softmax 'map'", "normalises over the batch"),
    "ReduceMax over the batch": Refusal(
        "map = ReduceMax <axes = [0]> (x)", 96, "ReduceMax 'map'", "reduces over the batch"
    ),
    "Pad the batch": Refusal("map = Pad (x, p)", 96, "Pad 'map'", "pads the batch", {"p": int64(1, *[0] * 7)}),
    "Slice the batch": Refusal(
        "map = Slice (x, zero, one)", 96, "Slice 'map'", "slices the batch", {"zero": int64(0), "one": int64(1)}
    ),
    "BatchNormalization in training": Refusal(
        "map = BatchNormalization <training_mode = 1> (x, s, s, s, s)",
        96,
        "BatchNormalization 'map'",
        "is in training mode, so its result depends on the whole batch",
        {"s": floats(1, 1)},
    ),
    "Dropout in training": Refusal(
        "map = Dropout (x, half, yes)",
        96,
        "Dropout 'map'",
        "training mode",
        {"half": np.float32(0.5), "yes": np.array(True)},
    ),
    "Conv over channels as an axis": Refusal(
        """t = Transpose <perm = [1, 0, 2, 3]> (x)
        map = Conv (t, w)""",
        18,
        "Conv 'map'",
        "its input is not laid out as N, C, spatial axes",
        {"w": (3, 2, 3, 3)},
        {"x": (2, 2, 8, 6)},
    ),
    # -- windows that are lost
    "the index of the widest column": Refusal(
        """a = ArgMax <axis = 3, keepdims = 0> (x)
        map = Cast <to = 1> (a)""",
        16,
        "Flatten 'flat'",
        "reads 'map', which has lost 1 spatial axes; the whole map was pooled by ArgMax 'a'",
    ),
    "cells smaller than a pixel": Refusal(
        "map = Resize (x, , scales)",
        384,
        "Flatten 'flat'",
        "reads 'map', whose effective stride 1/2 is not whole",
        {"scales": floats(1, 1, 2, 2)},
    ),
    # -- inputs
    "a factor that is an input": Refusal(
        "map = Mul (x, z)",
        96,
        "Mul 'map'",
        "its input 'z' is neither a constant nor a feature map",
        inputs={"x": ("N", 2, 8, 6), "z": ("N", 1)},
    ),
    "a size with a name": Refusal(
        "map = Relu (x)",
        96,
        None,
        "input 'x' axis 2 is 'H'; give it the trained size first",
        inputs={"x": ("N", 2, "H", 6)},
        error=UnreadableModel,
    ),
    "a size without a name": Refusal(
        "map = Relu (x)",
        96,
        None,
        "input 'x' axis 3 has no size; give it the trained size first",
        inputs={"x": ("N", 2, 8, None)},
        error=UnreadableModel,
    ),
    "size 0": Refusal(
        "map = Relu (x)",
        0,
        None,
        "input 'x' axis 2 has size 0; give it the trained size first",
        inputs={"x": ("N", 2, 0, 6)},
        error=UnreadableModel,
    ),
    "channels without a size": Refusal(
        "map = Relu (x)",
        96,
        None,
        "input 'x' axis 1 is 'C'",
        inputs={"x": ("N", "C", 8, 6)},
        error=UnreadableModel,
    ),
    "an absurd size": Refusal(
        "map = Relu (x)",
        96,
        None,
        f"input 'x' would hold {2 * 2**40} numbers per image",
        inputs={"x": ("N", 2, 2**20, 2**20)},
        error=UnreadableModel,
    ),
    "no image": Refusal(
        "map = Relu (x)",
        96,
        None,
        "no input has height and width (three or more axes of pixels), so there is no size to free",
        inputs={"x": ("N", 96)},
        error=NothingToConvert,
    ),
    "token numbers": Refusal(
        "map = Cast <to = 1> (x)",
        96,
        None,
        "no input has height and width",
        inputs={"x": ("N", 2, 8, 6)},
        types={"x": TensorProto.INT64},
        error=NothingToConvert,
    ),
}


@pytest.mark.parametrize("case", REFUSALS.values(), ids=REFUSALS.keys())
def test_refuses_by_node_and_reason(case: Refusal) -> None:
    model = case.model
    with pytest.raises(case.error) as caught:
        fc2conv.convert(model, verify=False)
    assert type(caught.value) is case.error
    assert caught.value.node == case.node
    assert case.reason in caught.value.reason
    assert "\n" not in str(caught.value)


ACCEPTED = {
    "Softmax over channels": "map = Softmax <axis = 1> (x)",
    "a factor per channel": "map = Mul (x, per_channel)",
    "an input of features beside the image that nothing reads": "map = Relu (x)",
}


@pytest.mark.parametrize("text", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_what_differs_from_a_refusal_in_one_detail_is_accepted(text: str) -> None:
    inputs = {"x": ("N", 2, 8, 6), "z": ("N", 1)}
    case = Refusal(text, 96, None, "", {"per_channel": (2, 1, 1)}, inputs)
    assert list(fc2conv.convert(case.model, verify=False).geometry.outputs) == ["y"]
