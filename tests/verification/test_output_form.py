"""The check "output form" is seen to fail, and to accept files that were edited without harm.

A row is a form, a mutation of the nodes behind the map of a correctly converted model, and what the refusal says. All
checks of the map itself still pass then: what is rejected is the form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv import model_io, pipeline
from onnx_fc2conv.output_form import METADATA_KEY
from onnx_fc2conv.settings import Settings
from onnx_fc2conv.verification import Verifier
from onnx_fc2conv.verification.session import Session
from tests.networks import Head, network

from .test_sabotage import MLP, TWO, array_of, behind_output, change, node, set_attribute

Mutation = Callable[[ModelProto], None]
ROUNDED = Head("f = Flatten(map)\n y = Gemm<transB = 1>(f, w, b)", {"w": (4, 12), "b": (4,)}, opset=18)
INDICES = Head("f = Flatten(map)\n g = Gemm<transB = 1>(f, w)\n y = ArgMax<axis = 1>(g)", {"w": (4, 12)})
VECTOR = Head(
    "f = Flatten(map)\n g = Gemm<transB = 1>(f, w)\n y = ReduceMax<axes = [1], keepdims = 0>(g)", {"w": (4, 12)}
)


def pooling(model: ModelProto) -> int:
    return next(i for i, n in enumerate(model.graph.node) if n.op_type in ("ReduceMean", "ReduceMax"))


def swapped_grid_axes(model: ModelProto) -> None:
    """Rows by columns first: as many, in another order."""
    set_attribute(model, node(model, "Transpose"), "perm", [0, 3, 2, 1])


def cells_before_images(model: ModelProto) -> None:
    """Right for one image, and wrong for several."""
    set_attribute(model, node(model, "Transpose"), "perm", [2, 3, 0, 1])


def classes_before_cells(model: ModelProto) -> None:
    """The reshape that tools which only relabel dims write: ``[-1, K]`` of the map itself."""
    index = node(model, "Transpose")
    set_attribute(model, index, "perm", [0, 1, 2, 3])


def last_row_first(model: ModelProto) -> None:
    """Every row is right, and the images stand in the reverse order."""
    operands = {"start": -1, "end": -(2**31), "axis": 0, "step": -1}
    model.graph.initializer.extend(numpy_helper.from_array(np.array([v], np.int64), k) for k, v in operands.items())
    index = node(model, "Transpose")
    model.graph.node[index].input[0] = "reversed"
    reverse = helper.make_node("Slice", ["y_map", *operands], ["reversed"])
    model.graph.node.insert(index, reverse)


def sum_instead_of_mean(model: ModelProto) -> None:
    """Equal at the trained size, where there is one window."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 3], np.int64), "grid"))
    index = pooling(model)
    old = model.graph.node[index]
    old.CopyFrom(helper.make_node("ReduceSum", [old.input[0], "grid"], list(old.output), keepdims=0))


def max_instead_of_mean(model: ModelProto) -> None:
    model.graph.node[pooling(model)].op_type = "ReduceMax"


def mean_instead_of_max(model: ModelProto) -> None:
    model.graph.node[pooling(model)].op_type = "ReduceMean"


def min_instead_of_max(model: ModelProto) -> None:
    model.graph.node[pooling(model)].op_type = "ReduceMin"


def pooled_over_classes(model: ModelProto) -> None:
    """Over all axes but the batch, and as many equal classes: the declared shape is kept."""
    index = pooling(model)
    set_attribute(model, index, "axes", [1, 2, 3])
    set_attribute(model, index, "keepdims", 1)
    model.graph.node[index].output[0] = "one"
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 4, 1, 1], np.int64), "four"))
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 3], np.int64), "last_axes"))
    model.graph.node.append(helper.make_node("Expand", ["one", "four"], ["four_times"]))
    model.graph.node.append(helper.make_node("Squeeze", ["four_times", "last_axes"], ["y"]))


