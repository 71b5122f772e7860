"""The checks of a static conversion: a right one passes, and every kind of mistake is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import onnx_fc2conv as fc2conv

from ..lift.test_static import FORMS, TOKENS, Static, model_of

CASE = Static(
    "m = Conv(x, k)\nf = Flatten(m)\nh = Gemm <alpha = 2.0> (f, w, b)\nr = Relu(h)\ny = Gemm(r, v, c)\nz = Neg(h)",
    {"k": (3, 2, 2, 3), "w": (18, 5), "b": (5,), "v": (5, 4), "c": (4,)},
    {"x": ("N", 2, 4, 4)},
    ("y", "z"),
)

Sabotage = Callable[[ModelProto], None]


def change(t: TensorProto, values: np.ndarray) -> None:
    t.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values.astype(np.float32)), t.name))


def other_order(model: ModelProto) -> None:
    t = next(t for t in model.graph.initializer if list(t.dims) == [5, 3, 3, 2])
    values = numpy_helper.to_array(t)
    change(t, values.transpose(0, 2, 3, 1).reshape(values.shape))


def lost_alpha(model: ModelProto) -> None:
    t = next(t for t in model.graph.initializer if list(t.dims) == [5, 3, 3, 2])
    change(t, numpy_helper.to_array(t) / 2)


def dropped_bias(model: ModelProto) -> None:
    next(n for n in model.graph.node if n.op_type == "Conv" and len(n.input) == 3).input.pop()


def one_wrong_weight(model: ModelProto) -> None:
    t = next(t for t in model.graph.initializer if list(t.dims) == [4, 5, 1, 1])
    values = numpy_helper.to_array(t).copy()
    values[0, 0] += 0.01
    change(t, values)


def lost_relu(model: ModelProto) -> None:
    next(n for n in model.graph.node if n.op_type == "Relu").op_type = "Identity"


def swapped_outputs(model: ModelProto) -> None:
    first, second = (helper.make_tensor_value_info(o.name, TensorProto.FLOAT, None) for o in model.graph.output)
    first.CopyFrom(model.graph.output[0])
    second.CopyFrom(model.graph.output[1])
    del model.graph.output[:]
    model.graph.output.extend([second, first])


def other_output_shape(model: ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "K"


def freed_input(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"


def renamed_input(model: ModelProto) -> None:
    old = model.graph.input[0].name
    model.graph.input[0].name = "other"
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            if name == old:
                node.input[i] = "other"


def left_fc(model: ModelProto) -> None:
    model.graph.CopyFrom(model_of(CASE).graph)


def not_squeezed(model: ModelProto) -> None:
    next(n for n in model.graph.node if n.op_type == "Squeeze" and n.output[0] == "y").op_type = "Identity"
    node = next(n for n in model.graph.node if n.output[0] == "y")
    del node.input[1:]


SABOTAGE: dict[str, tuple[Sabotage, str]] = {
    "H, W, C order": (other_order, "same size: output '[yz]' .* differs"),
    "lost alpha": (lost_alpha, "same size: output '[yz]' .* differs"),
    "dropped bias": (dropped_bias, "same size: output '[yz]' .* differs"),
    "one wrong weight": (one_wrong_weight, "same size: output 'y' .* differs"),
    "lost activation": (lost_relu, "same size: output 'y' .* differs"),
    "swapped outputs": (swapped_outputs, "structure: the outputs are .* expected"),
    "another declared output": (other_output_shape, "structure: output 'y' has another type or shape"),
    "a freed input": (freed_input, "structure: input 'x' has another type or shape"),
    "a renamed input": (renamed_input, "structure: the inputs are"),
    "an FC that is left": (left_fc, "structure: a fully connected node is left"),
    "a value that is not restored": (not_squeezed, "structure|same size"),
}


def converted() -> ModelProto:
    return fc2conv.convert(model_of(CASE), static=True).model


def test_a_right_conversion_passes() -> None:
    report = fc2conv.verify(model_of(CASE), converted(), static=True)
    once, fine = ["same size", "default run"], ["all digits"]
    assert [c.name for c in report.checks] == ["structure", *once, *once, *fine]
    assert all(c.passed for c in report.checks)


@pytest.mark.parametrize(("sabotage", "reason"), SABOTAGE.values(), ids=SABOTAGE.keys())
def test_sabotage_is_found(sabotage: Sabotage, reason: str) -> None:
    model = converted()
    before = model.SerializeToString()
    sabotage(model)
    assert model.SerializeToString() != before
    with pytest.raises(fc2conv.VerificationFailed, match=reason):
        fc2conv.verify(model_of(CASE), model, static=True)


def test_only_listed_nodes_may_stay() -> None:
    """Attention's products between values stay and are listed; a product with weights that comes back is found."""
    case = FORMS["attention"]
    right = fc2conv.convert(model_of(case), static=True).model
    fc2conv.verify(model_of(case), right, static=True)
    with pytest.raises(fc2conv.VerificationFailed, match="MatMul 'q': structure: a fully connected node is left"):
        fc2conv.verify(model_of(case), model_of(case), static=True)


