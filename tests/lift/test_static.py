"""Static conversion: every form of FC becomes a Conv, and the model's answers, signature and size stay.

The oracle is the original model, run by onnxruntime. Weights and inputs are small integers, so that linear and ReLU
models are compared bit for bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

import onnx_fc2conv as fc2conv
from onnx_fc2conv.dtypes import tolerance
from onnx_fc2conv.ops import FULLY_CONNECTED
from onnx_fc2conv.shapes import PROBED_BATCHES
from onnx_fc2conv.undo import METADATA_KEY as ORIGINAL

from ..networks import MICROSOFT, RUNTIME_TYPES, assert_close, integers, session

FLOAT, HALF, INT64, UINT8 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64, TensorProto.UINT8


@dataclass(frozen=True)
class Static:
    """A whole model as ONNX text, and what its conversion must look like.

    Attributes:
        text: nodes, one a line, as in ``onnx.parser``.
        weights: initializers; a shape stands for seeded small integers.
        inputs: dims by name; ``N`` is the batch.
        gone: all FC nodes are gone; otherwise how many of them stay.
        ops: how many nodes of some kinds the converted model has.
        kernels: kernel_shape of its Convs, in order.
        tolerance: relative to the reference's scale; 0 compares bit for bit.
        stays: part of the reason of the first FC that is left.
    """

    text: str
    weights: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Sequence[str | int]] = field(default_factory=lambda: {"x": ("N", 6)})
    outputs: Sequence[str] = ("y",)
    opset: int = 17
    ir: int = 8
    dtype: Any = np.float32
    types: Mapping[str, int] = field(default_factory=dict)
    ops: Mapping[str, int] = field(default_factory=dict)
    kernels: Sequence[Sequence[int]] | None = None
    tolerance: float = 0.0
    left: int = 0
    stays: str = ""


def model_of(case: Static) -> ModelProto:
    """The model of a case; its outputs' types are what onnxruntime finds."""
    lines = "\n".join(line.strip() for line in case.text.strip().splitlines())
    nodes = parser.parse_graph("g (float x) => (float y) {\n" + lines + "\n}").node
    elem = helper.np_dtype_to_tensor_dtype(np.dtype(case.dtype))
    arrays = {
        name: integers(value, seed=11 + i, dtype=case.dtype) if isinstance(value, tuple) else np.asarray(value)
        for i, (name, value) in enumerate(case.weights.items())
    }
    inputs = [
        helper.make_tensor_value_info(name, case.types.get(name, elem), list(dims))
        for name, dims in case.inputs.items()
    ]
    stored = [numpy_helper.from_array(value, name) for name, value in arrays.items()]
    listed = [helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in stored] if case.ir < 4 else []
    opsets = [helper.make_opsetid("", case.opset)]
    opsets += [helper.make_opsetid(MICROSOFT, 1)] if any(n.domain == MICROSOFT for n in nodes) else []

    def made(outputs: list[onnx.ValueInfoProto]) -> ModelProto:
        graph = helper.make_graph(nodes, "model", [*inputs, *listed], outputs, stored)
        return helper.make_model(graph, opset_imports=opsets, ir_version=case.ir)

    found = session(made([onnx.ValueInfoProto(name=name) for name in case.outputs])).get_outputs()
    types = RUNTIME_TYPES | {"tensor(double)": TensorProto.DOUBLE}
    typed = [helper.make_tensor_value_info(o.name, types[o.type], o.shape or []) for o in found]
    return made([value for value, o in zip(typed, found, strict=True)])


