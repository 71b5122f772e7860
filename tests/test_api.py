"""The Python API: what goes in stays as it is, what comes out is what was promised, errors say which node and why."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon
import onnxruntime
import pytest
from onnx import ModelProto, numpy_helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv.geometry import METADATA_KEY
from onnx_fc2conv.settings import Settings
from tests.networks import Head, answers, integers, network, session
from tests.test_cli import EXACT, LINEAR, MODELS, PADDED, UNLIFTABLE, WEIGHTLESS, change_one_weight, saved, snapshot

WINDOW_SIZE = (12, 14)  #: an enlarged input size of LINEAR's network


def expect_right(converted: ModelProto) -> None:
    """The converted network of LINEAR gives the original head's answer on every window."""
    image = integers((2, 1, *WINDOW_SIZE), seed=3)
    found = session(converted).run(["y"], {"x": image})[0]
    np.testing.assert_array_equal(found, answers(network(LINEAR), image, LINEAR.window)["y"])


# -- convert ---------------------------------------------------------------------------------------------------------


def test_from_a_path(tmp_path: Path) -> None:
    path = saved(LINEAR, tmp_path)
    before = snapshot(tmp_path)
    for source in (path, str(path)):
        expect_right(fc2conv.convert(source).model)
    assert snapshot(tmp_path) == before


def test_from_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(LINEAR, tmp_path)
    monkeypatch.chdir(tmp_path)
    result = fc2conv.convert("in.onnx")
    result.save("out.onnx")
    expect_right(onnx.load("out.onnx"))


def test_from_a_model_proto_which_is_left_alone() -> None:
    proto = network(LINEAR)
    before = proto.SerializeToString(deterministic=True)
    result = fc2conv.convert(proto)
    expect_right(result.model)
    assert proto.SerializeToString(deterministic=True) == before
    assert result.report.input == "the model"


def test_changing_the_result_does_not_change_the_argument() -> None:
    proto = network(LINEAR)
    before = proto.SerializeToString(deterministic=True)
    change_one_weight(fc2conv.convert(proto).model)
    assert proto.SerializeToString(deterministic=True) == before


def test_from_a_graphsurgeon_graph_which_is_left_alone() -> None:
    graph = onnx_graphsurgeon.import_onnx(network(LINEAR))
    before = onnx_graphsurgeon.export_onnx(graph).SerializeToString(deterministic=True)
    nodes, tensors = list(map(id, graph.nodes)), {name: id(t) for name, t in graph.tensors().items()}
    result = fc2conv.convert(graph)
    expect_right(result.model)
    assert result.report.input == "the graph"
    assert list(map(id, graph.nodes)) == nodes
    assert {name: id(t) for name, t in graph.tensors().items()} == tensors
    assert onnx_graphsurgeon.export_onnx(graph).SerializeToString(deterministic=True) == before


def test_all_sources_give_the_same_answers_and_report(tmp_path: Path) -> None:
    proto = network(LINEAR)
    sources = [saved(LINEAR, tmp_path), proto, onnx_graphsurgeon.import_onnx(proto)]
    reports = [fc2conv.convert(s).report.to_dict() | {"input": "", "speed": []} for s in sources]
    assert reports[0] == reports[1] == reports[2]


def test_converting_twice_is_refused_as_nothing_to_convert() -> None:
    with pytest.raises(fc2conv.NothingToConvert):
        fc2conv.convert(fc2conv.convert(network(LINEAR)).model)


def test_keywords_are_the_options() -> None:
    """What only concerns the terminal (a report file, silence) is none, nor what has its own function."""
    keywords = [p.name for p in inspect.signature(fc2conv.convert).parameters.values() if p.kind is p.KEYWORD_ONLY]
    defaults = {f.name: f.default for f in fields(Settings)}
    assert set(defaults) - set(keywords) == {"check", "report", "quiet", "share_data"}
    for name in keywords:
        assert inspect.signature(fc2conv.convert).parameters[name].default == defaults[name]


def test_the_public_names_exist() -> None:
    assert sorted(fc2conv.__all__) == fc2conv.__all__
    for name in fc2conv.__all__:
        value = getattr(fc2conv, name)
        assert isinstance(value, (type, str)) or inspect.isfunction(value), f"{name} is a module"
    for name in ("convert", "inspect", "verify"):
        assert inspect.isfunction(getattr(fc2conv, name))
        assert getattr(fc2conv, name).__doc__


