"""Shapes for an engine's dynamic inputs: valid sizes, in a command line that trtexec reads as they are meant."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, helper, numpy_helper, parser

import onnx_fc2conv as fc2conv
from onnx_fc2conv import model_io, pipeline
from onnx_fc2conv.conversion import Conversion
from onnx_fc2conv.handover import hand_over
from onnx_fc2conv.report import markdown
from tests.networks import Head, integers, network
from tests.test_cli import EXACT, LINEAR, MODELS, call
from tests.test_report import piped

Shapes = dict[str, tuple[int, ...]]


def read_shapes(value: str) -> Shapes:
    """What trtexec reads in the value of one of its shape options.

    By its own rules: split at every comma; then the name is what stands between two single quotes, or else what stands
    before the last colon; the numbers behind it are separated by ``x``.
    """
    shapes = {}
    for part in value.split(","):
        pieces = part.split("'")
        assert len(pieces) in (1, 3), "no quotes, or one pair"
        name, numbers = (pieces[1], pieces[2].removeprefix(":")) if len(pieces) == 3 else part.rsplit(":", 1)
        assert name not in shapes
        assert "*" not in name
        shapes[name] = tuple(int(n) for n in numbers.split("x"))
    return shapes


def read_line(line: str) -> tuple[str, dict[str, Shapes]]:
    """The file and the shapes that a command line gives to trtexec, which a shell has split."""
    program, *arguments = shlex.split(line)
    assert program == "trtexec"
    options = dict(argument.split("=", 1) for argument in arguments)
    assert list(options) == ["--onnx", "--minShapes", "--optShapes", "--maxShapes"]
    shapes = {which: read_shapes(options[f"--{which}Shapes"]) for which in ("min", "opt", "max")}
    return options["--onnx"], shapes


def shapes_of(source: Any, **options: Any) -> dict[str, Shapes]:
    """The shapes of a report's line, which are those of its rows."""
    report = fc2conv.convert(source, verify=False, **options).report
    report.output = "out.onnx"
    line = report.trtexec()
    assert line is not None
    file, shapes = read_line(line)
    assert file == "out.onnx"
    for row in report.handover.profile:
        assert {k: v[row.input] for k, v in shapes.items()} == {k: tuple(getattr(row, k)) for k in shapes}
    assert [row.input for row in report.handover.profile] == list(shapes["min"])
    return shapes


def conversion_of(source: Any, **options: Any) -> Conversion:
    return pipeline.prepare(*model_io.load(source), fc2conv.Settings(**options))


def require_valid(conversion: Conversion, shapes: dict[str, Shapes]) -> None:
    """Every shape has a size that the converted model may be asked for, and the three are in order."""
    for images in conversion.plan.tied.values():
        for image in images:
            sizes = [tuple(shapes[which][image.name][i] for i in image.spatial) for which in ("min", "opt", "max")]
            name = image.axes[0].source
            for size in sizes:
                conversion._require_valid(name, size)
            assert sizes[0] == conversion.trained[name]
            assert all(a <= b <= c for a, b, c in zip(*sizes, strict=True))


# -- sizes -----------------------------------------------------------------------------------------------------------


def test_the_reference_model() -> None:
    shapes = shapes_of(EXACT, sizes=[(512, 1024)])
    assert [v["input"] for v in shapes.values()] == [(1, 3, 128, 64), (1, 3, 512, 1024), (1, 3, 512, 1024)]


def test_opt_is_the_first_size_and_max_the_largest_along_each_axis() -> None:
    shapes = shapes_of(EXACT, sizes=[(256, 512), (512, 128), (128, 640)])
    assert [v["input"] for v in shapes.values()] == [(1, 3, 128, 64), (1, 3, 256, 512), (1, 3, 512, 640)]


def test_without_a_size_they_are_those_that_were_verified() -> None:
    report = fc2conv.convert(EXACT).report
    (row,) = report.handover.profile
    assert row.min[2:] == report.trained_size
    assert row.opt[2:] == report.sizes[0]
    assert row.max[2:] == [max(axis) for axis in zip(*report.sizes, strict=True)]
    assert len(report.sizes) == 2


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.onnx")), ids=lambda p: p.stem)
def test_shapes_of_every_model_are_valid_and_run(path: Path) -> None:
    import onnxruntime as ort

    shapes = shapes_of(path)
    require_valid(conversion_of(path), shapes)
    model = fc2conv.convert(path, verify=False).model
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for feeds in shapes.values():
        session.run(None, {name: np.zeros(shape, np.float32) for name, shape in feeds.items()})


