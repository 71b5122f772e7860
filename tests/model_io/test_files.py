"""Models on disk: reading trusts nothing, writing is all or nothing, external data stays external."""

from __future__ import annotations

import errno
import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, external_data_helper, helper, numpy_helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv import places, verification
from onnx_fc2conv.model_io import Target, load, outside, parse, staged, staging, write_text
from tests.networks import Head, integers, network
from tests.test_cli import LINEAR, call, saved, snapshot, start

#: more than EXTERNAL_FROM bytes of weights, so that they move where weights are external
WIDE = Head(
    "f = Flatten(map)\ng = Gemm(f, w, b)\nr = Relu(g)\ny = Gemm(r, v)", {"w": (12, 64), "b": (64,), "v": (64, 3)}
)


def saved_external(
    folder: Path, *, head: Head = WIDE, name: str = "in.onnx", data: str = "w.bin", one: bool = True, threshold: int = 0
) -> Path:
    """The head's network with its weights in one file beside it, or in a file per weight."""
    folder.mkdir(exist_ok=True)
    onnx.save(
        network(head),
        folder / name,
        save_as_external_data=True,
        all_tensors_to_one_file=one,
        location=data if one else None,
        size_threshold=threshold,
    )
    return folder / name


def rewritten(path: Path, edit: Callable[[ModelProto], None]) -> Path:
    """The file after an edit of its ModelProto; external data is left where it is."""
    proto = onnx.load(path, load_external_data=False)
    edit(proto)
    path.write_bytes(proto.SerializeToString())
    return path


def run(path: Path, image: np.ndarray) -> np.ndarray:
    """What a user's session answers."""
    answer: np.ndarray = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": image})[
        0
    ]
    return answer


def data_files(path: Path) -> set[str]:
    """Where a model says that its external data lies."""
    proto = onnx.load(path, load_external_data=False)
    entries = itertools.chain.from_iterable(t.external_data for t in proto.graph.initializer)
    return {e.value for e in entries if e.key == "location"}


def set_entry(proto: ModelProto, key: str, value: str | None) -> None:
    """Change one entry of the first external tensor's location; ``None`` takes it away."""
    tensor = next(t for t in proto.graph.initializer if t.data_location == TensorProto.EXTERNAL)
    entries = {e.key: e.value for e in tensor.external_data}
    entries.pop(key, None)
    if value is not None:
        entries[key] = value
    del tensor.external_data[:]
    for k, v in entries.items():
        tensor.external_data.add(key=k, value=v)


# -- external data: reading ------------------------------------------------------------------------------------------