def feeds_of(model: ModelProto, batch: int, seed: int = 3, open_dims: int = 5) -> dict[str, np.ndarray]:
    """Small integers for all inputs."""
    constants = {t.name for t in model.graph.initializer}
    feeds = {}
    for i, value in enumerate(v for v in model.graph.input if v.name not in constants):
        tensor = value.type.tensor_type
        dims = [d.dim_value or (batch if d.dim_param == "N" else open_dims) for d in tensor.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        low = 0 if tensor.elem_type != FLOAT and tensor.elem_type != HALF else -2
        feeds[value.name] = integers(dims, seed=seed + i, low=low, dtype=dtype)
    return feeds


def signature(model: ModelProto) -> list[bytes]:
    constants = {t.name for t in model.graph.initializer}
    return [v.SerializeToString() for v in (*model.graph.input, *model.graph.output) if v.name not in constants]


def assert_static(case: Static, verify: bool = True, **options: Any) -> fc2conv.Result:
    """Convert, and compare with the original at batch 1, 2 and 3."""
    original = model_of(case)
    before = original.SerializeToString()
    result = fc2conv.convert(original, static=True, verify=verify, **options)
    assert original.SerializeToString() == before
    onnx.checker.check_model(result.model, full_check=True)
    assert signature(result.model) == signature(original)
    left = [n for n in result.model.graph.node if n.op_type in FULLY_CONNECTED]
    assert (len(left), len(result.report.left)) == (case.left, case.left), result.report.left
    assert case.left == 0 or case.stays in result.report.left[0].reason
    counts = Counter(n.op_type for n in result.model.graph.node)
    assert {op: counts[op] for op in case.ops} == dict(case.ops)
    if case.kernels is not None:
        shapes = [list(a.ints) for n in result.model.graph.node for a in n.attribute if a.name == "kernel_shape"]
        assert shapes == [list(k) for k in case.kernels]
    symbolic = any("N" in dims for dims in case.inputs.values())
    for batch in (1, 2, 3) if symbolic else (1,):
        feeds = feeds_of(original, batch)
        expected = session(original).run(None, feeds)
        for reference, found in zip(expected, session(result.model).run(None, feeds), strict=True):
            assert found.dtype == reference.dtype
            assert found.shape == reference.shape
            assert_close(found, reference, case.tolerance)
    return result


MAP = {"x": ("N", 2, 4, 4)}
CONV = "m = Conv(x, k)\n"  #: [N, 3, 3, 2] of x
BACKBONE = {"k": (3, 2, 2, 3)}
TWO = "h = Gemm(x, w, b)\nr = Relu(h)\ny = Gemm(r, v, c)"
TWO_WEIGHTS = {"w": (6, 5), "b": (5,), "v": (5, 4), "c": (4,)}
TOKENS = {"x": ("N", 4, 6)}
U8, I8 = np.uint8, np.int8

FORMS: dict[str, Static] = {
    # vectors: a pure MLP
    "mlp": Static(TWO, TWO_WEIGHTS, ops={"Conv": 2, "Unsqueeze": 1, "Squeeze": 1, "Relu": 1}, kernels=[[1, 1], [1, 1]]),
    "mlp, opset 7": Static(TWO, TWO_WEIGHTS, opset=7, ir=3, ops={"Conv": 2, "Unsqueeze": 1, "Squeeze": 1}),
    "mlp, opset 11": Static(TWO, TWO_WEIGHTS, opset=11, ops={"Conv": 2}),
    "mlp, opset 13": Static(TWO, TWO_WEIGHTS, opset=13, ops={"Conv": 2}),
    "mlp, opset 21": Static(TWO, TWO_WEIGHTS, opset=21, ir=10, ops={"Conv": 2}),
    "mlp, fixed batch": Static(TWO, TWO_WEIGHTS, {"x": (4, 6)}, ops={"Conv": 2}),
    "mlp, half precision": Static(TWO, TWO_WEIGHTS, dtype=np.float16, ops={"Conv": 2}),
    "matmul and add": Static(
        "h = MatMul(x, w)\na = Add(h, b)\nr = Relu(a)\ny = MatMul(r, v)", TWO_WEIGHTS, ops={"Conv": 2, "Add": 1}
    ),
    "alpha, beta": Static(
        "y = Gemm <alpha = 3.0, beta = 2.0, transB = 1> (x, w, b)", {"w": (5, 6), "b": (1, 5)}, ops={"Conv": 1}
    ),
    "alpha of zero": Static("y = Gemm <alpha = 0.0> (x, w, b)", {"w": (6, 5), "b": (5,)}, ops={"Conv": 1}),
    "beta of zero": Static("y = Gemm <beta = 0.0> (x, w, b)", {"w": (6, 5), "b": (5,)}, ops={"Conv": 1}),
    "no C": Static("y = Gemm(x, w)", {"w": (6, 5)}, ops={"Conv": 1}),
    "C of one value": Static("y = Gemm(x, w, b)", {"w": (6, 5), "b": (1,)}, ops={"Conv": 1}),
    "C for each row": Static("y = Gemm(x, w, b)", {"w": (6, 5), "b": (4, 5)}, {"x": (4, 6)}, ops={"Conv": 1, "Add": 1}),
    "C of a column": Static("y = Gemm(x, w, b)", {"w": (6, 5), "b": (4, 1)}, {"x": (4, 6)}, ops={"Conv": 1, "Add": 1}),
    "C is an input": Static(
        "y = Gemm(x, w, c)", {"w": (6, 5)}, {"x": ("N", 6), "c": ("N", 5)}, ops={"Conv": 1, "Add": 1}
    ),
    "a vector without a batch": Static("y = MatMul(x, w)", {"w": (6, 5)}, {"x": (6,)}, ops={"Conv": 1}),
    "a vector without a batch, and with one behind it": Static(
        "h = MatMul(x, w)\nr = Reshape(h, d)\ny = Gemm(r, v)",
        {"w": (6, 5), "d": np.array([1, 5]), "v": (5, 4)},
        {"x": (6,)},
        ops={"Conv": 2, "Reshape": 0},
    ),
    "as many rows as a tensor has values that are not zero": Static(
        "n = NonZero(x)\nt = Transpose(n)\nf = Cast <to = 1> (t)\nh = MatMul(f, w)\nr = Relu(h)\ny = MatMul(r, v)",
        {"w": (2, 5), "v": (5, 4)},
        ops={"Conv": 2},
    ),
    "a number made a matrix": Static(
        "s = ReduceMax <keepdims = 0> (x)\nr = Reshape(s, d)\ny = MatMul(r, w)",
        {"d": np.array([1, 1]), "w": (1, 5)},
        ops={"Conv": 1, "Reshape": 1},
    ),
    "a vector as its weight": Static("y = MatMul(x, w)", {"w": (6,)}, ops={"Conv": 1}),
    "einsum": Static('y = Einsum <equation = "nk,km->nm"> (x, w)', {"w": (6, 5)}, ops={"Conv": 1}),
    "einsum, a matrix for each row": Static(
        'y = Einsum <equation = "n...k,...km->n...m"> (x, w)', {"w": (3, 4, 5)}, {"x": ("N", 3, 4)}, ops={"Conv": 1}
    ),
    "a shared weight": Static("h = MatMul(x, w)\nr = Relu(h)\ny = MatMul(r, w)", {"w": (6, 6)}, ops={"Conv": 2}),
    "one value read by two": Static(
        "a = MatMul(x, w)\nb = MatMul(x, v)\ny = Concat <axis = 1> (a, b)",
        {"w": (6, 5), "v": (6, 4)},
        ops={"Conv": 2, "Unsqueeze": 1, "Squeeze": 2, "Concat": 1},
    ),
    "a value between is an output": Static(
        TWO, TWO_WEIGHTS, outputs=("y", "r"), ops={"Conv": 2, "Squeeze": 2, "Relu": 1}
    ),
    "softmax between": Static(
        TWO.replace("Relu", "Softmax"), TWO_WEIGHTS, ops={"Softmax": 1, "Squeeze": 1}, tolerance=tolerance(FLOAT, 11, 3)
    ),
    "batch normalisation between": Static(
        "h = MatMul(x, w)\nn = BatchNormalization(h, s, b, m, q)\ny = MatMul(n, v)",
        {"w": (6, 5), "s": (5,), "b": (5,), "m": (5,), "q": np.arange(1, 6, dtype=np.float32), "v": (5, 4)},
        ops={"Conv": 2, "BatchNormalization": 1, "Squeeze": 1},
        tolerance=tolerance(FLOAT, 11, 3),
    ),
    "residual between": Static(
        "h = MatMul(x, w)\nr = Relu(h)\ns = Add(x, r)\ny = MatMul(s, v)",
        {"w": (6, 6), "v": (6, 4)},
        ops={"Conv": 2, "Unsqueeze": 1, "Squeeze": 1},
    ),
    "an operator without a rule between": Static(
        "h = MatMul(x, w)\na = CumSum(h, i)\nt = Trilu(a)\ny = MatMul(t, v)",
        {"w": (6, 5), "v": (5, 4), "i": np.array(1)},
        ops={"Conv": 2, "Squeeze": 2, "Unsqueeze": 2, "Trilu": 1},
    ),
    "a shape of a value between": Static(
        "h = MatMul(x, w)\nd = Shape(h)\ny = MatMul(h, v)",
        {"w": (6, 5), "v": (5, 4)},
        outputs=("y", "d"),
        ops={"Squeeze": 2},
    ),
    "views between": Static(
        "h = MatMul(x, w)\na = Reshape(h, s)\nt = Transpose <perm = [0, 2, 1]> (a)\nf = Flatten(t)\ny = MatMul(f, v)",
        {"w": (6, 6), "s": np.array([0, 2, 3]), "v": (6, 4)},
        ops={"Conv": 2, "Reshape": 0, "Transpose": 0, "Flatten": 0},
    ),
    "lstm in front": Static(
        "s, l = LSTM <hidden_size = 3> (x, w, r)\nq = Squeeze(l, axes)\ny = MatMul(q, v)",
        {"w": (1, 12, 6), "r": (1, 12, 3), "v": (3, 4), "axes": np.array([0])},
        {"x": (5, "N", 6)},
        ops={"Conv": 1, "LSTM": 1},
        tolerance=tolerance(FLOAT, 20, 3),
    ),
    "lstm between": Static(
        "a = MatMul(x, u)\ns, l = LSTM <hidden_size = 3> (a, w, r)\nq = Squeeze(s, axes)\ny = MatMul(q, v)",
        {"u": (6, 6), "w": (1, 12, 6), "r": (1, 12, 3), "v": (3, 4), "axes": np.array([1])},
        {"x": (5, "N", 6)},
        ops={"Conv": 2, "LSTM": 1},
        tolerance=tolerance(FLOAT, 20, 3),
    ),
    "embedding in front": Static(
        "e = Gather(t, x)\nf = Flatten(e)\nh = Gemm(f, w)\nr = Relu(h)\ny = Gemm(r, v)",
        {"t": (9, 3), "w": (12, 5), "v": (5, 2)},
        {"x": ("N", 4)},
        types={"x": INT64},
        ops={"Conv": 2, "Gather": 1, "Flatten": 0},
    ),
    # maps
    "flatten": Static(
        CONV + "f = Flatten(m)\nh = Gemm(f, w)\nr = Relu(h)\ny = Gemm(r, v)",
        BACKBONE | {"w": (18, 5), "v": (5, 2)},
        MAP,
        ops={"Conv": 3, "Flatten": 0, "Reshape": 0, "Squeeze": 1},
        kernels=[[3, 2], [1, 1]],
    ),
    "reshape": Static(
        CONV + "f = Reshape(m, s)\ny = MatMul(f, w)",
        BACKBONE | {"w": (18, 5), "s": np.array([-1, 18])},
        MAP,
        kernels=[[3, 2]],
    ),
    "a computed shape": Static(
        CONV + "d = Shape(m)\nn = Gather(d, zero)\nu = Unsqueeze(n, zeros)\ns = Concat <axis = 0> (u, rest)\n"
        "f = Reshape(m, s)\ny = MatMul(f, w)",
        BACKBONE | {"w": (18, 5), "zero": np.array(0), "zeros": np.array([0]), "rest": np.array([-1])},
        MAP,
        ops={"Shape": 0, "Reshape": 0},
        kernels=[[3, 2]],
    ),
    "H, W, C order": Static(
        CONV + "t = Transpose <perm = [0, 2, 3, 1]> (m)\nf = Flatten(t)\ny = Gemm <transB = 1> (f, w)",
        BACKBONE | {"w": (5, 18)},
        MAP,
        ops={"Transpose": 0},
        kernels=[[3, 2]],
    ),
    "1-D map": Static(
        "f = Flatten(x)\ny = Gemm(f, w)", {"w": (12, 5)}, {"x": ("N", 3, 4)}, ops={"Conv": 1}, kernels=[[4]]
    ),
    "3-D map": Static(
        "f = Flatten(x)\ny = Gemm(f, w)", {"w": (24, 5)}, {"x": ("N", 2, 2, 3, 2)}, ops={"Conv": 1}, kernels=[[2, 3, 2]]
    ),
    "a map that is an output": Static(
        CONV + "f = Flatten(m)\ny = Gemm(f, w)", BACKBONE | {"w": (18, 5)}, MAP, outputs=("y", "m"), ops={"Flatten": 0}
    ),
    "a flattened vector that is an output": Static(
        CONV + "f = Flatten(m)\ny = Gemm(f, w)",
        BACKBONE | {"w": (18, 5)},
        MAP,
        outputs=("y", "f"),
        ops={"Flatten": 1, "Conv": 2},
    ),
    "pooled map": Static(
        CONV + "p = GlobalAveragePool(m)\nf = Flatten(p)\ny = Gemm(f, w)",
        BACKBONE | {"w": (3, 5)},
        MAP,
        ops={"GlobalAveragePool": 1, "Flatten": 0, "Unsqueeze": 0},
        tolerance=tolerance(FLOAT, 40, 3),
    ),
    "branches of one map": Static(
        CONV + "f = Flatten(m)\na = Gemm(f, w)\nb = Gemm(f, v)\ny = Add(a, b)",
        BACKBONE | {"w": (18, 5), "v": (18, 5)},
        MAP,
        ops={"Conv": 3, "Flatten": 0, "Squeeze": 2},
    ),
    "maps side by side": Static(
        CONV + "f = Flatten(m)\ng = Flatten(x)\nj = Concat <axis = 1> (f, g)\ny = Gemm(j, w)",
        BACKBONE | {"w": (50, 5)},
        MAP,
        ops={"Conv": 3, "Concat": 0, "Flatten": 0},
    ),
    "a value for each position": Static(
        CONV + "f = Flatten(m)\na = Add(f, p)\ny = Gemm(a, w)",
        BACKBONE | {"p": (18,), "w": (18, 5)},
        MAP,
        ops={"Conv": 2},
    ),
    "something unknown in front": Static(
        "g = GridSample(m, g0)\nf = Flatten(g)\ny = Gemm(f, w)",
        {"w": (18, 5)},
        {"m": ("N", 3, 4, 4), "g0": ("N", 3, 2, 2)},
        ops={"GridSample": 1, "Conv": 1},
        tolerance=tolerance(FLOAT, 40, 3),
    ),
    # rows
    "tokens": Static(
        "h = MatMul(x, w)\na = Add(h, b)\nr = Relu(a)\ny = MatMul(r, v)",
        TWO_WEIGHTS,
        TOKENS,
        ops={"Conv": 2, "Transpose": 2, "Squeeze": 1, "Unsqueeze": 1},
        kernels=[[1, 1], [1, 1]],
    ),
    "tokens of any number": Static(
        "h = MatMul(x, w)\na = Add(h, b)\nr = Relu(a)\ny = MatMul(r, v)",
        TWO_WEIGHTS,
        {"x": ("N", "T", 6)},
        ops={"Conv": 2, "Transpose": 2, "Squeeze": 1, "Unsqueeze": 1},
    ),
    "tokens, time first": Static("y = MatMul(x, w)", {"w": (6, 5)}, {"x": (4, "N", 6)}, ops={"Conv": 1}),
    "tokens of a map": Static(
        CONV + "t = Reshape(m, s)\nu = Transpose <perm = [0, 2, 1]> (t)\ny = MatMul(u, w)",
        BACKBONE | {"w": (3, 5), "s": np.array([0, 3, 6])},
        MAP,
        ops={"Conv": 2, "Reshape": 1, "Transpose": 1},
        kernels=[[1, 1]],
    ),
    "tokens of four axes": Static(
        "y = MatMul(x, w)", {"w": (6, 5)}, {"x": ("N", 2, 3, 6)}, ops={"Conv": 1, "Transpose": 2}
    ),
    "tokens of five axes, of any number": Static(
        "y = MatMul(x, w)", {"w": (6, 5)}, {"x": ("N", "T", 2, 3, 6)}, ops={"Conv": 1, "Transpose": 2}
    ),
    "tokens pooled": Static(
        "h = MatMul(x, w)\np = ReduceSum <keepdims = 0> (h, axes)\ny = MatMul(p, v)",
        {"w": (6, 5), "v": (5, 4), "axes": np.array([1])},
        TOKENS,
        ops={"Conv": 2, "MatMul": 0},
    ),
    "tokens normalised between": Static(
        "h = MatMul(x, w)\nn = LayerNormalization(h, s)\ny = MatMul(n, v)",
        {"w": (6, 5), "s": (5,), "v": (5, 4)},
        TOKENS,
        ops={"Conv": 2, "LayerNormalization": 1},
        tolerance=tolerance(FLOAT, 11, 3),
    ),
    "weight on the left": Static("y = MatMul(w, x)", {"w": (5, 4)}, TOKENS, ops={"Conv": 1, "Transpose": 0}),
    "weight on the left of four axes, of any number": Static(
        "h = MatMul(w, x)\nr = Relu(h)\ny = MatMul(v, r)",
        {"w": (5, 4), "v": (3, 5)},
        {"x": ("N", "T", 4, 6)},
        ops={"Conv": 2, "Transpose": 2, "Reshape": 0},
    ),
    "weight on the left of five axes, the last of any number": Static(
        "y = MatMul(w, x)", {"w": (5, 4)}, {"x": ("N", 2, 3, 4, "T")}, ops={"Conv": 1, "Transpose": 2, "Reshape": 0}
    ),
    "a matrix for each row": Static("y = MatMul(x, w)", {"w": (3, 6, 5)}, {"x": ("N", 3, 2, 6)}, ops={"Conv": 1}),
    "attention": Static(
        "q = MatMul(x, a)\nk = MatMul(x, b)\nv = MatMul(x, c)\nt = Transpose <perm = [0, 2, 1]> (k)\n"
        "s = MatMul(q, t)\no = MatMul(s, v)\ny = MatMul(o, d)",
        {"a": (6, 3), "b": (6, 3), "c": (6, 3), "d": (3, 2)},
        TOKENS,
        ops={"Conv": 4, "MatMul": 2},
        left=2,
        stays="multiplies values that are all computed at run time",
    ),
    "rows of several images": Static(
        "r = Reshape(x, s)\nh = MatMul(r, w)\ny = MatMul(h, v)",
        {"w": (3, 5), "v": (5, 2), "s": np.array([-1, 3])},
        ops={"Conv": 2},
    ),
    "tokens of any number, pooled": Static(
        "h = MatMul(x, w)\np = ReduceMax <keepdims = 0, axes = [1]> (h)\ny = MatMul(p, v)",
        {"w": (6, 5), "v": (5, 4)},
        {"x": ("N", "T", 6)},
        ops={"Conv": 2, "ReduceMax": 1, "MaxPool": 0},
    ),
    "tokens of a fixed number, pooled": Static(
        "h = MatMul(x, w)\np = ReduceMax <keepdims = 0, axes = [1]> (h)\ny = MatMul(p, v)",
        {"w": (6, 5), "v": (5, 4)},
        TOKENS,
        ops={"Conv": 2, "ReduceMax": 0, "MaxPool": 1},
    ),
    "a form that one FC cannot take and another can": Static(
        "a = MatMul(x, s)\nb = MatMul(x, w)\ny = Add(a, b)",
        {"s": (3, 6, 5), "w": (6, 5)},
        {"x": ("N", 3, 2, 6)},
        ops={"Conv": 2, "Transpose": 2},
    ),
    "views that end at no FC": Static(
        "h = MatMul(x, w)\nr = Reshape(h, s)\na = Relu(r)\nt = Transpose <perm = [0, 2, 1]> (a)\nd = Hardmax(t)\n"
        "f = Flatten(d)\ny = MatMul(f, v)",
        {"w": (6, 6), "s": np.array([0, 2, 3]), "v": (6, 4)},
        ops={"Conv": 2, "Squeeze": 2, "Reshape": 1, "Transpose": 1, "Gather": 0, "Relu": 1},  # as they were
    ),
    "maps side by side, read again and put out": Static(
        CONV + "f = Flatten(m)\ng = Flatten(x)\nj = Concat <axis = 1> (f, g)\nr = Relu(j)\na = Gemm(r, w)\n"
        "h = Hardmax(r)\nb = Gemm(h, w)\ny = Add(a, b)",
        BACKBONE | {"w": (50, 5)},
        MAP,
        outputs=("y", "r"),
        ops={"Gemm": 0},
    ),
    # quantised
    "integers": Static(
        "h = MatMulInteger(x, w)\nf = Cast <to = 1> (h)\ny = MatMul(f, v)",
        {"w": integers((6, 5), dtype=U8, low=0), "v": (5, 2)},
        types={"x": UINT8},
        ops={"ConvInteger": 1, "Conv": 1, "Squeeze": 1},
    ),
    "integer tokens": Static(
        "y = MatMulInteger(x, w)",
        {"w": integers((6, 5), dtype=U8, low=0)},
        TOKENS,
        types={"x": UINT8},
        ops={"ConvInteger": 1, "Transpose": 2, "Reshape": 0},
    ),
    "integer tokens of any number": Static(
        "h = MatMulInteger(x, w)\nc = Cast <to = 1> (h)\nr = Relu(c)\ny = MatMul(r, v)",
        {"w": integers((6, 5), dtype=U8, low=0), "v": (5, 2)},
        {"x": ("N", "T", 6)},
        types={"x": UINT8},
        ops={"ConvInteger": 1, "Conv": 1, "Transpose": 2, "Reshape": 0},
    ),
    "tokens of any number, quantised by onnxruntime between": Static(
        "h = MatMul(x, w)\nq = com.microsoft.QuantizeLinear(h, s, z)\ni = MatMulInteger(q, v, z)\n"
        "y = Cast <to = 1> (i)",
        {"w": (6, 5), "s": np.array(0.5, np.float32), "z": np.array(9, U8), "v": integers((5, 4), dtype=U8, low=0)},
        {"x": ("N", "T", 6)},
        ops={"Conv": 1, "ConvInteger": 1, "Transpose": 2},
    ),
    "tokens quantised at run time": Static(
        "q, s, z = DynamicQuantizeLinear(x)\nh = MatMulInteger(q, w, z)\nf = Cast <to = 1> (h)\ny = Mul(f, s)",
        {"w": integers((6, 5), dtype=U8, low=0)},
        {"x": ("N", "T", 6)},
        ops={"ConvInteger": 1},
    ),
    "tokens of any number, quantised with a scale for each unit": Static(
        "h = MatMul(x, w)\nq = QuantizeLinear <axis = 2> (h, s, z)\nd = DequantizeLinear <axis = 2> (q, s, z)\n"
        "y = MatMul(d, v)",
        {"w": (6, 5), "v": (5, 2), "s": np.array([1, 2, 0.5, 1, 4], np.float32), "z": integers((5,), dtype=I8)},
        {"x": ("N", "T", 6)},
        ops={"Conv": 2, "Reshape": 0},
    ),
    "tokens, quantised product": Static(
        "y = QLinearMatMul(x, xs, xz, w, ws, wz, ys, yz)",
        {
            "w": integers((6, 5), dtype=U8, low=0),
            **{name: np.array(1.0, np.float32) for name in ("xs", "ys")},
            "ws": np.array([1, 2, 1, 0.5, 1], np.float32),
            "wz": np.zeros(5, U8),
            **{name: np.array(1, U8) for name in ("xz", "yz")},
        },
        {"x": ("N", "T", 6)},
        types={"x": UINT8},
        ops={"QLinearConv": 1},
    ),
    "rows without a matrix each, of six axes": Static(
        "y = MatMul(x, w)", {"w": (6, 5)}, {"x": ("N", 2, 3, 1, 2, 6)}, ops={"Conv": 1, "Reshape": 2}
    ),
    "quantised at run time": Static(
        "q, s, z = DynamicQuantizeLinear(x)\nh = MatMulInteger(q, w, z)\nf = Cast <to = 1> (h)\na = Mul(f, s)\n"
        "r = Relu(a)\nq2, s2, z2 = DynamicQuantizeLinear(r)\nh2 = MatMulInteger(q2, v, z2)\nf2 = Cast <to = 1> (h2)\n"
        "y = Mul(f2, s2)",
        {"w": integers((6, 5), dtype=U8, low=0), "v": integers((5, 4), dtype=U8, low=0)},
        ops={"ConvInteger": 2, "Squeeze": 1, "Unsqueeze": 1, "DynamicQuantizeLinear": 2},
    ),
    "quantised product": Static(
        "y = QLinearMatMul(x, xs, xz, w, ws, wz, ys, yz)",
        {
            "w": integers((6, 5), dtype=U8, low=0),
            **{name: np.array(1.0, np.float32) for name in ("xs", "ws", "ys")},
            **{name: np.array(1, U8) for name in ("xz", "wz", "yz")},
        },
        types={"x": UINT8},
        ops={"QLinearConv": 1},
    ),
    "quantised weights": Static(
        "w = DequantizeLinear <axis = 1> (wi, ws, wz)\nh = MatMul(x, w)\nr = Relu(h)\ny = MatMul(r, v)",
        {
            "wi": integers((6, 5), dtype=I8),
            "ws": np.array([1, 2, 0.5, 1, 4], np.float32),
            "wz": integers((5,), dtype=I8),
            "v": (5, 2),
        },
        ops={"Conv": 2, "DequantizeLinear": 1},
    ),
    "fused by onnxruntime": Static(
        'h = com.microsoft.FusedGemm <activation = "Relu", transB = 1> (x, w, b)\n'
        "y = com.microsoft.FusedMatMul <alpha = 2.0> (h, v)",
        {"w": (5, 6), "b": (5,), "v": (5, 2)},
        ops={"Conv": 2, "Relu": 1},
    ),
    # what stays
    "transA": Static(
        "h = Gemm <transA = 1> (x, w)\ny = MatMul(h, v)",
        {"w": (4, 5), "v": (5, 2)},
        {"x": (4, 6)},
        ops={"Conv": 1},
        left=1,
        stays="sums over",
    ),
    "weights that are an input": Static(
        "h = MatMul(x, w)\ny = MatMul(h, v)",
        {"v": (5, 2)},
        {"x": ("N", 6), "w": (6, 5)},
        ops={"Conv": 1},
        left=1,
        stays="run time",
    ),
}


@pytest.mark.parametrize("case", FORMS.values(), ids=FORMS.keys())
def test_form(case: Static) -> None:
    assert_static(case)


def test_every_form_is_a_form_of_its_own() -> None:
    assert len(
        {(c.text, str(c.inputs), str(c.outputs), c.opset, str(c.weights), str(c.dtype)) for c in FORMS.values()}
    ) == len(FORMS)


RUN_TIME = "multiplies values that are all computed at run time"
NOTHING = {
    "no FC": (Static("y = Relu(x)"), "the model has no fully connected node"),
    "no weights": (Static("t = Transpose(x)\ny = MatMul(x, t)"), f"MatMul 'y': .* {RUN_TIME}"),
    "Gemm without weights": (Static("w = Transpose(x)\ny = Gemm(x, w)"), f"Gemm 'y': .* {RUN_TIME}"),
    "transA": (
        Static("y = Gemm <transA = 1> (x, w)", {"w": (4, 5)}, {"x": (4, 6)}),
        "Gemm 'y': .* sums over the batch",
    ),
    "left of a matrix": (Static("y = MatMul(w, x)", {"w": (5, 4)}, {"x": (4, 6)}), "MatMul 'y': .* the batch"),
    "outer product": (
        Static('y = Einsum <equation = "nk,m->nkm"> (x, w)', {"w": (5,)}),
        "Einsum 'y': .* would need a copy of its weights for each row",
    ),
    "rows that fit one batch size": (
        Static("a = Add(x, c)\ny = MatMul(a, w)", {"c": (PROBED_BATCHES[0], 6), "w": (6, 5)}),
        "MatMul 'y': .* the shape of its input 'a' is not known",
    ),
    "a sum over tokens of any number": (
        Static('y = Einsum <equation = "ntk,km->nm"> (x, w)', {"w": (6, 4)}, {"x": ("N", "T", 6)}),
        "Einsum 'y': .* of a size that is not known",
    ),
    "a type without Conv": (
        Static("y = MatMul(x, w)", {"w": (6, 5)}, dtype=np.float64),
        "MatMul 'y': .* onnxruntime's CPU provider has no float64 Conv",
    ),
    "integers without Conv": (
        Static("y = MatMul(x, w)", {"w": (6, 5)}, dtype=np.int32),
        "ONNX defines Conv for floating-point types only",
    ),
}


@pytest.mark.parametrize(("case", "reason"), NOTHING.values(), ids=NOTHING.keys())
def test_nothing_to_convert(case: Static, reason: str) -> None:
    with pytest.raises(fc2conv.NothingToConvert, match=reason):
        fc2conv.convert(model_of(case), static=True)


def test_double_precision_with_the_reference_runtime() -> None:
    result = fc2conv.convert(model_of(NOTHING["a type without Conv"][0]), static=True, runtime="reference")
    assert [n.op_type for n in result.model.graph.node] == ["Unsqueeze", "Conv", "Squeeze"]
    assert result.report.verified


def test_an_fc_inside_of_a_loop_is_listed() -> None:
    body = parser.parse_graph(
        "b (int64 i, bool c, float[N, 6] v) => (bool c2, float[N, 6] v2) {\nc2 = Identity(c)\nv2 = MatMul(v, w)\n}"
    )
    case = Static("h = MatMul(x, w)\ny = Relu(h)", {"w": (6, 6)})
    model = model_of(case)
    model.graph.initializer.extend(
        [numpy_helper.from_array(np.array(2), "count"), numpy_helper.from_array(np.array(True), "go")]
    )
    loop = helper.make_node("Loop", ["count", "go", "y"], ["z"], name="loop", body=body)
    model.graph.node.append(loop)
    model.graph.output[0].name = "z"
    result = fc2conv.convert(model, static=True)
    (left,) = result.report.left
    assert (left.node, left.reason) == ("MatMul 'v2'", "stands inside of Loop 'loop'")
    assert "left as it is" not in result.report.headline()


def test_nothing_else_changes() -> None:
    case = FORMS["a value between is an output"]
    original = model_of(case)
    original.metadata_props.add(key="author", value="nobody")
    original.doc_string = "a model"
    original.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "unused"))
    model = fc2conv.convert(original, static=True).model
    assert model.doc_string == "a model"
    author, record = model.metadata_props  # and no geometry
    assert (author.key, author.value, record.key) == ("author", "nobody", ORIGINAL)
    assert "unused" in {t.name for t in model.graph.initializer}
    assert list(model.opset_import) == list(original.opset_import)


