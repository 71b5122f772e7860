"""OpenVINO, a second and independent runtime: its answers on converted models are onnxruntime's, at three sizes each.

onnxruntime is what the package's own checks run on, so a model that only onnxruntime understands as it was meant would
pass them. Each model is loaded once, with its free dims, and runs at every size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import openvino as ov
import pytest
from onnx import ModelProto, TensorProto, numpy_helper, parser

import onnx_fc2conv as fc2conv
from onnx_fc2conv import dtypes
from tests.backbone.test_baked import CASES as BAKED
from tests.networks import Head, assert_close, integers, network
from tests.test_cli import MODELS

WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}


@dataclass(frozen=True)
class Case:
    """One model.

    Attributes:
        build: makes it.
        exact: whether weights and images are small integers, so that every answer is exact and compared bit for bit.
        options: of the conversion.
    """

    build: Callable[[], ModelProto]
    exact: bool
    options: dict[str, Any] = field(default_factory=dict)


def stored(name: str) -> Callable[[], ModelProto]:
    return lambda: onnx.load(MODELS / f"{name}.onnx")


def headed(text: str, weights: dict[str, Any], **more: Any) -> Callable[[], ModelProto]:
    return lambda: network(Head(text, weights, **more))


def written(text: str, **weights: Sequence[int]) -> Callable[[], ModelProto]:
    """A model in ONNX's text form; a weight's shape stands for seeded small integers."""

    def build() -> ModelProto:
        model = parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]>\n{text}')
        arrays = {name: integers(shape, seed=i, low=-1, high=2) for i, (name, shape) in enumerate(weights.items())}
        model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
        return model

    return build


RESIDUAL = """
g (float[N, 2, 20, 16] x) => (float[N, 5] y) {
  a = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, k1, b1)
  r = Relu (a)
  b = Conv <pads = [2, 2, 2, 2], dilations = [2, 2]> (r, k2)
  c = Conv <auto_pad = "SAME_UPPER"> (r, k3)
  s = Add (b, c)
  t = Add (s, r)
  m = MaxPool <kernel_shape = [3, 2], strides = [2, 2], ceil_mode = 1> (t)
  f = Flatten (m)
  g1 = Gemm <transB = 1> (f, w1, c1)
  h = Relu (g1)
  y = MatMul (h, w2)
}
"""
POINTWISE = """
g (float[N, 3, 8, 16] x) => (float[N, 6] y) {
  a = Conv <strides = [2, 2]> (x, k1)
  b = Conv (a, k2)
  c = Relu (b)
  d = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (c)
  p = GlobalAveragePool (d)
  f = Flatten (p)
  y = Gemm (f, w, c1)
}
"""
SIAMESE = """
g (float[N, 1, 8, 6] left, float[N, 1, 8, 6] right) => (float[N, 4] y) {
  a = Conv <strides = [2, 2]> (left, k)
  b = Conv <strides = [2, 2]> (right, k)
  d = Sub (a, b)
  e = Abs (d)
  f = Flatten (e)
  y = Gemm (f, w)
}
"""
TOKENS = """
r = Reshape(map, s)
t = Transpose <perm = [0, 2, 1]> (r)
q = MatMul(t, wq)
k = MatMul(t, wk)
v = MatMul(t, wv)
kt = Transpose <perm = [0, 2, 1]> (k)
a = MatMul(q, kt)
b = Mul(a, scale)
p = Softmax <axis = -1> (b)
o = MatMul(p, v)
f = Flatten(o)
y = Gemm(f, w)
"""
TOKEN_WEIGHTS = {
    "s": np.array([0, 4, 6]), "wq": (4, 3), "wk": (4, 3), "wv": (4, 3), "scale": np.float32(0.125), "w": (18, 5),
}  # fmt: skip
NORMALISED = """
f = Flatten(map)
g = Gemm(f, w1, b1)
l = LayerNormalization <axis = -1> (g, scale, b1)
h = Tanh(l)
z = Gemm(h, w2)
y = LogSoftmax <axis = -1> (z)
"""
LINEAR = "f = Flatten(map)\ng = Gemm(f, w1, b1)\nh = Relu(g)\ny = MatMul(h, w2)"

FOLLOWING = {  # backbones whose shapes carried the trained size; nothing is activated in them
    f"follows the size: {name}": Case(lambda name=name: BAKED[name].model, exact=True)  # type: ignore[misc]
    for name in (
        "channel shuffle",
        "space to depth",
        "windows that see themselves only",
        "every position with every other",
        "upsampled to the size of another map",
        "upsampled by no whole factor",
        "a pooled map, tiled",
        "a border cropped away beside a Conv",
    )
}
CASES = {
    "detector": Case(stored("reference_detector"), exact=True),
    "padded": Case(stored("reference_detector_padded"), exact=True),
    "alexnet": Case(stored("alexnet_mini"), exact=False),
    "softmax of opset 11": Case(stored("lenet"), exact=False),
    "1-D": Case(stored("conv1d"), exact=True),
    "3-D": Case(stored("conv3d"), exact=True),
    "two outputs": Case(stored("two_heads_prelu"), exact=False),
    "residual, dilated, ceil": Case(
        written(
            RESIDUAL, k1=(3, 2, 3, 3), b1=(3,), k2=(3, 3, 3, 3), k3=(3, 3, 2, 3), w1=(6, 60), c1=(6,), w2=(6, 5)
        ),
        exact=True,
    ),
    "1x1 and pooled": Case(written(POINTWISE, k1=(4, 3, 1, 1), k2=(4, 4, 1, 1), w=(4, 6), c1=(6,)), exact=True),
    "pooled whole": Case(
        written(POINTWISE, k1=(4, 3, 1, 1), k2=(4, 4, 1, 1), w=(4, 6), c1=(6,)), False, {"global_pool": "keep"}
    ),
    "two images": Case(written(SIAMESE, k=(2, 1, 2, 2), w=(24, 4)), exact=True),
    "attention": Case(headed(TOKENS, TOKEN_WEIGHTS, channels=4), exact=False),
    "layer norm": Case(
        headed(NORMALISED, {"w1": (12, 5), "b1": (5,), "scale": (5,), "w2": (5, 4)}), exact=False
    ),
    "float16": Case(headed(LINEAR, {"w1": (12, 5), "b1": (5,), "w2": (5, 3)}, dtype=np.float16), exact=True),
    **FOLLOWING,

}  # fmt: skip


@cache
def converted(name: str) -> fc2conv.Result:
    return fc2conv.convert(CASES[name].build(), verify=False, **CASES[name].options)


def feeds_at_three_sizes(name: str) -> list[dict[str, np.ndarray]]:
    """Images of the trained and of two enlarged sizes, and two of them where the batch is free."""
    result = converted(name)
    types = {v.name: v.type.tensor_type.elem_type for v in result.model.graph.input}
    free = any(d.dim_param for d in [result.model.graph.input[0].type.tensor_type.shape.dim[0]])
    found = []
    for i, which in enumerate(("min", "opt", "max")):
        rows = {row.input: list(getattr(row, which)) for row in result.report.handover.profile}
        shapes = {n: [2 if free and i else s[0], *s[1:]] for n, s in rows.items()}
        found.append(
            {
                n: integers(shape, seed=10 * k + i, low=-3, high=4, dtype=dtypes.numpy_type(types[n]))
                for k, (n, shape) in enumerate(shapes.items())
            }
        )
    assert len({next(iter(f.values())).shape for f in found}) == 3
    return found


def tolerance(model: ModelProto, exact: bool) -> float:
    """What rounding explains between two runtimes that add up in different orders, over the whole model."""
    if exact:
        return 0.0
    shapes = {t.name: list(t.dims) for t in model.graph.initializer}
    terms = sum(
        int(np.prod(shapes[node.input[1]])) // shapes[node.input[1]][-1 if node.op_type == "MatMul" else 0]
        for node in model.graph.node
        if node.op_type in WEIGHTED and node.input[1] in shapes
    )
    elem_type = model.graph.output[0].type.tensor_type.elem_type
    return dtypes.tolerance(elem_type, terms, len(model.graph.node))


@cache
def core() -> Any:
    return ov.Core()


def openvino_answers(model: ModelProto, every: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    """What OpenVINO gives for each set of inputs, from a model that was loaded once, with its dims free.

    Computed in the model's own precision: by default OpenVINO may use bfloat16 where the processor has it.
    """
    loaded = core().read_model(model.SerializeToString())
    compiled = core().compile_model(loaded, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert all(port.get_partial_shape().is_dynamic for port in loaded.inputs)
    names = [o.name for o in model.graph.output]
    return [{name: found[name].copy() for name in names} for found in map(compiled, every)]


def onnxruntime_answers(model: ModelProto, every: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [o.name for o in model.graph.output]
    return [dict(zip(names, session.run(names, feeds), strict=True)) for feeds in every]


def assert_same(name: str, in_openvino: ModelProto) -> None:
    """OpenVINO's answers on one model are onnxruntime's on the converted one, of every output, at every size."""
    model = converted(name).model
    every = feeds_at_three_sizes(name)
    accepted = tolerance(model, CASES[name].exact)
    reference = onnxruntime_answers(model, every)
    for output in reference[0]:
        several = np.concatenate([answers[output].ravel() for answers in reference])
        assert len(np.unique(several)) > 4, "answers that are all the same prove nothing"
    for found, expected in zip(openvino_answers(in_openvino, every), reference, strict=True):
        for output, values in expected.items():
            assert found[output].shape == values.shape
            assert_close(found[output].astype(values.dtype), values, accepted)


@pytest.mark.parametrize("name", CASES)
def test_openvino_gives_the_same_answers(name: str) -> None:
    assert_same(name, converted(name).model)


def test_there_are_ten_models_and_most_are_compared_bit_for_bit() -> None:
    assert len(CASES) >= 10
    assert sum(case.exact for case in CASES.values()) >= 7


# -- sabotage --------------------------------------------------------------------------------------------------------


def _first_head_conv(model: ModelProto) -> TensorProto:
    """The kernel that took the place of the first FC with a window of several cells, or the last Conv's."""
    tensors = {t.name: t for t in model.graph.initializer}
    kernels = [tensors[n.input[1]] for n in model.graph.node if n.op_type == "Conv" and n.input[1] in tensors]
    return kernels[-1]


