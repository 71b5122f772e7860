"""``--dynamic-batch``: models for a fixed number of images take any number, each image by itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

import onnx_fc2conv as fc2conv
from tests.backbone.baked import Baked
from tests.backbone.test_baked import CASES
from tests.networks import Head, integers, network, session

FOR_ONE = {name: case for name, case in CASES.items() if case.image[0] == 1}


def batch_dims(model: ModelProto) -> list[object]:
    return [
        v.type.tensor_type.shape.dim[0].dim_param or v.type.tensor_type.shape.dim[0].dim_value
        for v in (*model.graph.input, *model.graph.output)
    ]


@pytest.mark.parametrize("case", FOR_ONE.values(), ids=FOR_ONE.keys())
def test_a_backbone_for_one_image_takes_several(case: Baked) -> None:
    result = fc2conv.convert(case.model, sizes=[case.grown], dynamic_batch=True)
    assert batch_dims(result.model) == ["batch", "batch"]
    assert [c.note for c in result.report.checks if c.name == "same size"] == ["batch 1", "batch 2"]
    images = np.concatenate([case.pixels(case.grown), case.pixels(case.grown) + 1, -case.pixels(case.grown)])
    (found,) = session(result.model).run(None, {"x": images})
    for i in range(3):
        expected = case.expected(images[i : i + 1], [1] * len(case.grown))
        np.testing.assert_array_equal(found[i : i + 1], expected)


HEADS = {
    "the batch in the target": Head(
        "f = Reshape(map, s)\ny = Gemm(f, W)", {"s": np.array([1, 12]), "W": (12, 3)}, batch=1
    ),
    "left over": Head("f = Reshape(map, s)\ny = Gemm(f, W)", {"s": np.array([1, -1]), "W": (12, 3)}, batch=1),
    "two FC nodes and a view between": Head(
        "f = Reshape(map, s)\ng = Gemm(f, W)\nr = Reshape(g, t)\ny = MatMul(r, V)",
        {"s": np.array([1, 12]), "W": (12, 4), "t": np.array([1, 2, 2]), "V": (2, 3)},
        batch=1,
    ),
    "four images": Head("f = Reshape(map, s)\ny = Gemm(f, W)", {"s": np.array([4, 12]), "W": (12, 3)}, batch=4),
    "four images, rows": Head("f = Reshape(map, s)\ny = MatMul(f, W)", {"s": np.array([8, 6]), "W": (6, 3)}, batch=4),
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS.keys())
def test_a_head_for_one_image_takes_several(head: Head) -> None:
    model = network(head)
    result = fc2conv.convert(model, dynamic_batch=True)
    images = integers((3, *[d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]), 5)
    (found,) = session(result.model).run(None, {"x": images})
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    whole = [session(model).run(None, {"x": images[[i] * batch]})[0] for i in range(3)]
    expected = np.concatenate([answers[: len(answers) // batch] for answers in whole])
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)


def test_a_batch_that_is_free_stays_as_it_is() -> None:
    model = network(Head("f = Flatten(map)\ny = Gemm(f, W)", {"W": (12, 3)}))
    assert fc2conv.convert(model, dynamic_batch=True).model == fc2conv.convert(model).model


def test_a_name_that_is_taken_is_not_taken_again() -> None:
    model = network(HEADS["left over"])
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "batch"
    assert batch_dims(fc2conv.convert(model, dynamic_batch=True).model)[0] == "batch_2"


REFUSED = {
    "a row for each of several images": (
        Head("f = Flatten(map)\ny = Gemm(f, W, C)", {"W": (12, 3), "C": (4, 3)}, batch=4),
        "its constant 'C' has a row for each of several images",
    ),
    "rows of the one image": (
        Head("f = Reshape(map, s)\ny = MatMul(f, W)", {"s": np.array([2, 6]), "W": (6, 3)}, batch=1),
        "has no batch axis in front, so the batch cannot be freed",
    ),
    "no batch axis left": (
        Head("f = Reshape(map, s)\ny = MatMul(f, W)", {"s": np.array([12]), "W": (12, 3)}, batch=1),
        "has no batch axis in front, so the batch cannot be freed",
    ),
}


@pytest.mark.parametrize(("head", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_refuses(head: Head, reason: str) -> None:
    with pytest.raises(fc2conv.Unliftable) as caught:
        fc2conv.convert(network(head), dynamic_batch=True)
    assert reason in caught.value.reason


def test_a_model_that_mixes_its_images_is_rejected() -> None:
    """Right for one image, and wrong for two."""
    model = network(HEADS["left over"])
    converted = fc2conv.convert(model, dynamic_batch=True).model
    last = converted.graph.node[-1]
    last.output[0] = "unmixed"
    if len(converted.opset_import) and converted.opset_import[0].version >= 18:
        converted.graph.initializer.append(numpy_helper.from_array(np.array([0]), "first"))
        converted.graph.node.append(helper.make_node("ReduceMax", ["unmixed", "first"], ["most"]))
    else:
        converted.graph.node.append(helper.make_node("ReduceMax", ["unmixed"], ["most"], axes=[0]))
    converted.graph.node.append(helper.make_node("Max", ["most", "unmixed"], ["y"]))
    onnx.checker.check_model(converted)
    with pytest.raises(fc2conv.VerificationFailed, match="same size"):
        fc2conv.verify(model, converted, dynamic_batch=True)


def test_a_backbone_for_three_images_takes_any_number() -> None:
    one = CASES["channel shuffle"]
    weights = {**one.weights, "five": [3, 2, 3, 8, 12], "four": [3, 6, 8, 12]}
    three = replace(one, image=(3, *one.image[1:]), weights=weights)
    result = fc2conv.convert(three.model, sizes=[one.grown], dynamic_batch=True)
    assert batch_dims(result.model) == ["batch", "batch"]
    images = np.concatenate([one.pixels(one.grown), -one.pixels(one.grown)])
    (found,) = session(result.model).run(None, {"x": images})
    np.testing.assert_array_equal(found, one.expected(images, [1, 1]))
