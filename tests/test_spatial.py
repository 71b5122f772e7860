"""The shapes that a converted model declares: true at every size, and no name used for two things."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv.geometry import METADATA_KEY, Geometry
from onnx_fc2conv.undo import METADATA_KEY as ORIGINAL

from .networks import Head, integers, network, session

FC = "flat = Flatten (map)\ny = Gemm <transB = 1> (flat, w)"
PLAIN = Head(FC, {"w": (3, 12)})
LINE = Head(FC, {"w": (3, 8)}, window=(4,))
BLOCK = Head(FC, {"w": (3, 24)}, window=(3, 2, 2))
HEADS = {"1-D": LINE, "2-D": PLAIN, "3-D": BLOCK}
NAMES = {"1-D": ["length"], "2-D": ["height", "width"], "3-D": ["depth", "height", "width"]}


def dims(value: ValueInfoProto) -> list[int | str | None]:
    """The declared dims: numbers, names, or ``None``."""
    return [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in value.type.tensor_type.shape.dim]


def evaluated(value: ValueInfoProto, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """The declared dims at these sizes; every expression must consist of names in ``sizes`` and arithmetic."""
    found = []
    for dim in dims(value):
        assert dim is not None
        if isinstance(dim, str):
            assert set(re.findall(r"[A-Za-z_]\w*", dim)) <= set(sizes), dim
            dim = eval(dim, {"__builtins__": {}}, dict(sizes))
        found.append(dim)
    return tuple(found)


def declared_values(model: ModelProto) -> dict[str, ValueInfoProto]:
    graph = model.graph
    return {v.name: v for v in (*graph.input, *graph.value_info, *graph.output)}


def assert_declared_sizes(model: ModelProto, names: Sequence[str], trained: Sequence[int]) -> None:
    """Every declared shape of the model is what onnxruntime computes, at sizes from the trained one on."""
    declared = declared_values(model)
    probe = ModelProto.FromString(model.SerializeToString())
    listed = {o.name for o in probe.graph.output}
    initializers = {t.name for t in probe.graph.initializer}
    inner = [n for n in declared if n not in listed | initializers | {"x"}]
    probe.graph.output.extend(
        ValueInfoProto(name=n, type=helper.make_tensor_type_proto(declared[n].type.tensor_type.elem_type, None))
        for n in inner
    )
    run = session(probe)
    outputs = [o.name for o in probe.graph.output]
    compared = 0
    for growth in itertools.product((0, 1, 2, 5), repeat=len(trained)):
        size = [t + g for t, g in zip(trained, growth, strict=True)]
        channels = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
        batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 2
        found = run.run(outputs, {"x": integers((batch, channels, *size), 3)})
        for name, value in zip(outputs, found, strict=True):
            if declared[name].type.tensor_type.HasField("shape"):
                sizes = {"N": batch, **dict(zip(names, size, strict=True))}
                assert evaluated(declared[name], sizes) == value.shape, (name, size)
                compared += 1
    assert compared >= 4 ** len(trained) * len(listed)


def converted(model: ModelProto) -> ModelProto:
    result = fc2conv.convert(model, verify=False)
    onnx.checker.check_model(result.model, full_check=True)
    onnx.shape_inference.infer_shapes(result.model, check_type=True, strict_mode=True, data_prop=True)
    return result.model


@pytest.mark.parametrize("rank", HEADS)
def test_spatial_dims_of_the_input_get_names(rank: str) -> None:
    model = converted(network(HEADS[rank]))
    assert dims(model.graph.input[0]) == ["N", 1, *NAMES[rank]]
    assert dims(model.graph.output[0])[:2] == ["N", 3]


@pytest.mark.parametrize("rank", HEADS)
def test_output_dims_are_true_at_every_size(rank: str) -> None:
    head = HEADS[rank]
    assert_declared_sizes(converted(network(head)), NAMES[rank], [2 * w for w in head.window])


def test_height_and_width_stay_distinct_where_they_are_equal() -> None:
    model = converted(network(replace(PLAIN, window=(3, 3), weights={"w": (3, 18)})))
    assert dims(model.graph.input[0])[2:] == ["height", "width"]
    assert dims(model.graph.output[0])[2:] == ["(height - 4)//2", "(width - 4)//2"]


@pytest.mark.parametrize("batch", ["N", "images", 1, 4, None])
def test_the_batch_dim_is_as_it_was(batch: Any) -> None:
    model = network(replace(PLAIN, batch=batch if batch is not None else "N"))
    if batch is None:
        for value in (model.graph.input[0], model.graph.output[0]):
            value.type.tensor_type.shape.dim[0].Clear()
    result = converted(model)
    assert dims(result.graph.input[0])[0] == batch
    assert dims(result.graph.output[0])[0] == batch


# -- names that are taken ----------------------------------------------------------------------------------------------


def test_a_batch_called_height() -> None:
    model = converted(network(replace(PLAIN, batch="height")))
    assert dims(model.graph.input[0]) == ["height", 1, "height_2", "width"]
    assert dims(model.graph.output[0]) == ["height", 3, "(height_2 - 4)//2", "(width - 2)//2"]


def test_names_taken_by_other_inputs_outputs_and_inner_values() -> None:
    model = network(PLAIN)
    model.graph.node.append(helper.make_node("Identity", ["side"], ["same"]))
    model.graph.node.append(helper.make_node("Identity", ["same"], ["again"]))
    model.graph.input.append(helper.make_tensor_value_info("side", TensorProto.FLOAT, ["height", 2]))
    model.graph.output.append(helper.make_tensor_value_info("again", TensorProto.FLOAT, ["width", 2]))
    model.graph.value_info.append(helper.make_tensor_value_info("same", TensorProto.FLOAT, ["height_2", 2]))
    result = converted(model)
    assert dims(result.graph.input[0]) == ["N", 1, "height_3", "width_2"]
    assert dims(result.graph.output[0]) == ["N", 3, "(height_3 - 4)//2", "(width_2 - 2)//2"]
    assert dims(result.graph.input[1]) == ["height", 2]
    assert dims(result.graph.output[1]) == ["width", 2]


@pytest.mark.parametrize(("rank", "taken"), [("1-D", "length"), ("3-D", "depth")])
def test_names_taken_in_other_ranks(rank: str, taken: str) -> None:
    model = converted(network(replace(HEADS[rank], batch=taken)))
    assert dims(model.graph.input[0])[2] == f"{taken}_2"


# -- inner values ------------------------------------------------------------------------------------------------------

DEEP = Head(
    """r = Relu (map)
    p, indices = MaxPool <kernel_shape = [2, 2], ceil_mode = 1> (r)
    d, mask = Dropout (p)
    c = Concat <axis = 1> (d, p)
    s = Shape (c)
    n = Gather (s, zero)
    n1 = Unsqueeze (n, zeros)
    target = Concat <axis = 0> (n1, minus)
    flat = Reshape (c, target)
    hidden = Gemm <transB = 1> (flat, w)
    active = Relu (hidden)
    y = Gemm <transB = 1> (active, v)
    prob = Softmax <axis = 1> (y)""",
    {
        "zero": np.int64(0),
        "zeros": np.array([0], np.int64),
        "minus": np.array([-1], np.int64),
        "w": (4, 24),
        "v": (3, 4),
    },
    window=(4, 3),
    outputs=("y", "prob"),
)


def with_value_info(model: ModelProto) -> ModelProto:
    """The shapes of all inner values, as exporters write them."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    assert {v.name for v in inferred.graph.value_info} >= {"map", "r", "p", "indices", "mask", "flat", "hidden"}
    return inferred


