"""Models without an FC head: their spatial dims are freed, and nothing else changes but what carries their size."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper, parser

import onnx_fc2conv as fc2conv
from tests.networks import integers, session
from tests.test_cli import call


def network(
    text: str, outputs: dict[str, tuple[object, ...]], image: tuple[object, ...] = (1, 2, 8, 12), **weights: object
) -> ModelProto:
    """Nodes behind ``x`` as a model; a tuple among the weights stands for seeded small integers."""
    nodes = parser.parse_graph("g (float x) => (float y) {\n" + text + "\n}").node
    arrays = {k: integers(v, 3) if isinstance(v, tuple) else np.asarray(v) for k, v in weights.items()}
    graph = helper.make_graph(
        nodes,
        "headless",
        [helper.make_tensor_value_info("x", 1, image)],
        [helper.make_tensor_value_info(name, 1, dims) for name, dims in outputs.items()],
        [numpy_helper.from_array(v, k) for k, v in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


UNPADDED = ("c = Conv <strides = [2, 2]> (x, k)\ny = Relu (c)", {"y": (1, 3, 4, 6)}, {"k": (3, 2, 2, 2)})


def dims(value: onnx.ValueInfoProto) -> list[object]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def test_the_dims_are_freed_and_no_node_changes() -> None:
    text, outputs, weights = UNPADDED
    model = network(text, outputs, **weights)
    result = fc2conv.convert(model)
    assert result.report.headline().endswith("no head; spatial dims freed, verified")
    assert result.report.verdict == "exact"
    assert list(result.model.graph.node) == list(model.graph.node)
    assert dims(result.model.graph.input[0]) == [1, 2, "height", "width"]
    assert dims(result.model.graph.output[0]) == [1, 3, "height//2", "width//2"]
    assert (result.report.heads, result.report.outputs) == ([], [])
    assert result.report.maps == {"y": ["1", "3", "height//2", "width//2"]}
    assert dict(result.geometry.outputs) == {}


def test_every_window_of_the_output_is_the_originals_on_the_crop() -> None:
    text, outputs, weights = UNPADDED
    model = network(text, outputs, **weights)
    converted, original = session(fc2conv.convert(model).model), session(model)
    image = integers((1, 2, 14, 20), 8, -2, 4)
    (enlarged,) = converted.run(None, {"x": image})
    assert enlarged.shape == (1, 3, 7, 10)
    for i in range(4):
        for j in range(5):
            crop = np.ascontiguousarray(image[:, :, 2 * i : 2 * i + 8, 2 * j : 2 * j + 12])
            (expected,) = original.run(None, {"x": crop})
            np.testing.assert_array_equal(enlarged[:, :, i : i + 4, j : j + 6], expected)


def test_exact_is_asserted_on_crops_and_padded_is_measured() -> None:
    text, outputs, weights = UNPADDED
    exact = fc2conv.convert(network(text, outputs, **weights)).report
    assert [c.passed for c in exact.checks if c.name == "image crops"] == [True, True]
    padded = fc2conv.convert(
        network("y = Conv <pads = [1, 1, 1, 1]> (x, k)", {"y": (1, 3, 8, 12)}, k=(3, 2, 3, 3))
    ).report
    assert [c.passed for c in padded.checks if c.name == "image crops"] == [None, None]
    assert padded.verdict == "padded"
    assert padded.deviation["y"]["error"] > 0


def test_a_model_that_was_edited_is_rejected() -> None:
    text, outputs, weights = UNPADDED
    model = network(text, outputs, **weights)
    converted = fc2conv.convert(model).model
    tensor = converted.graph.initializer[0]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + 1, tensor.name))
    with pytest.raises(fc2conv.VerificationFailed, match="same size"):
        fc2conv.verify(model, converted)


def test_an_output_of_another_size_is_rejected() -> None:
    """Right at the trained size, where the crop takes nothing away."""
    text, outputs, weights = UNPADDED
    model = network(text, outputs, **weights)
    converted = fc2conv.convert(model).model
    converted.graph.node[-1].output[0] = "whole"
    for name, value in {"starts": [0], "ends": [4], "axes": [2]}.items():
        converted.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
    converted.graph.node.append(helper.make_node("Slice", ["whole", "starts", "ends", "axes"], ["y"]))
    del converted.graph.output[0].type.tensor_type.shape.dim[:]
    converted.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", 1, [1, 3, "a", "b"]))
    with pytest.raises(fc2conv.VerificationFailed, match="grid law: output 'y'"):
        fc2conv.verify(model, converted)


SHUFFLE = """r = Reshape (c, six)
t = Transpose <perm = [0, 1, 4, 2, 5, 3]> (r)
y = Reshape (t, four)"""


def test_superresolution_by_reshapes_runs_at_any_size() -> None:
    """A pixel shuffle written as Reshape, Transpose, Reshape: beside DepthToSpace, which is the same."""
    weights = {"k": (9, 1, 3, 3), "six": [1, 1, 3, 3, 8, 12], "four": [1, 1, 24, 36]}
    model = network(
        "c = Conv <pads = [1, 1, 1, 1]> (x, k)\n" + SHUFFLE, {"y": (1, 1, 24, 36)}, (1, 1, 8, 12), **weights
    )
    twin = network(
        'c = Conv <pads = [1, 1, 1, 1]> (x, k)\ny = DepthToSpace <blocksize = 3, mode = "CRD"> (c)',
        {"y": (None, 1, None, None)},
        (None, 1, None, None),
        k=(9, 1, 3, 3),
    )
    result = fc2conv.convert(model, sizes=[(10, 15)])
    assert dims(result.model.graph.output[0]) == [1, 1, "3*height", "3*width"]
    image = integers((1, 1, 10, 15), 8, -2, 4)
    (found,) = session(result.model).run(None, {"x": image})
    (expected,) = session(twin).run(None, {"x": image})
    np.testing.assert_array_equal(found, expected)


def test_a_skip_that_was_resized_to_a_fixed_size() -> None:
    text = """d = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)
    u = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"> (d, , , sizes)
    y = Concat <axis = 1> (x, u)"""
    model = network(text, {"y": (1, 4, 8, 12)}, sizes=[1, 2, 8, 12])
    result = fc2conv.convert(model, sizes=[(12, 16)])
    image = integers((1, 2, 12, 16), 8, -2, 4)
    (found,) = session(result.model).run(None, {"x": image})
    blocks = image.reshape(1, 2, 6, 2, 8, 2).max((3, 5))
    np.testing.assert_array_equal(found, np.concatenate([image, blocks.repeat(2, 2).repeat(2, 3)], 1))


def test_a_list_of_positions_has_the_size_of_their_product() -> None:
    text = "t = Transpose <perm = [0, 2, 3, 1]> (x)\ny = Reshape (t, rows)"
    model = network(f"{text}", {"y": (1, 96, 2)}, rows=[1, 96, 2])
    result = fc2conv.convert(model)
    assert dims(result.model.graph.output[0]) == [1, "height*width", 2]
    image = integers((1, 2, 9, 14), 8, -2, 4)
    (found,) = session(result.model).run(None, {"x": image})
    np.testing.assert_array_equal(found, image.transpose(0, 2, 3, 1).reshape(1, 126, 2))


def test_a_global_pool_stays_one() -> None:
    model = network("p = GlobalMaxPool (x)\ny = Flatten (p)", {"y": (1, 2)})
    result = fc2conv.convert(model)
    assert result.report.verdict == "global context"
    image = integers((1, 2, 9, 14), 8, -2, 4)
    np.testing.assert_array_equal(session(result.model).run(None, {"x": image})[0], image.max((2, 3)))


REFUSED = {
    "the size is free already": (
        network("y = Relu (x)", {"y": ("N", 2, "h", "w")}, ("N", 2, "h", "w")),
        fc2conv.NothingToConvert,
        None,
        "its size is free already",
    ),
    "an output of a fixed size": (
        network('[up] y = Resize <mode = "linear"> (x, , , sizes)', {"y": (1, 2, 16, 24)}, sizes=[1, 2, 16, 24]),
        fc2conv.Unliftable,
        "Resize 'up'",
        "its constant 16 may be 2*height or a fixed number",
    ),
    "a value for each position": (
        network("[p] y = Mul (x, k)", {"y": (1, 2, 8, 12)}, k=(1, 2, 8, 12)),
        fc2conv.Unliftable,
        "Mul 'p'",
        "is position-dependent",
    ),
    "an unknown operator": (
        network("[c] y = CumSum (x, axis)", {"y": (1, 2, 8, 12)}, axis=2),
        fc2conv.Unliftable,
        "CumSum 'c'",
        "is not known on a feature map",
    ),
}


@pytest.mark.parametrize(("model", "kind", "node", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_refuses(model: ModelProto, kind: type[fc2conv.Fc2ConvError], node: str | None, reason: str) -> None:
    with pytest.raises(kind) as caught:
        fc2conv.convert(model)
    assert caught.value.node == node
    assert reason in caught.value.reason


def test_the_command_says_so(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    text, outputs, weights = UNPADDED
    source, target = f"{tmp_path}/in.onnx", f"{tmp_path}/out.onnx"
    onnx.save(network(text, outputs, **weights), source)
    out = call(capsys, source).words()
    assert "no head; its spatial dims can be freed" in out
    out = call(capsys, source, target).words()
    assert "no head; spatial dims freed, verified" in out
    assert "output 'y' is a feature map, [1, 3, height//2, width//2]" in out
