"""Quantised models: a value next to the middle between two steps may go either way, and nothing else may differ.

Every mistake is applied to a correct conversion and seen to be rejected; a rounding that really moves values is seen to
be accepted where it is rare, and rejected where it is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv import dtypes, model_io, pipeline
from onnx_fc2conv.verification.bounds import Bounds
from onnx_fc2conv.verification.compare import error, share_beyond
from tests.networks import Head, integers, network

from .test_sabotage import array_of, change

Mutation = Callable[[ModelProto], None]
NAN, INF = float("nan"), float("inf")

# -- the parts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "expected", "tolerance", "share"),
    [
        ([[1, 2, 3, 4]], [[1, 2, 3, 4]], 0.0, 0.0),
        ([[1, 2, 3, 4]], [[1, 2, 3, 5]], 0.0, 0.25),
        ([[1, 2, 3, 4]], [[1, 2, 3, 5]], 0.2, 0.0),
        ([[1, 2, 3, 4]], [[1, 2, 3, 5]], 0.19, 0.25),
        ([[1, 9], [9, 2]], [[1, 2], [1, 2]], 0.1, 1.0),
        ([[1, 9], [1, 9]], [[1, 2], [1, 2]], 0.1, 0.5),
        ([[[1, 0]], [[1, 0]]], [[[1, 0]], [[1, 4]]], 0.1, 0.5),
        ([[0, 0]], [[0, 0]], 0.0, 0.0),
        ([[INF, 1]], [[INF, 1]], 0.0, 0.0),
        ([[NAN, 1]], [[NAN, 2]], 0.1, 0.5),
    ],
)
def test_share_beyond(found: Any, expected: Any, tolerance: float, share: float) -> None:
    """Answers are counted, not values; an answer counts once, however many of its values differ."""
    assert share_beyond(np.array(found, np.float32), np.array(expected, np.float32), tolerance) == share


def test_share_beyond_of_small_integers_does_not_wrap() -> None:
    assert share_beyond(np.array([[0, 7]], np.uint8), np.array([[255, 7]], np.uint8), 0.5) == 0.5


def test_quantised_integers_are_compared_as_numbers() -> None:
    """A step more is a small error for a quantised number, and as wrong as any other for an index."""
    one, other = np.array([100, 50], np.uint8), np.array([101, 50], np.uint8)
    assert error(one, other, quantised=True) == pytest.approx(1 / 101)
    assert error(one, other) == 0.5


def test_tolerance_grows_with_the_step_and_the_nodes() -> None:
    byte, word = dtypes.STEPS[TensorProto.INT8], dtypes.STEPS[TensorProto.INT16]
    assert 0 < dtypes.quantised_tolerance(word, 1) < dtypes.quantised_tolerance(byte, 1)
    assert dtypes.quantised_tolerance(byte, 4) == 2 * dtypes.quantised_tolerance(byte, 1)
    assert byte < dtypes.quantised_tolerance(byte, 1) < 0.02


def test_share_of_flips_grows_with_the_values_and_the_rounding() -> None:
    byte, word = dtypes.STEPS[TensorProto.INT8], dtypes.STEPS[TensorProto.INT16]
    one = dtypes.share_of_flips(byte, 10, 1e-6, 100)
    assert 0 < one < dtypes.share_of_flips(byte, 20, 1e-6, 100) < dtypes.share_of_flips(byte, 20, 1e-5, 100)
    assert one < dtypes.share_of_flips(word, 10, 1e-6, 100)
    assert dtypes.share_of_flips(byte, 10**9, 1e-3, 100) == 1.0


def test_one_flip_among_few_answers_is_a_large_share() -> None:
    byte = dtypes.STEPS[TensorProto.INT8]
    few, many = (dtypes.share_of_flips(byte, 10, 1e-6, n) for n in (8, 1000))
    assert few >= 1 / 8 > many
    assert dtypes.share_of_flips(byte, 10, 0.0, 8) == 1 / 8


def test_steps_are_counted_by_node_and_by_value() -> None:
    """Constants are quantised once and for all, so they do not count; neither does a head that quantises nothing."""
    head = Head(
        "f = Flatten(map)\nm = QuantizeLinear(w, s, z)\nM = DequantizeLinear(m, s, z)\ng = MatMul(f, M)\n"
        "q = QuantizeLinear(g, s, z)\nd = DequantizeLinear(q, s, z)\nh = QuantizeLinear(d, s, wide)\n"
        "y = DequantizeLinear(h, s, wide)",
        {"w": (12, 5), "s": np.float32(0.5), "z": np.int8(3), "wide": np.int16(3)},
        opset=21,
    )
    steps = Bounds(pipeline.prepare(*model_io.load(network(head)))).head_steps
    assert (steps.nodes, steps.values) == (2, 10)
    assert (steps.coarsest, steps.finest) == (2.0**-8, 2.0**-16)
    plain = Head("f = Flatten(map)\ny = MatMul(f, w)", {"w": (12, 5)})
    none = Bounds(pipeline.prepare(*model_io.load(network(plain)))).head_steps
    assert (none.nodes, none.values, none.coarsest, none.finest) == (0, 0, 0.0, 0.0)


# -- sabotage ---------------------------------------------------------------------------------------------------------


def qdq(channels: int, window: tuple[int, int], units: tuple[int, ...]) -> Head:
    """A head as a quantiser writes it: activations per tensor, weights per unit, a Relu between two FCs."""
    lines = ["f = Flatten(map)", "q0 = QuantizeLinear(f, a0, z0)", "t0 = DequantizeLinear(q0, a0, z0)"]
    weights: dict[str, Any] = {"a0": np.float32(1 / 32), "z0": np.uint8(128)}
    inputs = channels * window[0] * window[1]
    for i, n in enumerate(units):
        step = 2.0 ** -np.floor(np.log2(127 / (2 * inputs**0.5)))
        lines += [
            f"M{i} = DequantizeLinear <axis = 0> (w{i}, s{i}, k{i})",
            f"g{i} = Gemm <transB = 1> (t{i}, M{i}, b{i})",
            *([f"r{i} = Relu(g{i})"] if i < len(units) - 1 else []),
            f"q{i + 1} = QuantizeLinear({'r' if i < len(units) - 1 else 'g'}{i}, a{i + 1}, z{i + 1})",
            f"t{i + 1} = DequantizeLinear(q{i + 1}, a{i + 1}, z{i + 1})",
        ]
        weights |= {
            f"w{i}": integers((n, inputs), 20 + i, -127, 128, np.int8),
            f"s{i}": (np.linspace(0.5, 1.5, n) / 127 / inputs**0.5).astype(np.float32),
            f"k{i}": np.zeros(n, np.int8),
            f"b{i}": integers((n,), 30 + i, -4, 5) / 4,
            f"a{i + 1}": np.float32(step / 8),
            f"z{i + 1}": np.uint8(0 if i < len(units) - 1 else 128),
        }
        inputs = n
    lines[-1] = lines[-1].replace(f"t{len(units)} =", "y =")
    return Head("\n".join(lines), weights, window, channels)


SMALL = qdq(2, (3, 2), (8, 4))
LENET = qdq(16, (4, 4), (120, 84, 10))  #: as wide as LeNet-5's head


def dequantised_kernel(model: ModelProto, nth: int = 0) -> NodeProto:
    """The DequantizeLinear behind the nth FC's kernel."""
    convs = [n for n in model.graph.node if n.op_type == "Conv"][1:]
    (found,) = (n for n in model.graph.node if convs[nth].input[1] in n.output)
    return found


