"""Every check is seen to fail: each way to be wrong that is known, applied to a correct conversion.

A row is a head, a mutation of its correctly converted model, and the check that must reject it. The unmutated model
passes, so what is rejected is the mutation.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv import model_io, pipeline
from onnx_fc2conv.settings import Settings
from onnx_fc2conv.verification import Verifier
from tests.networks import Head, network

Mutation = Callable[[ModelProto], None]

MLP = Head(
    "f = Flatten(map)\n g = Gemm<alpha = 0.5, transB = 1>(f, w, b)\n r = Relu(g)\n y = Gemm<transB = 1>(r, w2, b2)",
    {"w": (8, 12), "b": (8,), "w2": (4, 8), "b2": (4,)},
)
SOFTMAX = Head(
    "f = Flatten(map)\n g = Gemm<transB = 1>(f, w, b)\n y = Softmax<axis = -1>(g)",
    {"w": (4, 12), "b": np.arange(4, dtype=np.float32)},
)
SQUARE = Head("f = Flatten(map)\n y = Gemm<transB = 1>(f, w, b)", {"w": (4, 18), "b": (4,)}, window=(3, 3))
NORMED = Head(
    "f = Flatten(map)\n g = Gemm<transB = 1>(f, w)\n n = BatchNormalization<epsilon = 0.5>(g, s, b, m, v)\n"
    "y = Mul(n, scale)",
    {
        "w": (4, 12),
        "s": np.ones(4, np.float32),
        "b": (4,),
        "m": (4,),
        "v": np.array([0.1, 0.2, 0.3, 0.4], np.float32),
        "scale": np.array([1, 2, 3, 4], np.float32),
    },
)
TWO = Head(
    "f = Flatten(map)\n y = Gemm<transB = 1>(f, w, b)\n z = Gemm<transB = 1>(f, w2, b2)",
    {"w": (4, 12), "b": (4,), "w2": (4, 12), "b2": (4,)},
    outputs=("y", "z"),
)
WITH_MAP = Head("m = Relu(map)\n f = Flatten(m)\n y = Gemm<transB = 1>(f, w)", {"w": (4, 12)}, outputs=("y", "m"))
POOLED = Head("p = GlobalAveragePool(map)\n f = Flatten(p)\n y = Gemm<transB = 1>(f, w, b)", {"w": (4, 2), "b": (4,)})


def node(model: ModelProto, op_type: str, nth: int = 0) -> int:
    return [i for i, n in enumerate(model.graph.node) if n.op_type == op_type][nth]


def array_of(model: ModelProto, name: str) -> np.ndarray:
    return numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == name)).copy()


def change(model: ModelProto, name: str, values: np.ndarray) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), name))


def head_conv(model: ModelProto, nth: int = 0) -> tuple[int, str]:
    index = node(model, "Conv", 1 + nth)  # the first Conv is the backbone's
    return index, model.graph.node[index].input[1]


def set_attribute(model: ModelProto, index: int, name: str, value: object) -> None:
    attributes = model.graph.node[index].attribute
    kept = [a for a in attributes if a.name != name]
    del attributes[:]
    attributes.extend([*kept, helper.make_attribute(name, value)])


def behind_output(model: ModelProto, output: str, *nodes: tuple[str, dict[str, object]]) -> None:
    """Insert one-input nodes between an output and what computes it."""
    maker = next(n for n in model.graph.node if output in n.output)
    maker.output[list(maker.output).index(output)] = name = f"{output}_before"
    for i, (op_type, attributes) in enumerate(nodes):
        following = output if i == len(nodes) - 1 else f"{output}_{i}"
        model.graph.node.append(helper.make_node(op_type, [name], [following], **attributes))
        name = following


def kernel_in_other_order(model: ModelProto) -> None:
    _, kernel = head_conv(model)
    values = array_of(model, kernel)
    change(model, kernel, values.reshape(values.shape[0], *values.shape[2:], values.shape[1]).transpose(0, 3, 1, 2))


def kernel_with_swapped_axes(model: ModelProto) -> None:
    _, kernel = head_conv(model)
    change(model, kernel, array_of(model, kernel).swapaxes(2, 3))


def lost_alpha(model: ModelProto) -> None:
    _, kernel = head_conv(model)
    change(model, kernel, array_of(model, kernel) * 2)


def dropped_bias(model: ModelProto) -> None:
    index, _ = head_conv(model)
    del model.graph.node[index].input[2]


def one_weight_off(model: ModelProto) -> None:
    _, kernel = head_conv(model)
    values = array_of(model, kernel)
    values.flat[5] += 0.01
    change(model, kernel, values)


def backbone_weight_off(model: ModelProto) -> None:
    values = array_of(model, "backbone")
    values.flat[0] += 0.01
    change(model, "backbone", values)


def lost_relu(model: ModelProto) -> None:
    model.graph.node[node(model, "Relu")].op_type = "Identity"


def wrong_softmax_axis(model: ModelProto) -> None:
    set_attribute(model, node(model, "Softmax"), "axis", -1)


def swapped_grid_axes(model: ModelProto) -> None:
    behind_output(model, "y", ("Transpose", {"perm": [0, 1, 3, 2]}))


def shifted_window(model: ModelProto) -> None:
    index, _ = head_conv(model)
    model.graph.node[index].input[0] = "shifted"
    pads = helper.make_tensor("one_down", 7, [8], [0, 0, 1, 0, 0, 0, -1, 0])
    model.graph.initializer.append(pads)
    model.graph.node.insert(index, helper.make_node("Pad", ["map", "one_down"], ["shifted"]))


def padded_window(model: ModelProto) -> None:
    index, _ = head_conv(model)
    set_attribute(model, index, "pads", [1, 1, 1, 1])


def strided_window(model: ModelProto) -> None:
    index, _ = head_conv(model)
    set_attribute(model, index, "strides", [2, 2])


def lost_epsilon(model: ModelProto) -> None:
    set_attribute(model, node(model, "BatchNormalization"), "epsilon", 1e-5)


def constant_along_width(model: ModelProto) -> None:
    name = model.graph.node[node(model, "Mul")].input[1]
    change(model, name, array_of(model, name)[:, :, 0][:1])


def swapped_outputs(model: ModelProto) -> None:
    makers = {o: n for n in model.graph.node for o in n.output if o in ("y", "z")}
    makers["y"].output[0], makers["z"].output[0] = "z", "y"


def half_precision(model: ModelProto) -> None:
    behind_output(model, "y", ("Cast", {"to": 10}), ("Cast", {"to": 1}))


def averaged_grid(model: ModelProto) -> None:
    """Right at the trained size and of the right shape, with one answer repeated: a pool left global."""
    maker = next(n for n in model.graph.node if "y" in n.output)
    maker.output[0] = "grid"
    nodes = [
        helper.make_node("GlobalAveragePool", ["grid"], ["one"]),
        helper.make_node("Shape", ["grid"], ["dims"]),
        helper.make_node("Expand", ["one", "dims"], ["y"]),
    ]
    model.graph.node.extend(nodes)


def map_with_more_rows(model: ModelProto) -> None:
    """The output that is a map adds the rows from the fourth on: there are none at the trained size."""
    maker = next(n for n in model.graph.node if "m" in n.output)
    index = list(model.graph.node).index(maker)
    maker.output[0] = "whole"
    for n in model.graph.node:
        n.input[:] = ["whole" if name == "m" else name for name in n.input]
    model.graph.initializer.append(numpy_helper.from_array(np.array([0, 0, -3, 0, 0, 0, 3, 0], np.int64), "down"))
    model.graph.node.insert(index + 1, helper.make_node("Pad", ["whole", "down"], ["rest"]))
    model.graph.node.insert(index + 2, helper.make_node("Add", ["whole", "rest"], ["m"]))


def fixed_dim(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 6


def shared_symbol(model: ModelProto) -> None:
    dims = model.graph.input[0].type.tensor_type.shape.dim
    dims[3].dim_param = dims[2].dim_param


def fc_left(model: ModelProto) -> None:
    """The original head behind a crop of the first window: valid, equal at the trained size, and no Conv at all."""
    original = network(SQUARE)
    kept = [n for n in original.graph.node if n.op_type != "Flatten"]
    del model.graph.node[:]
    model.graph.node.extend(kept[:1])
    model.graph.initializer.append(numpy_helper.from_array(array_of(original, "w"), "matrix"))
    for i, name in enumerate(("zero", "three", "axes")):
        model.graph.initializer.append(numpy_helper.from_array(np.array([(0, 0), (3, 3), (2, 3)][i], np.int64), name))
    model.graph.node.append(helper.make_node("Slice", ["map", "zero", "three", "axes"], ["window"]))
    model.graph.node.append(helper.make_node("Flatten", ["window"], ["f"]))
    gemm = kept[1]
    gemm.input[1], gemm.output[0] = "matrix", "rows"
    model.graph.node.append(gemm)
    model.graph.node.append(helper.make_node("Unsqueeze", ["rows", "axes"], ["y"]))


def output_gone(model: ModelProto) -> None:
    del model.graph.output[1:]


def wrong_declared_shape(model: ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 99


ROWS: list[tuple[Head, Mutation, str]] = [
    (MLP, kernel_in_other_order, "same size"),
    (SQUARE, kernel_with_swapped_axes, "same size"),
    (MLP, lost_alpha, "same size"),
    (MLP, dropped_bias, "same size"),
    (MLP, one_weight_off, "same size|all digits|windows"),
    (MLP, backbone_weight_off, "same size"),
    (MLP, lost_relu, "same size"),
    (SOFTMAX, wrong_softmax_axis, "same size"),
    (NORMED, lost_epsilon, "same size"),
    (NORMED, constant_along_width, "same size"),
    (TWO, swapped_outputs, "same size"),
    (MLP, half_precision, "same size"),
    (MLP, swapped_grid_axes, "grid law"),
    (MLP, padded_window, "same size"),
    (MLP, strided_window, "grid law"),
    (MLP, shifted_window, "same size"),
    (MLP, averaged_grid, "windows"),
    (POOLED, averaged_grid, "windows"),
    (WITH_MAP, map_with_more_rows, "feature maps"),
    (MLP, fixed_dim, "structure"),
    (MLP, shared_symbol, "structure"),
    (SQUARE, fc_left, "structure"),
    (TWO, output_gone, "structure"),
    (MLP, wrong_declared_shape, "structure"),
]


@pytest.mark.parametrize(("head", "mutate", "check"), ROWS, ids=[f"{m.__name__}" for _, m, _ in ROWS])
def test_verify_rejects(head: Head, mutate: Mutation, check: str) -> None:
    original = network(head)
    converted = ModelProto()
    converted.CopyFrom(fc2conv.convert(original, verify=False).model)
    fc2conv.verify(original, converted)
    mutate(converted)
    with pytest.raises(fc2conv.VerificationFailed, match=check) as caught:
        fc2conv.verify(original, converted)
    assert caught.value.exit_code == 3


def test_swapped_grid_axes_on_a_square_image_are_seen() -> None:
    """At a square size both grids have one shape, so only the values tell; the default sizes are never square."""
    original = network(SQUARE)
    converted = fc2conv.convert(original, verify=False).model
    swapped_grid_axes(converted)
    with pytest.raises(fc2conv.VerificationFailed, match="windows"):
        _verify_without_stride(original, converted, (10, 10))


def _verify_without_stride(original: ModelProto, converted: ModelProto, size: tuple[int, int]) -> None:
    conversion = pipeline.prepare(*model_io.load(original))
    verifier = Verifier(conversion, converted, "", lambda *_: None)
    verifier._stride = lambda: None  # type: ignore[method-assign]
    verifier.run(conversion.sizes((size,)))


PADDED = Head(
    "m = Conv<pads = [1, 1, 1, 1]>(map, k)\n f = Flatten(m)\n y = Gemm<transB = 1>(f, w, b)",
    {"k": (2, 2, 3, 3), "w": (4, 12), "b": (4,)},
)


def test_a_padded_model_that_claims_to_be_exact_is_rejected() -> None:
    """The verdict is proven by the graph; were that proof wrong, the image crops would show it."""
    conversion = pipeline.prepare(*model_io.load(network(PADDED)))
    assert conversion.verdict == "padded"
    conversion.plan.causes.clear()
    assert conversion.verdict == "exact"
    with pytest.raises(fc2conv.VerificationFailed, match="image crops"):
        Verifier(conversion, conversion.proto, "", lambda *_: None).run(conversion.sizes(()))


def test_a_padded_model_is_measured_and_not_asserted() -> None:
    report = fc2conv.convert(network(PADDED)).report
    assert report.verdict == "padded"
    crops = [c for c in report.checks if c.name == "image crops"]
    assert [c.passed for c in crops] == [None, None]
    assert report.deviation["y"]["error"] > 0.01
    assert "Conv 'm'" in report.verdict_words()


def test_require_exact_refuses_the_padded_model_by_node() -> None:
    with pytest.raises(fc2conv.Unliftable, match="exactness was required") as caught:
        pipeline.convert(network(PADDED), Settings(require_exact=True))
    assert caught.value.node == "Conv 'm'"


def test_all_cells_of_the_reference_detector_are_compared() -> None:
    """The article's case: 403 windows in one pass over a 1024x512 (W x H) picture, each equal to its image crop."""
    report = fc2conv.convert("models/reference_detector.onnx", sizes=[(512, 1024)]).report
    rows = {c.name: c for c in report.checks if c.size == [512, 1024]}
    assert rows["grid law"].note == "13x31 = 403 windows"
    assert (rows["windows"].cells, rows["windows"].cells_total) == (403, 403)
    assert (rows["image crops"].cells, rows["image crops"].passed) == (403, True)
    assert report.verdict == "exact"