PHASED = """
<ir_version: 8, opset_import: ["": 17]>
g (float[N, 1, 12, 8] x) => (float[N, 3] y) <float[1, 1, 2, 2] k = {1, -1, 2, 1}, float[6, 3] w> {
  map = Conv <strides = [4, 4], auto_pad = "SAME_UPPER"> (x, k)
  f = Flatten (map)
  y = Gemm (f, w)
}
"""


def phased() -> ModelProto:
    """A model whose padding depends on the size, so that only trained + n * stride is valid."""
    weights = ", ".join(str(int(v)) for v in integers((18,)))
    return parser.parse_model(PHASED.replace("float[6, 3] w", f"float[6, 3] w = {{{weights}}}"))


@given(
    sizes=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=4),
)
@settings(max_examples=25, deadline=None)
def test_shapes_are_valid_whatever_is_asked_for(sizes: list[tuple[int, int]]) -> None:
    model = phased()
    conversion = conversion_of(model)
    assert conversion.phases, "else every size is valid and nothing is shown"
    asked = [(12 + 4 * a, 8 + 4 * b) for a, b in sizes]
    require_valid(conversion, shapes_of(model, sizes=asked))
    with pytest.raises(fc2conv.UsageError):
        require_valid(conversion, {k: {"x": (1, 1, 13, 8)} for k in ("min", "opt", "max")})


def test_an_engine_takes_sizes_between_the_valid_ones_and_the_report_says_so() -> None:
    report = fc2conv.convert(phased(), sizes=[(20, 24)]).report
    assert report.handover.notes == [
        "only sizes of the form 12 + n*4 x 8 + n*4 are valid, and the engine takes those between too"
    ]
    assert report.handover.notes[0] in piped(report)
    assert fc2conv.convert(EXACT, sizes=[(200, 100)]).report.handover.notes == []


# -- inputs ----------------------------------------------------------------------------------------------------------

TWO_IMAGES = """
<ir_version: 8, opset_import: ["": 17]>
g (float[{0}, 1, 8, 8] big, float[{0}, 2, 6, 4] small, float[{0}, 5] side, float[1, 7] fixed)
  => (float[{0}, 3] y, float[{0}, 3] z, float[1, 7] f) {{
  m = Conv <strides = [2, 2]> (big, k)
  a = Flatten (m)
  s = Concat <axis = 1> (a, side)
  y = Gemm (s, w)
  n = Conv <strides = [2, 2]> (small, l)
  b = Flatten (n)
  z = Gemm (b, v)
  f = Relu (fixed)
}}
"""


def two_images(batch: str) -> ModelProto:
    model = parser.parse_model(TWO_IMAGES.format(batch))
    weights = {"k": (1, 1, 2, 2), "l": (1, 2, 2, 2), "w": (21, 3), "v": (6, 3)}
    model.graph.initializer.extend(
        numpy_helper.from_array(integers(s, i), n) for i, (n, s) in enumerate(weights.items())
    )
    return model


def test_several_images_of_different_sizes_and_a_side_input() -> None:
    model = two_images("N")
    shapes = shapes_of(model)
    require_valid(conversion_of(model), shapes)
    assert shapes["min"] == {"big": (1, 1, 8, 8), "small": (1, 2, 6, 4), "side": (1, 5)}
    report = fc2conv.convert(model, verify=False).report
    verified = {image.name: image.sizes for image in report.images}
    for name in ("big", "small"):
        assert list(shapes["opt"][name][2:]) == verified[name][0]
        assert list(shapes["max"][name][2:]) == [max(axis) for axis in zip(*verified[name], strict=True)]
    assert shapes["opt"]["side"] == shapes["max"]["side"] == (1, 5)


def test_a_fixed_batch_stays_and_fixed_inputs_are_left_out() -> None:
    shapes = shapes_of(two_images("4"))
    assert shapes["min"] == {"big": (4, 1, 8, 8), "small": (4, 2, 6, 4)}
    assert {shape[0] for which in shapes.values() for shape in which.values()} == {4}