def flipped_kernel(model: ModelProto) -> None:
    """The features of the last Conv, in another order."""
    kernel = _first_head_conv(model)
    kernel.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(numpy_helper.to_array(kernel)[:, ::-1]), kernel.name))


def nudged_weights(model: ModelProto) -> None:
    """The weights of one output of the last Conv, half a per cent of the largest away from what they were."""
    kernel = _first_head_conv(model)
    values = numpy_helper.to_array(kernel).copy()
    values[0] += np.abs(values).max() * values.dtype.type(0.005)
    kernel.CopyFrom(numpy_helper.from_array(values, kernel.name))


def lost_node(model: ModelProto) -> None:
    """The first activation, gone."""
    node = next(n for n in model.graph.node if n.op_type in ("Relu", "PRelu", "Abs", "Softmax", "Tanh"))
    node.op_type = "Identity"
    del node.input[1:], node.attribute[:]


SABOTAGES = [flipped_kernel, nudged_weights, lost_node]


@pytest.mark.parametrize(
    ("name", "sabotage"),
    [(n, s) for n in CASES for s in SABOTAGES if s is not lost_node or n not in FOLLOWING],
    ids=lambda v: v if isinstance(v, str) else v.__name__,
)
def test_a_sabotaged_model_is_noticed(name: str, sabotage: Callable[[ModelProto], None]) -> None:
    model = ModelProto.FromString(converted(name).model.SerializeToString())
    sabotage(model)
    assert model != converted(name).model
    with pytest.raises(AssertionError):
        assert_same(name, model)


def test_answers_of_another_size_are_noticed() -> None:
    """A model that pads where it should not has more answers."""
    model = ModelProto.FromString(converted("detector").model.SerializeToString())
    node = next(n for n in model.graph.node if n.op_type == "Conv")
    pads = [a for a in node.attribute if a.name == "pads"]
    for attribute in pads:
        node.attribute.remove(attribute)
    node.attribute.append(onnx.helper.make_attribute("pads", [40, 0, 0, 0]))
    with pytest.raises(AssertionError):
        assert_same("detector", model)
