"""Small networks as ONNX text, each with something in it that can be broken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, ValueInfoProto, helper, numpy_helper, parser, shape_inference

IR_VERSION = 8
Dims = Sequence[int | str]


def integers(shape: Sequence[int], seed: int) -> NDArray[np.float32]:
    """Small integers other than zero: sums of their products are exact, and none of them can be lost unnoticed."""
    rng = np.random.default_rng(seed)
    return np.asarray(rng.integers(1, 4, tuple(shape)) * rng.choice((-1, 1), tuple(shape)), np.float32)


def network(
    text: str, weights: Mapping[str, Any], inputs: Mapping[str, Dims], outputs: Sequence[str] = ("y",), opset: int = 17
) -> ModelProto:
    """A model of float32 inputs.

    Args:
        text: nodes, one a line.
        weights: arrays, or shapes of small integers.
        inputs: names and dims.
        outputs: names; their types and shapes are inferred.
        opset: version of the default domain.
    """
    lines = [line.strip() for line in text.strip().splitlines()]
    nodes = list(parser.parse_graph("g (float a) => (float b) {\n" + "\n".join(lines) + "\n}").node)
    for node in nodes:
        node.name = node.output[0]
    arrays = {
        name: value if isinstance(value, np.ndarray) else integers(value, seed)
        for seed, (name, value) in enumerate(weights.items())
    }
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info(name, 1, list(dims)) for name, dims in inputs.items()],
        [ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION)
    return _typed(model)


def _typed(model: ModelProto) -> ModelProto:
    """The model with the types of its outputs."""
    found = {o.name: o for o in shape_inference.infer_shapes(model, strict_mode=True).graph.output}
    for output in model.graph.output:
        output.CopyFrom(found[output.name])
    return model


def floats(*values: float) -> NDArray[np.float32]:
    """A vector."""
    return np.array(values, np.float32)


MLP = network(
    """c = Conv <strides = [2, 2]> (x, k, kb)
    a = Relu(c)
    f = Flatten(a)
    g = Gemm <alpha = 0.5, beta = 2.0, transB = 1> (f, w, b)
    r = Relu(g)
    h = Gemm (r, v, d)
    y = Softmax <axis = -1> (h)""",
    {"k": (3, 2, 2, 2), "kb": (3,), "w": (5, 27), "b": (5,), "v": integers((5, 4), 9) / 64, "d": (4,)},
    {"x": ("N", 2, 6, 6)},
)
NORMED = network(
    """m = Conv(x, k)
    f = Flatten(m)
    g = MatMul(f, w)
    n = BatchNormalization <epsilon = 0.5> (g, s, b, mean, var)
    o = Mul(n, scale)
    p = Add(o, row)
    q = PRelu(p, slope)
    l = LayerNormalization <axis = -1, epsilon = 0.25> (q, ls, lb)
    e = LeakyRelu <alpha = 0.25> (l)
    y = Clip(e, low, high)""",
    {
        "k": (3, 1, 2, 2),
        "w": (18, 4),
        "s": (4,),
        "b": (4,),
        "mean": (4,),
        "var": floats(0.125, 0.25, 0.5, 1),
        "scale": floats(1, 2, 3, 4),
        "row": floats(2, -3, 5, -7).reshape(1, 4),
        "slope": floats(0.5, 0.25, 0.125, 0.75),
        "ls": (4,),
        "lb": (4,),
        "low": np.array(-3, np.float32),
        "high": np.array(3, np.float32),
    },
    {"x": ("N", 1, 4, 3)},
)
TWO_HEADS = network(
    """m = Conv <strides = [2, 1]> (x, k)
    f = Flatten(m)
    h = Gemm <transB = 1> (f, w, b)
    r = Relu(h)
    y = Gemm <transB = 1> (r, v, c)
    z = Gemm <transB = 1> (r, u, d)""",
    {"k": (2, 2, 2, 2), "w": (6, 12), "b": (6,), "v": (3, 6), "c": (3,), "u": (3, 6), "d": (3,)},
    {"x": ("N", 2, 6, 3)},
    ("y", "z"),
)
BRANCHES = network(
    """m = Conv(x, k)
    f = Flatten(m)
    g = Gemm <transB = 1> (f, w, b)
    h = Gemm <transB = 1> (f, v)
    s = Sub(g, h)
    i = Sigmoid(s)
    j = Mul(g, i)
    t = Concat <axis = 1> (j, s)
    y = Gemm <transB = 1> (t, u, c)""",
    {"k": (2, 1, 2, 2), "w": (3, 12), "b": (3,), "v": (3, 12), "u": (2, 6), "c": (2,)},
    {"x": ("N", 1, 4, 3)},
)
POOLED = network(
    """m = Conv <strides = [2, 2]> (x, k, b)
    a = Tanh(m)
    p = GlobalAveragePool(a)
    f = Flatten(p)
    y = Gemm <transB = 1> (f, w, c)""",
    {"k": (4, 1, 2, 2), "b": (4,), "w": (3, 4), "c": (3,)},
    {"x": ("N", 1, 6, 8)},
)
CHANNELS_LAST = network(
    """m = Conv(x, k)
    t = Transpose <perm = [0, 2, 3, 1]> (m)
    f = Flatten(t)
    g = Gemm(f, w, b)
    n = Softmax <axis = 1> (g)
    q = ArgMax <axis = 1, keepdims = 0> (g)
    y = Log(n)""",
    {"k": integers((2, 1, 2, 2), 3) / 16, "w": (12, 4), "b": (4,)},
    {"x": ("N", 1, 4, 3)},
    ("y", "q"),
    opset=11,
)
BACKBONE = network(
    """c1 = Conv <group = 2, strides = [2, 1]> (x, k1, b1)
    a1 = Relu(c1)
    c2 = Conv <dilations = [1, 2]> (a1, k2)
    p2 = AveragePool <kernel_shape = [2, 2], strides = [1, 1]> (a1)
    s2 = MaxPool <kernel_shape = [2, 2], strides = [1, 1]> (c2)
    f = Flatten(s2)
    g = Flatten(p2)
    h = Gemm <transB = 1> (f, w, b)
    i = Gemm <transB = 1> (g, v)
    y = Add(h, i)""",
    {"k1": (4, 1, 2, 2), "b1": (4,), "k2": (3, 4, 2, 2), "w": (3, 12), "b": (3,), "v": (3, 48)},
    {"x": ("N", 2, 8, 6)},
)
PADDED = network(
    """c1 = Conv <pads = [1, 1, 1, 1]> (x, k1, b1)
    a1 = Relu(c1)
    p1 = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (a1)
    c2 = Conv <pads = [1, 0, 1, 0]> (p1, k2)
    f = Flatten(c2)
    y = Gemm <transB = 1> (f, w, b)""",
    {"k1": (3, 1, 3, 3), "b1": (3,), "k2": (3, 3, 3, 1), "w": (3, 36), "b": (3,)},
    {"x": ("N", 1, 8, 6)},
)
WITH_MAP = network(
    """m = Conv(x, k)
    z = Relu(m)
    f = Flatten(z)
    y = Gemm <transB = 1> (f, w)""",
    {"k": (2, 1, 2, 2), "w": (4, 12)},
    {"x": ("N", 1, 4, 3)},
    ("y", "z"),
)
SELECTING = network(
    """m = Conv(x, k)
    f = Flatten(m)
    g = Gemm <transB = 1> (f, w)
    s1, s2 = Split <axis = 1> (g, parts)
    r = ReduceMax <axes = [1], keepdims = 1> (s1)
    o = Gather <axis = 1> (s2, which)
    y = Concat <axis = 1> (o, r)""",
    {"k": (2, 1, 2, 2), "w": (6, 12), "parts": np.array([2, 4]), "which": np.array([2, 0, 3])},
    {"x": ("N", 1, 4, 3)},
)
SIAMESE = network(
    """m1 = Conv(left, k1)
    m2 = Conv(right, k2)
    d = Sub(m1, m2)
    f = Flatten(d)
    y = Gemm <transB = 1> (f, w, b)""",
    {"k1": (2, 1, 2, 2), "k2": (2, 1, 2, 2), "w": (3, 12), "b": (3,)},
    {"left": ("N", 1, 4, 3), "right": ("N", 1, 4, 3)},
)
QUANTISED = network(
    """m = Conv(x, k)
    q = QuantizeLinear(m, s, z)
    dq = DequantizeLinear(q, s, z)
    f = Flatten(dq)
    dw = DequantizeLinear <axis = 0> (w, ws, wz)
    g = Gemm <transB = 1> (f, dw, b)
    gq = QuantizeLinear(g, t, z)
    y = DequantizeLinear(gq, t, z)""",
    {
        "k": (2, 1, 2, 2),
        "s": np.array(0.25, np.float32),
        "z": np.array(120, np.uint8),
        "w": np.random.default_rng(5).integers(-90, 90, (3, 12)).astype(np.int8),
        "ws": floats(1, 0.5, 2) / 64,
        "wz": np.array([0, 3, -5], np.int8),
        "b": (3,),
        "t": np.array(0.5, np.float32),
    },
    {"x": ("N", 1, 4, 3)},
)
CONVOLUTIONS = network(
    """c1 = Conv <pads = [1, 1, 0, 0], strides = [2, 2]> (x, k1, b1)
    a1 = Relu(c1)
    c2 = Conv <dilations = [2, 1], group = 2> (a1, k2, b2)
    y = Conv(c2, k3)""",
    {"k1": (4, 2, 3, 2), "b1": (4,), "k2": (2, 2, 2, 2), "b2": (2,), "k3": (3, 2, 1, 1)},
    {"x": ("N", 2, "H", "W")},
)
