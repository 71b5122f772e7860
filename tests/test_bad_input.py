"""Hostile and broken input: always an exit code, at most one readable line, nothing written, the input untouched."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tests.networks import Head, answers, integers, network, session
from tests.test_cli import EXACT, LINEAR, MODELS, Ran, call, snapshot

FLIPS, CHUNK = 200, 20
GOOD = MODELS / "conv1d.onnx"  #: small and fast, so that most of its bits mean something


def check_left_alone(ran: Ran, before: dict[str, str], folder: Path, codes: tuple[int, ...]) -> None:
    """A run that failed says so in one line; nothing in the folder changed."""
    line = ran.one_line(*codes)
    assert "internal error" not in line, line
    assert snapshot(folder) == before


# -- files that are no models ----------------------------------------------------------------------------------------


def _nothing(path: Path) -> None:
    pass


def _bytes(data: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(data)

    return write


def _truncated(share: float) -> Callable[[Path], None]:
    data = EXACT.read_bytes()
    return _bytes(data[: int(len(data) * share)])


def _circle(path: Path) -> None:
    path.symlink_to(path)


def _dangling(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def _random(path: Path) -> None:
    path.write_bytes(np.random.default_rng(5).bytes(10_000))


FILES: dict[str, Callable[[Path], None]] = {
    "missing": _nothing,
    "directory": Path.mkdir,
    "fifo": os.mkfifo,
    "symlink circle": _circle,
    "dangling symlink": _dangling,
    "empty": _bytes(b""),
    "one byte": _bytes(b"\x08"),
    "newline": _bytes(b"\n"),
    "text": _bytes(b"ir_version: 8\ngraph { }\n"),
    "json": _bytes(b'{"irVersion": "8", "graph": {"node": []}}'),
    "zeros": _bytes(b"\0" * 4096),
    "ones": _bytes(b"\xff" * 4096),
    "random": _random,
    "zip": _bytes(b"PK\x03\x04" + b"\0" * 100),
    "elf": _bytes(b"\x7fELF" + b"\0" * 100),
    "html": _bytes(b"<!doctype html><title>404</title>"),
    "lfs pointer": _bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"),
    "a proto without a graph": _bytes(b"\x08\x08"),
    "only a tensor": _bytes(numpy_helper.from_array(np.zeros(3, np.float32), "t").SerializeToString()),
    **{f"truncated at {share:.0%}": _truncated(share) for share in (0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)},
    "truncated by one byte": _bytes(EXACT.read_bytes()[:-1]),
}


@pytest.mark.parametrize("make", FILES.values(), ids=FILES.keys())
@pytest.mark.parametrize("target", [[], ["out.onnx"]], ids=["inspect", "convert"])
def test_what_is_no_model_is_exit_2(
    make: Callable[[Path], None], target: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "in.onnx")
    before = snapshot(tmp_path)
    ran = call(capsys, tmp_path / "in.onnx", *(tmp_path / t for t in target))
    check_left_alone(ran, before, tmp_path, (2,))


@pytest.mark.parametrize("junk", [b"\0", b"\xff\xff\xff", b"junk behind the model"], ids=repr)
def test_junk_behind_a_model(junk: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.onnx").write_bytes(EXACT.read_bytes() + junk)
    before = snapshot(tmp_path)
    check_left_alone(call(capsys, tmp_path / "in.onnx", tmp_path / "out.onnx"), before, tmp_path, (2,))


@pytest.mark.parametrize("path", ["", "\n", ".", "/", "/dev/null", "x" * 5000], ids=lambda p: ascii(p[:12]))
def test_paths_that_are_no_files(path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(tmp_path)
    check_left_alone(call(capsys, path, tmp_path / "out.onnx"), before, tmp_path, (2,))


@pytest.mark.parametrize("path", ["", ".", "/", "/dev/null", "x" * 5000], ids=lambda p: ascii(p[:12]))
def test_outputs_that_are_no_files(
    path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check_left_alone(call(capsys, EXACT, path), {}, tmp_path, (2,))


@pytest.mark.parametrize("target", ["in.onnx", "./in.onnx", "fifo", "folder"])
def test_outputs_that_must_not_be_replaced(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(network(LINEAR), "in.onnx")
    os.mkfifo("fifo")
    Path("folder").mkdir()
    before = snapshot(tmp_path)
    check_left_alone(call(capsys, "in.onnx", target), before, tmp_path, (2,))


# -- models that are broken or cannot be converted -------------------------------------------------------------------


def _initializer(model: ModelProto, name: str) -> TensorProto:
    return next(t for t in model.graph.initializer if t.name == name)


def _node(model: ModelProto, op_type: str) -> onnx.NodeProto:
    return next(n for n in model.graph.node if n.op_type == op_type)


def _input_dims(model: ModelProto) -> list[onnx.TensorShapeProto.Dimension]:
    return list(model.graph.input[0].type.tensor_type.shape.dim)


def _no_outputs(m: ModelProto) -> None:
    del m.graph.output[:]


def _no_nodes(m: ModelProto) -> None:
    del m.graph.node[:]


def _missing_initializer(m: ModelProto) -> None:
    m.graph.initializer.remove(_initializer(m, "w"))


def _wrong_weight_dims(m: ModelProto) -> None:
    _initializer(m, "w").dims[:] = [6, 6]


def _transposed_weight_dims(m: ModelProto) -> None:
    _initializer(m, "w").dims[:] = [3, 12]


def _flat_weight(m: ModelProto) -> None:
    _initializer(m, "w").dims[:] = [36]


def _scalar_weight(m: ModelProto) -> None:
    _initializer(m, "w").CopyFrom(numpy_helper.from_array(np.array(1, np.float32), "w"))


def _empty_weight(m: ModelProto) -> None:
    _initializer(m, "w").CopyFrom(numpy_helper.from_array(np.zeros((0, 3), np.float32), "w"))


def _integer_weight(m: ModelProto) -> None:
    _initializer(m, "w").CopyFrom(numpy_helper.from_array(np.ones((12, 3), np.int64), "w"))


def _text_weight(m: ModelProto) -> None:
    _initializer(m, "w").CopyFrom(numpy_helper.from_array(np.full((12, 3), "a", object), "w"))


def _wrong_bias(m: ModelProto) -> None:
    _initializer(m, "b").CopyFrom(numpy_helper.from_array(np.ones(5, np.float32), "b"))


def _wrong_backbone(m: ModelProto) -> None:
    _initializer(m, "backbone").CopyFrom(numpy_helper.from_array(np.ones((2, 7, 2, 2), np.float32), "backbone"))


def _huge_weight(m: ModelProto) -> None:
    _initializer(m, "w").dims[:] = [2**40, 2**20]


def _negative_weight(m: ModelProto) -> None:
    _initializer(m, "w").dims[:] = [-1, 3]


def _many_axes(m: ModelProto) -> None:
    _initializer(m, "w").dims[:] = [12, 3, *[1] * 107]


def _many_axes_of_input(m: ModelProto) -> None:
    for _ in range(105):
        m.graph.input[0].type.tensor_type.shape.dim.add(dim_value=1)


def _bytes_as_strings(m: ModelProto) -> None:
    _initializer(m, "w").data_type = TensorProto.STRING


def _cycle(m: ModelProto) -> None:
    m.graph.node[0].input[0] = "y"


def _unknown_op(m: ModelProto) -> None:
    _node(m, "Flatten").op_type = "NoSuchOp"


def _unknown_op_in_backbone(m: ModelProto) -> None:
    m.graph.node.insert(0, helper.make_node("NoSuchOp", ["x"], ["x2"]))
    _node(m, "Conv").input[0] = "x2"


def _unknown_domain(m: ModelProto) -> None:
    _node(m, "Gemm").domain = "com.example"
    m.opset_import.add(domain="com.example", version=1)


def _domain_not_imported(m: ModelProto) -> None:
    _node(m, "Gemm").domain = "com.example"


def _opset_from_the_future(m: ModelProto) -> None:
    m.opset_import[0].version = 999


def _opset_zero(m: ModelProto) -> None:
    m.opset_import[0].version = 0


def _opset_negative(m: ModelProto) -> None:
    m.opset_import[0].version = -5


def _ir_from_the_future(m: ModelProto) -> None:
    m.ir_version = 999


def _no_ir(m: ModelProto) -> None:
    m.ClearField("ir_version")


def _no_input_shape(m: ModelProto) -> None:
    m.graph.input[0].type.tensor_type.ClearField("shape")


def _no_input_type(m: ModelProto) -> None:
    m.graph.input[0].ClearField("type")


def _rank_0_input(m: ModelProto) -> None:
    m.graph.input[0].type.tensor_type.shape.CopyFrom(onnx.TensorShapeProto())


def _sequence_input(m: ModelProto) -> None:
    m.graph.input[0].CopyFrom(helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, ["N", 1, 6, 4]))


def _no_inputs(m: ModelProto) -> None:
    del m.graph.input[:]


def _dims(height: int | str | None, width: int | str | None) -> Callable[[ModelProto], None]:
    def edit(m: ModelProto) -> None:
        for dim, value in zip(_input_dims(m)[2:], (height, width), strict=True):
            dim.Clear()
            if isinstance(value, str):
                dim.dim_param = value
            elif value is not None:
                dim.dim_value = value

    return edit


def _attribute(op_type: str, name: str, value: object) -> Callable[[ModelProto], None]:
    def edit(m: ModelProto) -> None:
        node = _node(m, op_type)
        kept = [a for a in node.attribute if a.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, value)])

    return edit


def _untyped_attribute(m: ModelProto) -> None:
    _node(m, "Gemm").attribute.append(onnx.AttributeProto(name="alpha"))


def _no_conv_inputs(m: ModelProto) -> None:
    del _node(m, "Conv").input[:]


def _gemm_without_weight(m: ModelProto) -> None:
    del _node(m, "Gemm").input[1:]


def _empty_weight_name(m: ModelProto) -> None:
    _node(m, "Gemm").input[1] = ""


def _gemm_with_many_inputs(m: ModelProto) -> None:
    _node(m, "Gemm").input.extend(["b"] * 50)


def _no_node_outputs(m: ModelProto) -> None:
    del _node(m, "Gemm").output[:]


def _many_node_outputs(m: ModelProto) -> None:
    _node(m, "Gemm").output.extend(["z1", "z2"])


def _output_is_input(m: ModelProto) -> None:
    m.graph.output[0].name = "x"


def _output_twice(m: ModelProto) -> None:
    m.graph.output.append(m.graph.output[0])


def _wrong_output_shape(m: ModelProto) -> None:
    m.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 7]))


def _wrong_output_type(m: ModelProto) -> None:
    m.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.INT64, ["N", 3]))


def _lying_value_info(m: ModelProto) -> None:
    m.graph.value_info.append(helper.make_tensor_value_info("map", TensorProto.FLOAT, ["N", 2, 4, 3]))


def _same_node_names(m: ModelProto) -> None:
    for node in m.graph.node:
        node.name = "same"


def _reshape_to_negative(m: ModelProto) -> None:
    node = _node(m, "Flatten")
    node.op_type = "Reshape"
    node.input.append("target")
    m.graph.initializer.append(numpy_helper.from_array(np.array([-1, -1], np.int64), "target"))


def _reshape_to_wrong_size(m: ModelProto) -> None:
    _reshape_to_negative(m)
    _initializer(m, "target").CopyFrom(numpy_helper.from_array(np.array([-1, 13], np.int64), "target"))


def _deep_branches(m: ModelProto) -> None:
    graph = helper.make_graph([helper.make_node("Relu", ["map"], ["r"])], "g", [], [onnx.ValueInfoProto(name="r")])
    for _ in range(20):
        node = helper.make_node("If", ["flag"], ["r"], then_branch=graph, else_branch=graph)
        if len(node.SerializeToString()) > 10**5:
            break
        graph = helper.make_graph([node], "g", [], [onnx.ValueInfoProto(name="r")])
    m.graph.node.append(node)


def _function_that_calls_itself(m: ModelProto) -> None:
    m.opset_import.add(domain="local", version=1)
    _node(m, "Gemm").domain = "local"
    call_ = helper.make_node("Gemm", ["a", "b", "c"], ["d"], domain="local")
    m.functions.append(helper.make_function("local", "Gemm", ["a", "b", "c"], ["d"], [call_], list(m.opset_import[:1])))


UNREADABLE = (2,)
REFUSED = (1, 2)
UNCHECKABLE = (1, 2, 3)  #: only onnxruntime or the ONNX checker knows what is wrong with it
BROKEN: list[tuple[Callable[[ModelProto], None], tuple[int, ...]]] = [
    (_no_outputs, UNREADABLE),
    (_no_nodes, UNREADABLE),
    (_missing_initializer, UNREADABLE),
    (_wrong_weight_dims, REFUSED),
    (_transposed_weight_dims, REFUSED),
    (_flat_weight, REFUSED),
    (_scalar_weight, REFUSED),
    (_empty_weight, REFUSED),
    (_integer_weight, UNCHECKABLE),
    (_text_weight, UNCHECKABLE),
    (_wrong_bias, REFUSED),
    (_wrong_backbone, UNCHECKABLE),
    (_huge_weight, UNREADABLE),
    (_negative_weight, UNREADABLE),
    (_many_axes, UNREADABLE),
    (_many_axes_of_input, UNREADABLE),
    (_bytes_as_strings, UNREADABLE),
    (_cycle, UNREADABLE),
    (_unknown_op, REFUSED),
    (_unknown_op_in_backbone, REFUSED),
    (_unknown_domain, REFUSED),
    (_domain_not_imported, REFUSED),
    (_opset_from_the_future, UNCHECKABLE),
    (_opset_zero, REFUSED),
    (_opset_negative, REFUSED),
    (_ir_from_the_future, UNCHECKABLE),
    (_no_ir, UNCHECKABLE),
    (_no_input_shape, REFUSED),
    (_no_input_type, REFUSED),
    (_rank_0_input, REFUSED),
    (_sequence_input, REFUSED),
    (_no_inputs, UNREADABLE),
    (_dims(0, 4), REFUSED),
    (_dims(0, 0), REFUSED),
    (_dims(-6, -4), REFUSED),
    (_dims(1, 1), REFUSED),
    (_dims(2**31, 2**31), REFUSED),
    (_dims(2**62, 2**62), REFUSED),
    (_dims("h", "w"), REFUSED),
    (_dims(None, None), REFUSED),
    (_attribute("Conv", "strides", [0, 0]), REFUSED),
    (_attribute("Conv", "strides", [-1, -1]), REFUSED),
    (_attribute("Conv", "strides", [2]), REFUSED),
    (_attribute("Conv", "strides", [2**62, 2**62]), REFUSED),
    (_attribute("Conv", "strides", "two"), REFUSED),
    (_attribute("Conv", "pads", [2**40] * 4), REFUSED),
    (_attribute("Conv", "pads", [-3] * 4), REFUSED),
    (_attribute("Conv", "pads", [1]), REFUSED),
    (_attribute("Conv", "dilations", [0, 0]), UNCHECKABLE),
    (_attribute("Conv", "kernel_shape", [5, 5]), REFUSED),
    (_attribute("Conv", "group", 0), UNCHECKABLE),
    (_attribute("Conv", "group", -1), UNCHECKABLE),
    (_attribute("Conv", "auto_pad", "NONSENSE"), UNCHECKABLE),
    (_attribute("Flatten", "axis", 99), REFUSED),
    (_attribute("Flatten", "axis", 1.5), REFUSED),
    (_attribute("Gemm", "transA", 1), REFUSED),
    (_attribute("Gemm", "transB", 1), REFUSED),
    (_attribute("Gemm", "alpha", "one"), REFUSED),
    (_attribute("Gemm", "no_such_attribute", 1), UNCHECKABLE),
    (_untyped_attribute, UNCHECKABLE),
    (_no_conv_inputs, REFUSED),
    (_gemm_without_weight, REFUSED),
    (_empty_weight_name, REFUSED),
    (_gemm_with_many_inputs, REFUSED),
    (_no_node_outputs, REFUSED),
    (_many_node_outputs, UNCHECKABLE),
    (_output_is_input, REFUSED),
    (_wrong_output_type, UNCHECKABLE),
    (_reshape_to_negative, REFUSED),
    (_reshape_to_wrong_size, REFUSED),
    (_deep_branches, UNREADABLE),
    (_function_that_calls_itself, REFUSED),
]


def _label(damage: Callable[[ModelProto], None]) -> str:
    cells = [str(c.cell_contents) for c in damage.__closure__ or ()]
    return damage.__name__.strip("_") if not cells else "-".join([damage.__qualname__.split(".")[0].strip("_"), *cells])


@pytest.mark.parametrize(("damage", "codes"), BROKEN, ids=[_label(d) for d, _ in BROKEN])
def test_a_broken_model_is_refused_in_one_line(
    damage: Callable[[ModelProto], None],
    codes: tuple[int, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = network(LINEAR)
    damage(model)
    (tmp_path / "in.onnx").write_bytes(model.SerializeToString())
    before = snapshot(tmp_path)
    ran = call(capsys, tmp_path / "in.onnx", tmp_path / "out.onnx")
    check_left_alone(ran, before, tmp_path, codes)


ODD = [_output_twice, _wrong_output_shape, _lying_value_info, _same_node_names]


@pytest.mark.parametrize("damage", ODD, ids=_label)
def test_an_odd_model_is_refused_in_one_line_or_converted_right(
    damage: Callable[[ModelProto], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Models that onnxruntime runs although the standard, or common sense, forbids them."""
    model = network(LINEAR)
    damage(model)
    (tmp_path / "in.onnx").write_bytes(model.SerializeToString())
    before = snapshot(tmp_path)
    ran = call(capsys, tmp_path / "in.onnx", tmp_path / "out.onnx")
    if ran.code:
        check_left_alone(ran, before, tmp_path, UNCHECKABLE)
        return
    image = integers((1, 1, 10, 10), seed=3)
    found = session(onnx.load(tmp_path / "out.onnx")).run(["y"], {"x": image})[0]
    np.testing.assert_array_equal(found, answers(network(LINEAR), image, LINEAR.window)["y"])
    assert {name: snapshot(tmp_path)[name] for name in before} == before