def _shorten(folder: Path) -> None:
    data = (folder / "w.bin").read_bytes()
    (folder / "w.bin").write_bytes(data[: len(data) // 2])


def _turn_into_folder(folder: Path) -> None:
    (folder / "w.bin").unlink()
    (folder / "w.bin").mkdir()


def _link_out(folder: Path) -> None:
    outside = folder.parent / "outside.bin"
    (folder / "w.bin").rename(outside)
    (folder / "w.bin").symlink_to(outside)


def _link_folder_out(folder: Path) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    (folder / "w.bin").rename(outside / "w.bin")
    (folder / "sub").symlink_to(outside)
    rewritten(folder / "in.onnx", lambda p: set_entry(p, "location", "sub/w.bin"))


def _link_in_circle(folder: Path) -> None:
    (folder / "w.bin").unlink()
    (folder / "w.bin").symlink_to(folder / "w.bin")


def _fifo(folder: Path) -> None:
    (folder / "w.bin").unlink()
    os.mkfifo(folder / "w.bin")


def _entry(key: str, value: str | None) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        rewritten(folder / "in.onnx", lambda p: set_entry(p, key, value))

    return edit


UNSAFE: dict[str, tuple[Callable[[Path], None], str]] = {
    "absolute": (_entry("location", "/etc/hostname"), "not a path inside"),
    "up": (_entry("location", "../secret.bin"), "not a path inside"),
    "down and up": (_entry("location", "sub/../../secret.bin"), "not a path inside"),
    "no location": (_entry("location", None), ""),
    "empty location": (_entry("location", ""), "not a path inside"),
    "the folder itself": (_entry("location", "."), "does not exist"),
    "symlink out": (_link_out, "symbolic link"),
    "folder symlink out": (_link_folder_out, "symbolic link"),
    "symlink circle": (_link_in_circle, ""),
    "missing": (lambda folder: (folder / "w.bin").unlink(), "does not exist"),
    "a directory": (_turn_into_folder, "does not exist"),
    "a fifo": (_fifo, "does not exist"),
    "too short": (_shorten, "bytes, it needs"),
    "empty": (lambda folder: (folder / "w.bin").write_bytes(b"") and None, "bytes, it needs"),
    "length too large": (_entry("length", "999999"), "bytes, it needs"),
    "length too small": (_entry("length", "4"), "4 bytes of external data"),
    "negative length": (_entry("length", "-4"), "'backbone'"),
    "negative offset": (_entry("offset", "-4096"), "'backbone'"),
    "offset behind the end": (_entry("offset", "99999999"), "bytes, it needs"),
    "offset is text": (_entry("offset", "start"), ""),
    "offset is huge": (_entry("offset", "9" * 30), ""),
    "null byte": (_entry("location", "w\0.bin"), ""),
    "very long": (_entry("location", "w" * 5000), ""),
}


@pytest.mark.parametrize(("damage", "said"), UNSAFE.values(), ids=UNSAFE.keys())
def test_unsafe_or_damaged_external_data_is_refused(
    damage: Callable[[Path], None], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model"
    (tmp_path / "secret.bin").write_bytes(b"\0" * 8192)
    source = saved_external(folder)
    damage(folder)
    before = snapshot(tmp_path)
    assert said in call(capsys, source, tmp_path / "out.onnx").one_line(2)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symlink", "hard link"])
def test_a_link_inside_the_folder_is_followed_or_refused(
    link: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = saved_external(tmp_path)
    (tmp_path / "w.bin").rename(tmp_path / "real.bin")
    link(tmp_path / "real.bin", tmp_path / "w.bin")
    ran = call(capsys, source, tmp_path / "out.onnx")
    assert "internal error" not in ran.err
    assert ran.code == 0 or ran.one_line(2)
    assert (tmp_path / "out.onnx").exists() == (ran.code == 0)


def _tied(offset: int) -> dict[str, tuple[str, int]]:
    """Two weights of 64 bytes, this many bytes apart, and one in front of them."""
    return {"w": ("w.bin", 0), "b": ("w.bin", 4096), "c": ("w.bin", 4096 + offset)}


TIED = Head("f = Flatten (map)\ng = Gemm (f, w, b)\ny = Add (g, c)", {"w": (12, 16), "b": (16,), "c": (16,)})


@pytest.mark.parametrize("offset", [-63, -4, 4, 63])
def test_tensors_that_overlap_in_a_data_file_are_refused(offset: int, tmp_path: Path) -> None:
    source = laid_out(tmp_path, TIED, _tied(offset))
    with pytest.raises(fc2conv.UnreadableModel, match=r"tensors '[bc]' and '[bc]' overlap in their data file '.*bin'"):
        load(source)


@pytest.mark.parametrize("offset", [-64, 0, 64])
def test_tensors_with_the_same_bytes_are_not(offset: int, tmp_path: Path) -> None:
    source = laid_out(tmp_path, TIED, _tied(offset))
    fc2conv.convert(source).save(tmp_path / "out.onnx")


def test_external_data_of_a_model_that_has_no_folder_is_looked_for_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = saved_external(tmp_path / "model")
    proto = onnx.load(source, load_external_data=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(fc2conv.UnreadableModel, match="does not exist"):
        fc2conv.convert(proto)
    monkeypatch.chdir(source.parent)
    assert fc2conv.convert(proto).report.verified


# -- external data: writing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", [True, False], ids=["one file", "a file per weight"])
@pytest.mark.parametrize("target", ["same folder", "other folder"])
def test_external_data_stays_external(
    one: bool, target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "LARGE", 1)  # so that no weight is read
    source = saved_external(tmp_path / "in", one=one)
    folder = source.parent if target == "same folder" else tmp_path / "out"
    folder.mkdir(exist_ok=True)
    before = snapshot(source.parent)
    call(capsys, source, folder / "out.onnx").clean()
    after = snapshot(source.parent)
    assert {name: after[name] for name in before} == before, "model and data files are untouched"
    data = data_files(folder / "out.onnx")
    assert len(data) == len(data_files(source)) == (1 if one else 4)
    assert all(name.startswith("out.onnx.") and name.endswith(".data") for name in data)
    assert set(snapshot(folder)) - set(before) == {"out.onnx", *data}
    inline = saved(WIDE, tmp_path, "inline.onnx")
    call(capsys, inline, tmp_path / "inline_out.onnx").clean()
    assert data_files(tmp_path / "inline_out.onnx") == set()
    image = integers((2, 1, 14, 12), seed=3)
    np.testing.assert_array_equal(run(folder / "out.onnx", image), run(tmp_path / "inline_out.onnx", image))


def laid_out(folder: Path, head: Head, data: dict[str, tuple[str, int]]) -> Path:
    """The head's network; weights that are named lie in a data file of this name, from this offset on."""
    proto = network(head)
    for tensor in proto.graph.initializer:
        if tensor.name in data:
            name, offset = data[tensor.name]
            with open(folder / name, "r+b" if (folder / name).exists() else "w+b") as f:
                f.seek(offset)
                f.write(tensor.raw_data)
            external_data_helper.set_external_data(tensor, name, offset, len(tensor.raw_data))
            tensor.ClearField("raw_data")
    (folder / "in.onnx").write_bytes(proto.SerializeToString())
    return folder / "in.onnx"


def test_what_lay_in_one_data_file_lies_in_one_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what lay in the model goes to the first."""
    monkeypatch.setattr(places, "LARGE", 1)
    head = Head("f = Flatten (map)\ng = Gemm (f, w, b)\ny = Gemm (g, v)", {"w": (12, 64), "b": (64,), "v": (64, 20)})
    source = laid_out(tmp_path, head, {"backbone": ("a", 0), "w": ("b", 64), "b": ("a", 4000)})
    fc2conv.convert(source).save(tmp_path / "out.onnx")
    written = onnx.load(tmp_path / "out.onnx", load_external_data=False).graph
    files = [{e.key: e.value for e in t.external_data}["location"] for t in written.initializer]
    assert sorted(files) == ["out.onnx.1.data", *["out.onnx.data"] * 3]
    image = integers((2, 1, 14, 12), seed=3)
    inline = fc2conv.convert(network(head)).model
    onnx.save(inline, tmp_path / "inline.onnx")
    np.testing.assert_array_equal(run(tmp_path / "out.onnx", image), run(tmp_path / "inline.onnx", image))


def test_the_output_does_not_lean_on_the_input(tmp_path: Path) -> None:
    source = saved_external(tmp_path / "in")
    (tmp_path / "out").mkdir()
    fc2conv.convert(source).save(tmp_path / "out" / "out.onnx")
    image = integers((1, 1, 8, 8), seed=3)
    before = run(tmp_path / "out" / "out.onnx", image)
    for path in source.parent.iterdir():
        path.unlink()
    (tmp_path / "out").rename(tmp_path / "moved")
    np.testing.assert_array_equal(run(tmp_path / "moved" / "out.onnx", image), before)


def test_external_tensors_keep_their_values(tmp_path: Path) -> None:
    source = saved_external(tmp_path)
    fc2conv.convert(source).save(tmp_path / "out.onnx")
    written = {t.name: numpy_helper.to_array(t) for t in onnx.load(tmp_path / "out.onnx").graph.initializer}
    inline = {t.name: numpy_helper.to_array(t) for t in fc2conv.convert(network(WIDE)).model.graph.initializer}
    assert written.keys() == inline.keys()
    for name, values in inline.items():
        np.testing.assert_array_equal(written[name], values)


def test_external_tensors_start_on_page_boundaries(tmp_path: Path) -> None:
    fc2conv.convert(saved_external(tmp_path)).save(tmp_path / "out.onnx")
    proto = onnx.load(tmp_path / "out.onnx", load_external_data=False)
    offsets = [int(e.value) for t in proto.graph.initializer for e in t.external_data if e.key == "offset"]
    assert offsets
    assert not [o for o in offsets if o % outside.PAGE]


def test_a_model_whose_data_has_the_name_of_the_outputs_data_keeps_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = saved_external(tmp_path, data="out.onnx.data")
    before = snapshot(tmp_path)
    call(capsys, source, tmp_path / "out.onnx").clean()
    after = snapshot(tmp_path)
    assert {name: after[name] for name in before} == before
    (data,) = data_files(tmp_path / "out.onnx")
    assert data != "out.onnx.data"
    assert data.startswith("out.onnx")
    assert len(after) == len(before) + 2


def test_an_output_over_the_inputs_data_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = saved_external(tmp_path)
    before = snapshot(tmp_path)
    call(capsys, source, tmp_path / "w.bin").one_line(2)
    assert snapshot(tmp_path) == before


def test_weights_in_a_subgraph_may_be_external_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Written into another folder, the model must still find the weights that its If node's branches carry."""
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    model = with_branches()
    for attribute in next(n for n in model.graph.node if n.op_type == "If").attribute:
        (tensor,) = attribute.g.initializer
        (tmp_path / "in" / f"{attribute.name}.bin").write_bytes(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=f"{attribute.name}.bin")
    (tmp_path / "in" / "in.onnx").write_bytes(model.SerializeToString())
    image = integers((2, 1, 6, 4), seed=3)
    options = onnxruntime.InferenceSession(tmp_path / "in" / "in.onnx", providers=["CPUExecutionProvider"])
    expected = options.run(["side"], {"x": image, "flag": np.array([True])})[0]
    call(capsys, tmp_path / "in" / "in.onnx", tmp_path / "out" / "out.onnx").clean()
    converted = onnxruntime.InferenceSession(tmp_path / "out" / "out.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(converted.run(["side"], {"x": image, "flag": np.array([True])})[0], expected)


def with_branches(flag: tuple[int, ...] = (1,)) -> ModelProto:
    """LINEAR's network beside an If node whose branches carry a weight each; the flag has this shape."""
    model = network(LINEAR)
    branches = {}
    for name, value in (("then_branch", 1.0), ("else_branch", 2.0)):
        weight = numpy_helper.from_array(np.full(300, value, np.float32), f"{name}_w")
        result = helper.make_tensor_value_info(f"{name}_r", TensorProto.FLOAT, [300])
        node = helper.make_node("Neg", [f"{name}_w"], [f"{name}_r"])
        branches[name] = helper.make_graph([node], name, [], [result], [weight])
    model.graph.node.append(helper.make_node("If", ["flag"], ["side"], **branches))
    model.graph.input.append(helper.make_tensor_value_info("flag", TensorProto.BOOL, flag))
    model.graph.output.append(helper.make_tensor_value_info("side", TensorProto.FLOAT, [300]))
    return model


@pytest.mark.parametrize("flag", [(1,), ()], ids=["one element", "scalar"])
def test_a_model_with_branches_is_converted(
    flag: tuple[int, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same network with its weights inline: what the test above relies on."""
    onnx.save(with_branches(flag), tmp_path / "in.onnx")
    call(capsys, tmp_path / "in.onnx", tmp_path / "out.onnx").clean()
    assert "Conv" in {node.op_type for node in onnx.load(tmp_path / "out.onnx").graph.node}


# -- more than 2 GiB -------------------------------------------------------------------------------------------------


def test_a_model_above_protobufs_limit_moves_its_weights_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = saved(WIDE, tmp_path)
    call(capsys, source, tmp_path / "inline.onnx").clean()
    limit = (tmp_path / "inline.onnx").stat().st_size - 1
    monkeypatch.setattr(staging, "PROTOBUF_LIMIT", limit)
    call(capsys, source, tmp_path / "out.onnx").clean()
    assert data_files(tmp_path / "inline.onnx") == set()
    assert data_files(tmp_path / "out.onnx") == {"out.onnx.data"}
    assert (tmp_path / "out.onnx").stat().st_size <= limit
    image = integers((2, 1, 14, 12), seed=3)
    np.testing.assert_array_equal(run(tmp_path / "out.onnx", image), run(tmp_path / "inline.onnx", image))


def test_moving_weights_out_leaves_the_result_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = fc2conv.convert(network(WIDE))
    before = result.model.SerializeToString(deterministic=True)
    monkeypatch.setattr(staging, "PROTOBUF_LIMIT", result.model.ByteSize() - 1)
    result.save(tmp_path / "out.onnx")
    assert data_files(tmp_path / "out.onnx") == {"out.onnx.data"}
    assert result.model.SerializeToString(deterministic=True) == before


# -- targets ---------------------------------------------------------------------------------------------------------


def test_an_existing_file_is_replaced_in_one_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = saved(LINEAR, tmp_path), tmp_path / "out.onnx"
    target.write_text("old")
    os.link(target, tmp_path / "held")
    call(capsys, source, target).clean()
    assert (tmp_path / "held").read_text() == "old", "the old file was not written into"
    onnx.checker.check_model(target)


def test_a_refusal_leaves_an_existing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = saved(Head("y = NonZero(map)"), tmp_path)
    (tmp_path / "out.onnx").write_text("old")
    before = snapshot(tmp_path)
    call(capsys, source, tmp_path / "out.onnx").one_line(1)
    assert snapshot(tmp_path) == before


def test_an_existing_model_with_external_data_is_replaced_with_its_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in ("a", "b"):
        source = saved_external(tmp_path / seed, head=WIDE if seed == "a" else LINEAR)
        call(capsys, source, tmp_path / "out.onnx").clean()
        image = integers((1, 1, 8, 8), seed=3)
        fc2conv.convert(source).save(tmp_path / seed / "expected.onnx")
        np.testing.assert_array_equal(run(tmp_path / "out.onnx", image), run(tmp_path / seed / "expected.onnx", image))
    data = {p.name for p in tmp_path.iterdir() if p.is_file()} - {"out.onnx"}
    assert len(data) == 1, "the data file of the model that was replaced is still there"
    assert data.pop().startswith("out.onnx.")


def _same(source: Path) -> Path:
    return source


def _other_spelling(source: Path) -> Path:
    (source.parent / "sub").mkdir()
    return source.parent / "sub" / ".." / source.name


def _symlink(source: Path) -> Path:
    link = source.with_name("link.onnx")
    link.symlink_to(source)
    return link


def _hard_link(source: Path) -> Path:
    link = source.with_name("hard.onnx")
    os.link(source, link)
    return link


def _folder_link(source: Path) -> Path:
    (source.parent / "folder").symlink_to(source.parent)
    return source.parent / "folder" / source.name


@pytest.mark.parametrize("target", [_same, _other_spelling, _symlink, _hard_link, _folder_link])
@pytest.mark.parametrize("swapped", [False, True])
def test_the_input_is_never_the_output(
    target: Callable[[Path], Path], swapped: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = saved(LINEAR, tmp_path)
    names = [source, target(source)]
    before = snapshot(tmp_path)
    assert "input itself" in call(capsys, *(names[::-1] if swapped else names)).one_line(2)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (".", "is a folder"),
        ("folder", "is a folder"),
        ("missing/out.onnx", "does not exist"),
        ("in.onnx/out.onnx", "does not exist"),
        ("fifo", "not a regular file"),
        ("n" * 300 + ".onnx", "cannot write"),
    ],
)
def test_targets_that_cannot_be_written(
    name: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = saved(LINEAR, tmp_path)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    before = snapshot(tmp_path)
    assert said in call(capsys, source, tmp_path / name).one_line(2)
    assert snapshot(tmp_path) == before


def test_a_bad_target_is_told_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnx_fc2conv.pipeline.convert", lambda *_: pytest.fail("work was done"))
    assert "missing" in call(capsys, saved(LINEAR, tmp_path), tmp_path / "missing" / "out.onnx").one_line(2)


def test_a_folder_without_permission(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, folder = saved(LINEAR, tmp_path), tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write everywhere")
    call(capsys, source, folder / "out.onnx").one_line(2)
    assert not list(folder.iterdir())


def _no_access(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging.os, "access", lambda *_: False)


def _no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging.tempfile, "mkdtemp", _failing(errno.EROFS))


@pytest.mark.parametrize("forbid", [_no_access, _no_folder])
def test_a_folder_that_cannot_be_written(
    forbid: Callable[[pytest.MonkeyPatch], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = saved(LINEAR, tmp_path)
    before = snapshot(tmp_path)
    forbid(monkeypatch)
    assert "cannot write" in call(capsys, source, tmp_path / "out.onnx").one_line(2)
    assert snapshot(tmp_path) == before


# -- all or nothing --------------------------------------------------------------------------------------------------


def _failing(code: int, after: int = 0) -> Callable[..., Any]:
    """A function of the system that fails from the call with this number on."""
    calls = itertools.count()

    def fail(*args: Any, **_: Any) -> None:
        if next(calls) >= after:
            raise OSError(code, os.strerror(code))
        return

    return fail


@pytest.mark.parametrize(("external", "after"), [(False, 0), (True, 0), (True, 1)], ids=["inline", "data", "model"])
def test_a_full_disk_is_one_line_and_leaves_nothing(
    external: bool, after: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = saved_external(tmp_path) if external else saved(LINEAR, tmp_path)
    before = snapshot(tmp_path)
    monkeypatch.setattr(staging.os, "fsync", _failing(errno.ENOSPC, after))
    assert os.strerror(errno.ENOSPC) in call(capsys, source, tmp_path / "out.onnx").one_line(2)
    assert snapshot(tmp_path) == before


LIMITED = """
import resource, sys
from onnx_fc2conv import cli
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
sys.exit(cli.main())
"""


@pytest.mark.parametrize("external", [False, True], ids=["inline", "external"])
def test_a_write_that_the_system_stops_leaves_nothing(external: bool, tmp_path: Path) -> None:
    source = saved_external(tmp_path) if external else saved(WIDE, tmp_path)
    before = snapshot(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, source, tmp_path / "out.onnx"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("onnx-fc2conv: cannot write")
    assert done.stderr.count("\n") == 1
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("accident", [RuntimeError, KeyboardInterrupt, MemoryError, SystemExit, OSError])
@pytest.mark.parametrize("external", [False, True], ids=["inline", "external"])
def test_an_accident_before_the_rename_leaves_nothing(
    accident: type[BaseException], external: bool, tmp_path: Path
) -> None:
    source = saved_external(tmp_path) if external else saved(LINEAR, tmp_path)
    (tmp_path / "out.onnx").write_text("old")
    before = snapshot(tmp_path)
    seen = []

    def interrupted() -> None:
        with staged(
            Target.of(tmp_path / "out.onnx", source), onnx.load(source, load_external_data=False), str(tmp_path)
        ) as path:
            seen.append(path.read_bytes())
            raise accident

    with pytest.raises(fc2conv.UsageError if accident is OSError else accident):
        interrupted()
    assert seen[0], "the model was already on the disk"
    assert snapshot(tmp_path) == before


def test_a_failed_load_of_the_written_file_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, runtime: str, read: object) -> None:
        assert runtime == "onnxruntime"
        assert Path(path).parent.parent == tmp_path
        raise fc2conv.VerificationFailed("no")

    source = saved(LINEAR, tmp_path)
    before = snapshot(tmp_path)
    monkeypatch.setattr(verification, "require_loads", refuse)
    call(capsys, source, tmp_path / "out.onnx").one_line(3)
    assert snapshot(tmp_path) == before


def test_a_rename_that_fails_half_way_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With external data there are two renames: if the model's fails, its data must not stay behind."""
    source = saved_external(tmp_path)
    before = snapshot(tmp_path)
    rename = os.replace

    def fail_for_the_model(old: Any, new: Any) -> None:
        if Path(new).suffix == ".onnx":
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        rename(old, new)

    monkeypatch.setattr(staging.os, "replace", fail_for_the_model)
    call(capsys, source, tmp_path / "out.onnx").one_line(2)
    assert snapshot(tmp_path) == before


def test_nothing_is_left_beside_the_output(tmp_path: Path) -> None:
    source = saved(LINEAR, tmp_path)
    start(source, tmp_path / "out.onnx").clean()
    assert {p.name for p in tmp_path.iterdir()} == {"in.onnx", "out.onnx"}


def test_the_written_file_has_ordinary_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    source = saved_external(tmp_path)
    fc2conv.convert(source).save(tmp_path / "out.onnx")
    modes = {name: (tmp_path / name).stat().st_mode for name in ("plain", "out.onnx", "out.onnx.data")}
    assert len(set(modes.values())) == 1, modes


def test_write_text(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    for text in ("old", "größe\n"):
        write_text(str(tmp_path / "r.json"), text)
        assert (tmp_path / "r.json").read_bytes() == text.encode()
    assert {p.name for p in tmp_path.iterdir()} == {"plain", "r.json"}
    assert (tmp_path / "r.json").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("name", ["missing/r.json", "folder", "n" * 300])
def test_write_text_refuses(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(fc2conv.UsageError, match=r"cannot write|is a folder"):
        write_text(str(tmp_path / name), "text")
    assert snapshot(tmp_path) == {"folder": "not a file"}


def test_write_text_on_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging.os, "replace", _failing(errno.ENOSPC))
    with pytest.raises(fc2conv.UsageError, match=r"cannot write|is a folder"):
        write_text(str(tmp_path / "r.json"), "text")
    assert not list(tmp_path.iterdir())


# -- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"), [(None, "does not exist"), (b"", "is empty"), (b"\xff" * 99, "not an ONNX model")]
)
def test_parse_refuses(content: bytes | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "in.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(fc2conv.UnreadableModel, match=said):
        parse(path)


def test_load_gives_the_view_and_a_name(tmp_path: Path) -> None:
    path = saved(LINEAR, tmp_path)
    model, name = load(path)
    assert name == str(path)
    assert [op.op_type for op in model.ops] == ["Conv", "Flatten", "Gemm"]
    assert load(network(LINEAR))[1] == "the model"


def _weight(model: ModelProto) -> TensorProto:
    return next(t for t in model.graph.initializer if t.name == "w")


def _short_raw_data(model: ModelProto) -> None:
    _weight(model).raw_data = _weight(model).raw_data[:-1]


def _long_raw_data(model: ModelProto) -> None:
    _weight(model).raw_data += b"\0"


def _negative_dims(model: ModelProto) -> None:
    _weight(model).dims[:] = [-12, -3]


def _huge_dims(model: ModelProto) -> None:
    _weight(model).dims[:] = [2**62, 2**62]


def _short_float_data(model: ModelProto) -> None:
    _weight(model).ClearField("raw_data")
    _weight(model).float_data[:] = [1.0] * 35


def _unknown_type(model: ModelProto) -> None:
    _weight(model).data_type = 99


def _no_type(model: ModelProto) -> None:
    _weight(model).ClearField("data_type")


def _undefined_input(model: ModelProto) -> None:
    model.graph.node[-1].input[0] = "nowhere"


def _missing_initializer(model: ModelProto) -> None:
    model.graph.initializer.remove(_weight(model))


def _undefined_output(model: ModelProto) -> None:
    model.graph.output[0].name = "nowhere"


def _value_twice(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Relu", ["map"], ["f"]))


def _value_is_initializer(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Relu", ["map"], ["w"]))


def _value_is_input(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Relu", ["map"], ["x"]))


def _initializer_twice(model: ModelProto) -> None:
    model.graph.initializer.append(_weight(model))


def _cycle(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Add", ["c2", "map"], ["c1"]))
    model.graph.node.append(helper.make_node("Relu", ["c1"], ["c2"]))


def _self_loop(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Relu", ["c1"], ["c1"]))


def _cycle_through_head(model: ModelProto) -> None:
    model.graph.node[0].input[0] = "y"


def _no_outputs(model: ModelProto) -> None:
    del model.graph.output[:]


def _no_graph(model: ModelProto) -> None:
    model.ClearField("graph")


def _no_opset(model: ModelProto) -> None:
    del model.opset_import[:]


def _undefined_in_branch(model: ModelProto) -> None:
    model.CopyFrom(with_branches())
    branch = model.graph.node[-1].attribute[0].g
    branch.node[0].input[0] = "nowhere"


DAMAGED: list[tuple[Callable[[ModelProto], None], str]] = [
    (_short_raw_data, "143 bytes, its dims [12, 3] need 144"),
    (_long_raw_data, "145 bytes, its dims [12, 3] need 144"),
    (_negative_dims, "negative dims [-12, -3]"),
    (_huge_dims, "its dims"),
    (_short_float_data, ""),
    (_unknown_type, ""),
    (_no_type, ""),
    (_undefined_input, "'nowhere' is not defined"),
    (_missing_initializer, "'w' is not defined"),
    (_undefined_output, "graph output 'nowhere' is not defined"),
    (_value_twice, "value 'f' is defined twice"),
    (_value_is_initializer, "value 'w' is defined twice"),
    (_value_is_input, ""),
    (_initializer_twice, "'w'"),
    (_cycle, "cycle"),
    (_self_loop, "cycle"),
    (_cycle_through_head, "cycle"),
    (_no_outputs, "has no graph outputs"),
    (_no_graph, "no graph or no opset"),
    (_no_opset, "no graph or no opset"),
    (_undefined_in_branch, "'nowhere'"),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGED, ids=[d.__name__.strip("_") for d, _ in DAMAGED])
@pytest.mark.parametrize("as_path", [True, False], ids=["path", "proto"])
def test_a_damaged_model_is_unreadable(
    damage: Callable[[ModelProto], None], said: str, as_path: bool, tmp_path: Path
) -> None:
    model = network(LINEAR)
    damage(model)
    (tmp_path / "in.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(fc2conv.UnreadableModel) as caught:
        fc2conv.convert(tmp_path / "in.onnx" if as_path else model)
    assert said in str(caught.value)


def test_an_unsorted_model_is_read(tmp_path: Path) -> None:
    model = network(LINEAR)
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    assert [op.op_type for op in load(model)[0].ops] == ["Conv", "Flatten", "Gemm"]
    assert not load(model)[0].sorted
