"""Convolutions of integers as products of integers: equal to the last bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper
from onnx.reference import ReferenceEvaluator

from onnx_fc2conv.conv2fc.matmul import quantised
from onnx_fc2conv.ops import Array
from tests.conv2fc.products import Feeds, by_hand, compare, constant, lowered, model_of, node_of, op_types, run
from tests.conv2fc.products import product as rewritten

NODE = helper.make_node
TYPES = {np.uint8: TensorProto.UINT8, np.int8: TensorProto.INT8}


def values(shape: Sequence[int], dtype: Any, seed: int, bits: int = 6) -> np.ndarray:
    """Of few bits: with 8, onnxruntime's own QLinearConv saturates in between on CPUs without VNNI."""
    low = -(2 ** (bits - 1)) if np.dtype(dtype).kind == "i" else 0
    return np.random.default_rng(seed).integers(low, low + 2**bits, shape).astype(dtype)


@dataclass(frozen=True)
class Case:
    """One convolution of integers; ``zeros`` are the zero points of the map and of the kernel, if it has any."""

    op_type: str = "QLinearConv"
    window: tuple[int, ...] = (3, 2)
    attrs: Mapping[str, Any] = field(default_factory=dict)
    units: int = 6
    x: Any = np.uint8
    w: Any = np.int8
    zeros: tuple[Any, Any] | None = (9, 0)
    per_unit: bool = False
    bias: bool = False
    opset: int = 13
    bits: int = 6

    def __str__(self) -> str:
        said = [f"{k}={v}".replace(" ", "") for k, v in self.attrs.items()]
        types = f"{np.dtype(self.x).name}x{np.dtype(self.w).name}"
        flags = [name for name in ("per_unit", "bias") if getattr(self, name)]
        zeros = "none" if self.zeros is None else "zeros" + ",".join(map(str, np.ravel(self.zeros[1])))
        return "-".join([self.op_type, "x".join(map(str, self.window)), *said, types, zeros, *flags, f"{self.opset}"])

    def weight(self) -> np.ndarray:
        block = 4 // int(self.attrs.get("group", 1))
        return values((self.units, block, *self.window), self.w, 5, self.bits)

    def image(self, batch: int, size: Sequence[int], seed: int = 1) -> np.ndarray:
        return values((batch, 4, *size), self.x, seed, 8)

    def model(self) -> ModelProto:
        x_zero, w_zero = self.zeros or (0, 0)
        zeros = {"xz": np.asarray(x_zero).astype(self.x), "wz": np.asarray(w_zero).astype(self.w)}
        constants: Feeds = {"w": self.weight()} | zeros
        if self.op_type == "ConvInteger":
            names, output = ["x", "w", "xz", "wz"][: 4 if self.zeros else 2], TensorProto.INT32
        else:
            scale = np.float32([0.01, 0.02, 0.015, 0.04, 0.03, 0.005] if self.per_unit else 0.013)
            constants |= {"xs": np.float32(0.7), "ws": scale, "ys": np.float32(1.9), "yz": self.x(3) * self.x(1)}
            names = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"]
            output = TYPES[self.x]
            if self.bias:
                constants["b"] = values((self.units,), np.int32, 7, 10)
                names.append("b")
        node = NODE(self.op_type, names, ["y"], name="conv", **self.attrs)
        used = {k: v for k, v in constants.items() if k in names}
        symbols = ["H", "W"] if len(self.window) == 2 else ["L"]
        return model_of([node], {"x": ["N", 4, *symbols]}, used, self.opset, self.x, output)

    def feeds(self) -> list[Feeds]:
        size = (7, 6) if len(self.window) == 2 else (7,)
        return [{"x": self.image(1 + more % 2, [n + more for n in size], more)} for more in (0, 1, 3)]


PADS = {"pads": [1, 0, 2, 1], "strides": [2, 1]}
SAME = {"auto_pad": "SAME_LOWER", "strides": [2, 2]}

