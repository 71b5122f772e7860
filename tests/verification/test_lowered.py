"""The checks of a rewritten model: every way to be wrong that is known is applied to a right one, and rejected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, helper, numpy_helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv import VerificationFailed, model_io, reverse, undo
from onnx_fc2conv.assemble import assemble
from onnx_fc2conv.verification.runtime import OnnxRuntime
from onnx_fc2conv.verification.session import RuntimeRefusal
from tests.networks import Head, network
from tests.reverse.models import NAMED, WEIGHTS, model

Sabotage = Callable[[ModelProto], None]


def _first(proto: ModelProto, op_type: str) -> NodeProto:
    return next(n for n in proto.graph.node if n.op_type == op_type)


def _values(proto: ModelProto, name: str) -> np.ndarray:
    return numpy_helper.to_array(next(t for t in proto.graph.initializer if t.name == name)).copy()


def _set(proto: ModelProto, name: str, values: np.ndarray) -> None:
    """Give one constant other values, for all that read it."""
    next(t for t in proto.graph.initializer if t.name == name).CopyFrom(numpy_helper.from_array(values, name))


def _own(proto: ModelProto, node: NodeProto, i: int, values: Any) -> None:
    """Give one operand of one node other values."""
    name = f"{node.name}_sabotage_{i}"
    proto.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
    node.input[i] = name


def one_weight(proto: ModelProto) -> None:
    name = _first(proto, "MatMul").input[1]
    values = _values(proto, name)
    values.flat[0] += 1
    _set(proto, name, values)


def taps_swapped(proto: ModelProto) -> None:
    concat = _first(proto, "Concat")
    concat.input[:] = list(concat.input)[::-1]


def kernel_mirrored(proto: ModelProto) -> None:
    """A true convolution instead of a correlation."""
    name = _first(proto, "MatMul").input[1]
    values = _values(proto, name)
    _set(proto, name, np.ascontiguousarray(values.reshape(9, 2, -1)[::-1].reshape(values.shape)))


def off_by_one(proto: ModelProto) -> None:
    node = _first(proto, "Slice")
    _own(proto, node, 1, _values(proto, node.input[1]) + 1)
    ends = _values(proto, node.input[2])
    _own(proto, node, 2, ends + 1 if ends[0] < -1 else np.array([2**31 - 1]))


def stride_ignored(proto: ModelProto) -> None:
    node = next(n for n in proto.graph.node if n.op_type == "Slice" and len(n.input) > 4)
    _own(proto, node, 4, np.ones(1, np.int64))


def pads_on_one_side(proto: ModelProto) -> None:
    node = _first(proto, "Pad")
    pads = _values(proto, node.input[1])
    half = len(pads) // 2
    _own(proto, node, 1, np.concatenate([pads[:half] * 0, pads[:half] * 2]))


def bias_lost(proto: ModelProto) -> None:
    node = _first(proto, "Add")
    constant = next(i for i in node.input if any(t.name == i for t in proto.graph.initializer))
    _set(proto, constant, _values(proto, constant) * 0)


def axes_swapped(proto: ModelProto) -> None:
    """Height and width change places."""
    node = [n for n in proto.graph.node if n.op_type == "Transpose"][-1]
    perm = next(a for a in node.attribute if a.name == "perm")
    perm.ints[-2:] = list(perm.ints)[:-3:-1]


def size_baked(proto: ModelProto) -> None:
    """Right at the first size and wrong everywhere else."""
    last = proto.graph.node[-1]
    inner = f"{last.output[0]}_inner"
    proto.graph.initializer.append(numpy_helper.from_array(np.array([-1, 5, 15, 23]), "baked"))
    proto.graph.node.append(helper.make_node("Reshape", [inner, "baked"], [last.output[0]]))
    last.output[0] = inner


def conv_left(proto: ModelProto) -> None:
    proto.graph.initializer.append(numpy_helper.from_array(np.ones((5, 5, 1, 1), np.float32), "left"))
    last = proto.graph.node[-1]
    proto.graph.node.append(helper.make_node("Conv", ["inner", "left"], [last.output[0]], name="c9"))
    last.output[0] = "inner"


def other_domain(proto: ModelProto) -> None:
    last = proto.graph.node[-1]
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    proto.graph.node.append(helper.make_node("Gelu", ["inner"], [last.output[0]], name="g", domain="com.microsoft"))
    last.output[0] = "inner"


def input_fixed(proto: ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 32


def output_renamed(proto: ModelProto) -> None:
    last = proto.graph.node[-1]
    proto.graph.output[0].name = last.output[0] = "z"


def nothing_standard(proto: ModelProto) -> None:
    """What no checker accepts."""
    proto.graph.node[0].op_type = "NoSuchOperator"


SABOTAGES: list[tuple[Sabotage, str]] = [
    (one_weight, "same size: output 'y'"),
    (taps_swapped, "same size: output 'y'"),
    (kernel_mirrored, "same size: output 'y'"),
    (off_by_one, "same size: "),
    (stride_ignored, "same size: "),
    (pads_on_one_side, "same size: output 'y'"),
    (bias_lost, "same size: output 'y'"),
    (axes_swapped, "same size: output 'y'"),
    (size_baked, "other size: "),
    (conv_left, "structure: a convolution is left"),
    (other_domain, "structure: an operator that is not of the standard"),
    (input_fixed, "structure: input 'x' has another type or shape"),
    (output_renamed, "structure: the outputs are"),
    (nothing_standard, "structure: the ONNX checker rejects"),
]


@pytest.mark.parametrize(("sabotage", "said"), SABOTAGES, ids=[s.__name__ for s, _ in SABOTAGES])
def test_sabotage_is_rejected(sabotage: Sabotage, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*args: Any) -> ModelProto:
        proto = assemble(*args)
        sabotage(proto)
        return proto

    fc2conv.convolution_to_matmul(model())
    monkeypatch.setattr(reverse, "assemble", wrong)
    with pytest.raises(VerificationFailed) as e:
        fc2conv.convolution_to_matmul(model())
    assert said in str(e.value), str(e.value)


def checks(report: fc2conv.ReverseReport) -> list[tuple[str, tuple[int, ...] | None, bool | None]]:
    return [(c.name, tuple(c.size) if c.size else None, c.passed) for c in report.checks]


def test_a_dynamic_model_is_checked_at_three_sizes_and_two_batches() -> None:
    report = fc2conv.convolution_to_matmul(model()).report
    sizes = [(32, 48), (64, 96), (7, 9)]
    expected: list[tuple[str, tuple[int, ...] | None, bool | None]] = [("structure", None, True)]
    for size in sizes:
        expected += [("same size" if size == sizes[0] else "other size", size, True), ("default run", size, True)] * 2
        expected += [("all digits", size, True)] if size == sizes[0] else []
    assert checks(report) == expected
    assert all(c.error == 0 for c in report.checks[1:] if c.name != "all digits"), "small integers are exact"


def test_a_model_of_one_size_is_checked_at_that() -> None:
    report = fc2conv.convolution_to_matmul(model(shape=(1, 2, 8, 6))).report
    names = ("same size", "default run", "all digits")
    assert checks(report) == [("structure", None, True), *((name, (8, 6), True) for name in names)]


def test_sizes_that_are_asked_for_are_all_checked() -> None:
    asked = [(9, 8), (12, 7), (20, 20), (31, 5)]
    report = fc2conv.convolution_to_matmul(model(), sizes=asked).report
    compared = [s for name, s, _ in checks(report) if name in ("same size", "other size")]
    assert compared == [s for s in asked for _ in range(2)]


def test_one_size_that_is_asked_for_is_enough() -> None:
    assert {s for _, s, _ in checks(fc2conv.convolution_to_matmul(model(), sizes=[(9, 8)]).report)} == {None, (9, 8)}


def test_a_size_at_which_the_original_does_not_run_is_an_error() -> None:
    with pytest.raises(VerificationFailed, match="the original does not run"):
        fc2conv.convolution_to_matmul(model(), sizes=[(9, 8), (1, 1)])


def test_a_size_that_the_model_cannot_have_is_passed_over_where_it_is_a_guess() -> None:
    text = NAMED.replace("y = Conv", "z = Conv") + "\ny = Reshape(z, s)"
    weights = WEIGHTS | {"s": np.array([0, 5, 15, 23])}
    report = fc2conv.convolution_to_matmul(model(text, weights)).report
    assert checks(report)[-1] == ("other size", None, None)
    assert "runs at no other size" in report.checks[-1].note


QUANTISED = """q = QuantizeLinear(x, s, z)
d = DequantizeLinear(q, s, z)
y = Conv(d, w2)"""
SCALES = {"s": np.array(0.5, np.float32), "z": np.array(128, np.uint8), "w2": (3, 2, 1, 1)}


@pytest.mark.parametrize("reverted", [False, True], ids=["dense at a size", "reverted"])
def test_an_output_of_another_shape_with_the_same_values_is_rejected(
    reverted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where sizes become fixed the signature is another one, but an output's rank is not."""

    def flat(proto: ModelProto) -> None:
        last = proto.graph.node[-1]
        declared = helper.make_tensor_value_info("y", 1, ["one", "all"])
        proto.graph.output[0].CopyFrom(declared)
        proto.graph.node.append(helper.make_node("Flatten", ["inner"], [last.output[0]], axis=0))
        last.output[0] = "inner"

    def wrong(*args: Any) -> ModelProto:
        proto = assemble(*args)
        flat(proto)
        return proto

    if reverted:
        converted = fc2conv.convert(network(Head("f = Flatten (map)\ny = Gemm (f, w)", {"w": (12, 3)}))).model
        restored = undo.restore(model_io.load(converted)[0])
        assert restored is not None
        fc2conv.revert(converted)
        flat(restored.proto)
        monkeypatch.setattr(undo, "restore", lambda _: restored)
        with pytest.raises(VerificationFailed, match="output 'y' has shape"):
            fc2conv.revert(converted)
        return
    monkeypatch.setattr(reverse, "assemble", wrong)
    with pytest.raises(VerificationFailed, match="output 'y' has shape"):
        fc2conv.convolution_to_matmul(model(), form="dense", sizes=[(8, 6)])


def test_products_that_do_not_run_optimised_are_rejected_whatever_the_original_becomes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load = OnnxRuntime.load

    class Refusing:
        as_stored: tuple[str, ...] = ()

        def run(self, feeds: Any) -> None:
            raise RuntimeRefusal("no kernel")

    def refused(self: OnnxRuntime, proto: Any, folder: str = "", default: bool = False) -> Any:
        return Refusing() if default and "Conv" not in {n.op_type for n in proto.graph.node} else load(self, proto)

    monkeypatch.setattr(OnnxRuntime, "load", refused)
    with pytest.raises(VerificationFailed, match="does not run with graph optimisations: no kernel"):
        fc2conv.convolution_to_matmul(model(QUANTISED, SCALES, (1, 2, 4, 4)))
