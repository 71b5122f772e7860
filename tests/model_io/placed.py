"""Models with weights in every place and field that a file can have them in."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper


def typed(name: str, elem_type: int, values: np.ndarray) -> TensorProto:
    """A tensor with its values in the typed field."""
    return helper.make_tensor(name, elem_type, values.shape, values.ravel().tolist())


def everywhere() -> ModelProto:
    """Initializers, Constant nodes, a list of tensors, both branches of an If, a function; raw and typed."""
    rng = np.random.default_rng(0)
    one = numpy_helper.from_array(rng.standard_normal((5, 7), np.float32), "raw")
    said = numpy_helper.from_array(rng.standard_normal((4, 3), np.float32), "said")
    said.data_location = TensorProto.DEFAULT
    said.doc_string = "behind the values"
    stored = [
        one,
        said,
        typed("float", TensorProto.FLOAT, rng.standard_normal((3, 4))),
        typed("double", TensorProto.DOUBLE, rng.standard_normal((2, 9))),
        typed("long", TensorProto.INT64, rng.integers(-(2**60), 2**60, (4, 5))),
        typed("int", TensorProto.INT32, rng.integers(-9, 999, (40,))),
        typed("unsigned", TensorProto.UINT64, rng.integers(0, 2**60, (6,))),
        typed("half", TensorProto.FLOAT16, rng.standard_normal((30,))),
        typed("complex", TensorProto.COMPLEX64, rng.standard_normal((4,)) + 1j),
        typed("nibbles", TensorProto.INT4, rng.integers(-8, 8, (33,))),
        helper.make_tensor("text", TensorProto.STRING, [2], [b"a" * 40, b"b" * 40]),
        TensorProto(name="none", data_type=TensorProto.FLOAT, dims=[0]),
    ]
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["y"], value=numpy_helper.from_array(rng.standard_normal((6, 6)), "inner"))],
        "branch",
        [],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, [6, 6])],
        [numpy_helper.from_array(rng.standard_normal((3, 3), np.float32), "unused")],
    )
    many = helper.make_node("Many", ["raw"], ["m"], domain="d", several=[one, said])
    function = helper.make_function(
        "d",
        "Many",
        ["x"],
        ["y"],
        [
            helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(rng.standard_normal((8,)), "c")),
            helper.make_node("Identity", ["x"], ["y"]),
        ],
        [helper.make_opsetid("", 18)],
        attributes=["several"],
    )
    nodes = [
        helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(rng.standard_normal((9, 9)), "k")),
        helper.make_node("If", ["flag"], ["z"], then_branch=branch, else_branch=branch),
        many,
        helper.make_node("Constant", [], ["numbers"], value_ints=list(range(300))),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("flag", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("z", TensorProto.DOUBLE, [6, 6])],
        stored,
        doc_string="of the graph",
    )
    model = helper.make_model(
        graph,
        functions=[function],
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("d", 1)],
        ir_version=10,
    )
    model.metadata_props.add(key="k", value="v" * 100)
    return model