def hwc_order(model: ModelProto) -> None:
    name = dequantised_kernel(model).input[0]
    kernel = array_of(model, name)
    units, channels, *window = kernel.shape
    change(model, name, kernel.reshape(units, *window, channels).transpose(0, 3, 1, 2))


def dropped_bias(model: ModelProto, nth: int = 0) -> None:
    del [n for n in model.graph.node if n.op_type == "Conv"][1 + nth].input[2]


def dropped_last_bias(model: ModelProto) -> None:
    dropped_bias(model, -2 + len([n for n in model.graph.node if n.op_type == "Conv"]))


def permuted_scales(model: ModelProto) -> None:
    name = dequantised_kernel(model).input[1]
    change(model, name, np.roll(array_of(model, name), 1))


def permuted_last_scales(model: ModelProto) -> None:
    name = dequantised_kernel(model, -1).input[1]
    change(model, name, array_of(model, name)[::-1])


def lost_scales(model: ModelProto) -> None:
    name = dequantised_kernel(model).input[1]
    change(model, name, np.full_like(array_of(model, name), array_of(model, name).mean()))


def weight_zero_point_off(model: ModelProto) -> None:
    name = dequantised_kernel(model).input[2]
    change(model, name, array_of(model, name) + np.int8(1))


def zero_point_off(model: ModelProto, op_type: str, nth: int) -> None:
    """One node reads a zero point of its own, a step further on."""
    found = [n for n in model.graph.node if n.op_type == op_type and "z" in n.input[2]][nth]
    values = array_of(model, found.input[2]) + np.uint8(1)
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), "one_further"))
    found.input[2] = "one_further"