def in_a_new_interpreter(code: str) -> str:
    """What some code prints where nothing of the package was used before."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_names_that_come_late_are_there_for_whoever_looks() -> None:
    late = "Finding Findings Geometry Grid Report Result ReverseReport Reversed read_geometry".split()
    begin = "import onnx_fc2conv as f, sys; "
    listed = f"{begin}print(set({late!r}) <= set(dir(f)) & set(f.__all__))"
    assert in_a_new_interpreter(listed) == "True"
    assert in_a_new_interpreter(f"{begin}print(all(getattr(f, n).__name__ == n for n in {late!r}))") == "True"
    assert in_a_new_interpreter(
        f"{begin}print('onnx' in sys.modules, f.Report is f.Report, 'onnx' in sys.modules)"
    ) == ("False True True")
    assert in_a_new_interpreter("from onnx_fc2conv import *; print(convert.__name__, Result.__name__)") == (
        "convert Result"
    )
    page = in_a_new_interpreter("import onnx_fc2conv; help(onnx_fc2conv)")
    assert all(f"class {name}(" in page for name in late if name[0].isupper())
    assert "read_geometry(path: " in page
    assert "convert(source: " in page


def test_a_name_that_does_not_exist_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="module 'onnx_fc2conv' has no attribute 'konvert'"):
        fc2conv.konvert  # noqa: B018
    assert not hasattr(fc2conv, "_PLACES_")


def test_type_checkers_and_the_interpreter_know_the_same_late_names() -> None:
    tree = ast.parse(Path(str(fc2conv.__file__)).read_text(encoding="utf-8"))
    (checked,) = (node for node in tree.body if isinstance(node, ast.If))
    known = {
        alias.name: node.module
        for node in checked.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if node.level
    }
    assert known == fc2conv._PLACES


def test_names_stay_functions_after_everything_was_imported(tmp_path: Path) -> None:
    """A submodule of the same name would take the function's place on its first import."""
    fc2conv.convert(network(LINEAR))
    assert inspect.isfunction(fc2conv.verify)
    assert inspect.isfunction(fc2conv.inspect)


def test_sizes_are_checked_at() -> None:
    report = fc2conv.convert(EXACT, sizes=[[160, 96], (129, 65)]).report
    assert report.sizes == [[160, 96], [129, 65]]
    assert {tuple(c.size) for c in report.checks if c.name == "image crops" and c.size} == {(160, 96), (129, 65)}


def test_without_verify_no_check_is_claimed() -> None:
    report = fc2conv.convert(network(LINEAR), verify=False).report
    assert (report.verified, report.checks) == (False, [])
    assert "NOT verified" in report.headline()


def test_require_exact() -> None:
    assert fc2conv.convert(EXACT, require_exact=True).report.verdict == "exact"
    with pytest.raises(fc2conv.Unliftable, match="exact") as caught:
        fc2conv.convert(PADDED, require_exact=True)
    assert caught.value.node is not None
    assert caught.value.node in {c.node for c in fc2conv.inspect(PADDED).causes}


@pytest.mark.parametrize("source", [EXACT, PADDED], ids=["exact", "padded"])
def test_inspect_foretells_what_convert_does(source: Path, tmp_path: Path) -> None:
    foretold, done = fc2conv.inspect(source).to_dict(), fc2conv.convert(source).report.to_dict()
    differing = {key for key in done if foretold[key] != done[key]}
    assert differing <= {"status", "verified", "runtime", "checks", "deviation", "speed"}
    assert foretold["status"] == "would convert"
    assert (foretold["verified"], foretold["checks"], foretold["output"]) == (False, [], None)


# -- Result ----------------------------------------------------------------------------------------------------------


def test_save(tmp_path: Path) -> None:
    result = fc2conv.convert(network(LINEAR))
    assert result.report.output is None
    for name in ("a.onnx", "b.onnx"):
        result.save(tmp_path / name)
        expect_right(onnx.load(tmp_path / name))
        assert result.report.output == os.fspath(tmp_path / name)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]
    assert onnx.load(tmp_path / "a.onnx") == result.model


def test_save_refuses_the_source(tmp_path: Path) -> None:
    path = saved(LINEAR, tmp_path)
    before = snapshot(tmp_path)
    with pytest.raises(fc2conv.UsageError, match="the input itself"):
        fc2conv.convert(path).save(path)
    assert snapshot(tmp_path) == before