def test_declared_inner_shapes_are_gone_or_true() -> None:
    result = converted(with_value_info(network(DEEP)))
    assert_declared_sizes(result, ["height", "width"], [8, 6])
    kept = {v.name: dims(v) for v in result.graph.value_info}
    assert kept["map"] == ["N", 2, "height//2", "width//2"]
    assert kept["hidden"] == ["N", 4, "(height - 6)//2", "(width - 4)//2"]
    assert "flat" not in kept
    made = {name for node in result.graph.node for name in node.output} | {t.name for t in result.graph.initializer}
    assert set(kept) <= made


@pytest.mark.parametrize("name", ["r", "indices", "mask", "map", "active", "flat"])
def test_declared_shapes_of_inner_values_that_are_outputs(name: str) -> None:
    model = network(DEEP)
    inferred = {v.name: v for v in with_value_info(model).graph.value_info}
    model.graph.output.append(inferred[name])
    result = converted(model)
    assert [o.name for o in result.graph.output] == ["y", "prob", name]
    assert_declared_sizes(result, ["height", "width"], [8, 6])


def test_value_info_of_what_is_not_rewritten_stays() -> None:
    """Of initializers, of values that do not depend on the image, and doc strings and metadata of value infos."""
    model = with_value_info(network(DEEP))
    model.graph.value_info.append(helper.make_tensor_value_info("backbone", TensorProto.FLOAT, [2, 1, 2, 2]))
    for value in (model.graph.input[0], model.graph.output[0], *model.graph.value_info):
        value.doc_string = f"about {value.name}"
        value.metadata_props.add(key="of", value=value.name)
    result = converted(model)
    before = declared_values(model)
    after = declared_values(result)
    assert {"x", "y", "backbone", "map", "hidden"} <= set(after)
    for name, value in after.items():
        assert value.doc_string == f"about {name}" or name == "prob"
        assert value.metadata_props == before[name].metadata_props
        assert value.type.tensor_type.elem_type == before[name].type.tensor_type.elem_type
    assert dims(after["backbone"]) == [2, 1, 2, 2]