def first_zero_point_off(model: ModelProto) -> None:
    zero_point_off(model, "QuantizeLinear", 0)


def last_zero_point_off(model: ModelProto) -> None:
    zero_point_off(model, "QuantizeLinear", -1)


def last_dequantised_zero_point_off(model: ModelProto) -> None:
    zero_point_off(model, "DequantizeLinear", -1)


def lost_relu(model: ModelProto) -> None:
    """An Identity in its place would change nothing: the unsigned type behind it cuts negative values off again."""
    relu = next(n for n in model.graph.node if n.op_type == "Relu")
    relu.op_type = "Abs"


def other_activation(model: ModelProto) -> None:
    relu = next(n for n in model.graph.node if n.op_type == "Relu")
    relu.op_type = "HardSigmoid"


def lost_rounding(model: ModelProto) -> None:
    """Floats between the FCs: nearer to the unquantised model, and not the model that was given."""
    for n in model.graph.node:
        if n.op_type in ("QuantizeLinear", "DequantizeLinear") and "z1" in n.input:
            n.op_type, n.input[:] = "Identity", n.input[:1]


def one_cell_negated(model: ModelProto) -> None:
    name = dequantised_kernel(model).input[0]
    kernel = array_of(model, name)
    kernel[:, 0, 0, 0] *= np.int8(-1)
    change(model, name, kernel)


MUTATIONS = [
    hwc_order,
    dropped_bias,
    dropped_last_bias,
    permuted_scales,
    permuted_last_scales,
    lost_scales,
    weight_zero_point_off,
    first_zero_point_off,
    last_zero_point_off,
    last_dequantised_zero_point_off,
    lost_relu,
    other_activation,
    lost_rounding,
    one_cell_negated,
]


def converted(head: Head) -> tuple[ModelProto, ModelProto]:
    """A network, and its correct conversion."""
    original, model = network(head), ModelProto()
    model.CopyFrom(fc2conv.convert(original, verify=False).model)
    return original, model


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda m: m.__name__)
@pytest.mark.parametrize("head", [SMALL, LENET], ids=["small", "as wide as LeNet-5"])
def test_verify_rejects(head: Head, mutate: Mutation) -> None:
    original, model = converted(head)
    mutate(model)
    with pytest.raises(fc2conv.VerificationFailed, match=r"same size|windows|default run"):
        fc2conv.verify(original, model)


QLINEAR = Head(
    "f = Flatten(map)\nq = QuantizeLinear(f, a, z)\np = QLinearMatMul(q, a, z, w, s, k, c, m)\n"
    "y = DequantizeLinear(p, c, m)",
    {
        "a": np.float32(1 / 32),
        "z": np.uint8(128),
        "w": integers((12, 5), 20, -127, 128, np.int8),
        "s": np.linspace(0.5, 1.5, 5, dtype=np.float32) / 127,
        "k": np.zeros(5, np.int8),
        "c": np.float32(1 / 16),
        "m": np.uint8(128),
    },
)


@pytest.mark.parametrize(
    ("operand", "mutate"),
    [
        (1, lambda scale: scale * 1.02),
        (2, lambda zero: zero + 1),
        (3, lambda kernel: kernel.reshape(5, 3, 2, 2).transpose(0, 3, 1, 2)),
        (3, lambda kernel: kernel[:, :, ::-1]),
        (4, lambda scales: np.roll(scales, 1)),
        (5, lambda zeros: zeros + 1),
        (6, lambda scale: scale * 1.02),
        (7, lambda zero: zero + 1),
    ],
)
def test_verify_rejects_a_wrong_operand_of_an_integer_product(operand: int, mutate: Callable[[Any], Any]) -> None:
    original, model = converted(QLINEAR)
    conv = next(n for n in model.graph.node if n.op_type == "QLinearConv")
    values = array_of(model, conv.input[operand])
    model.graph.initializer.append(
        numpy_helper.from_array(np.ascontiguousarray(mutate(values), values.dtype).reshape(values.shape), "wrong")
    )
    conv.input[operand] = "wrong"
    with pytest.raises(fc2conv.VerificationFailed, match=r"same size|windows"):
        fc2conv.verify(original, model)


