"""Kernels that are stored in other ways than as an initializer: what is laid out anew, and what by nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnx_fc2conv.conv2fc import matmul
from onnx_fc2conv.conv2fc.matmul import arrangement, product, weights
from tests.conv2fc.products import Case, Feeds, compare, constant, lowered, model_of, node_of
from tests.conv2fc.products import product as rewritten
from tests.networks import integers

NODE = helper.make_node


@dataclass(frozen=True)
class Kernel:
    """How a kernel comes about.

    Attributes:
        what: for the test's name.
        nodes: that compute ``w``.
        constants: that those read.
        stored: type of the numbers that are stored for the product.
        between: op_types of the nodes between those and it.
        case: the convolution.
    """

    what: str
    nodes: Sequence[NodeProto]
    constants: Feeds
    stored: Any
    between: Sequence[str]
    case: Case = field(default_factory=lambda: Case((3, 2), {"strides": [1, 2]}, 4, 6))
    opset: int = 17

    def model(self, size: Sequence[int] | None = None) -> ModelProto:
        conv = NODE("Conv", ["x", "w", "b"], ["y"], name="conv", **self.case.attrs)
        constants = {**self.constants, "b": self.case.constants()["b"]}
        dims = ["N", self.case.channels, *(size or ["H", "W"])]
        return model_of([*self.nodes, conv], {"x": dims}, constants, self.opset)


CASE = Case((3, 2), {"strides": [1, 2]}, 4, 6)
GROUPED = Case((3, 2), {"group": 2}, 4, 6)
DEPTHWISE = Case((3, 2), {"group": 4}, 4, 4)
POINTWISE = Case((1, 1), {}, 4, 6)


def numbers(shape: Sequence[int], dtype: Any = np.int8, seed: int = 3) -> np.ndarray:
    return integers(shape, seed, -3, 4).astype(dtype)


def steps(shape: Sequence[int] | int, seed: int = 4) -> np.ndarray:
    """Scales that are powers of two, so that products stay exact."""
    return (2.0 ** integers((shape,) if isinstance(shape, int) else shape, seed)).astype(np.float32)


def quantised(
    case: Case, scale: np.ndarray, zero: Any = None, dtype: Any = np.int8, **attrs: Any
) -> tuple[list[NodeProto], Feeds]:
    names = ["q", "scale", *(["zero"] if zero is not None else [])]
    values = {"q": numbers(case.weight().shape, dtype), "scale": scale}
    values |= {"zero": np.asarray(zero).astype(dtype)} if zero is not None else {}
    return [NODE("DequantizeLinear", names, ["w"], name="dq", **attrs)], values


def constant_node(case: Case) -> NodeProto:
    return NODE("Constant", [], ["w"], value=numpy_helper.from_array(case.weight()))


DQ = ["DequantizeLinear"]
BY_NODES = ["DequantizeLinear", "Transpose", "Reshape"]
GROUPS_BY_NODES = ["DequantizeLinear", "Reshape", "Transpose", "Reshape"]

KERNELS = [
    Kernel("constant node", [constant_node(CASE)], {}, np.float32, []),
    Kernel("constant node, depthwise", [constant_node(DEPTHWISE)], {}, np.float32, [], DEPTHWISE),
    Kernel(
        "computed from constants",
        [NODE("Mul", ["v", "two"], ["w"])],
        {"v": CASE.weight(), "two": np.array(2, np.float32)},
        np.float32,
        [],
    ),
    Kernel(
        "transposed",
        [NODE("Transpose", ["v"], ["w"], perm=[3, 2, 0, 1])],
        {"v": integers((3, 2, 4, 6))},
        np.float32,
        [],
    ),
    Kernel("half", [NODE("Cast", ["v"], ["w"], to=1)], {"v": CASE.weight().astype(np.float16)}, np.float16, ["Cast"]),
    Kernel("one scale", *quantised(CASE, np.float32(0.5)), np.int8, DQ),
    Kernel("one scale in a list", *quantised(CASE, np.float32([0.5]), [1]), np.int8, DQ),
    Kernel("one scale, uint8", *quantised(CASE, np.float32(0.5), 7, np.uint8), np.uint8, DQ, opset=10),
    Kernel(
        "no zero point",
        [NODE("DequantizeLinear", ["q", "scale", ""], ["w"], name="dq")],
        quantised(CASE, np.float32(0.5))[1],
        np.int8,
        DQ,
    ),
    Kernel("a scale for each unit", *quantised(CASE, steps(6), axis=0), np.int8, DQ),
    Kernel("zero points", *quantised(CASE, steps(6), numbers((6,)), axis=-4), np.int8, DQ),
    Kernel("4 bits", *quantised(CASE, steps(6), numbers((6,)), ml_dtypes.int4, axis=0), ml_dtypes.int4, DQ, opset=21),
    Kernel("groups, one scale", *quantised(GROUPED, np.float32(2)), np.int8, DQ, GROUPED),
    Kernel("groups, a scale for each unit", *quantised(GROUPED, steps(6), axis=0), np.int8, GROUPS_BY_NODES, GROUPED),
    Kernel("depthwise", *quantised(DEPTHWISE, steps(4), numbers((4,)), axis=0), np.int8, DQ, DEPTHWISE),
    Kernel("a scale for each channel", *quantised(CASE, steps(4)), np.int8, BY_NODES),
    Kernel(
        "blocks of channels",
        *quantised(CASE, steps((6, 2, 3, 2)), numbers((6, 2, 3, 2)), axis=1, block_size=2),
        np.int8,
        DQ,
        opset=21,
    ),
    Kernel("blocks of units", *quantised(CASE, steps((2, 4, 3, 2)), axis=0, block_size=4), np.int8, DQ, opset=21),
    Kernel(
        "blocks that end early",
        *quantised(CASE, steps((6, 2, 3, 2)), axis=1, block_size=3),
        np.int8,
        BY_NODES,
        opset=21,
    ),
    Kernel(
        "blocks that end early, 1x1",
        *quantised(POINTWISE, steps((6, 2, 1, 1)), axis=1, block_size=3),
        np.int8,
        DQ,
        POINTWISE,
        opset=21,
    ),
    Kernel("blocks of taps", *quantised(CASE, steps((6, 4, 1, 2)), axis=2, block_size=3), np.int8, BY_NODES, opset=21),
    Kernel(
        "dequantised and transposed",
        [
            NODE("DequantizeLinear", ["q", "scale"], ["v"], axis=3),
            NODE("Transpose", ["v"], ["v2"], perm=[3, 2, 0, 1]),
            NODE("Identity", ["v2"], ["w"]),
        ],
        {"q": numbers((3, 2, 4, 6)), "scale": steps(6)},
        np.int8,
        DQ,
    ),
    Kernel(
        "quantised and dequantised",
        [
            NODE("QuantizeLinear", ["v", "scale", "zero"], ["q"], axis=0),
            NODE("DequantizeLinear", ["q", "scale", "zero"], ["w"], axis=0),
        ],
        {"v": CASE.weight() * np.float32(1.3), "scale": steps(6), "zero": np.zeros(6, np.int8)},
        np.float32,
        ["QuantizeLinear", "DequantizeLinear"],
    ),
    Kernel(
        "scaled again behind",
        [NODE("DequantizeLinear", ["q", "scale"], ["v"]), NODE("Mul", ["v", "more"], ["w"])],
        {"q": numbers(CASE.weight().shape), "scale": np.float32(0.5), "more": steps((6, 1, 1, 1))},
        np.int8,
        ["DequantizeLinear", "Mul", "Transpose", "Reshape"],
    ),
]


def history(model: ModelProto, name: str) -> tuple[list[str], str]:
    """The op_types between a constant and a value, and the constant's name."""
    made_by = {o: n for n in model.graph.node for o in n.output}
    found: list[str] = []
    while name in made_by:
        found.insert(0, made_by[name].op_type)
        name = made_by[name].input[0]
    return found, name


