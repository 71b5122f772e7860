"""What the fuzzer has found in the package, each with the smallest model that shows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import AttributeProto, ModelProto, helper, numpy_helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv import cli
from onnx_fc2conv.verification.runtime import Session

from ..networks import Head, network

PLAIN = Head("f = Flatten(map)\ny = Gemm <alpha = 2.0> (f, w, b)", {"w": (12, 3), "b": (3,)})
Edit = Callable[[ModelProto], object]
NOT_TEXT = b"\xff\xfe\x80abc"


def set_attribute(model: ModelProto, op_type: str, **fields: object) -> None:
    """An attribute of a node, by its fields."""
    (node,) = (n for n in model.graph.node if n.op_type == op_type)
    node.attribute.append(AttributeProto(**fields))


def a_tensor_in_segments(model: ModelProto) -> None:
    model.graph.initializer[0].segment.begin = 0


def lacking(model: ModelProto, operand: int) -> None:
    model.graph.node[-1].input[operand] = ""


def other_operators_only(model: ModelProto) -> None:
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def values_without_a_place(model: ModelProto) -> None:
    """A list of numbers, and dims that hold none."""
    tensor = next(t for t in model.graph.initializer if t.name == "backbone")
    tensor.float_data.extend(numpy_helper.to_array(tensor).ravel())
    tensor.ClearField("raw_data")
    tensor.dims[-1] = 0


def transposed(model: ModelProto) -> None:
    """In front of everything, by axes that are none."""
    model.graph.node[0].input[0] = "turned"
    model.graph.node.insert(0, helper.make_node("Transpose", ["x"], ["turned"], perm=[0, 3, 1, 7]))


def with_bytes(field: bytes, data: bytes) -> bytes:
    """The file, where what a field holds is no text."""
    assert field in data
    return data.replace(field, (NOT_TEXT * 2)[: len(field)], 1)


#: an edit; what the one line says
UNREADABLE: dict[str, tuple[Edit, str]] = {
    "attribute of another type": (
        lambda m: set_attribute(m, "Flatten", name="axis", type=AttributeProto.FLOAT, f=1.0),
        "Flatten 'f': its attribute 'axis' is FLOAT, and must be INT",
    ),
    "attribute twice": (
        lambda m: set_attribute(m, "Gemm", name="alpha", type=AttributeProto.FLOAT, f=3.0),
        "Gemm 'y': its attribute 'alpha' is given twice",
    ),
    "attribute of a function": (
        lambda m: set_attribute(m, "Gemm", name="beta", type=AttributeProto.FLOAT, ref_attr_name="outer"),
        "Gemm 'y': its attribute 'beta' refers to one of a function, and is in none",
    ),
    "operand missing": (lambda m: m.graph.node[-1].ClearField("input"), "Gemm 'y': its operand 'A' is missing"),
    "operand left out": (lambda m: lacking(m, 1), "Gemm 'y': its operand 'B' is missing"),
    "operand too many": (lambda m: m.graph.node[1].input.append("w"), "Flatten 'f': has 2 operands, and can have 1"),
    "result too many": (lambda m: m.graph.node[1].output.append("g"), "Flatten 'f': has 2 results, and can have 1"),
    "no result": (lambda m: m.graph.node.add(op_type="Relu", name="r", input=["f"]), "Relu 'r': has no result"),
    "segments": (a_tensor_in_segments, "is stored in segments, which onnx does not read"),
    "values without a place": (values_without_a_place, "cannot reshape array of size 8"),
    "no default operators": (other_operators_only, "imports no version of the default operator set"),
}


def run(model: ModelProto | bytes, folder: Path, *options: str, program: str = "main") -> tuple[int, list[Path]]:
    """Exit code, and what lies in the folder besides the input."""
    data = model if isinstance(model, bytes) else model.SerializeToString()
    (folder / "in.onnx").write_bytes(data)
    code = getattr(cli, program)([str(folder / "in.onnx"), str(folder / "out.onnx"), "--quiet", *options])
    return code, [p for p in folder.iterdir() if p.name != "in.onnx"]


@pytest.mark.parametrize("program", ["main", "main_reverse"])
@pytest.mark.parametrize(("edit", "says"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_fields_that_no_runtime_takes(
    edit: Edit, says: str, program: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = network(PLAIN)
    edit(model)
    assert run(model, tmp_path, program=program) == (2, [])
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("field", [b"Gemm", b"alpha", b"backbone", b"network"])
def test_names_that_are_no_text(field: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = with_bytes(field, network(PLAIN).SerializeToString())
    assert run(data, tmp_path) == (2, [])
    assert "which is no UTF-8" in capsys.readouterr().err


def test_a_name_that_is_no_text_inside_of_a_branch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = network(PLAIN)
    inner = helper.make_graph(
        [helper.make_node("Identity", ["f"], ["odd_name"])], "g", [], [onnx.ValueInfoProto(name="odd_name")]
    )
    model.graph.node.append(helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "c"))
    assert run(with_bytes(b"odd_name", model.SerializeToString()), tmp_path) == (2, [])
    assert "which is no UTF-8" in capsys.readouterr().err


def test_axes_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = network(PLAIN)
    transposed(model)
    code, left = run(model, tmp_path)
    assert code in (1, 2)
    assert not left
    assert "internal error" not in capsys.readouterr().err


@pytest.mark.parametrize("dims", [("N", 2, -2, -3), (0, 2, 2**40, 2**30)], ids=str)
def test_a_map_of_impossible_size(dims: tuple[int, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no size changes, a head may begin with an input, whatever its dims are said to be."""
    info = [helper.make_tensor_value_info("x", 1, dims), onnx.ValueInfoProto(name="y")]
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])]
    weight = numpy_helper.from_array(np.ones((12, 3), np.float32), "w")
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    code, left = run(model, tmp_path, "--static", "--no-verify")
    assert "internal error" not in capsys.readouterr().err
    assert code == 0 or not left