# -- numbers that are not finite -------------------------------------------------------------------------------------

SPECIAL = {"nan": [np.nan], "inf": [np.inf], "-inf": [-np.inf], "all": [np.nan, np.inf, -np.inf, -0.0, 1e-45, 1e30]}


@pytest.mark.parametrize("values", SPECIAL.values(), ids=SPECIAL.keys())
@pytest.mark.parametrize("tail", ["y = Identity(g)", "y = Relu(g)", "y = Softmax<axis = 1>(g)"], ids=str)
def test_weights_that_are_not_finite_are_converted(
    values: list[float], tail: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """NaN equals NaN: the converted model answers what the original answers, whatever that is."""
    weight = integers((12, 3), seed=1)
    weight.flat[: len(values)] = values
    model = network(Head(f"f = Flatten(map)\ng = Gemm(f, w)\n{tail}", {"w": weight}))
    onnx.save(model, tmp_path / "in.onnx")
    call(capsys, tmp_path / "in.onnx", tmp_path / "out.onnx").clean()
    image = integers((1, 1, 10, 10), seed=3)
    found = session(onnx.load(tmp_path / "out.onnx")).run(["y"], {"x": image})[0]
    expected = answers(model, image, (3, 2))["y"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, equal_nan=True)
    assert not np.isfinite(expected).all() or "Relu" in tail


# -- bit flips -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", range(FLIPS // CHUNK))
def test_a_flipped_bit_never_ends_in_a_traceback(
    chunk: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = GOOD.read_bytes()
    for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        bit = int(np.random.default_rng(seed).integers(len(data) * 8))
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        (tmp_path / "in.onnx").write_bytes(flipped)
        before = snapshot(tmp_path)
        ran = call(capsys, tmp_path / "in.onnx", tmp_path / "out.onnx", "--quiet")
        if ran.code == 0:
            assert ran.clean() == ""
            session(onnx.load(tmp_path / "out.onnx"))
            (tmp_path / "out.onnx").unlink()
        else:
            assert "internal error" not in ran.one_line(1, 2, 3), f"bit {bit}"
        assert snapshot(tmp_path) == before
