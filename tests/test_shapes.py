"""Static shapes at the trained size: as onnxruntime has them, whatever the file declares."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper, parser

from onnx_fc2conv import model_io
from onnx_fc2conv.errors import UnreadableModel
from onnx_fc2conv.ops import Model
from onnx_fc2conv.shapes import SMALL, Shapes, declared_batch, infer

from .networks import integers, session

F = TensorProto.FLOAT


def model_of(
    text: str,
    inputs: dict[str, tuple[Any, ...]] | None = None,
    weights: dict[str, np.ndarray] | None = None,
    declared: dict[str, tuple[int, tuple[Any, ...]]] | None = None,
    output: str = "y",
    opset: int = 17,
) -> Model:
    """The view of a graph whose nodes are text; ``declared`` becomes value_info (or the output's type)."""
    inputs = inputs or {"x": ("N", 2, 8, 6)}
    declared = declared or {}
    values = {name: helper.make_tensor_value_info(name, *kind) for name, kind in declared.items()}
    graph = helper.make_graph(
        parser.parse_graph("g (float x) => (float y) {\n" + text + "\n}").node,
        "shapes",
        [helper.make_tensor_value_info(name, F, dims) for name, dims in inputs.items()],
        [values.pop(output, ValueInfoProto(name=output))],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()],
        value_info=list(values.values()),
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("my.domain", 1)]
    return model_io.load(helper.make_model(graph, opset_imports=opsets, ir_version=8))[0]


def int64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


NETWORK = """a = Conv <strides = [2, 1], pads = [1, 0, 0, 0]> (x, w)
b, i = MaxPool <kernel_shape = [2, 2]> (a)
q = QuantizeLinear (b, one, zero)
d = DequantizeLinear (q, one, zero)
s = Shape (d)
n = Slice (s, starts, ends)
t = Concat <axis = 0> (n, rest)
f = Reshape (d, t)
y = Gemm <transB = 1> (f, fc)"""
WEIGHTS = {
    "w": integers((3, 2, 3, 3)),
    "one": np.float32(1),
    "zero": np.uint8(100),
    "starts": int64(0),
    "ends": int64(1),
    "rest": int64(-1),
    "fc": integers((5, 27)),
}
VALUES = ["a", "b", "i", "q", "d", "s", "n", "t", "f", "y"]


def real(model: Model, batch: int) -> dict[str, np.ndarray]:
    """Every value, by onnxruntime."""
    proto = ModelProto.FromString(model.proto.SerializeToString())
    del proto.graph.output[:]
    proto.graph.output.extend(ValueInfoProto(name=name) for name in VALUES)
    proto = onnx.shape_inference.infer_shapes(proto)
    return dict(zip(VALUES, session(proto).run(None, {"x": integers((batch, 2, 8, 6))}), strict=True))


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_shapes_and_types_are_those_of_onnxruntime(batch: int) -> None:
    model = model_of(NETWORK, weights=WEIGHTS)
    inferred = infer(model, batch)
    assert inferred.batch == batch
    for name, value in real(model, batch).items():
        assert inferred.of(name) == value.shape, name
        assert inferred.elem_types[name] == helper.np_dtype_to_tensor_dtype(value.dtype), name
    assert inferred.of("x") == (batch, 2, 8, 6)


def test_weights_have_their_own_shapes() -> None:
    inferred = infer(model_of(NETWORK, weights=WEIGHTS), 2)
    for name, value in WEIGHTS.items():
        assert inferred.of(name) == np.asarray(value).shape
        assert inferred.elem_types[name] == helper.np_dtype_to_tensor_dtype(np.asarray(value).dtype)


@pytest.mark.parametrize(
    "lies",
    [
        pytest.param({"a": (F, ("N", 3, 99, 99))}, id="wrong dims"),
        pytest.param({"a": (F, ("N", 3, 99))}, id="wrong rank"),
        pytest.param({"a": (TensorProto.INT8, ("N", 3, 4, 4)), "y": (F, (7, 7))}, id="wrong type, wrong output"),
        pytest.param({"y": (F, ("what", "ever"))}, id="an output of names"),
        pytest.param({"y": (F, (99, 99))}, id="a wrong output"),
        pytest.param({"gone": (F, (1, 2))}, id="a value that does not exist"),
    ],
)
def test_declared_shapes_of_inner_values_are_not_believed(lies: dict[str, tuple[int, tuple[Any, ...]]]) -> None:
    honest = infer(model_of(NETWORK, weights=WEIGHTS), 2)
    told = infer(model_of(NETWORK, weights=WEIGHTS, declared=lies), 2)
    assert {n: told.of(n) for n in VALUES} == {n: honest.of(n) for n in VALUES}
    assert {n: told.elem_types[n] for n in VALUES} == {n: honest.elem_types[n] for n in VALUES}
    assert honest.of("y") == (2, 5)


def test_the_model_is_not_changed() -> None:
    model = model_of(NETWORK, weights=WEIGHTS, declared={"a": (F, ("N", 3, 99, 99))})
    before = model.proto.SerializeToString(deterministic=True)
    infer(model, 2)
    assert model.proto.SerializeToString(deterministic=True) == before


BATCHES = [
    ({"x": ("N", 2, 8, 6)}, None),
    ({"x": (None, 2, 8, 6)}, None),
    ({"x": (0, 2, 8, 6)}, None),
    ({"x": (-1, 2, 8, 6)}, None),
    ({"x": (1, 2, 8, 6)}, 1),
    ({"x": (4, 2, 8, 6)}, 4),
    ({"x": (4, 2, 8, 6), "k": (3,)}, 4),
    ({"k": (3, 3), "x": (4, 2, 8, 6)}, 4),
    ({"x": (4, 2, 8, 6), "k": ("N", 3)}, None),
]