def feeds(case: Case) -> list[Feeds]:
    return [{"x": case.image(1 + i % 2, size, i)} for i, size in enumerate(case.sizes())]


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.what)
def test_equals_the_conv_and_stays_as_it_is_stored(kernel: Kernel) -> None:
    model = kernel.model()
    found = rewritten(model)
    compare(model, found, feeds(kernel.case))
    between, name = history(found, node_of(found, "MatMul").input[1])
    assert between == kernel.between
    assert constant(found, name).dtype == kernel.stored


WHOLE = Case((3, 2), {}, 4, 6, size=(3, 2))
WHOLE_1X1 = Case((1, 1), {}, 4, 6, size=(1, 1))


@pytest.mark.parametrize(
    "kernel",
    [
        Kernel("one scale", *quantised(WHOLE, np.float32(0.5)), np.int8, DQ, WHOLE),
        Kernel("a scale for each unit", *quantised(WHOLE, steps(6), numbers((6,)), axis=0), np.int8, DQ, WHOLE),
        Kernel("blocks of units", *quantised(WHOLE, steps((2, 4, 3, 2)), axis=0, block_size=4), np.int8, DQ, WHOLE, 21),
        Kernel(
            "blocks of channels",
            *quantised(WHOLE, steps((6, 2, 3, 2)), axis=1, block_size=2),
            np.int8,
            ["DequantizeLinear", "Reshape"],
            WHOLE,
            21,
        ),
        Kernel(
            "blocks of channels, 1x1",
            *quantised(WHOLE_1X1, steps((6, 2, 1, 1)), axis=1, block_size=2),
            np.int8,
            DQ,
            WHOLE_1X1,
            21,
        ),
        Kernel("constant node", [constant_node(WHOLE)], {}, np.float32, [], WHOLE),
    ],
    ids=lambda k: k.what,
)
def test_a_kernel_that_covers_the_map(kernel: Kernel) -> None:
    model = kernel.model(kernel.case.size)
    found = rewritten(model)
    compare(model, found, [{"x": kernel.case.image(batch, kernel.case.size)} for batch in (1, 3)])
    between, name = history(found, node_of(found, "Gemm").input[1])
    assert between == kernel.between
    if "q" in kernel.constants and between == DQ:
        assert constant(found, name).tobytes() == kernel.constants["q"].tobytes()