QLINEAR = [
    Case(),
    Case(attrs=PADS, bias=True),
    Case(attrs=PADS, per_unit=True, bias=True),
    Case(attrs=PADS, x=np.int8, zeros=(-5, 0), bias=True),
    Case(attrs=PADS, w=np.uint8, zeros=(11, 37), bias=True),
    Case(attrs=PADS | {"group": 2}, per_unit=True, bias=True),
    Case(attrs=PADS | {"group": 2}, bias=True),
    Case(attrs=PADS | {"group": 4}, units=4, bias=True),
    Case(window=(1, 1), per_unit=True),
    Case(window=(1, 1), attrs={"strides": [2, 2]}, bias=True),
    Case(window=(3,), attrs={"pads": [1, 1]}, bias=True),
    Case(attrs={"auto_pad": "SAME_UPPER"}, bias=True),
    Case(attrs=SAME),
    Case(attrs=PADS, bias=True, opset=10),
]
INTEGER = [
    Case("ConvInteger", zeros=None, attrs=PADS),
    Case("ConvInteger", attrs=PADS, bits=8),
    Case("ConvInteger", attrs=PADS, w=np.uint8, zeros=(255, 100), bits=8),
    Case("ConvInteger", attrs=PADS, zeros=(3, -7), bits=8),
    Case("ConvInteger", attrs=PADS | {"group": 2}, zeros=(3, 5), bits=8),
    Case("ConvInteger", attrs=PADS | {"group": 4}, units=4, bits=8),
    Case("ConvInteger", window=(1, 1), bits=8),
    Case("ConvInteger", attrs=SAME, bits=8),
    Case("ConvInteger", attrs=PADS, opset=10, bits=8),
    Case("ConvInteger", attrs=PADS, opset=10, zeros=None, bits=8),
]


@pytest.mark.parametrize("case", [*QLINEAR, *INTEGER], ids=str)
def test_equals_the_convolution(case: Case) -> None:
    model = case.model()
    compare(model, rewritten(model), case.feeds())


@pytest.mark.parametrize("case", [c for c in INTEGER if "pads" in c.attrs], ids=str)
def test_equals_the_definition(case: Case) -> None:
    """Without pads in the definition: those of an integer map hold its zero point."""
    x, (zero, w_zero) = case.image(2, (7, 6)), case.zeros or (0, 0)
    expected = by_hand(x.astype(np.int64) - zero, case.weight().astype(np.int64) - w_zero, None, case.attrs)
    np.testing.assert_array_equal(run(rewritten(case.model()), {"x": x}), expected)


ZEROS = np.arange(6)


@pytest.mark.parametrize("group", [1, 2])
def test_a_zero_point_for_each_unit(group: int) -> None:
    """Which onnxruntime's ConvInteger does not take; its MatMulInteger does."""
    case = Case("ConvInteger", attrs={"group": group}, zeros=(9, ZEROS), bits=8)
    x, model = case.image(1, (5, 4)), case.model()
    weight = case.weight().astype(np.int64) - ZEROS.reshape(6, 1, 1, 1)
    expected = by_hand(x.astype(np.int64) - 9, weight, None, case.attrs)
    found = lowered(model)[0]
    np.testing.assert_array_equal(run(found, {"x": x}), expected)
    if group == 1:
        np.testing.assert_array_equal(ReferenceEvaluator(model).run(None, {"x": x})[0], expected)


@pytest.mark.parametrize("opset", [10, 13])
def test_zero_points_of_the_map_that_are_computed_at_run_time(opset: int) -> None:
    """As dynamic quantisation does."""
    nodes = [NODE("ConvInteger", ["x", "w", "xz"], ["y"], name="conv", **PADS)]
    case = Case("ConvInteger", bits=8)
    model = model_of(nodes, {"x": ["N", 4, "H", "W"]}, {"w": case.weight()}, opset, np.uint8, TensorProto.INT32)
    model.graph.input.append(helper.make_tensor_value_info("xz", TensorProto.UINT8, []))
    compare(model, rewritten(model), [feed | {"xz": np.array(7, np.uint8)} for feed in case.feeds()])


