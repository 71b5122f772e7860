"""Everything outside the head comes out as it went in, byte for byte; what only the head needed is gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv.errors import NothingToConvert, UnreadableModel

from .networks import Head, answers, assert_lifted, integers, network, session

FC = Head("flat = Flatten (map)\ny = Gemm <transB = 1> (flat, w, b)", {"w": (3, 12), "b": (3,)})
IMAGE = integers((2, 1, 10, 8), 3)


def bytes_of(proto: Any) -> bytes:
    return bytes(proto.SerializeToString(deterministic=True))


def convert(model: ModelProto) -> ModelProto:
    """Convert, check, and see that the argument is what it was."""
    before = bytes_of(model)
    result = fc2conv.convert(model, verify=False).model
    assert bytes_of(model) == before
    onnx.checker.check_model(result, full_check=True)
    return result


def same_answers(original: ModelProto, result: ModelProto, window: tuple[int, ...] = (3, 2)) -> None:
    """The converted model on an enlarged image, against the loop over windows, bit for bit."""
    expected = answers(original, IMAGE, window)
    found = session(result).run(list(expected), {"x": IMAGE})
    for (name, reference), value in zip(expected.items(), found, strict=True):
        np.testing.assert_array_equal(value, reference, name)
        assert reference.shape[2:] == (3, 3)


def initializer(model: ModelProto, name: str) -> TensorProto:
    (found,) = [t for t in model.graph.initializer if t.name == name]
    return found


def names(model: ModelProto) -> list[str]:
    return [t.name for t in model.graph.initializer]


def op_types(model: ModelProto) -> list[str]:
    return [n.op_type for n in model.graph.node]


def add_initializer(model: ModelProto, name: str, values: Any) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))


# -- what stays --------------------------------------------------------------------------------------------------------


def decorated() -> ModelProto:
    """A model that carries everything that a file can carry outside its head."""
    model = network(FC)
    model.ir_version = 10
    model.producer_name, model.producer_version = "somebody", "1.2"
    model.domain, model.model_version, model.doc_string = "org.example", 7, "a model\nof two lines"
    model.metadata_props.add(key="author", value="somebody")
    model.opset_import.append(helper.make_opsetid("com.example", 3))
    model.opset_import.append(helper.make_opsetid("local", 1))
    conv = model.graph.node[0]
    conv.name, conv.doc_string, conv.overload = "backbone/conv", "the first\nnode", ""
    conv.metadata_props.add(key="pkg.torch.onnx.stack_trace", value="here")
    relu = helper.make_node("Relu", ["map"], ["side"], name="unused/relu", doc_string="nobody reads it")
    relu.metadata_props.add(key="kept", value="yes")
    model.graph.node.insert(1, relu)
    twice = helper.make_node("Twice", ["constant"], ["unused"], domain="local", name="unused/twice")
    model.graph.node.append(twice)
    model.graph.node.append(
        helper.make_node("Whatever", ["constant"], ["custom"], domain="com.example", name="c", numbers=[1, 2], text="t")
    )
    model.functions.append(
        helper.make_function(
            "local", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
        )
    )
    model.functions[0].doc_string = "twice as much"
    add_initializer(model, "constant", np.arange(5, dtype=np.float32))
    typed = helper.make_tensor("typed", TensorProto.FLOAT, [3], [0.5, float("nan"), -0.0])
    typed.doc_string = "typed, not raw"
    model.graph.initializer.append(typed)
    model.graph.initializer.append(helper.make_tensor("half", TensorProto.BFLOAT16, [2], [0.5, 1.5]))
    add_initializer(model, "strings", np.array(["a", "b"], object))
    model.graph.doc_string, model.graph.name = "the graph", "a name with / and spaces"
    model.graph.quantization_annotation.add(tensor_name="map").quant_parameter_tensor_names.add(key="SCALE", value="s")
    model.graph.metadata_props.add(key="graph", value="yes")
    model.graph.input[0].doc_string = "the image"
    model.graph.output[0].doc_string = "the answer"
    sparse = model.graph.sparse_initializer.add()
    sparse.dims.append(4)
    sparse.values.CopyFrom(helper.make_tensor("sparse", TensorProto.FLOAT, [1], [3.0]))
    sparse.indices.CopyFrom(helper.make_tensor("sparse_indices", TensorProto.INT64, [1], [2]))
    return model


HEAD_NODES = ("Flatten", "Gemm")
HEAD_WEIGHTS = ("w", "b")


def test_everything_outside_the_head_is_byte_for_byte_as_it_was() -> None:
    model = decorated()
    result = fc2conv.convert(model, verify=False).model
    kept = [bytes_of(n) for n in model.graph.node if n.op_type not in HEAD_NODES]
    assert [bytes_of(n) for n in result.graph.node if n.op_type != "Conv" or n.name == "backbone/conv"] == kept
    assert len(kept) == 4
    before = {t.name: bytes_of(t) for t in model.graph.initializer if t.name not in HEAD_WEIGHTS}
    after = {t.name: bytes_of(t) for t in result.graph.initializer if t.name not in HEAD_WEIGHTS}
    assert after == before
    assert set(after) == {"backbone", "constant", "typed", "half", "strings"}
    for part in ("functions", "opset_import", "training_info"):
        assert [bytes_of(p) for p in getattr(result, part)] == [bytes_of(p) for p in getattr(model, part)], part
    for part in ("quantization_annotation", "metadata_props", "sparse_initializer"):
        pairs = [[bytes_of(p) for p in getattr(m.graph, part)] for m in (model, result)]
        assert pairs[0] == pairs[1] != [], part
    for what in ("ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string"):
        assert getattr(result, what) == getattr(model, what), what
    assert (result.graph.name, result.graph.doc_string) == (model.graph.name, model.graph.doc_string)
    assert result.graph.input[0].doc_string == "the image"
    assert result.graph.output[0].doc_string == "the answer"
    assert result.metadata_props[0] == model.metadata_props[0]


def test_the_order_of_what_stays_is_as_it_was() -> None:
    model = decorated()
    result = fc2conv.convert(model, verify=False).model
    assert [n for n in names(result) if n not in HEAD_WEIGHTS] == [n for n in names(model) if n not in HEAD_WEIGHTS]
    assert [n.name for n in result.graph.node] == [
        "backbone/conv",
        "unused/relu",
        *fc_names(result),
        "unused/twice",
        "c",
    ]


def fc_names(model: ModelProto) -> list[str]:
    return [n.name for n in model.graph.node if n.op_type == "Conv" and n.name != "backbone/conv"]


def test_only_spatial_dims_of_input_and_output_change() -> None:
    model = network(FC)
    model.graph.input[0].type.denotation = "IMAGE"
    model.graph.input[0].type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    model.graph.input[0].type.tensor_type.shape.dim[1].denotation = "DATA_CHANNEL"
    result = convert(model)
    found, given = result.graph.input[0], model.graph.input[0]
    assert found.type.denotation == "IMAGE"
    assert [found.type.tensor_type.shape.dim[i] for i in (0, 1)] == [
        given.type.tensor_type.shape.dim[i] for i in (0, 1)
    ]
    assert [o.name for o in result.graph.output] == ["y"]


def test_training_info_stays() -> None:
    model = network(FC)
    info = model.training_info.add()
    info.algorithm.name = "training"
    info.update_binding.add(key="w", value="w_new")
    result = fc2conv.convert(model, verify=False).model
    assert [bytes_of(t) for t in result.training_info] == [bytes_of(info)]


# -- what goes ---------------------------------------------------------------------------------------------------------


def test_shape_arithmetic_and_dead_weights_go() -> None:
    head = Head(
        """shape = Shape (map)
        n = Gather (shape, zero)
        n1 = Unsqueeze (n, axis)
        target = Concat <axis = 0> (n1, rest)
        flat = Reshape (map, target)
        wt = Constant <value_floats = [1.0, 2.0, 3.0]> ()
        t = MatMul (flat, w)
        y = Mul (t, wt)""",
        {
            "zero": np.int64(0),
            "axis": np.array([0], np.int64),
            "rest": np.array([-1], np.int64),
            "w": (12, 3),
        },
    )
    model = network(head)
    result = convert(model)
    assert not {"Shape", "Gather", "Unsqueeze", "Concat", "Reshape", "MatMul"} & set(op_types(result))
    assert not {"zero", "axis", "rest"} & set(names(result))
    assert {name for n in result.graph.node for name in n.input} >= set(names(result))
    same_answers(model, result)


def test_what_the_head_shares_with_the_rest_stays() -> None:
    """Arithmetic and constants that something else reads, too."""
    head = Head(
        """shape = Shape (map)
        n = Gather (shape, zero)
        n1 = Unsqueeze (n, axis)
        target = Concat <axis = 0> (n1, rest)
        flat = Reshape (map, target)
        y = Gemm <transB = 1> (flat, w)
        batch = Identity (n1)
        weight = Identity (w)""",
        {"zero": np.int64(0), "axis": np.array([0], np.int64), "rest": np.array([-1], np.int64), "w": (3, 12)},
        outputs=("y", "batch", "weight"),
    )
    model = network(head)
    result = convert(model)
    assert set(op_types(result)) >= {"Shape", "Gather", "Unsqueeze", "Identity"}
    assert not {"Concat", "Reshape"} & set(op_types(result))
    assert "rest" not in names(result)
    assert bytes_of(initializer(result, "w")) == bytes_of(initializer(model, "w"))
    found = session(result).run(["batch", "weight"], {"x": IMAGE})
    np.testing.assert_array_equal(found[0], [2])
    np.testing.assert_array_equal(found[1], numpy_helper.to_array(initializer(model, "w")))


def test_unused_initializers_and_nodes_stay() -> None:
    model = network(FC)
    add_initializer(model, "unused", np.ones(3, np.float32))
    add_initializer(model, "read by unused", np.ones(3, np.float32))
    model.graph.node.append(helper.make_node("Relu", ["read by unused"], ["dead"], name="dead"))
    model.graph.node.append(helper.make_node("Shape", ["map"], ["dead shape"], name="dead shape"))
    result = convert(model)
    assert {"unused", "read by unused"} <= set(names(result))
    assert {"dead", "dead shape"} <= {n.name for n in result.graph.node}
    same_answers(model, result)


# -- weights -----------------------------------------------------------------------------------------------------------


def raw(tensor: TensorProto) -> bytes:
    return bytes(tensor.raw_data)


@pytest.mark.parametrize("window", [(3, 2), (5,), (2, 2, 3), (1, 1)], ids=str)
def test_a_matrix_of_rows_keeps_its_bytes_and_its_name(window: tuple[int, ...]) -> None:
    size = 2 * int(np.prod(window))
    head = replace(FC, window=window, weights={"w": (3, size), "b": (3,)})
    model = network(head)
    result = convert(model)
    kernel = initializer(result, "w")
    assert list(kernel.dims) == [3, 2, *window]
    assert raw(kernel) == raw(initializer(model, "w"))
    assert len(raw(kernel)) == 4 * 3 * size
    assert bytes_of(initializer(result, "b")) == bytes_of(initializer(model, "b"))
    assert sorted(names(result)) == sorted(names(model))
    assert_lifted(head)


def test_only_the_dims_of_a_weight_change() -> None:
    model = network(FC)
    tensor = initializer(model, "w")
    tensor.doc_string = "the weight"
    tensor.metadata_props.add(key="from", value="training")
    kernel = initializer(convert(model), "w")
    del kernel.dims[:]
    kernel.dims.extend([3, 12])
    assert bytes_of(kernel) == bytes_of(tensor)


def test_a_weight_in_typed_fields_keeps_them() -> None:
    model = network(FC)
    values = integers((3, 12), 11)
    initializer(model, "w").CopyFrom(helper.make_tensor("w", TensorProto.FLOAT, [3, 12], values.ravel().tolist()))
    kernel = initializer(convert(model), "w")
    assert list(kernel.dims) == [3, 2, 3, 2]
    assert list(kernel.float_data) == values.ravel().tolist()
    assert not kernel.HasField("raw_data")


def test_a_permuted_weight_takes_the_name_of_the_old_one() -> None:
    head = Head("flat = Flatten (map)\ny = MatMul (flat, w)", {"w": (12, 3)})
    model = network(head)
    result = convert(model)
    assert sorted(names(result)) == ["backbone", "w"]
    kernel = numpy_helper.to_array(initializer(result, "w"))
    old = numpy_helper.to_array(initializer(model, "w"))
    np.testing.assert_array_equal(kernel, old.T.reshape(3, 2, 3, 2))
    same_answers(model, result)


SHARED = {
    "two FCs": Head(
        """flat = Flatten (map)
        y = Gemm <transB = 1> (flat, w)
        again = Flatten (map)
        z = Gemm <transB = 1> (again, w)""",
        {"w": (3, 12)},
        outputs=("y", "z"),
    ),
    "once as rows, once as columns": Head(
        """flat = Flatten (map)
        y = Gemm <transB = 1> (flat, w)
        z = MatMul (y, w)""",
        {"w": (12, 12)},
        outputs=("y", "z"),
    ),
    "once over the window, once behind it": Head(
        """flat = Flatten (map)
        y = Gemm <transB = 1> (flat, w)
        z = Gemm <transB = 1> (y, w)""",
        {"w": (12, 12)},
        outputs=("y", "z"),
    ),
    "a bias of two": Head(
        """flat = Flatten (map)
        y = Gemm <transB = 1> (flat, w, b)
        z = Gemm <transB = 1, beta = 2.0> (flat, v, b)""",
        {"w": (3, 12), "v": (3, 12), "b": (3,)},
        outputs=("y", "z"),
    ),
}


@pytest.mark.parametrize("head", SHARED.values(), ids=SHARED.keys())
def test_shared_weights(head: Head) -> None:
    result = assert_lifted(head).model
    assert len(names(result)) == len(set(names(result)))
    assert {name for n in result.graph.node for name in n.input} >= set(names(result))


def test_two_fcs_share_one_kernel() -> None:
    result = convert(network(SHARED["two FCs"]))
    assert sorted(names(result)) == ["backbone", "w"]


def test_a_weight_that_is_read_elsewhere_stays_beside_its_kernel() -> None:
    head = Head("flat = Flatten (map)\ny = Gemm <transB = 1> (flat, w)\nsum = ReduceSum (w)", {"w": (3, 12)})
    head = replace(head, outputs=("y", "sum"))
    model = network(head)
    result = convert(model)
    assert bytes_of(initializer(result, "w")) == bytes_of(initializer(model, "w"))
    (kernel,) = [t for t in result.graph.initializer if list(t.dims) == [3, 2, 3, 2]]
    assert kernel.name != "w"
    assert raw(kernel) == raw(initializer(model, "w"))


def test_a_weight_that_is_a_graph_output_stays() -> None:
    model = network(FC)
    model.graph.output.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [3, 12]))
    result = convert(model)
    assert bytes_of(initializer(result, "w")) == bytes_of(initializer(model, "w"))
    np.testing.assert_array_equal(
        session(result).run(["w"], {"x": IMAGE})[0], numpy_helper.to_array(initializer(model, "w"))
    )


# -- initializers that are inputs --------------------------------------------------------------------------------------


def listing(model: ModelProto, *which: str) -> ModelProto:
    """The model with these initializers among its graph inputs, too."""
    for name in which:
        tensor = initializer(model, name)
        model.graph.input.append(helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims)))
    return model


IR3 = {
    "Gemm": FC,
    "MatMul": Head("flat = Flatten (map)\nt = MatMul (flat, w)\ny = Add (t, b)", {"w": (12, 3), "b": (3,)}),
    "alpha": Head("flat = Flatten (map)\ny = Gemm <transB = 1, alpha = 2.0> (flat, w, b)", {"w": (3, 12), "b": (3,)}),
    "no bias, two FCs": Head(
        "flat = Flatten (map)\nt = MatMul (flat, w)\nr = Relu (t)\ny = MatMul (r, b)", {"w": (12, 4), "b": (4, 3)}
    ),
    "one-hot flatten": Head(
        "flat = Flatten (map)\ns = Mul (flat, f)\ny = Gemm <transB = 1> (s, w, b)",
        {"w": (3, 12), "b": (3,), "f": (12,)},
    ),
}


@pytest.mark.parametrize("head", IR3.values(), ids=IR3.keys())
def test_ir_3_lists_every_initializer_as_an_input(head: Head) -> None:
    head = replace(head, opset=8)
    model = network(head)
    model.ir_version = 3
    listing(model, *names(model))
    onnx.checker.check_model(model, full_check=True)
    result = convert(model)
    assert result.ir_version == 3
    listed = {i.name: i for i in result.graph.input}
    assert set(listed) == {"x", *names(result)}
    assert result.graph.input[0].name == "x"
    for name in names(result):
        tensor = listed[name].type.tensor_type
        assert [d.dim_value for d in tensor.shape.dim] == list(initializer(result, name).dims)
        assert tensor.elem_type == initializer(result, name).data_type
    same_answers(model, result)


def test_overridable_initializers_stay_listed() -> None:
    model = listing(network(FC), "backbone", "b")
    result = convert(model)
    assert [i.name for i in result.graph.input] == ["x", "backbone", "b"]
    assert bytes_of(result.graph.input[1]) == bytes_of(model.graph.input[1])


def test_an_overridable_weight_stays_overridable_with_its_new_dims() -> None:
    model = listing(network(FC), "w")
    result = convert(model)
    assert [i.name for i in result.graph.input] == ["x", "w"]
    assert [d.dim_value for d in result.graph.input[1].type.tensor_type.shape.dim] == [3, 2, 3, 2]
    other = integers((3, 12), 77)
    small = np.ascontiguousarray(IMAGE[:, :, :6, :4])
    expected = session(model).run(["y"], {"x": small, "w": other})[0]
    found = session(result).run(["y"], {"x": IMAGE, "w": other.reshape(3, 2, 3, 2)})[0]
    np.testing.assert_array_equal(found[:, :, 0, 0], expected)


def test_later_ir_versions_list_no_new_inputs() -> None:
    result = convert(network(IR3["alpha"]))
    assert [i.name for i in result.graph.input] == ["x"]


# -- idempotence, order, names -----------------------------------------------------------------------------------------

EVERY = {**IR3, **SHARED}


@pytest.mark.parametrize("head", EVERY.values(), ids=EVERY.keys())
def test_there_is_nothing_to_convert_in_a_converted_model(head: Head) -> None:
    result = convert(network(head))
    before = bytes_of(result)
    with pytest.raises(NothingToConvert):
        fc2conv.convert(result, verify=False)
    assert bytes_of(result) == before


@pytest.mark.parametrize("head", EVERY.values(), ids=EVERY.keys())
def test_converting_the_same_model_twice_gives_the_same_bytes(head: Head) -> None:
    model = network(head)
    assert bytes_of(convert(model)) == bytes_of(convert(model))


def test_the_result_shares_no_memory_with_the_argument() -> None:
    model = network(FC)
    before = bytes_of(model)
    result = convert(model)
    for node in result.graph.node:
        node.doc_string = "changed"
    initializer(result, "w").raw_data = b""
    result.graph.input[0].name = "changed"
    assert bytes_of(model) == before


ORDERS: dict[str, Callable[[list[NodeProto]], list[NodeProto]]] = {
    "reversed": lambda nodes: nodes[::-1],
    "head first": lambda nodes: [*nodes[1:], nodes[0]],
    "interleaved": lambda nodes: [*nodes[1::2], *nodes[::2]],
}
CHAIN = Head(
    """a = Relu (map)
    flat = Flatten (a)
    t = MatMul (flat, w)
    r = Relu (t)
    y = MatMul (r, v)""",
    {"w": (12, 4), "v": (4, 3)},
)


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
def test_unsorted_graphs_come_out_sorted(order: Callable[[list[NodeProto]], list[NodeProto]]) -> None:
    model = network(CHAIN)
    shuffled = ModelProto.FromString(model.SerializeToString())
    del shuffled.graph.node[:]
    shuffled.graph.node.extend(order(list(model.graph.node)))
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model(shuffled)
    result = convert(shuffled)  # it is checked there
    made = {"x", *names(result)}
    for node in result.graph.node:
        assert {i for i in node.input if i} <= made
        made |= set(node.output)
    same_answers(model, result)


def test_a_sorted_graph_keeps_its_order() -> None:
    model = network(CHAIN)
    side = [helper.make_node("Relu", ["map"], [f"side{i}"], name=f"side{i}") for i in range(5)]
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([nodes[0], *side[::-1], *nodes[1:]])
    result = convert(model)
    assert [n.name for n in result.graph.node if n.name.startswith("side")] == [n.name for n in side[::-1]]
    assert [bytes_of(n) for n in result.graph.node[:6]] == [bytes_of(n) for n in model.graph.node[:6]]


NODE_NAMES = {
    "none": [""] * 6,
    "all different": ["conv", "relu", "flatten", "fc1", "relu2", "fc2"],
    "those of the values": ["map", "a", "flat", "t", "r", "y"],
    "those of what is made": ["fc1/Conv", "fc2_Conv", "w_lifted", "fc1", "fc1_Conv", "fc2"],
    "those of the weights": ["w", "v", "backbone", "x", "y", "w_lifted"],
    "some missing": ["conv", "", "flatten", "", "relu", "fc"],
}


@pytest.mark.parametrize("node_names", NODE_NAMES.values(), ids=NODE_NAMES.keys())
def test_node_names(node_names: list[str]) -> None:
    model = network(CHAIN)
    for node, name in zip(model.graph.node, node_names, strict=True):
        node.name = name
    result = convert(model)
    found = [n.name for n in result.graph.node if n.name]
    assert len(found) == len(set(found))
    assert result.graph.node[0].name == node_names[0]
    values = [o for n in result.graph.node for o in n.output]
    assert len(values) == len(set(values))
    same_answers(model, result)
    if node_names[3] and node_names[5]:
        by_name = {n.name: n.op_type for n in result.graph.node}
        assert by_name[node_names[3]] == by_name[node_names[5]] == "Conv"


@pytest.mark.parametrize("twins", [("map", "side"), ("t", "y"), ("map", "t")], ids=["backbone", "head", "both"])
def test_duplicate_node_names(twins: tuple[str, str]) -> None:
    """onnxruntime loads no model in which two nodes have one name; names that are there are still not touched."""
    model = network(CHAIN)
    model.graph.node.insert(1, helper.make_node("Relu", ["map"], ["side"]))
    for node in model.graph.node:
        node.name = "twin" if node.output[0] in twins else ""
    with pytest.raises(UnreadableModel, match="onnxruntime does not load the original model"):
        fc2conv.convert(model, verify=True)
    result = fc2conv.convert(model, verify=False).model
    kept = [bytes_of(n) for n in model.graph.node if n.output[0] in ("map", "side")]
    assert [bytes_of(n) for n in result.graph.node[:2]] == kept
    for either in (model, result):
        for node in either.graph.node:
            node.ClearField("name")
    same_answers(model, result)


def test_values_whose_names_are_those_that_the_conversion_would_choose() -> None:
    head = Head(
        """y_Conv = Flatten (map)
        w_lifted = MatMul (y_Conv, w)
        w_lifted_Conv = Relu (w_lifted)
        y = MatMul (w_lifted_Conv, y_lifted)""",
        {"w": (12, 4), "y_lifted": (4, 3)},
    )
    model = network(head)
    result = convert(model)
    made = [*names(result), *(name for node in result.graph.node for name in node.output)]
    assert len(made) == len(set(made))
    same_answers(model, result)


def test_the_original_loads_in_onnxruntime_wherever_the_tests_say_so() -> None:
    """The networks of this file are valid on their own: a broken original would prove nothing."""
    for head in (*EVERY.values(), CHAIN):
        onnx.checker.check_model(network(head), full_check=True)
        session(network(head))