def test_a_quantised_bias_stays_quantised() -> None:
    """Also where it has to be one entry for each map of a depthwise result."""
    for case in (CASE, DEPTHWISE):
        constants = {"w": case.weight(), "qb": numbers((case.units,), np.int32), "s": steps(case.units)}
        nodes = [
            NODE("DequantizeLinear", ["qb", "s"], ["b"], axis=0),
            NODE("Conv", ["x", "w", "b"], ["y"], name="conv", **case.attrs),
        ]
        model = model_of(nodes, {"x": ["N", 4, "H", "W"]}, constants)
        found = rewritten(model)
        compare(model, found, feeds(case))
        assert history(found, node_of(found, "Add").input[1])[0][:1] == DQ
        assert constant(found, "qb").dtype == np.int32


@pytest.mark.parametrize("case", [CASE, GROUPED, DEPTHWISE, POINTWISE, WHOLE], ids=str)
def test_a_kernel_that_is_computed_at_run_time(case: Case) -> None:
    nodes = [
        NODE("Mul", ["v", "factor"], ["w"]),
        NODE("Conv", ["x", "w", "b"], ["y"], name="conv", **case.attrs),
    ]
    size = case.size if case is WHOLE else ["H", "W"]
    model = model_of(nodes, {"x": ["N", 4, *size], "factor": [1]}, {"v": case.weight(), "b": case.constants()["b"]})
    sizes = [case.size] if case is WHOLE else case.sizes()
    given = [{"x": case.image(2, s), "factor": np.float32([k + 1])} for k, s in enumerate(sizes)]
    compare(model, rewritten(model), given)


def test_a_bias_that_is_computed_at_run_time() -> None:
    for case in (CASE, DEPTHWISE, replace(WHOLE)):
        nodes = [NODE("Conv", ["x", "w", "b"], ["y"], name="conv", **case.attrs)]
        size = case.size if case.size == (3, 2) else ["H", "W"]
        model = model_of(nodes, {"x": ["N", 4, *size], "b": [case.units]}, {"w": case.weight()})
        compare(model, rewritten(model), [{"x": case.image(2, case.size), "b": integers((case.units,), 8)}])


def test_a_kernel_of_two_convs_is_one_matrix() -> None:
    case = Case((3, 3), {}, 2, 2)
    nodes = [NODE("Conv", ["x", "w"], ["h"], name="a"), NODE("Conv", ["h", "w"], ["y"], name="c")]
    model = model_of(nodes, {"x": ["N", 2, "H", "W"]}, {"w": case.weight()})
    found = rewritten(model)
    compare(model, found, feeds(case))
    assert len({n.input[1] for n in found.graph.node if n.op_type == "MatMul"}) == 1
    assert sum(t.data_type == TensorProto.FLOAT for t in found.graph.initializer) == 1