def test_kernels_that_are_computed_at_run_time() -> None:
    nodes = [NODE("ConvInteger", ["x", "w", "xz", "wz"], ["y"], name="conv", **PADS)]
    case = Case("ConvInteger", w=np.uint8)
    model = model_of(nodes, {"x": ["N", 4, "H", "W"], "w": [6, 4, 3, 2]}, {}, 13, np.uint8, TensorProto.INT32)
    for name in ("xz", "wz"):
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.UINT8, []))
    given = {"w": case.weight(), "xz": np.array(7, np.uint8), "wz": np.array(30, np.uint8)}
    compare(model, rewritten(model), [feed | given for feed in case.feeds()])


def test_what_is_quantised_stays_so() -> None:
    found = rewritten(QLINEAR[2].model())
    assert op_types(found)[-6:] == ["MatMulInteger", "Add", "Cast", "Mul", "QuantizeLinear", "Transpose"]
    assert constant(found, node_of(found, "MatMulInteger").input[1]).dtype == np.int8


def test_full_bytes_do_not_saturate() -> None:
    """onnxruntime adds two products of uint8 and int8 in 16 bits where the CPU has nothing better."""
    weight = np.full((6, 4, 3, 2), 127, np.int8)
    nodes = [NODE("ConvInteger", ["x", "w"], ["y"], name="conv")]
    model = model_of(nodes, {"x": ["N", 4, "H", "W"]}, {"w": weight}, 13, np.uint8, TensorProto.INT32)
    x = np.full((1, 4, 5, 4), 255, np.uint8)
    assert (run(rewritten(model), {"x": x}) == 255 * 127 * 24).all()


def test_a_kernel_of_integers_and_of_floating_point_numbers() -> None:
    """It is laid out for each, with and without the 128 that are added."""
    weight = values((6, 4, 1, 1), np.int8, 5, 8)
    nodes = [
        NODE("ConvInteger", ["x", "w"], ["a"], name="a"),
        NODE("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        NODE("Conv", ["f", "wf"], ["c"], name="c"),
        NODE("Cast", ["c"], ["d"], to=TensorProto.INT32),
        NODE("Cast", ["w"], ["wf"], to=TensorProto.FLOAT),
        NODE("Add", ["a", "d"], ["y"]),
    ]
    nodes = [nodes[4], *nodes[:4], nodes[5]]
    model = model_of(nodes, {"x": ["N", 4, "H", "W"]}, {"w": weight}, 14, np.uint8, TensorProto.INT32)
    compare(model, rewritten(model), Case("ConvInteger").feeds())


LEFT = [
    ("scales", "its scales are computed at run time"),
    ("zero points", "its kernel's zero points are not constants"),
]


@pytest.mark.parametrize(("what", "reason"), LEFT)
def test_what_is_left(what: str, reason: str) -> None:
    case = QLINEAR[5]
    model = case.model()
    name = {"scales": "ws", "zero points": "wz"}[what]
    (tensor,) = [t for t in model.graph.initializer if t.name == name]
    model.graph.input.append(helper.make_tensor_value_info(name, tensor.data_type, tensor.dims))
    model.graph.initializer.remove(tensor)
    found, lowering = lowered(model)
    assert lowering.left == {"QLinearConv 'conv'": reason}
    assert op_types(found) == ["QLinearConv"]


# -- sabotage ----------------------------------------------------------------------------------------------------------

SABOTAGE: dict[str, tuple[str, Any, Case]] = {
    "pads of 0 in place of the zero point": ("gather", lambda e, conv, zero: GATHER(e, conv), QLINEAR[1]),
    "a scale for all units": ("_scale", lambda e, *_: e.constant(np.float32(0.7 * 0.01 / 1.9), "s"), QLINEAR[2]),
    "signed and unsigned mixed up": (
        "_unsigned",
        lambda stored, zeros: (UNSIGNED(stored, zeros)[0], Array.of("z", np.array(128, np.uint8))),
        INTEGER[3],
    ),
    "no bias": ("for_each_unit", lambda e, *_: e.constant(np.int32([0]), "zero"), QLINEAR[1]),
}
GATHER, UNSIGNED = quantised.gather, quantised._unsigned


@pytest.mark.parametrize("what", SABOTAGE)
def test_a_mistake_is_seen(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, wrong, case = SABOTAGE[what]
    monkeypatch.setattr(quantised, name, wrong)
    with pytest.raises(AssertionError, match="not equal"):
        compare(case.model(), lowered(case.model())[0], case.feeds())