def test_an_index_stays_inside_its_table() -> None:
    case = Static(
        "c = Cast <to = 7> (x)\ne = Gather(t, c)\nf = Flatten(e)\ny = Gemm(f, w)",
        {"t": (3, 2), "w": (8, 5)},
        {"x": ("N", 4)},
        types={"x": TensorProto.INT32},
    )
    assert fc2conv.convert(model_of(case), static=True).report.verified


def test_sizes_that_are_left_open_are_tried() -> None:
    case = Static(
        "p = GlobalAveragePool(m)\nf = Flatten(p)\ny = Gemm(f, w)",
        {"w": (3, 5)},
        {"m": ("N", 3, "H", "W")},
    )
    big = replace(
        case,
        text="m = Conv(x, k)\n" + case.text,
        inputs={"x": ("N", 2, "H", "W")},
        weights={**case.weights, "k": (3, 2, 20, 20)},
    )
    for one in (case, big):
        assert fc2conv.convert(model_of(one), static=True).report.verified


OPEN = Static(
    "h = MatMul(x, w)\nr = Relu(h)\nz = MatMul(r, v)\ny = Neg(z)",
    {"w": (6, 5), "v": (5, 4)},
    {"x": ("N", "T", 6)},
)


def test_open_axes_are_checked_at_two_sizes() -> None:
    report = fc2conv.convert(model_of(OPEN), static=True).report
    assert [c.name for c in report.checks if c.passed] == [
        *["structure", "same size", "default run", "same size", "default run", "all digits", "other size"],
        "default run",
    ]


@pytest.mark.parametrize("tokens", [7, 32])
def test_what_runs_at_one_size_only_is_rejected(tokens: int) -> None:
    """With the size of the example written into it, or another one."""
    model = fc2conv.convert(model_of(OPEN), static=True).model
    last = model.graph.node[-1]
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1, tokens, 4]), "baked"))
    model.graph.node.append(helper.make_node("Reshape", ["inner", "baked"], ["y"], name="baked"))
    last.output[0] = "inner"
    said = "other size: the converted model does not run" if tokens == 7 else "same size: "
    with pytest.raises(fc2conv.VerificationFailed, match=said):
        fc2conv.verify(model_of(OPEN), model, static=True)


def test_an_original_that_runs_at_one_size_only_is_checked_there() -> None:
    text = "s = MatMul(p, x)\n" + OPEN.text.replace("(x, w)", "(s, w)")
    model = model_of(replace(OPEN, text=text, weights={**OPEN.weights, "p": (7, 7)}))
    checks = fc2conv.convert(model, static=True).report.checks
    (other,) = (c for c in checks if c.name == "other size")
    assert (other.passed, other.note) == (None, "the original runs at no other size that was tried")


def test_minus_one_is_an_open_axis() -> None:
    """As some exporters write it."""
    model = model_of(OPEN)
    for value in (*model.graph.input, *model.graph.output):
        for i in (0, 1):
            value.type.tensor_type.shape.dim[i].dim_value = -1
    result = fc2conv.convert(model, static=True)
    assert {c.name for c in result.report.checks if c.passed} >= {"same size", "other size"}
    assert fc2conv.convolution_to_matmul(result.model).report.verified


def test_a_random_model_cannot_be_checked() -> None:
    case = Static("n = RandomNormalLike(x)\na = Add(x, n)\ny = MatMul(a, w)", {"w": (6, 5)})
    with pytest.raises(fc2conv.VerificationFailed, match="output 'y' of the original is random"):
        fc2conv.convert(model_of(case), static=True)
    assert not fc2conv.convert(model_of(case), static=True, verify=False).report.verified


def test_an_original_that_does_not_run_cannot_be_checked() -> None:
    case = Static("r = Reshape(x, s)\ny = MatMul(r, w)", {"w": (6, 5), "s": np.array([7, 6])}, {"x": ("N", "T", 6)})
    with pytest.raises(fc2conv.VerificationFailed, match="the original does not run on values that were drawn"):
        fc2conv.convert(model_of(replace(case, inputs={"x": ("N", 2, 3)})), static=True)


def test_answers_that_are_always_the_same_prove_little() -> None:
    case = Static("h = MatMul(x, w)\ny = Relu(h)", {"w": np.zeros((6, 5), np.float32)}, TOKENS)
    checks = fc2conv.convert(model_of(case), static=True).report.checks
    assert "proves little" in next(c.note for c in checks if c.name == "same size")


def test_a_wrong_declaration_is_the_originals() -> None:
    """Behind an operator that ONNX does not know, nothing tells that a declared shape is wrong; a Conv does."""
    case = Static("h = com.microsoft.FusedMatMul(x, w)\ny = Relu(h)", {"w": (6, 5)})
    model = model_of(case)
    assert fc2conv.convert(model, static=True).report.verified
    model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 7
    with pytest.raises(
        fc2conv.UnreadableModel, match=r"output 'y' is declared as \['N', 5, 7\] and computed as \[1, 5\]"
    ):
        fc2conv.convert(model, static=True)