def pooled_over_images(model: ModelProto) -> None:
    """Over the images too, and repeated for each: right for one image."""
    index = pooling(model)
    set_attribute(model, index, "axes", [0, 2, 3])
    model.graph.node[index].output[0] = "one"
    model.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "zero"))
    model.graph.initializer.append(numpy_helper.from_array(np.array([4], np.int64), "classes"))
    model.graph.node.append(helper.make_node("Shape", ["y_map"], ["dims"]))
    model.graph.node.append(helper.make_node("Gather", ["dims", "zero"], ["images"]))
    model.graph.node.append(helper.make_node("Concat", ["images", "classes"], ["target"], axis=0))
    model.graph.node.append(helper.make_node("Expand", ["one", "target"], ["y"]))


def pooled_over_rows_only(model: ModelProto) -> None:
    """Over the grid's rows, and of the columns the first."""
    index = pooling(model)
    set_attribute(model, index, "axes", [2])
    model.graph.node[index].output[0] = "columns"
    model.graph.initializer.append(numpy_helper.from_array(np.array(0, np.int64), "first"))
    model.graph.node.append(helper.make_node("Gather", ["columns", "first"], ["y"], axis=2))


def first_window_only(model: ModelProto) -> None:
    """The original's own output of the first crop: what a tool gives that crops the image to the trained size."""
    index = pooling(model)
    model.graph.initializer.append(numpy_helper.from_array(np.array(0, np.int64), "first"))
    model.graph.node.insert(index, helper.make_node("Gather", ["y_map", "first"], ["row"], axis=2))
    model.graph.node[index + 1].CopyFrom(helper.make_node("Gather", ["row", "first"], ["y"], axis=2))


def slightly_off(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(1 + 2**-12, np.float32), "more"))
    maker = next(n for n in model.graph.node if "y" in n.output)
    maker.output[0] = "nearly"
    model.graph.node.append(helper.make_node("Mul", ["nearly", "more"], ["y"]))


def one_step_off(model: ModelProto) -> None:
    """The largest float32 error that a comparison with any tolerance lets pass."""
    model.graph.initializer.append(numpy_helper.from_array(np.array(1 + 2**-23, np.float32), "more"))
    maker = next(n for n in model.graph.node if "y" in n.output)
    maker.output[0] = "nearly"
    model.graph.node.append(helper.make_node("Mul", ["nearly", "more"], ["y"]))


def half_precision(model: ModelProto) -> None:
    behind_output(model, "y", ("Cast", {"to": 10}), ("Cast", {"to": 1}))


def one_grid_axis_missing(model: ModelProto) -> None:
    """Opset 18 on: the axes are an input. The rows of the grid are left out and come in as a dim too many."""
    name = model.graph.node[pooling(model)].input[1]
    change(model, name, array_of(model, name)[:1])
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    model.graph.output[0].type.tensor_type.shape.dim.add(dim_param="N")
    for _ in range(2):
        model.graph.output[0].type.tensor_type.shape.dim.add()


def swapped_formed_outputs(model: ModelProto) -> None:
    makers = {o: n for n in model.graph.node for o in n.output if o in ("y", "z")}
    makers["y"].output[0], makers["z"].output[0] = "z", "y"


def another_map(model: ModelProto) -> None:
    """The form is right, and of another value: what the model says its map is must be the map."""
    for prop in model.metadata_props:
        if prop.key == METADATA_KEY:
            prop.value = prop.value.replace("y_map", "z_map")
    index = pooling(model)
    assert model.graph.node[index].input[0] == "y_map"
    model.graph.node[index].input[0] = "z_map"


IS_NOT = "output form: output 'y' at .* is not the {form} of its map"
ROWS: list[tuple[Head, str, Mutation, str]] = [
    (MLP, "rows", swapped_grid_axes, IS_NOT),
    (MLP, "rows", cells_before_images, IS_NOT),
    (MLP, "rows", classes_before_cells, IS_NOT),
    (MLP, "rows", last_row_first, IS_NOT),
    (MLP, "rows", slightly_off, IS_NOT),
    (MLP, "rows", half_precision, IS_NOT),
    (MLP, "rows", one_step_off, IS_NOT),
    (TWO, "rows", swapped_formed_outputs, IS_NOT),
    (INDICES, "rows", swapped_grid_axes, IS_NOT),
    (MLP, "mean", sum_instead_of_mean, IS_NOT),
    (MLP, "mean", max_instead_of_mean, IS_NOT),
    (MLP, "mean", pooled_over_classes, IS_NOT),
    (MLP, "mean", pooled_over_images, IS_NOT),
    (MLP, "mean", pooled_over_rows_only, IS_NOT),
    (MLP, "mean", first_window_only, IS_NOT),
    (MLP, "mean", slightly_off, IS_NOT),
    (MLP, "mean", half_precision, IS_NOT),
    (
        ROUNDED,
        "mean",
        one_grid_axis_missing,
        r"output form: output 'y' at .* is float32 \[1, 4, 1\], not float32 \[1, 4\]",
    ),
    (MLP, "max", mean_instead_of_max, IS_NOT),
    (MLP, "max", min_instead_of_max, IS_NOT),
    (MLP, "max", pooled_over_classes, IS_NOT),
    (MLP, "max", pooled_over_rows_only, IS_NOT),
    (MLP, "max", one_step_off, IS_NOT),
    (TWO, "max", swapped_formed_outputs, IS_NOT),
    (TWO, "max", another_map, "same size: output 'y'"),
]