def test_integers_that_are_not_quantised_must_be_equal() -> None:
    """The sums of a MatMulInteger are exact, so one off is wrong however large they are."""
    head = Head(
        "f = Flatten(map)\nq = QuantizeLinear(f, a, z)\ny = MatMulInteger(q, w, z)",
        {"a": np.float32(1 / 32), "z": np.uint8(128), "w": integers((12, 5), 20, -127, 128, np.int8)},
    )
    original, model = converted(head)
    name = next(n for n in model.graph.node if n.op_type == "ConvInteger").input[1]
    kernel = array_of(model, name)
    kernel[0, 0, 0, 0] += np.int8(1)
    change(model, name, kernel)
    with pytest.raises(fc2conv.VerificationFailed, match="tolerance 0"):
        fc2conv.verify(original, model)


@pytest.mark.parametrize("head", [SMALL, LENET], ids=["small", "as wide as LeNet-5"])
def test_verify_accepts_what_is_right(head: Head) -> None:
    checks = fc2conv.convert(network(head)).report.checks
    not_asserted = [c for c in checks if not c.passed]
    assert all(c.name == "default run" and "the original itself differs" in c.note for c in not_asserted)
    assert not any(c.error for c in checks if c.name in ("same size", "windows", "image crops"))
    assert not any("proves little" in c.note for c in checks)


# -- rounding that moves values ---------------------------------------------------------------------------------------

#: Images are multiples of 1/64. An odd sum can be 9/64 too much for a step of 18/64, the middle; an even one cannot.
STEP, UNITS = np.float32(18 / 64), 300


def in_the_middle(odd_units: int) -> Head:
    """A head of which this many units have sums that can lie in the middle between two steps."""
    weights = 2 * integers((12, UNITS), 40, -1, 2)
    weights[:, :odd_units] += 1
    text = (
        "f = Flatten(map)\ng = MatMul(f, w)\nq = QuantizeLinear(g, s, z)\nd = DequantizeLinear(q, s, z)\n"
        "r = Relu(d)\ny = MatMul(r, k)"
    )
    mixing = integers((UNITS, 4), 41, 1, 4)
    return Head(text, {"w": weights, "s": STEP, "z": np.int8(0), "k": mixing})


def other_rounding(model: ModelProto) -> None:
    """The first FC's sums are one bit further from zero, as if they had been added up in another order."""
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1 + 2**-23), "bit"))
    index = next(i for i, n in enumerate(model.graph.node) if n.op_type == "QuantizeLinear")
    node = model.graph.node[index]
    model.graph.node.insert(index, helper.make_node("Mul", [node.input[0], "bit"], ["one_bit_further"]))
    model.graph.node[index + 1].input[0] = "one_bit_further"


SIZE = (60, 60)


def test_rare_flips_are_accepted_and_told() -> None:
    original, model = converted(in_the_middle(1))
    other_rounding(model)
    checks = {c.name: c for c in fc2conv.verify(original, model, sizes=[SIZE]).checks}
    assert "of the answers differ by a step of the quantised type" in checks["windows"].note
    assert 0 < checks["windows"].error < checks["windows"].tolerance


def test_frequent_flips_are_rejected() -> None:
    """Each is as small as a rare one; together they say that something else is wrong."""
    original, model = converted(in_the_middle(UNITS))
    other_rounding(model)
    with pytest.raises(fc2conv.VerificationFailed, match="more than quantising explains"):
        fc2conv.verify(original, model, sizes=[SIZE])


def test_without_quantising_one_bit_is_no_reason_to_speak() -> None:
    """What flips is the rounding: the same change in the same head without it stays within the bounds of floats."""
    head = in_the_middle(UNITS)
    lines = head.text.replace("q = QuantizeLinear(g, s, z)", "q = Identity(g)")
    text = lines.replace("d = DequantizeLinear(q, s, z)", "d = Identity(q)")
    original, model = converted(Head(text, head.weights))
    index = next(i for i, n in enumerate(model.graph.node) if n.op_type == "Identity")
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1 + 2**-23), "bit"))
    model.graph.node[index].op_type = "Mul"
    model.graph.node[index].input.append("bit")
    checks = {c.name: c for c in fc2conv.verify(original, model, sizes=[SIZE]).checks}
    assert 0 < checks["windows"].error < checks["windows"].tolerance < 1e-4
    assert not checks["windows"].note