def test_a_kernel_that_something_else_reads_stays() -> None:
    case = Case((3, 3), {}, 2, 2, bias=False)
    nodes = [
        NODE("Conv", ["x", "w"], ["h"], name="a"),
        NODE("ReduceSum", ["w"], ["s"], keepdims=0),
        NODE("Add", ["h", "s"], ["y"]),
    ]
    model = model_of(nodes, {"x": ["N", 2, "H", "W"]}, {"w": case.weight()})
    found = rewritten(model)
    compare(model, found, feeds(case))
    np.testing.assert_array_equal(constant(found, "w"), case.weight())


def test_kernels_of_groups_of_which_one_is_a_group_and_one_is_not() -> None:
    """The same bytes laid out in two ways."""
    constants = {"w": integers((4, 1, 3, 3), 5), "v": integers((4, 4, 1, 1), 6)}
    nodes = [
        NODE("Conv", ["x", "w"], ["h"], name="a", group=4),
        NODE("Conv", ["h", "v"], ["k"], name="p"),
        NODE("ReduceMean", ["k"], ["m"], axes=[1], keepdims=1),
        NODE("Conv", ["m", "w"], ["y"], name="c"),
    ]
    model = model_of(nodes, {"x": ["N", 4, "H", "W"]}, constants)
    compare(model, rewritten(model), [{"x": integers((2, 4, 7, 8))}])


def test_an_initializer_that_is_an_input_stays_one() -> None:
    """As IR 3 wants it."""
    case = Case((3, 2), opset=8)
    found = rewritten(case.model())
    assert {t.name for t in found.graph.initializer} <= {i.name for i in found.graph.input}


def test_external_data(tmp_path: Path) -> None:
    """A kernel that covers the map is not read; another is."""
    for case, inside in ((replace(WHOLE, bias=False), False), (replace(CASE, bias=False), True)):
        model = case.model("N", case.size)
        path = tmp_path / f"{inside}.onnx"
        copy = ModelProto.FromString(model.SerializeToString())
        onnx.save(copy, path, save_as_external_data=True, location=f"{inside}.data", size_threshold=0)
        found, _ = lowered(str(path))
        (weight,) = [t for t in found.graph.initializer if t.data_type == TensorProto.FLOAT]
        assert (weight.data_location != TensorProto.EXTERNAL) == inside
        onnx.save(found, tmp_path / "found.onnx")
        loaded = onnx.load(tmp_path / "found.onnx")
        compare(model, loaded, [{"x": case.image(1, case.size)}])


def test_bytes_are_those_that_are_stored() -> None:
    kernel = next(k for k in KERNELS if k.what == "zero points")
    (row,) = lowered(kernel.model())[1].products
    assert row.bytes_before == row.bytes_after == 6 * 4 * 6 * 1 + 6 * 4 + 6 * 1 + 6 * 4


# -- sabotage ----------------------------------------------------------------------------------------------------------


RIGHT = arrangement.right_operand
SABOTAGE = [
    ("zero points", {"places": {0: 0}}),
    ("blocks of units", {"runs": {0: 0, 1: 0}}),
    ("blocks that end early", {"wraps": frozenset()}),
    ("groups, a scale for each unit", {"places": {0: 3}}),
]


@pytest.mark.parametrize(("what", "wrong"), SABOTAGE, ids=[s[0] for s in SABOTAGE])
def test_a_scale_on_another_axis_is_seen(what: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = next(k for k in KERNELS if k.what == what)
    monkeypatch.setattr(product, "right_operand", lambda conv: replace(RIGHT(conv), **wrong))
    with pytest.raises(Exception, match=r"(?i)scale|axis|shape|mismatch|not equal|block"):
        compare(kernel.model(), lowered(kernel.model())[0], feeds(kernel.case))


@pytest.mark.parametrize("what", ["transposed", "dequantised and transposed"])
def test_a_transposition_that_is_lost_is_seen(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = next(k for k in KERNELS if k.what == what)
    find = weights.find

    def wrong(*args: Any) -> weights.Stored | None:
        stored = find(*args)
        return stored and replace(stored, axes=(3, 2, 1, 0))

    monkeypatch.setattr(matmul, "find", wrong)
    with pytest.raises(AssertionError):
        compare(kernel.model(), lowered(kernel.model())[0], feeds(kernel.case))