def test_wrong_declared_shapes_are_corrected() -> None:
    model = network(DEEP)
    model.graph.value_info.extend(
        [
            helper.make_tensor_value_info("map", TensorProto.FLOAT, ["N", 2, 99, 99]),
            helper.make_tensor_value_info("r", TensorProto.FLOAT, ["N", 2, 99]),
            helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["N", 99]),
            helper.make_tensor_value_info("gone", TensorProto.FLOAT, [1]),
        ]
    )
    result = converted(model)
    assert_declared_sizes(result, ["height", "width"], [8, 6])
    assert "gone" not in {v.name for v in result.graph.value_info}


def test_sizes_behind_upsampling_are_true() -> None:
    """A size that is divided first and multiplied then needs its parentheses."""
    model = network(PLAIN)
    resize = helper.make_node(
        "Resize", ["map", "", "scales"], ["wide"], mode="nearest", coordinate_transformation_mode="asymmetric"
    )
    shrink = helper.make_node("MaxPool", ["wide"], ["small"], kernel_shape=[3, 3], strides=[1, 1])
    nodes = list(model.graph.node)
    flatten = next(n for n in nodes if n.op_type == "Flatten")
    flatten.input[0] = "small"
    at = nodes.index(flatten)
    del model.graph.node[:]
    model.graph.node.extend([*nodes[:at], resize, shrink, *nodes[at:]])
    model.graph.initializer.append(helper.make_tensor("scales", TensorProto.FLOAT, [4], [1, 1, 2, 2]))
    weight = next(t for t in model.graph.initializer if t.name == "w")
    weight.CopyFrom(helper.make_tensor("w", TensorProto.FLOAT, [3, 16], integers((3, 16), 5).ravel()))
    model.graph.output.append(helper.make_tensor_value_info("wide", TensorProto.FLOAT, ["N", 2, 6, 4]))
    assert_declared_sizes(converted(model), ["height", "width"], [6, 4])


# -- metadata ----------------------------------------------------------------------------------------------------------


def metadata(model: ModelProto) -> list[tuple[str, str]]:
    return [(p.key, p.value) for p in model.metadata_props]


def test_the_geometry_is_in_the_metadata() -> None:
    result = fc2conv.convert(network(PLAIN), verify=False)
    assert [key for key, _ in metadata(result.model)] == [METADATA_KEY, ORIGINAL]
    stored = Geometry.from_json(dict(metadata(result.model))[METADATA_KEY])
    assert stored == result.geometry == fc2conv.read_geometry(result.model)
    assert stored.grid_size((10, 8)) == (3, 3)
    assert stored.box(1, 2) == (2, 4, 8, 8)


def test_existing_metadata_is_kept() -> None:
    model = network(PLAIN)
    model.metadata_props.add(key="author", value="somebody")
    model.metadata_props.add(key="classes", value='["a", "b"]')
    result = converted(model)
    assert metadata(result)[:2] == [("author", "somebody"), ("classes", '["a", "b"]')]
    assert [key for key, _ in metadata(result)[2:]] == [METADATA_KEY, ORIGINAL]


def test_a_geometry_that_is_there_already_is_replaced() -> None:
    model = network(PLAIN)
    model.metadata_props.add(key=METADATA_KEY, value="stale")
    model.metadata_props.add(key="author", value="somebody")
    result = converted(model)
    assert [key for key, _ in metadata(result)] == [METADATA_KEY, "author", ORIGINAL]
    assert Geometry.from_json(metadata(result)[0][1]).grid.window == (3, 2)


def test_every_lifted_output_has_its_geometry() -> None:
    result = fc2conv.convert(network(DEEP), verify=False)
    assert list(result.geometry.outputs) == ["y", "prob"]
    assert result.geometry["y"] == result.geometry["prob"]