def test_save_looks_at_what_lies_on_the_disk(tmp_path: Path) -> None:
    result = fc2conv.convert(network(LINEAR))
    result.model.graph.node[-1].input[1] = "nowhere"
    with pytest.raises(fc2conv.VerificationFailed, match="written file"):
        result.save(tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


# -- verify ----------------------------------------------------------------------------------------------------------


def test_verify_passes_what_convert_wrote(tmp_path: Path) -> None:
    source = saved(LINEAR, tmp_path)
    fc2conv.convert(source, verify=False).save(tmp_path / "out.onnx")
    report = fc2conv.verify(source, tmp_path / "out.onnx", sizes=[WINDOW_SIZE])
    assert report.verified
    assert report.sizes == [list(WINDOW_SIZE)]
    names = "structure, same size, all digits, grid law, several images, windows, default run, image crops"
    assert {c.name for c in report.checks} == set(names.split(", "))


def test_verify_takes_protos_and_graphs() -> None:
    original = network(LINEAR)
    converted = fc2conv.convert(original, verify=False).model
    as_graph = onnx_graphsurgeon.import_onnx
    assert fc2conv.verify(original, converted).verified
    assert fc2conv.verify(as_graph(original), as_graph(converted)).verified


@pytest.mark.parametrize("head", [LINEAR, Head("f = Flatten(map)\ny = MatMul(f, w)", {"w": (12, 2)})], ids=str)
def test_verify_notices_one_changed_weight(head: Head, tmp_path: Path) -> None:
    source = saved(head, tmp_path)
    fc2conv.convert(source).save(tmp_path / "out.onnx")
    edited = onnx.load(tmp_path / "out.onnx")
    change_one_weight(edited)
    onnx.save(edited, tmp_path / "out.onnx")
    with pytest.raises(fc2conv.VerificationFailed, match="output 'y'") as caught:
        fc2conv.verify(source, tmp_path / "out.onnx")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("index", range(3))
def test_verify_notices_every_changed_bias_of_the_original(index: int) -> None:
    original = network(LINEAR)
    converted = fc2conv.convert(original).model
    tensor = next(t for t in original.graph.initializer if t.name == "b")
    values = numpy_helper.to_array(tensor).copy()
    values[index] += 1
    tensor.CopyFrom(numpy_helper.from_array(values, "b"))
    with pytest.raises(fc2conv.VerificationFailed):
        fc2conv.verify(original, converted)


def test_verify_refuses_the_original_as_its_own_conversion() -> None:
    with pytest.raises(fc2conv.VerificationFailed):
        fc2conv.verify(network(LINEAR), network(LINEAR))


# -- geometry --------------------------------------------------------------------------------------------------------


def test_the_reference_geometry(tmp_path: Path) -> None:
    result = fc2conv.convert(EXACT)
    result.save(tmp_path / "out.onnx")
    for geometry in (result.geometry, fc2conv.read_geometry(tmp_path / "out.onnx")):
        assert geometry.grid_size((512, 1024)) == (13, 31)
        assert geometry.grid_size((128, 64)) == (1, 1)
        assert geometry.box(0, 0) == (0, 0, 128, 64)
        assert geometry.box(3, 7) == (96, 224, 224, 288)


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.onnx")), ids=lambda p: p.stem)
def test_read_geometry_reads_what_was_written(path: Path, tmp_path: Path) -> None:
    result = fc2conv.convert(path, verify=False)
    result.save(tmp_path / "out.onnx")
    assert fc2conv.read_geometry(tmp_path / "out.onnx") == result.geometry
    assert fc2conv.read_geometry(str(tmp_path / "out.onnx")) == result.geometry
    assert fc2conv.read_geometry(result.model) == result.geometry
    assert result.report.geometry == result.geometry.to_dict()


def test_read_geometry_does_not_need_the_weights(tmp_path: Path) -> None:
    source = tmp_path / "in.onnx"
    onnx.save(network(LINEAR), source, save_as_external_data=True, size_threshold=0, location="w.bin")
    fc2conv.convert(source).save(tmp_path / "out.onnx")
    (tmp_path / "out.onnx.data").unlink()
    assert fc2conv.read_geometry(tmp_path / "out.onnx").grid.window == LINEAR.window


DAMAGE = {
    "stripped": None,
    "empty": "",
    "no json": "{",
    "a list": "[]",
    "a number": "1",
    "null": "null",
    "another schema": '{"schema":99,"outputs":{}}',
    "no schema": '{"outputs":{}}',
    "outputs is a list": '{"schema":1,"outputs":[]}',
    "outputs is text": '{"schema":1,"outputs":"y"}',
    "output is a list": '{"schema":1,"outputs":{"y":[]}}',
    "output is empty": '{"schema":1,"outputs":{"y":{}}}',
    "short law": '{"schema":1,"outputs":{"y":{"input":"x","grid_law":[[[1,2]]]}}}',
    "law is a number": '{"schema":1,"outputs":{"y":{"input":"x","grid_law":7}}}',
    "deep": "[" * 100_000,
}


def with_geometry(value: str | None) -> ModelProto:
    """A converted model whose geometry was replaced, or taken away."""
    proto = fc2conv.convert(network(LINEAR), verify=False).model
    kept = [p for p in proto.metadata_props if p.key != METADATA_KEY]
    assert len(kept) == len(proto.metadata_props) - 1
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    if value is not None:
        proto.metadata_props.add(key=METADATA_KEY, value=value)
    return proto


@pytest.mark.parametrize("value", DAMAGE.values(), ids=DAMAGE.keys())
def test_read_geometry_of_damaged_metadata(value: str | None, tmp_path: Path) -> None:
    onnx.save(with_geometry(value), tmp_path / "out.onnx")
    with pytest.raises(fc2conv.UsageError, match=r"out\.onnx"):
        fc2conv.read_geometry(tmp_path / "out.onnx")


@pytest.mark.parametrize("value", [None, "{"], ids=["stripped", "damaged"])
def test_read_geometry_does_not_print_the_model_into_its_message(value: str | None) -> None:
    with pytest.raises(fc2conv.UsageError) as caught:
        fc2conv.read_geometry(with_geometry(value))
    assert len(str(caught.value)) < 200


def test_read_geometry_of_no_model(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no model")
    for name in ("text.onnx", "missing.onnx", "."):
        with pytest.raises(fc2conv.UnreadableModel):
            fc2conv.read_geometry(tmp_path / name)


# -- errors ----------------------------------------------------------------------------------------------------------

ERRORS = {
    fc2conv.Fc2ConvError: 1,
    fc2conv.UsageError: 2,
    fc2conv.UnreadableModel: 2,
    fc2conv.NothingToConvert: 1,
    fc2conv.Unliftable: 1,
    fc2conv.VerificationFailed: 3,
}


def test_the_error_tree() -> None:
    exported = {v for v in vars(fc2conv).values() if isinstance(v, type) and issubclass(v, Exception)}
    assert exported == set(ERRORS)
    for kind, code in ERRORS.items():
        assert issubclass(kind, fc2conv.Fc2ConvError)
        assert kind.exit_code == code
        assert kind in (fc2conv.Fc2ConvError, *fc2conv.Fc2ConvError.__subclasses__()), "one small tree"


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_is_one_line_of_node_and_reason(kind: type[fc2conv.Fc2ConvError]) -> None:
    error = kind("is\n not\tright ", "Gemm 'fc1'")
    assert (error.node, error.reason, str(error)) == ("Gemm 'fc1'", "is not right", "Gemm 'fc1': is not right")
    assert (kind("why").node, str(kind("why"))) == (None, "why")


RAISES: list[tuple[Any, type[fc2conv.Fc2ConvError], str | None, str]] = [
    ("missing.onnx", fc2conv.UnreadableModel, None, "does not exist"),
    (ModelProto(), fc2conv.UnreadableModel, None, "no graph"),
    (network(WEIGHTLESS), fc2conv.NothingToConvert, "MatMul 'y'", "no weights"),
    (network(UNLIFTABLE), fc2conv.Unliftable, "NonZero 'y'", "data"),
]


@pytest.mark.parametrize(("source", "kind", "node", "reason"), RAISES, ids=[k.__name__ for _, k, _, _ in RAISES])
@pytest.mark.parametrize("function", [fc2conv.convert, fc2conv.inspect], ids=["convert", "inspect"])
def test_errors_carry_node_and_reason(
    source: Any, kind: type[fc2conv.Fc2ConvError], node: str | None, reason: str, function: Any
) -> None:
    with pytest.raises(kind) as caught:
        function(source)
    assert type(caught.value) is kind
    assert caught.value.node == node
    assert reason in caught.value.reason
    assert node is None or node not in caught.value.reason


@pytest.mark.parametrize("sizes", [[(512,)], [(512, 1024, 3)], [(1, 1)], [(0, 64)], [(128.0, 64.0)], [()]], ids=str)
def test_sizes_that_do_not_fit(sizes: Any) -> None:
    with pytest.raises(fc2conv.UsageError):
        fc2conv.convert(EXACT, sizes=sizes)


def test_no_library_speaks_to_the_user(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    fc2conv.convert(EXACT).save(tmp_path / "out.onnx")
    onnxruntime.InferenceSession(tmp_path / "out.onnx", providers=["CPUExecutionProvider"])
    assert capfd.readouterr() == ("", "")