def test_no_value_keeps_a_declaration_that_is_gone_or_wrong() -> None:
    original = onnx.shape_inference.infer_shapes(model_of(FORMS["flatten"]))
    assert {"f", "h", "r", "m"} <= {v.name for v in original.graph.value_info}
    model = fc2conv.convert(original, static=True).model
    present = {o for n in model.graph.node for o in n.output}
    assert {v.name for v in model.graph.value_info} <= present
    assert "m" in {v.name for v in model.graph.value_info}


def test_converting_twice_finds_nothing_more() -> None:
    once = fc2conv.convert(model_of(FORMS["flatten"]), static=True).model
    with pytest.raises(fc2conv.NothingToConvert, match="no fully connected node"):
        fc2conv.convert(once, static=True)


def test_weights_are_not_copied() -> None:
    """A weight in the order of the map keeps its bytes, and an external one its place in the file."""
    case = Static("f = Flatten(x)\ny = Gemm <transB = 1> (f, w)", {"w": (5, 18)}, {"x": ("N", 3, 3, 2)})
    original = model_of(case)
    model = fc2conv.convert(original, static=True).model
    (weight,) = [t for t in model.graph.initializer if t.name == "w"]
    assert list(weight.dims) == [5, 3, 3, 2]
    assert weight.raw_data == original.graph.initializer[0].raw_data