def test_a_dim_that_nothing_is_known_of_is_one_and_the_report_says_so() -> None:
    model = two_images("N")
    model.graph.input[3].type.tensor_type.shape.dim[1].dim_param = "tokens"
    model.graph.output[2].type.tensor_type.shape.dim[1].dim_param = "tokens"
    report = fc2conv.convert(model, verify=False).report
    assert [row.max for row in report.handover.profile if row.input == "fixed"] == [[1, 1]]
    assert report.handover.notes == ["input 'fixed': dim 1 ('tokens') is not known and written as 1"]


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_channels_last_and_any_number_of_axes(rank: int) -> None:
    """The sizes stand where the input has its spatial axes."""
    head = Head("f = Flatten(map)\ny = Gemm(f, w)", {"w": (2 * 3**rank, 3)}, window=(3,) * rank)
    model = network(head)
    first = model.graph.node[0]
    forth = [0, rank + 1, *range(1, rank + 1)]
    model.graph.node.insert(0, helper.make_node("Transpose", ["x"], ["moved"], perm=forth))
    first = model.graph.node[1]
    first.input[0] = "moved"
    dims = model.graph.input[0].type.tensor_type.shape.dim
    sizes = [d.dim_value for d in dims][2:]
    del dims[:]
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", 1, ["N", *sizes, 1]))
    shapes = shapes_of(model, sizes=[tuple(range(8, 8 + rank))])
    assert shapes["min"]["x"] == (1, *[6] * rank, 1)
    assert shapes["opt"]["x"] == (1, *range(8, 8 + rank), 1)


def test_initializers_among_the_inputs_have_no_profile() -> None:
    model = network(LINEAR)
    model.ir_version = 3
    model.opset_import[0].version = 9
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    assert list(shapes_of(model)["min"]) == ["x"]


def test_a_model_without_dynamic_dims_has_no_line() -> None:
    """What is written decides; no option gives such a model here, so one is made."""
    conversion = conversion_of(network(LINEAR))
    for value in conversion.proto.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            dim.dim_value = 6
    given = hand_over(conversion, conversion.proto, conversion.sizes(()))
    assert (given.profiles, given.arguments, given.notes) == ([], [], [])


def test_where_no_size_can_change_the_batch_still_can() -> None:
    conversion = conversion_of(network(LINEAR))
    for dim, size in zip(conversion.proto.graph.input[0].type.tensor_type.shape.dim[1:], (1, 6, 4), strict=True):
        dim.dim_value = size
    given = hand_over(conversion, conversion.proto, [])
    assert given.arguments == ["--minShapes=x:1x1x6x4", "--optShapes=x:1x1x6x4", "--maxShapes=x:1x1x6x4"]


# -- names and files -------------------------------------------------------------------------------------------------


def named(name: str) -> ModelProto:
    model = network(LINEAR)
    model.graph.input[0].name = name
    for node in model.graph.node:
        node.input[:] = [name if i == "x" else i for i in node.input]
    return model


WRITABLE = ["plain", "two words", "input:0", "a:b:c:", 'quo"te', "a=b", "$HOME", "`x`", "a;b|c&d", "1x3", "ü模", "-x"]
WRITABLE += ["\\", "\n"]
UNWRITABLE = {"a,b": "commas", "it's": "single quotes", "in*": "a star", "a,'*": "commas"}


@pytest.mark.parametrize("name", WRITABLE)
def test_names_are_read_as_they_are(name: str) -> None:
    report = fc2conv.convert(named(name), verify=False).report
    assert report.handover.notes == []
    for argument in report.handover.arguments:
        assert list(read_shapes(argument.split("=", 1)[1])) == [name]


@pytest.mark.parametrize(("name", "why"), UNWRITABLE.items())
def test_names_that_cannot_be_written_are_said_so(name: str, why: str) -> None:
    report = fc2conv.convert(named(name), verify=False).report
    report.output = "out.onnx"
    assert report.handover.arguments == []
    assert report.trtexec() is None
    (note,) = report.handover.notes
    assert f"input '{name}'" in note
    assert why in note
    assert "Python API" in note
    assert [row.input for row in report.handover.profile] == [name], "the shapes are there for the Python API"
    assert note in " ".join(piped(report).split())
    assert note in markdown(report)
    assert "trtexec --onnx" not in piped(report)


def echoed(line: str, shell: str = "bash") -> list[str]:
    """The arguments that a shell makes of a command line, of which it runs a program that prints them."""
    program = f'trtexec() {{ for a in "$@"; do printf "%s\\0" "$a"; done; }}; {line}'
    done = subprocess.run([shell, "-c", program], capture_output=True, check=True)
    return [part.decode("utf-8", "surrogateescape") for part in done.stdout.split(b"\0")[:-1]]


FILES = ["out.onnx", "my model.onnx", "it's.onnx", "$(touch x).onnx", "a`b`.onnx", "ü模.onnx", "a,b:c=d.onnx", "-o"]
FILES += ["*.onnx", "~/x.onnx", "\x1b[31m'\\n\n.onnx", "\udcff.onnx"]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("name", ["x", "a b:0", "tab\there"])
def test_a_shell_makes_of_the_line_what_was_meant(file: str, name: str) -> None:
    report = fc2conv.convert(named(name), verify=False).report
    report.output = file
    line = report.trtexec()
    assert line is not None
    assert line.isprintable()
    onnx_argument, *shapes = echoed(line)
    assert onnx_argument == f"--onnx={file}"
    assert shapes == report.handover.arguments


