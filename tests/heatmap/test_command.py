"""``python -m onnx_fc2conv.heatmap``: what it prints and draws; what it refuses, in one line, writing nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

import onnx_fc2conv as fc2conv
from onnx_fc2conv import heatmap
from onnx_fc2conv.heatmap import drawing, picture
from onnx_fc2conv.heatmap.command import main
from tests.heatmap.models import bright, converted, patch, written

ROOT = Path(__file__).parents[2]
PREFIX = "onnx_fc2conv.heatmap: "
BOX = (40, 64, 64, 80)
SIZE = (96, 128)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model and a picture, from which the command is run."""
    written(tmp_path, converted(bright()), "map.onnx")
    Image.fromarray(patch(SIZE, BOX)).save(tmp_path / "in.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(PREFIX)
    assert err.count("\n") == 1
    assert len(err) <= 501
    assert "internal error" not in err
    return err[len(PREFIX) : -1]


# -- what it does ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"), [("o.png", "PNG"), ("o.JPG", "JPEG"), ("o.jpeg", "JPEG"), ("o.webp", "WEBP")]
)
def test_it_prints_boxes_and_draws(name: str, kind: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map.onnx", "in.png", "-o", name]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    first, second, third, *boxes = out.splitlines()
    assert first == "map.onnx on in.png (96x128): output 'score', stride 8x8"
    assert second == "scale 1: 10x15 = 150 answers, the highest 0.902"
    assert third == "1 box: score at y0, x0, y1, x1 (scale)"
    assert boxes == ["  0.9020 at 40, 64, 64, 80 (1)"]
    with Image.open(folder / name) as drawn:
        assert drawn.format == kind
    assert sorted(p.name for p in folder.iterdir()) == sorted(["map.onnx", "in.png", name])


def test_without_o_nothing_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map.onnx", "in.png", "--threshold", "0.95"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "0 boxes"
    assert len(list(folder.iterdir())) == 2


def test_quiet(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map.onnx", "in.png", "-o", "o.png", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert (folder / "o.png").is_file()


def test_labels(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(folder, converted(bright(classes=3)), "three.onnx")
    (folder / "names.txt").write_text("cat\ndog\n\u00e9l\u00e9phant\n\n", encoding="utf-8")
    assert main(["three.onnx", "in.png", "--labels", "names.txt", "--label", "dog"]) == 0
    assert "output 'score', channel 1 'dog' of 3," in capsys.readouterr().out
    assert main(["three.onnx", "in.png", "--labels", "names.txt"]) == 0
    assert "channel 2 '\u00e9l\u00e9phant' of 3," in capsys.readouterr().out, "the highest anywhere"
    assert main(["three.onnx", "in.png", "--channel", "0"]) == 0
    assert "channel 0 of 3," in capsys.readouterr().out


def test_it_is_run_as_a_module(folder: Path) -> None:
    command = [sys.executable, "-m", "onnx_fc2conv.heatmap", "map.onnx", "in.png", "-o", "o.png"]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "0.9020 at 40, 64, 64, 80 (1)" in done.stdout


def test_rows_are_a_map_too(folder: Path) -> None:
    maps, rows = (fc2conv.convert(bright(classes=2), verify=False, output=form).model for form in ("map", "rows"))
    expected, found = (heatmap.heat(model, folder / "in.png", channel=1) for model in (maps, rows))
    assert found.detections == expected.detections
    np.testing.assert_array_equal(found.map(), expected.map())


# -- the drawing -----------------------------------------------------------------------------------------------------


def test_the_map_is_drawn_where_it_belongs() -> None:
    """The brightest cell of the drawing is the patch's, frame and score beside it; the picture has its own pixels."""
    heat = heatmap.heat(converted(bright()), patch((400, 480), (160, 320, 184, 336)), threshold=0.89)
    mixed, (low, high) = drawing.coloured(heat)
    assert (low, high) == (0.0, 1.0)
    hot = mixed.astype(int)[..., 0] + mixed[..., 1]
    rows, columns = np.nonzero(hot == hot.max())
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (168, 176, 324, 332), "the middle's stride"
    image = np.asarray(drawing.draw(heat))
    top = 2 * max(round(400 / 40), 11)
    np.testing.assert_array_equal(image[top : top + 400, :480][190:], mixed[190:])
    framed = (image == drawing.FRAME).all(-1)
    rows, columns = np.nonzero(framed[top + 160 : top + 400])
    assert (columns.min() >= 320, columns.max() < 360) == (True, True)


def test_logits_are_coloured_from_the_lowest_to_the_highest() -> None:
    heat = heatmap.heat(converted(bright()), patch(SIZE, BOX), preset="none")
    low, high = drawing.coloured(heat)[1]
    assert (low, high) == (20, 230)
    flat = heatmap.heat(converted(bright()), np.full((30, 40, 3), 9, np.uint8), preset="none")
    assert drawing.coloured(flat)[1] == (8.5, 9.5)


def test_small_pictures_are_enlarged_and_drawing_is_deterministic() -> None:
    heat = heatmap.heat(converted(bright()), patch((24, 16), (0, 0, 24, 16)))
    first, second = drawing.draw(heat), drawing.draw(heat)
    assert first.height >= drawing.SMALLEST
    assert first.tobytes() == second.tobytes()


# -- what it refuses -------------------------------------------------------------------------------------------------


def plain(folder: Path) -> None:
    written(folder, bright(), "map.onnx")


def one_answer(folder: Path) -> None:
    written(folder, converted(bright(), output="mean"), "map.onnx")


def two_outputs(folder: Path) -> None:
    shutil.copy(ROOT / "models" / "two_heads_prelu.onnx", folder / "two.onnx")
    written(folder, converted(onnx.load(folder / "two.onnx")), "map.onnx")


def signal(folder: Path) -> None:
    written(folder, converted(onnx.load(ROOT / "models" / "conv1d.onnx")), "map.onnx")


def two_inputs(folder: Path) -> None:
    model = converted(bright())
    model.graph.input.append(helper.make_tensor_value_info("gain", TensorProto.FLOAT, [1]))
    model.graph.node.append(helper.make_node("Identity", ["gain"], ["unused"]))
    written(folder, model, "map.onnx")


def four_channels(folder: Path) -> None:
    written(folder, converted(bright(channels=4)), "map.onnx")


def fixed_again(folder: Path) -> None:
    model = converted(bright())
    for dim, value in zip(model.graph.input[0].type.tensor_type.shape.dim, (1, 3, 24, 16), strict=True):
        dim.dim_value = value
    written(folder, model, "map.onnx")


def foreign_operator(folder: Path) -> None:
    model = converted(bright())
    model.graph.node[0].op_type = "Nonsense"
    written(folder, model, "map.onnx")


def cut_off(folder: Path) -> None:
    (folder / "in.png").write_bytes((folder / "in.png").read_bytes()[:60])


def text_file(folder: Path) -> None:
    (folder / "in.png").write_text("no picture")


def tiny(folder: Path) -> None:
    Image.fromarray(patch((23, 200), (0, 0, 1, 1))).save(folder / "in.png")


def label_file(text: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / "names").write_bytes(text)  # type: ignore[return-value]


def as_it_is(folder: Path) -> None:
    """Nothing is wrong but the options."""


REFUSED: list[tuple[Callable[[Path], None], list[str], str]] = [
    (plain, [], "carries no geometry: it was not made by onnx-fc2conv"),
    (one_answer, [], "output 'score' of 'map.onnx' is the mean of its windows; convert with --output map"),
    (two_outputs, [], "'map.onnx' has 2 outputs with a grid; choose one with --output: prob, box"),
    (two_outputs, ["--output", "score"], "'map.onnx' has no output 'score' with a grid; there are: prob, box"),
    (signal, [], "has a grid of 1 axes, a picture has 2"),
    (two_inputs, [], "'map.onnx' takes 'image', 'gain'; a heat map is of one picture"),
    (four_channels, [], "input 'image' ['N', 4, 'height', 'width'] is no picture of 1 or 3 channels"),
    (fixed_again, [], "input 'image' [1, 3, 24, 16] is no picture of 1 or 3 channels with free height and width"),
    (foreign_operator, [], "'map.onnx' is not loaded by onnxruntime"),
    (cut_off, [], "picture 'in.png' cannot be read"),
    (text_file, [], "picture 'in.png' cannot be read"),
    (tiny, [], "the picture is 23x200 (height x width), smaller than the model's window 24x16"),
    (as_it_is, ["--scales", "1,0.2"], "the picture is 19x26 at scale 0.2 (height x width), smaller than"),
    (as_it_is, ["--scales", "0"], "--scales 0 must be above 0 and at most 16"),
    (as_it_is, ["--scales", "17"], "--scales 17 must be above 0 and at most 16"),
    (as_it_is, ["--scales", "a"], "--scales 'a' must be a number, or several with commas between"),
    (as_it_is, ["--scales", "nan"], "--scales 'nan' must be a number, or several with commas between"),
    (as_it_is, ["--mean", "1,2"], "the mean has 2 numbers, the model takes 3 channels"),
    (as_it_is, ["--std", "1,2,3,4"], "the std has 4 numbers, the model takes 3 channels"),
    (as_it_is, ["--std", "1,0,1"], "--std 1,0,1 would divide by 0"),
    (as_it_is, ["--scale", "1,2"], "--scale '1,2' must be a number, such as 0.5"),
    (as_it_is, ["--threshold", "x"], "--threshold 'x' must be a number, such as 0.5"),
    (as_it_is, ["--iou", "1.5"], "--iou 1.5 is not between 0 and 1"),
    (as_it_is, ["--top", "-1"], "--top"),
    (as_it_is, ["--top", "1.5"], "--top '1.5' must be a whole number of at least 0"),
    (as_it_is, ["--channel", "1"], "--channel 1: output 'score' has 1, counted from 0"),
    (as_it_is, ["--label", "x"], "--label is looked up in the file of --labels, so give that too"),
    (as_it_is, ["--labels", "none"], "labels 'none' cannot be read: No such file or directory"),
    (label_file(b"a\nb\n"), ["--labels", "names"], "'names' has 2 labels, output 'score' has 1 channels"),
    (label_file(b"\xff\xfe\xff"), ["--labels", "names"], "labels 'names' cannot be read: it is not UTF-8 text"),
    (label_file(b"dress\n"), ["--labels", "names", "--label", "dres"], "'names' has no label 'dres'; near: dress"),
    (label_file(b"a\n"), ["--labels", "names", "--label", "a", "--channel", "0"], "give one of them"),
    (as_it_is, ["--activation", "softmax"], "--activation softmax of a single channel is 1 everywhere"),
    (as_it_is, ["--activation", "gelu"], "argument --activation: invalid choice"),
    (as_it_is, ["--preset", "vgg"], "argument --preset: invalid choice"),
    (as_it_is, ["-o", "heat.gif"], "'heat.gif' must end in .png, .jpg, .jpeg, .webp"),
    (as_it_is, ["-o", "in.png"], "'in.png' is the input itself"),
    (as_it_is, ["-o", "no/heat.png"], "the folder 'no' does not exist"),
    (as_it_is, ["--nonsense"], "unrecognized arguments: --nonsense"),
]


@pytest.mark.parametrize(
    ("wrong", "options", "reason"), REFUSED, ids=[f"{w.__name__} {' '.join(o)}" for w, o, _ in REFUSED]
)
def test_it_refuses(
    wrong: Callable[[Path], None], options: list[str], reason: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong(folder)
    before = {p: p.read_bytes() for p in folder.iterdir()}
    given = options if "-o" in options else [*options, "-o", "heat.png"]
    assert main(["map.onnx", "in.png", *given]) == 2
    assert reason in said(capsys)
    assert {p: p.read_bytes() for p in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (["none.onnx", "in.png"], "'none.onnx'"),
        (["in.png", "in.png"], "'in.png' is not an ONNX model"),
        (["map.onnx", "none.png"], "picture 'none.png' does not exist"),
        (["map.onnx", "."], "'.' is a folder, not a picture"),
        (["map.onnx"], "the following arguments are required: PICTURE"),
    ],
)
def test_it_refuses_files(files: list[str], reason: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(files) == 2
    assert reason in said(capsys)


@pytest.mark.parametrize("name", ["PIL", "matplotlib"])
def test_without_the_extra_it_says_what_to_install(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in [m for m in sys.modules if m.split(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)  # type: ignore[arg-type]
    assert main(["map.onnx", "in.png", "-o", "o.png"]) == 2
    line = said(capsys)
    assert f"heat maps need {name}" in line
    assert 'pip install "onnx-fc2conv[viz]"' in line
    assert not (folder / "o.png").exists()


def test_a_picture_that_cannot_be_written_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Any, data: bytes) -> None:
        raise fc2conv.UsageError(f"cannot write '{path}': No space left on device")

    monkeypatch.setattr(picture, "write_bytes", full)
    assert main(["map.onnx", "in.png", "-o", "o.png"]) == 2
    assert said(capsys) == "cannot write 'o.png': No space left on device"
    assert len(list(folder.iterdir())) == 2


WRONG_IN_PYTHON: list[tuple[dict[str, Any], str]] = [
    ({"mean": "abc"}, "mean 'abc' is not made of numbers"),
    ({"scales": [float("inf")]}, "is not made of finite numbers"),
    ({"scales": []}, "must be above 0"),
    ({"threshold": float("nan")}, "--threshold is not a number"),
    ({"preset": "vgg"}, "preset 'vgg' is none of"),
    ({"channel": -1}, "counted from 0"),
]


@pytest.mark.parametrize(("options", "reason"), WRONG_IN_PYTHON, ids=[r for _, r in WRONG_IN_PYTHON])
def test_the_api_refuses(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(fc2conv.UsageError, match=reason):
        heatmap.detect(converted(bright()), patch(SIZE, BOX), **options)