def test_external_data_stays_external(tmp_path: Any) -> None:
    case = Static("f = Flatten(x)\ny = Gemm <transB = 1> (f, w)", {"w": (50, 48)}, {"x": ("N", 3, 4, 4)})
    onnx.save(model_of(case), tmp_path / "in.onnx", save_as_external_data=True, location="in.data", size_threshold=0)
    result = fc2conv.convert(str(tmp_path / "in.onnx"), static=True)
    result.save(str(tmp_path / "out.onnx"))
    stored = onnx.load(tmp_path / "out.onnx", load_external_data=False)
    assert {t.data_location for t in stored.graph.initializer if t.name == "w"} == {TensorProto.EXTERNAL}
    feeds = feeds_of(model_of(case), 2)
    found = session(onnx.load(tmp_path / "out.onnx")).run(None, feeds)
    np.testing.assert_array_equal(found[0], session(model_of(case)).run(None, feeds)[0])


# -- random models -----------------------------------------------------------------------------------------------------


def random_mlp(seed: int) -> Static:
    """Products, activations, residuals, views and outputs in between, drawn at random; exact in float32."""
    rng = np.random.default_rng(seed)
    width = int(rng.integers(2, 7))
    inputs = [{"x": ("N", width)}, {"x": ("N", int(rng.integers(2, 5)), width)}][int(rng.integers(2))]
    lines, weights, outputs = [], {}, []
    value, earlier, grown = "x", [], 0
    for i in range(int(rng.integers(2, 7))):
        kind = rng.choice(["matmul", "matmul", "relu", "add", "residual", "abs", "output", "identity", "neg", "two"])
        name = f"v{i}"
        if kind in ("matmul", "two") and grown < 4:
            grown += 1
            units = int(rng.integers(2, 7)) if kind == "matmul" else width
            weights[f"w{i}"] = rng.integers(-1, 2, (width, units)).astype(np.float32)
            lines.append(f"{name} = MatMul({value}, w{i})")
            if kind == "two":
                lines.append(f"{name}t = MatMul({value}, w{i})\n{name}s = Add({name}, {name}t)")
                name += "s"
            width = units
        elif kind == "add":
            weights[f"c{i}"] = rng.integers(-2, 3, (width,)).astype(np.float32)
            lines.append(f"{name} = Add({value}, c{i})")
        elif kind == "residual" and (same := [v for v, w in earlier if w == width]):
            lines.append(f"{name} = Sub({value}, {rng.choice(same)})")
        else:
            lines.append(f"{name} = {dict(relu='Relu', abs='Abs', neg='Neg').get(str(kind), 'Identity')}({value})")
            outputs += [name] if kind == "output" else []
        earlier.append((name, width))
        value = name
    weights["last"] = rng.integers(-1, 2, (width, 3)).astype(np.float32)
    lines.append(f"y = MatMul({value}, last)")
    return Static("\n".join(lines), weights, inputs, ("y", *outputs), opset=int(rng.choice([9, 13, 17])))