def test_sizes_of_minus_one_are_open(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = network(Head("f = Relu(map)\ny = GlobalAveragePool(f)"))
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = -1
    assert run(model, tmp_path, "--form", "dense", program="main_reverse") == (2, [])
    assert "leaves 1 open; give --size" in capsys.readouterr().err


def test_images_of_more_axes_than_a_conv_takes() -> None:
    info = [helper.make_tensor_value_info(n, 1, [1] * 6) for n in "xy"]
    graph = helper.make_graph(
        [helper.make_node("Transpose", ["x"], ["y"], perm=[0, 1, 4, 2, 5, 3])], "g", info[:1], info[1:]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(fc2conv.Unliftable, match="has 4 spatial axes, and a Conv slides over up to 3"):
        fc2conv.convert(model)


def test_an_operator_that_the_opset_does_not_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "f = Flatten(map)\ng = Gemm(f, w, b)\ns = Swish(g)\ny = Relu(s)"
    model = network(Head(text, {"w": (12, 3), "b": (3,)}, opset=24))
    model.opset_import[0].version = 13
    assert run(model, tmp_path, "--no-verify") == (1, [])
    assert "the element type of its result 's' is not known" in capsys.readouterr().err


def test_a_constant_that_is_a_number_stays_one() -> None:
    """ONNX's CumSum takes its axis as a tensor without axes; onnxruntime takes a vector too, others do not."""
    head = Head("f = Flatten(map)\ng = Gemm(f, w, b)\ny = CumSum(g, a)", {"w": (12, 3), "b": (3,), "a": np.array(1)})
    made = fc2conv.convert(network(head)).model
    (cumsum,) = (n for n in made.graph.node if n.op_type == "CumSum")
    assert [list(t.dims) for t in made.graph.initializer if t.name == cumsum.input[1]] == [[]]


def test_pads_that_no_memory_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = f"p = MaxPool <kernel_shape = [1, 1], pads = [0, 0, {2**62}, 0]> (map)\nf = Flatten(p)\ny = Gemm(f, w)"
    assert run(network(Head(text, {"w": (12, 3)})), tmp_path, "--no-verify") == (1, [])
    assert "internal error" not in capsys.readouterr().err


def test_a_product_on_the_way_to_a_second_map_is_no_fc_of_the_first() -> None:
    """The second head reads what a product made of each position; the first reads the map in front of it."""
    text = """
        f = Flatten(map)
        y = MatMul(f, w)
        rows = Reshape(map, shape)
        turned = Transpose <perm = [0, 2, 1]> (rows)
        positions = MatMul(turned, v)
        g = Flatten(positions)
        z = MatMul(g, u)
    """
    weights = {"w": (5, 3), "shape": np.array([0, 1, -1]), "v": (1, 3), "u": (15, 3)}
    head = Head(text, weights, window=(5,), channels=1, outputs=("y", "z"))
    converted = fc2conv.convert(network(head))
    assert converted.report.verified
    assert [len(o.type.tensor_type.shape.dim) for o in converted.model.graph.output] == [3, 3]


def test_what_onnxruntime_prints_stays_out_of_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    """Its bindings announce a fallback where loading fails with one of two kinds of error."""

    def fails(*_: object, **__: object) -> None:
        raise ValueError("no such thing")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ort.InferenceSession, "_create_inference_session", fails)
        with pytest.raises(Exception, match="no such thing"):
            Session(network(PLAIN))
    assert capfd.readouterr().out == ""


def test_a_stride_that_no_tensor_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = network(PLAIN)
    (conv,) = (n for n in model.graph.node if n.op_type == "Conv")
    del conv.attribute[:]
    conv.attribute.append(helper.make_attribute("strides", [2**62, 2**62]))
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    onnx.save(model, tmp_path / "in.onnx")
    for form in ("matmul", "dense"):
        assert cli.main_reverse([str(tmp_path / "in.onnx"), str(tmp_path / "out.onnx"), "--form", form]) in (1, 2)
        assert "internal error" not in capsys.readouterr().err


@pytest.mark.parametrize("options", [("--static",), ("--form", "matmul")], ids=" ".join)
def test_an_image_that_no_memory_holds(
    options: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = network(PLAIN)
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 2**62
    onnx.save(model, tmp_path / "in.onnx")
    main = cli.main_reverse if options[0] == "--form" else cli.main
    assert main([str(tmp_path / "in.onnx"), str(tmp_path / "out.onnx"), *options]) in (1, 2, 3)
    said = capsys.readouterr().err
    assert "internal error" not in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize("field", ["producer_version", "producer_name", "domain"])
def test_a_text_of_the_model_that_is_none(field: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = network(PLAIN)
    setattr(model, field, "odd_text")
    assert run(with_bytes(b"odd_text", model.SerializeToString()), tmp_path) == (2, [])
    assert "which is no UTF-8" in capsys.readouterr().err


def test_an_empty_list_in_front_of_a_constant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = Head("v = Unsqueeze <axes = [0]> (b)\ns = Squeeze <axes = [0]> (v)\nf = Flatten(map)\ny = Gemm(f, w, s)",
                {"w": (12, 3), "b": (3,)}, opset=9)  # fmt: skip
    model = network(head)
    (node,) = (n for n in model.graph.node if n.op_type == "Squeeze")
    del node.attribute[0].ints[:]
    run(model, tmp_path)
    assert "internal error" not in capsys.readouterr().err


def test_a_sparse_weight_of_three_axes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Shape inference does not look at sparse values."""
    model = network(Head("f = Flatten(map)\ny = Gemm <transB = 1> (f, w, b)", {"w": (3, 12), "b": (3,)}))
    weight = next(t for t in model.graph.initializer if t.name == "w")
    model.graph.initializer.remove(weight)
    values = numpy_helper.from_array(np.ones(2, np.float32), "w")
    indices = numpy_helper.from_array(np.array([0, 5]), "w_indices")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3, 3, 12]))
    code, left = run(model, tmp_path, "--no-verify")
    assert (code in (1, 2), left) == (True, [])
    assert "internal error" not in capsys.readouterr().err


def test_a_spender_of_a_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A node that leaves no axis, in front of a Conv that was an FC."""
    model = fc2conv.convert(network(PLAIN)).model
    kernel = next(n for n in model.graph.node if n.op_type == "Conv" and n.input[0] != "x")
    place = list(model.graph.node).index(kernel)
    model.graph.node.insert(place, helper.make_node("ReduceSum", [kernel.input[0]], ["number"], keepdims=0))
    kernel.input[0] = "number"
    run(model, tmp_path, "--revert", "--no-verify", program="main_reverse")
    assert "internal error" not in capsys.readouterr().err


@pytest.mark.parametrize("count", [0, -1])
def test_a_pool_that_does_not_move(count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of onnxruntime's own operators, which ONNX's inference does not look at."""
    text = """q = QuantizeLinear(map, s, z)
        p = com.microsoft.QLinearAveragePool <kernel_shape = [1, 1], strides = [1, 1]> (q, s, z, s, z)
        d = DequantizeLinear(p, s, z)
        f = Flatten(d)
        y = Gemm(f, w)"""
    weights = {"s": np.float32(1), "z": np.uint8(0), "w": (12, 3)}
    model = network(Head(text, weights))
    (pool,) = (n for n in model.graph.node if n.op_type == "QLinearAveragePool")
    next(a for a in pool.attribute if a.name == "strides").ints[0] = count
    assert run(model, tmp_path, "--no-verify") == (1, [])
    assert f"slides by {count} cells" in capsys.readouterr().err