TAKEN = {name for n in named("x").graph.node for name in (*n.input, *n.output)} - {"x"}


@given(name=st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=8))
@settings(max_examples=40, deadline=None)
def test_any_name_is_written_or_said_to_be_impossible(name: str) -> None:
    assume(name not in TAKEN)
    report = fc2conv.convert(named(name), verify=False).report
    assert bool(report.handover.notes) == any(c in name for c in ",'*")
    assert bool(report.handover.arguments) != bool(report.handover.notes)
    for argument in report.handover.arguments:
        assert list(read_shapes(argument.split("=", 1)[1])) == [name]


# -- the report ------------------------------------------------------------------------------------------------------


def test_the_line_is_on_the_terminal_in_the_json_and_in_the_markdown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = (
        "trtexec --onnx='my out.onnx' --minShapes=input:1x3x128x64 --optShapes=input:1x3x256x128 "
        "--maxShapes=input:1x3x256x128"
    )
    ran = call(capsys, EXACT, "my out.onnx", "--size", "256x128", "--no-verify", "--report", "r.json")
    assert line in ran.clean().splitlines(), "in one piece, however long it is"
    assert json.loads(Path("r.json").read_text(encoding="utf-8"))["handover"]["trtexec"] == line
    call(capsys, EXACT, "my out.onnx", "--size", "256x128", "--no-verify", "--report", "r.md").clean()
    assert f"```sh\n{line}\n```" in Path("r.md").read_text(encoding="utf-8")


def test_there_is_no_line_before_there_is_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert "trtexec" not in call(capsys, EXACT).clean()
    result = fc2conv.convert(EXACT, verify=False)
    assert result.report.to_dict()["handover"]["trtexec"] is None
    assert result.report.handover.profile, "the shapes are known all the same"


def test_verify_looks_at_the_model_that_it_is_given(tmp_path: Path) -> None:
    """Whoever edited it since may have added what TensorRT does not take."""
    result = fc2conv.convert(EXACT, sizes=[(160, 96)])
    node = next(n for n in result.model.graph.node if n.op_type == "MaxPool")
    node.attribute.append(helper.make_attribute("dilations", [1, 1]))
    assert fc2conv.verify(EXACT, result.model, sizes=[(160, 96)]).handover.unsupported == []
    result.model.graph.node.append(helper.make_node("Shape", ["input"], ["unused"]))
    result.model.graph.node.append(helper.make_node("Unique", ["unused"], ["unused too"]))
    found = fc2conv.verify(EXACT, result.model, sizes=[(160, 96)]).handover.unsupported
    assert [(row.reason, row.nodes) for row in found] == [("Unique is not supported", ["Unique 'unused too'"])]


def test_few_nodes_are_named_on_the_terminal_and_all_in_the_json() -> None:
    text = ["f = Flatten(map)", "g = Gemm(f, w)", "i0 = Cast <to = 7> (g)"]
    text += [f"[n{k}] i{k + 1} = BitwiseNot(i{k})" for k in range(12)]
    head = Head("\n".join([*text, "y = Identity(i12)"]), {"w": (12, 3)}, opset=18)
    report = fc2conv.convert(network(head), verify=False).report
    (row,) = json.loads(report.to_json())["handover"]["unsupported"]
    assert len(row["nodes"]) == 12
    assert all(node.startswith(f"BitwiseNot 'n{k}") for k, node in enumerate(row["nodes"]))
    shown = f"BitwiseNot is not supported: {', '.join(row['nodes'][:4])} and 8 more"
    assert shown in " ".join(piped(report).split())
    assert shown in markdown(report)


def test_a_report_without_warnings_is_one_sentence_and_a_line() -> None:
    report = fc2conv.convert(EXACT, verify=False).report
    report.output = "out.onnx"
    lines = piped(report).splitlines()
    assert lines[-2].startswith("TensorRT: every operator, attribute and type is one that TensorRT 11.0 documents")
    assert lines[-1].startswith("trtexec --onnx=out.onnx ")


def test_the_source_of_the_facts_is_in_the_json() -> None:
    source = fc2conv.inspect(EXACT).to_dict()["handover"]["source"]
    assert set(source) == {"version", "document", "commit", "date"}
    assert onnx.__version__ not in source["version"]