@pytest.mark.parametrize("seed", range(40))
def test_random_mlp(seed: int) -> None:
    case = random_mlp(seed)
    assert_static(case, verify=seed % 8 == 0)
    assert_static(case, verify=False, max_kernel=1, max_channels=2)


def test_an_fc_inside_of_a_function_is_written_out() -> None:
    """Also where no image flows through it: every input counts."""
    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
        agraph (float[N, 6] x, float[6, 5] w) => (float[N, 5] y) {
            y = own.Linear(x, w)
        }
        <domain: "own", opset_import: ["" : 17]>
        Linear (a, b) => (c) {
            c = MatMul(a, b)
        }"""
    )
    del model.graph.input[1]
    model.graph.initializer.append(numpy_helper.from_array(integers((6, 5)), "w"))
    result = fc2conv.convert(model, static=True)
    assert [n.op_type for n in result.model.graph.node] == ["Unsqueeze", "Conv", "Squeeze"]
    assert len(result.report.restructured) == 2
    feeds = feeds_of(model, 2)
    np.testing.assert_array_equal(session(result.model).run(None, feeds)[0], feeds["x"] @ integers((6, 5)))


ONE_IMAGE = {
    # views that make sense for one image only, in models that declare any number
    "flattened": Static(
        "f = Reshape(x, s)\ny = MatMul(f, w)", {"w": (12, 5), "s": np.array([1, -1])}, {"x": ("N", 3, 4)}
    ),
    "merged with the rows": Static(
        "f = Reshape(x, s)\ny = MatMul(f, w)", {"w": (4, 5), "s": np.array([3, 4])}, {"x": ("N", 3, 4)}
    ),
    "of a fixed shape": Static(
        "h = MatMul(x, w)\nf = Reshape(h, s)\ny = MatMul(f, v)",
        {"w": (6, 4), "s": np.array([1, 2, 2]), "v": (2, 3)},
    ),
}


@pytest.mark.parametrize("case", ONE_IMAGE.values(), ids=ONE_IMAGE.keys())
def test_a_model_for_one_image_that_declares_any_number(case: Static) -> None:
    original = model_of(case)
    result = fc2conv.convert(original, static=True)
    assert result.report.left == []
    feeds = feeds_of(original, 1)
    for a, b in zip(session(original).run(None, feeds), session(result.model).run(None, feeds), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(c.passed is None and "runs with one image only" in c.note for c in result.report.checks)


def test_a_shape_that_inference_does_not_know_is_no_reason_to_take_the_batch_for_one() -> None:
    case = Static(
        "z = NonZero(x)\nq = Shape(z)\nd = Shape(x)\nn = Gather(d, i)\nu = Unsqueeze(n, i1)\n"
        "s = Concat <axis = 0> (u, rest)\nr = Reshape(x, s)\nh = MatMul(r, w)\ny = Relu(h)",
        {"w": (3, 5), "i": np.array(0), "i1": np.array([0]), "rest": np.array([2, 3])},
        outputs=("y", "q"),
        ops={"Conv": 1},
    )
    assert_static(case)