@pytest.mark.parametrize(("inputs", "batch"), BATCHES, ids=lambda v: str(v))
def test_declared_batch(inputs: dict[str, tuple[Any, ...]], batch: int | None) -> None:
    assert declared_batch(model_of("y = Relu (x)", inputs)) == batch


def test_one_symbol_is_the_batch_of_every_input() -> None:
    model = model_of("a = Relu (x)\ny = Identity (k)", {"x": ("N", 2, 8, 6), "k": ("N", "M")})
    inferred = infer(model, 3)
    assert inferred.of("a") == (3, 2, 8, 6)
    assert inferred.dims["y"] == (3, None)
    assert inferred.of("y") is None


def test_a_batch_symbol_elsewhere_is_the_same_number() -> None:
    inferred = infer(model_of("a = Relu (x)\ny = Identity (k)", {"x": ("N", 2, 8, 6), "k": (4, "N")}), 3)
    assert inferred.of("y") == (4, 3)


def test_what_is_unknown_stays_unknown() -> None:
    inferred = infer(model_of("a = NonZero (x)\nb = my.domain.Warp (x)\nc = Relu (b)\ny = Relu (x)", output="y"), 2)
    assert inferred.dims["a"] == (4, None)
    assert inferred.of("a") is None
    assert inferred.of("b") is None
    assert inferred.of("c") is None
    assert inferred.of("nowhere") is None
    assert inferred.of("y") == (2, 2, 8, 6)


def test_of_wants_every_dim() -> None:
    known = Shapes(1, {"a": (1, 2), "b": (1, None), "c": (), "d": (0, 3)}, {})
    assert [known.of(n) for n in "abcde"] == [(1, 2), None, (), (0, 3), None]


def test_large_weights_are_not_copied_and_still_have_shapes() -> None:
    wide = SMALL + 1
    text = "f = Flatten (x)\ny = Gemm <transB = 1> (f, fc)"
    model = model_of(text, weights={"fc": np.zeros((wide, 96), np.float32)})
    assert infer(model, 2).of("y") == (2, wide)


@pytest.mark.parametrize("size", [SMALL, SMALL + 1])
def test_a_shape_operand_of_any_size(size: int) -> None:
    """A target shape is never larger than the limit; a Gather of so many indices still has its shape."""
    model = model_of("y = Gather <axis = 1> (x, i)", weights={"i": np.zeros(size, np.int64)})
    assert infer(model, 2).of("y") == (2, size, 8, 6)


def test_initializers_that_are_listed_as_inputs() -> None:
    model = model_of("y = Conv (x, w)", {"x": (1, 2, 8, 6), "w": (3, 2, 3, 3)}, {"w": integers((3, 2, 3, 3))})
    assert [v.name for v in model.inputs] == ["x"]
    assert infer(model, 1).of("y") == (1, 3, 6, 4)


@pytest.mark.parametrize("error", [RuntimeError, onnx.shape_inference.InferenceError, ValueError])
def test_what_shape_inference_raises_is_an_unreadable_model(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX raises several types; a model that makes it do so in its lenient mode is not known to these tests."""

    def reject(*args: object, **kwargs: object) -> None:
        raise error("op_type:Relu, node name: r: wrong")

    model = model_of("y = Relu (x)")
    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", reject)
    with pytest.raises(UnreadableModel, match="ONNX shape inference rejects the model: op_type:Relu"):
        infer(model, 2)


CONTRADICTIONS = {
    "a missing attribute": ("y = Concat (x, x)", {}),
    "ranks that do not fit": ("y = Conv (x, k)", {"k": np.ones((1, 2), np.float32)}),
    "an unknown operator": ("y = Bogus (x)", {}),
}


@pytest.mark.parametrize(("text", "weights"), CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_a_node_that_contradicts_itself_has_no_shape(text: str, weights: dict[str, np.ndarray]) -> None:
    assert infer(model_of(text, weights=weights), 2).of("y") is None


def test_an_unsorted_graph_is_inferred_in_order() -> None:
    model = model_of("y = Flatten (b)\nb = Relu (a)\na = Conv (x, w)", weights={"w": integers((3, 2, 3, 3))})
    assert not model.sorted
    assert infer(model, 2).of("y") == (2, 72)


def test_a_long_chain() -> None:
    count = 3000
    assert count > sys.getrecursionlimit()
    names = ["x", *(f"v{i}" for i in range(count)), "y"]
    text = "\n".join(f"{b} = Identity ({a})" for a, b in itertools.pairwise(names))
    assert infer(model_of(text), 2).of("y") == (2, 2, 8, 6)


def test_functions_are_inferred_through() -> None:
    proto = onnx.parser.parse_model(
        """<ir_version: 9, opset_import: ["" : 17, "local" : 1]>
        g (float[N,2,8,6] x) => (float[N,k] y) { m = local.Twice (x)
        y = Flatten (m) }
        <domain: "local", opset_import: ["" : 17]> Twice (a) => (b) { b = Add (a, a) }"""
    )
    inferred = infer(model_io.load(proto)[0], 2)
    assert inferred.of("m") == (2, 2, 8, 6)
    assert inferred.of("y") == (2, 96)