def converted(head: Head, form: str) -> tuple[ModelProto, ModelProto]:
    original = network(head)
    model = ModelProto()
    model.CopyFrom(fc2conv.convert(original, output=form, verify=False).model)
    return original, model


@pytest.mark.parametrize(("head", "form", "mutate", "said"), ROWS, ids=[f"{f}-{m.__name__}" for _, f, m, _ in ROWS])
def test_verify_rejects(head: Head, form: str, mutate: Mutation, said: str) -> None:
    original, model = converted(head, form)
    fc2conv.verify(original, model, output=form)
    mutate(model)
    with pytest.raises(fc2conv.VerificationFailed, match=said.format(form=form)) as caught:
        fc2conv.verify(original, model, output=form)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("form", ["rows", "mean", "max"])
def test_the_checks_of_the_map_are_made_all_the_same(form: str) -> None:
    """A weight of the second FC is wrong: the output is its form of the map, and the map is not the original's."""
    original, model = converted(MLP, form)
    values = array_of(model, "w2")
    values.flat[3] += 1
    change(model, "w2", values)
    with pytest.raises(fc2conv.VerificationFailed, match="same size: output 'y'"):
        fc2conv.verify(original, model, output=form)


def test_every_size_and_every_batch_is_checked() -> None:
    report = fc2conv.convert(network(MLP), output="mean", sizes=[(12, 8), (8, 16)]).report
    found = [(c.size, c.note) for c in report.checks if c.name == "output form"]
    trained = [([6, 4], f"mean, batch {batch}") for batch in (1, 2)]
    notes = ("mean, batch 1", "mean, batch 2", "mean, as users run it")
    assert found == [*trained, *(([h, w], note) for h, w in ((12, 8), (8, 16)) for note in notes)]


def test_a_fixed_batch_is_checked_as_it_is() -> None:
    original, model = converted(Head(MLP.text, MLP.weights, batch=3), "rows")
    fc2conv.verify(original, model, output="rows")
    cells_before_images(model)
    with pytest.raises(fc2conv.VerificationFailed, match=r"output form: .* batch 3, is not the rows of its map"):
        fc2conv.verify(original, model, output="rows")


def test_the_model_is_run_without_additional_outputs_too() -> None:
    """A runtime whose optimisations spoil the form where the map is no output: only that run can see it."""
    original, model = converted(MLP, "mean")
    conversion = pipeline.prepare(*model_io.load(original), Settings(output="mean"))
    verifier = Verifier(conversion, model, "", lambda *_: None)
    spoilt = ModelProto()
    spoilt.CopyFrom(model)
    sum_instead_of_mean(spoilt)
    load = verifier._runtime.load

    def load_spoilt(proto: Any, folder: str = "", default: bool = False) -> Session:
        return load(spoilt if proto is model else proto, folder, default)

    verifier._runtime.load = load_spoilt  # type: ignore[method-assign]
    with pytest.raises(fc2conv.VerificationFailed, match="as users run it, is not the mean of its map"):
        verifier.run(conversion.sizes(()))


# -- files that were edited, and forms that were not asked for ---------------------------------------------------------


def stripped(model: ModelProto) -> None:
    del model.metadata_props[:]


