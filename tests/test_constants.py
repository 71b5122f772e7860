"""What counts as known before run time: weights behind any chain, and shape arithmetic without the batch in it."""

from __future__ import annotations

import itertools
import sys
import tracemalloc
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

import onnx_fc2conv as fc2conv
from onnx_fc2conv import model_io, shapes
from onnx_fc2conv.constants import FOLDABLE, MAX_ELEMENTS, Constants
from onnx_fc2conv.dtypes import tolerance
from onnx_fc2conv.errors import Fc2ConvError, Unliftable

from .networks import Head, answers, assert_close, integers, network, session


def graph_of(
    text: str,
    weights: Mapping[str, np.ndarray] | None = None,
    dims: tuple[Any, ...] = ("N", 2, 8, 6),
    opset: int = 17,
    output: str = "c",
) -> ModelProto:
    """Nodes given as text, with an image ``x`` and the value ``c`` as output."""
    nodes = parser.parse_graph("g (float x) => (float y) {\n" + text + "\n}").node
    graph = helper.make_graph(
        nodes,
        "constants",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [onnx.ValueInfoProto(name=output)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def constants_of(proto: ModelProto, *batches: int) -> Constants:
    """The constants of a model, for one or two batch sizes."""
    model = model_io.load(proto)[0]
    inferred = [shapes.infer(model, n) for n in batches]
    return Constants(model, inferred[0], inferred[1] if len(inferred) > 1 else None)


def by_runtime(proto: ModelProto, batch: int) -> np.ndarray:
    """What onnxruntime computes for the output."""
    copy = ModelProto.FromString(proto.SerializeToString())
    copy.graph.output[0].type.tensor_type.elem_type = TensorProto.UNDEFINED
    copy = onnx.shape_inference.infer_shapes(copy)
    dims = [d.dim_value or batch for d in proto.graph.input[0].type.tensor_type.shape.dim]
    return session(copy).run(None, {"x": np.zeros(dims, np.float32)})[0]


def int64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


MATRIX = {"w": np.arange(24, dtype=np.float32).reshape(2, 3, 4)}
TWO, THREE = np.int64(2), np.int64(3)

KNOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "Constant tensor": ("c = Constant <value = float[2,2] {1, 2, 3, 4}> ()", {}),
    "Constant value_int": ("c = Constant <value_int = 7> ()", {}),
    "Constant value_ints": ("c = Constant <value_ints = [7, -8]> ()", {}),
    "Constant value_float": ("c = Constant <value_float = 0.5> ()", {}),
    "Constant value_floats": ("c = Constant <value_floats = [0.5, -1.5]> ()", {}),
    "Identity": ("c = Identity (w)", MATRIX),
    "Reshape": ("c = Reshape (w, s)", {**MATRIX, "s": int64(0, -1)}),
    "Transpose": ("c = Transpose <perm = [2, 0, 1]> (w)", MATRIX),
    "Transpose, default perm": ("c = Transpose (w)", MATRIX),
    "Cast": ("c = Cast <to = 10> (w)", MATRIX),
    "Cast to integers": ("c = Cast <to = 7> (w)", MATRIX),
    "a chain": (
        "a = Identity (w)\nb = Transpose <perm = [1, 0, 2]> (a)\nd = Cast <to = 11> (b)\n"
        "e = Cast <to = 1> (d)\nf = Reshape (e, s)\nc = Unsqueeze (f, u)",
        {**MATRIX, "s": int64(-1, 6), "u": int64(1)},
    ),
    "a chain behind a Constant": (
        "a = Constant <value = float[2,2] {1, 2, 3, 4}> ()\nb = Transpose (a)\nc = Identity (b)",
        {},
    ),
    "arithmetic": ("a = Mul (w, w)\nb = Add (a, w)\nc = Sqrt (b)", MATRIX),
    "pieces": (
        "a = Slice (w, zero, one, one)\nb = Concat <axis = 1> (a, w)\nc = Gather <axis = 2> (b, i)",
        {**MATRIX, "zero": int64(0), "one": int64(1), "i": int64(3, 0)},
    ),
    "the second output of Split": ("a, c = Split <axis = 2> (w)", MATRIX),
    "Flatten": ("c = Flatten <axis = 2> (w)", MATRIX),
    "Where and Equal": ("a = Equal (w, w)\nc = Where (a, w, z)", {**MATRIX, "z": np.float32(0)}),
    "ConstantOfShape": ("c = ConstantOfShape <value = float[1] {2}> (s)", {"s": int64(3, 4)}),
    "Expand": ("c = Expand (one, s)", {"one": np.float32(1), "s": int64(3, 4)}),
    "Range": ("c = Range (zero, five, two)", {"zero": np.int64(0), "five": np.int64(5), "two": TWO}),
    "Tile": ("c = Tile (w, r)", {**MATRIX, "r": int64(1, 2, 1)}),
    "ReduceProd": ("c = ReduceProd <axes = [0], keepdims = 0> (w)", MATRIX),
    "the shape of a weight": ("c = Shape (w)", MATRIX),
    "the size of a weight": ("c = Size (w)", MATRIX),
    "a part of a shape": ("c = Shape <start = 1, end = -1> (x)", {}),
    "channels times height": (
        "s = Shape (x)\na = Gather (s, one)\nb = Gather (s, two)\nc = Mul (a, b)",
        {"one": np.int64(1), "two": TWO},
    ),
    "all but the batch": ("s = Shape (x)\nc = Slice (s, one, end)", {"one": int64(1), "end": int64(2**62)}),
    "[-1, features]": (
        "s = Shape (x)\nt = Slice (s, one, end)\nk = ReduceProd <keepdims = 1> (t)\nc = Concat <axis = 0> (m, k)",
        {"one": int64(1), "end": int64(2**62), "m": int64(-1)},
    ),
    "the batch divided by itself": (
        "s = Shape (x)\nn = Gather (s, zero)\nc = Div (n, n)",
        {"zero": np.int64(0)},
    ),
    "the shape behind a node": ("a = MaxPool <kernel_shape = [2, 2]> (x)\nc = Shape <start = 2> (a)", {}),
}


@pytest.mark.parametrize(("text", "weights"), KNOWN.values(), ids=KNOWN.keys())
def test_known_before_run_time(text: str, weights: dict[str, Any]) -> None:
    proto = graph_of(text, weights)
    found = constants_of(proto, 2, 3).get("c")
    assert found is not None
    expected = by_runtime(proto, 2)
    np.testing.assert_array_equal(expected, by_runtime(proto, 5))
    np.testing.assert_array_equal(found.values, expected)
    assert found.values.dtype == expected.dtype
    assert found.shape == expected.shape
    assert found.elem_type == helper.np_dtype_to_tensor_dtype(expected.dtype)


BATCH: dict[str, tuple[str, dict[str, Any]]] = {
    "Shape": ("c = Shape (x)", {}),
    "Size": ("c = Size (x)", {}),
    "the batch": ("s = Shape (x)\nc = Gather (s, zero)", {"zero": np.int64(0)}),
    "the batch, by start and end": ("c = Shape <end = 1> (x)", {}),
    "[N, features]": (
        "n = Shape <end = 1> (x)\nc = Concat <axis = 0> (n, k)",
        {"k": int64(96)},
    ),
    "zeros for every image": (
        "n = Shape <end = 1> (x)\nc = ConstantOfShape <value = int64[1] {0}> (n)",
        {},
    ),
    "the batch behind Cast": (
        "n = Shape <end = 1> (x)\nf = Cast <to = 1> (n)\nc = Mul (f, half)",
        {"half": np.float32(0.5)},
    ),
}


@pytest.mark.parametrize(("text", "weights"), BATCH.values(), ids=BATCH.keys())
def test_what_depends_on_the_batch_is_no_constant(text: str, weights: dict[str, Any]) -> None:
    proto = graph_of(text, weights)
    constants = constants_of(proto, 2, 3)
    assert constants.get("c") is None
    at_two = constants.at_trained_size("c")
    assert at_two is not None
    np.testing.assert_array_equal(at_two.values, by_runtime(proto, 2))
    assert "c" in constants.static


@pytest.mark.parametrize(("text", "weights"), BATCH.values(), ids=BATCH.keys())
def test_a_fixed_batch_makes_a_constant_of_it(text: str, weights: dict[str, Any]) -> None:
    proto = graph_of(text, weights, dims=(4, 2, 8, 6))
    found = constants_of(proto, 4).get("c")
    assert found is not None
    np.testing.assert_array_equal(found.values, by_runtime(proto, 4))


UNKNOWN: dict[str, tuple[str, dict[str, Any], bool]] = {
    "the image": ("c = Relu (x)", {}, False),
    "a value computed from the image": ("a = Relu (x)\nb = ReduceMax (a)\nc = Identity (b)", {}, False),
    "half of it from the image": ("a = Identity (w)\nc = Add (a, x)", {"w": np.float32(1)}, False),
    "random numbers": ("c = RandomNormal <shape = [2, 3]> ()", {}, False),
    "random numbers like a weight": ("c = RandomUniformLike (w)", MATRIX, False),
    "coin flips": ("c = Bernoulli (w)", {"w": np.full((2, 3), 0.5, np.float32)}, False),
    "an operator that is not folded": ("c = NonZero (w)", MATRIX, True),
    "behind an operator that is not folded": ("a = NonZero (w)\nc = Reshape (a, s)", {**MATRIX, "s": int64(-1)}, True),
    "behind random numbers": (
        "a = RandomNormalLike (w)\nb = Add (a, w)\nc = Clip (b, z)",
        {**MATRIX, "z": np.float32(0)},
        False,
    ),
    "random choices": ("c = Multinomial <sample_size = 3> (w)", {"w": np.ones((2, 3), np.float32)}, False),
}


@pytest.mark.parametrize(("text", "weights", "static"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_not_known_before_run_time(text: str, weights: dict[str, Any], static: bool) -> None:
    constants = constants_of(graph_of(text, weights), 2, 3)
    assert constants.get("c") is None
    assert constants.at_trained_size("c") is None
    assert ("c" in constants.static) is static


def test_names_that_do_not_exist_are_unknown() -> None:
    assert constants_of(graph_of("c = Identity (w)", MATRIX), 2).get("nowhere") is None


def test_operators_of_other_domains_are_not_folded() -> None:
    proto = graph_of("c = my.domain.Identity (w)", MATRIX)
    proto.opset_import.append(helper.make_opsetid("my.domain", 1))
    assert constants_of(proto, 2, 3).get("c") is None


def test_random_operators_are_not_foldable() -> None:
    assert not {op for op in FOLDABLE if "Random" in op} | (FOLDABLE & {"Multinomial", "Bernoulli", "Dropout"})


def test_a_weight_is_itself_and_is_not_read() -> None:
    proto = graph_of("c = Identity (w)", MATRIX)
    model = model_io.load(proto)[0]
    inferred = shapes.infer(model, 2)
    array = Constants(model, inferred, None).get("w")
    assert array is model.constants["w"]
    assert "values" not in vars(array)


def test_what_is_equal_for_both_batches_is_evaluated_once() -> None:
    constants = constants_of(graph_of("a = Transpose (w)\nc = Identity (a)", MATRIX), 2, 3)
    assert constants.get("c") is constants.at_trained_size("c")
    assert constants.get("c") is constants.get("c")


# -- long chains and large constants -----------------------------------------------------------------------------------

LONG = 3000


def chain(op_line: str, count: int = LONG) -> str:
    """``count`` nodes, each reading the one before, from ``v0`` to ``c``."""
    assert count > sys.getrecursionlimit()
    names = [f"v{i}" for i in range(count)] + ["c"]
    return "\n".join(op_line.format(out=b, into=a) for a, b in itertools.pairwise(names))


def test_a_long_chain_of_identities() -> None:
    proto = graph_of(chain("{out} = Identity ({into})"), {"v0": MATRIX["w"]})
    found = constants_of(proto, 2, 3).get("c")
    assert found is not None
    np.testing.assert_array_equal(found.values, MATRIX["w"])


def test_a_long_chain_of_shape_arithmetic_with_the_batch_in_it() -> None:
    proto = graph_of("v0 = Shape (x)\n" + chain("{out} = Add ({into}, one)"), {"one": np.int64(1)})
    constants = constants_of(proto, 2, 3)
    assert constants.get("c") is None
    found = constants.at_trained_size("c")
    assert found is not None
    np.testing.assert_array_equal(found.values, np.array([2, 2, 8, 6]) + LONG)


def test_a_weight_behind_a_long_chain_is_converted() -> None:
    text = chain("{out} = Identity ({into})") + "\nflat = Flatten (map)\ny = Gemm <transB = 1> (flat, c)"
    head = Head(text, {"v0": (3, 12)})
    model = network(head)
    result = fc2conv.convert(model, verify=False)
    image = integers((2, 1, 10, 8), 3)
    (found,) = session(result.model).run(None, {"x": image})
    assert found.shape == (2, 3, 3, 3)
    (plain,) = session(fc2conv.convert(network(short(head)), verify=False).model).run(None, {"x": image})
    np.testing.assert_array_equal(found, plain)
    np.testing.assert_array_equal(found, answers(network(short(head)), image, head.window)["y"])


def short(head: Head) -> Head:
    """The same head with its weight read directly."""
    return Head("flat = Flatten (map)\ny = Gemm <transB = 1> (flat, v0)", head.weights)


HUGE = {
    "ConstantOfShape": ("c = ConstantOfShape (s)", {"s": int64(2**20, 2**20)}),
    "ConstantOfShape behind Shape": (
        "a = Shape (x)\nb = Mul (a, k)\nc = ConstantOfShape (b)",
        {"k": int64(2**12)},
    ),
    "Expand": ("c = Expand (one, s)", {"one": np.float32(1), "s": int64(2**20, 2**20)}),
    "Tile": ("c = Tile (w, s)", {"w": np.ones((4, 4), np.float32), "s": int64(2**18, 2**18)}),
    "Range": (
        "c = Range (zero, end, one)",
        {"zero": np.int64(0), "end": np.int64(2**40), "one": np.int64(1)},
    ),
    "a product of shapes that are not inferred": (
        "a = Cast <to = 1> (s)\nb = Cast <to = 7> (a)\nc = ConstantOfShape (b)",
        {"s": int64(2**20, 2**20)},
    ),
    "Add that broadcasts": (
        "c = Add (a, b)",
        {"a": np.ones((2**16, 1), np.float32), "b": np.ones((1, 2**16), np.float32)},
    ),
}


def value_or_refusal(constants: Constants, name: str) -> object:
    """The constant, ``None``, or the error."""
    try:
        return constants.at_trained_size(name)
    except Unliftable as e:
        return e


@pytest.mark.parametrize(("text", "weights"), HUGE.values(), ids=HUGE.keys())
def test_a_huge_constant_is_refused_or_unknown_and_never_made(text: str, weights: dict[str, Any]) -> None:
    constants = constants_of(graph_of(text, weights), 2, 3)
    tracemalloc.start()
    try:
        found = value_or_refusal(constants, "c")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**24
    if found is not None:
        assert isinstance(found, Unliftable)
        assert "computes a constant of" in found.reason
        assert found.node is not None


def test_the_largest_constant_is_a_matter_of_elements() -> None:
    assert 2**20 * 2**20 > MAX_ELEMENTS > 0


def test_a_huge_addend_is_a_refusal_of_the_conversion() -> None:
    text = """flat = Flatten (map)
    z = ConstantOfShape (s)
    t = Gemm <transB = 1> (flat, w)
    big = Add (t, z)
    y = ReduceMax <axes = [1]> (big)"""
    model = network(Head(text, {"w": (3, 12), "s": int64(2**20, 2**20)}))
    with pytest.raises(Fc2ConvError, match=r"ConstantOfShape|constant"):
        fc2conv.convert(model, verify=False)


# -- the trained size is not a constant of the converted model ---------------------------------------------------------

SHAPE = "s = Shape (map)\nh = Gather (s, two)\n"
TRAINED_SIZE = {
    "height of the map": SHAPE + "f = Cast <to = 1> (h)",
    "height of the image": "s = Shape (x)\nh = Gather (s, two)\nf = Cast <to = 1> (h)",
    "cells of the map": SHAPE + "v = Gather (s, three)\nn = Mul (h, v)\nf = Cast <to = 1> (n)",
    "as a vector": "s = Shape <start = 2, end = 3> (map)\nf = Cast <to = 1> (s)",
    "values of one image": "n = Size (map)\nb = Shape <end = 1> (map)\nb0 = Squeeze (b)\n"
    "m = Div (n, b0)\nf = Cast <to = 1> (m)",
}
USES = {
    "behind the FC": "flat = Flatten (map)\nt = Gemm <transB = 1> (flat, w)\ny = Mul (t, f)",
    "in front of the FC": "flat = Flatten (map)\nt = Mul (flat, f)\ny = Gemm <transB = 1> (t, w)",
    "as alpha of a sum": "flat = Flatten (map)\nt = Gemm <transB = 1> (flat, w)\ny = Add (f, t)",
}


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
@pytest.mark.parametrize("size", TRAINED_SIZE.values(), ids=TRAINED_SIZE.keys())
def test_a_number_of_the_trained_size_stays_it_on_larger_inputs(size: str, use: str) -> None:
    """Left as it is, it would grow with the input: another answer than the original's on a window."""
    head = Head(f"{size}\n{use}", {"w": (3, 12), "two": TWO, "three": THREE})
    model = network(head)
    result = fc2conv.convert(model, verify=False)
    image = integers((2, 1, 10, 10), 3)
    baked = session(model).run(None, {"x": image[:, :, :6, :4]})[0]
    (found,) = session(result.model).run(None, {"x": image})
    assert found.shape == (2, 3, 3, 4)
    np.testing.assert_array_equal(found[:, :, 0, 0], baked)
    for i, j in itertools.product(range(3), range(4)):
        crop = np.ascontiguousarray(image[:, :, 2 * i : 2 * i + 6, 2 * j : 2 * j + 4])
        np.testing.assert_array_equal(found[:, :, i, j], session(model).run(None, {"x": crop})[0])


def test_a_mean_written_by_hand() -> None:
    """Sum over height and width, divided by their product: what exporters make of a mean."""
    head = Head(
        """s = Shape (map)
        h = Gather (s, two)
        v = Gather (s, three)
        n = Mul (h, v)
        f = Cast <to = 1> (n)
        sum = ReduceSum <keepdims = 0> (map, axes)
        mean = Div (sum, f)
        y = MatMul (mean, w)""",
        {"w": (2, 3), "two": TWO, "three": THREE, "axes": int64(2, 3)},
    )
    model = network(head)
    result = fc2conv.convert(model, verify=False)
    image = integers((2, 1, 10, 10), 3)
    (found,) = session(result.model).run(None, {"x": image})
    for i, j in itertools.product(range(3), range(4)):
        crop = np.ascontiguousarray(image[:, :, 2 * i : 2 * i + 6, 2 * j : 2 * j + 4])
        crop_answer = session(model).run(None, {"x": crop})[0]
        assert_close(found[:, :, i, j], crop_answer, tolerance(TensorProto.FLOAT, 6, 3))