def renamed_map(model: ModelProto) -> None:
    """As an optimiser may: everywhere, the metadata included."""
    for n in model.graph.node:
        for names in (n.input, n.output):
            for i, name in enumerate(names):
                names[i] = "v17" if name == "y_map" else name
    for value in model.graph.value_info:
        value.name = "v17" if value.name == "y_map" else value.name
    for prop in model.metadata_props:
        prop.value = prop.value.replace("y_map", "v17")


def map_as_an_output_too(model: ModelProto) -> None:
    model.graph.output.append(next(v for v in model.graph.value_info if v.name == "y_map"))
    no_value_info(model)


def no_value_info(model: ModelProto) -> None:
    del model.graph.value_info[:]


@pytest.mark.parametrize("form", ["rows", "mean", "max"])
@pytest.mark.parametrize("edit", [stripped, renamed_map, no_value_info, map_as_an_output_too])
def test_verify_accepts(form: str, edit: Mutation) -> None:
    original, model = converted(MLP, form)
    edit(model)
    report = fc2conv.verify(original, model, output=form)
    assert "output form" in {c.name for c in report.checks}


def test_a_map_that_cannot_be_found() -> None:
    original, model = converted(MLP, "rows")
    renamed_map(model)
    stripped(model)
    said = "structure: output 'y' should be the rows of an inner value 'y_map', and there is none"
    with pytest.raises(fc2conv.VerificationFailed, match=said):
        fc2conv.verify(original, model, output="rows")


@pytest.mark.parametrize(("made", "asked"), [("rows", "map"), ("rows", "mean"), ("mean", "max"), ("max", "rows")])
def test_another_form_than_the_file_says(made: str, asked: str) -> None:
    original, model = converted(MLP, made)
    said = f"output 'y' of the converted model has the form {made}, not {asked}; verify it with output=\"{made}\""
    with pytest.raises(fc2conv.UsageError, match=re.escape(said)):
        fc2conv.verify(original, model, output=asked)


@pytest.mark.parametrize("form", ["rows", "mean", "max"])
def test_a_file_of_maps_has_no_other_form(form: str) -> None:
    original, model = converted(MLP, "map")
    with pytest.raises(fc2conv.VerificationFailed, match="should be the"):
        fc2conv.verify(original, model, output=form)


@pytest.mark.parametrize("form", ["rows", "mean", "max"])
def test_a_form_that_is_not_said_is_no_map(form: str) -> None:
    original, model = converted(MLP, form)
    stripped(model)
    with pytest.raises(fc2conv.VerificationFailed, match=r"grid law: .* has shape .* predicted \[1, 4, "):
        fc2conv.verify(original, model)


DAMAGED = [
    "",
    "[]",
    "null",
    "{",
    '{"schema":1}',
    '{"schema":1,"outputs":{"y":3}}',
    '{"schema":1,"outputs":[]}',
    "[" * 9999,
]


@pytest.mark.parametrize("text", [*DAMAGED, json.dumps({"schema": 9, "outputs": {}})], ids=lambda t: t[:40])
def test_damaged_metadata(text: str) -> None:
    original, model = converted(MLP, "rows")
    for prop in model.metadata_props:
        if prop.key == METADATA_KEY:
            prop.value = text
    with pytest.raises(fc2conv.UsageError, match=r"output forms (have schema 9|is damaged)"):
        fc2conv.verify(original, model, output="rows")


def test_an_original_that_runs_one_image_only() -> None:
    """It declares any batch; the check is made with what it runs with."""
    head = Head("r = Reshape(map, d)\ny = Gemm(r, w, b)", {"d": np.array([1, 12]), "w": (12, 4), "b": (4,)})
    report = fc2conv.convert(network(head), output="rows").report
    notes = {c.note for c in report.checks if c.name == "output form"}
    assert notes == {"rows, batch 1", "rows, as users run it"}


def test_rows_without_a_feature_axis() -> None:
    original, model = converted(VECTOR, "rows")
    fc2conv.verify(original, model, output="rows")
    index = node(model, "Reshape")
    model.graph.node.insert(index, helper.make_node("Transpose", ["y_map"], ["turned"], perm=[0, 2, 1]))
    model.graph.node[index + 1].input[0] = "turned"
    with pytest.raises(fc2conv.VerificationFailed, match=IS_NOT.format(form="rows")):
        fc2conv.verify(original, model, output="rows")
