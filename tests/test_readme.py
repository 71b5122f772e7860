"""The README does what it says: its commands run, its Python runs, its tables are those of the code."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest

import onnx_fc2conv as fc2conv
from onnx_fc2conv import convert
from onnx_fc2conv.cli import main
from tests.test_examples import FakeTensorRT
from tools import docs

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The fenced code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def test_tables_are_made_from_the_code() -> None:
    assert docs.rendered(TEXT) == TEXT


def test_a_stale_table_is_noticed() -> None:
    stale = TEXT.replace("`Gemm`, `MatMul`", "`Gemm`", 1)
    assert stale != TEXT
    assert docs.rendered(stale) == TEXT


def test_the_first_block_is_the_two_set_up_commands() -> None:
    """``.ci/run`` runs them, word for word, in a clean clone."""
    first = TEXT.index("```")
    assert TEXT[first:].startswith("```sh\n")
    commands = blocks("sh")[0].splitlines()
    assert len(commands) == 2
    assert all(c.startswith("python -m pip install") for c in commands)


def test_the_first_command_converts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ROOT / "models", tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    program, *arguments = blocks("sh")[0].splitlines()[0].split("&& ")[1].split()
    assert program == "onnx-fc2conv"
    assert main(arguments) == 0
    assert "13x31 = 403" in capsys.readouterr().out
    assert (tmp_path / "detector_map.onnx").is_file()


def test_the_python_example_runs_and_gives_what_its_comments_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "models", tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    promised = 0
    for line in blocks("python")[0].splitlines():
        exec(line, names)
        comment = re.search(r"# (\([\d, ]+\))", line)
        if comment:
            assert eval(line.split("#")[0], names) == eval(comment[1])
            promised += 1
    assert promised == 2


def block(language: str, start: str) -> str:
    """The only block that starts so."""
    (found,) = (text for text in blocks(language) if text.startswith(start))
    return found


PROFILE = {"input": ([1, 3, 128, 64], [1, 3, 512, 1024], [1, 3, 512, 1024])}


def names_of_the_example() -> dict[str, Any]:
    """What the first Python block has left behind, as far as the blocks on TensorRT use it."""
    return {"result": fc2conv.convert(ROOT / "models/reference_detector.onnx", sizes=[(512, 1024)], verify=False)}


def test_the_tensorrt_example_sets_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for the library."""
    trt = FakeTensorRT()
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    names = names_of_the_example()
    exec(block("python", "import tensorrt"), names)
    assert names["plan"] == b"plan"
    assert (trt.path, trt.profile, len(trt.added)) == ("detector_map.onnx", PROFILE, 1)


class Polygraphy(ModuleType):
    """As much of ``polygraphy.backend.trt`` as the example calls."""

    def __init__(self) -> None:
        super().__init__("polygraphy.backend.trt")
        self.ran: list[Any] = []
        self.network_from_onnx_path = lambda path: path
        self.engine_from_network = lambda network, config: (network, config)
        self.CreateConfig = lambda profiles: profiles

        class Profile(dict[str, Any]):
            def add(self, name: str, min: Any, opt: Any, max: Any) -> None:
                self[name] = (min, opt, max)

        class TrtRunner:
            def __init__(runner, engine: Any) -> None:
                runner.engine = engine

            def __enter__(runner) -> Any:
                return runner

            def __exit__(runner, *error: Any) -> None:
                return None

            def infer(runner, feeds: Any) -> Any:
                self.ran.append((*runner.engine, feeds))
                return {"score": 7}

        self.Profile, self.TrtRunner = Profile, TrtRunner


def test_the_polygraphy_example_sets_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Polygraphy()
    for name in ("polygraphy", "polygraphy.backend", "polygraphy.backend.trt"):
        monkeypatch.setitem(sys.modules, name, library)
    names = names_of_the_example() | {"image": "image"}
    exec(block("python", "from polygraphy"), names)
    assert names["scores"] == 7
    assert library.ran == [("detector_map.onnx", [PROFILE], {"input": "image"})]


@pytest.fixture
def geometry_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that the second Python example leaves behind, run on the model that the first command converts."""
    shutil.copytree(ROOT / "models", tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    convert("models/reference_detector.onnx", verify=False).save("detector_map.onnx")
    names: dict[str, Any] = {}
    exec(blocks("python")[1], names)
    return names


def test_the_boxes_of_the_geometry_example_land_on_the_object(geometry_example: dict[str, Any]) -> None:
    """The object is found in the picture itself, not in the example's numbers."""
    picture, found = geometry_example["picture"][0, 0], geometry_example["found"]
    object_ = picture == picture.max()
    assert object_.sum() == 64 * 32
    covered = np.zeros_like(object_)
    for y0, x0, y1, x1 in found:
        assert (y1 - y0, x1 - x0) == (128, 64)
        assert object_[y0:y1, x0:x1].any()
        covered[y0:y1, x0:x1] = True
    assert covered[object_].all()
    y0, x0, y1, x1 = geometry_example["best"]
    assert object_[y0:y1, x0:x1].any()
    assert not object_[:128, :64].any(), "the answer that the others are compared with does not see the object"


def test_the_drawn_picture_has_the_boxes(geometry_example: dict[str, Any]) -> None:
    header, pixels = Path("drawn.ppm").read_bytes().split(b"\n", 1)
    assert header == b"P6 1024 512 255"
    drawn = np.frombuffer(pixels, np.uint8).reshape(512, 1024, 3)
    expected = np.zeros((512, 1024), bool)
    for y0, x0, y1, x1 in geometry_example["found"]:
        for y, x in ((y0, slice(x0, x1)), (y1 - 1, slice(x0, x1)), (slice(y0, y1), x0), (slice(y0, y1), x1 - 1)):
            expected[y, x] = True
    assert np.array_equal((drawn == (255, 0, 0)).all(-1), expected)
    assert expected.sum() > 1000


def test_the_comments_of_the_geometry_example_are_true(geometry_example: dict[str, Any]) -> None:
    promised = 0
    for line in blocks("python")[1].splitlines():
        code, _, comment = line.partition("  # ")
        numbers = re.match(r"\([\d, ]+\)", comment)
        if numbers:
            assert eval(code.split(" = ")[-1], geometry_example) == eval(numbers[0])
            promised += 1
    assert promised == 5
    assert len(geometry_example["found"]) == 7
    assert geometry_example["boxes"].shape == (13, 31, 4)


def test_boxes_land_on_the_object_wherever_it_is(geometry_example: dict[str, Any]) -> None:
    """Only answers whose box sees the object change; nearly always one of them is above all others."""
    run = geometry_example["ort"].InferenceSession("detector_map.onnx")
    above = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        y, x = int(rng.integers(130, 512 - 64)), int(rng.integers(70, 1024 - 32))
        picture = np.full((1, 3, 512, 1024), 0.1, np.float32)
        picture[:, :, y : y + 64, x : x + 32] = 1
        answers = run.run(None, {"input": picture})[0][0, 0]
        seeing = np.zeros(answers.shape, bool)
        seeing[geometry_example["geometry"].cells((y, x, y + 64, x + 32))] = True
        assert not (answers[~seeing] != answers[0, 0]).any()
        assert (answers[seeing] != answers[0, 0]).any()
        above += answers.max() > answers[0, 0]
    assert above >= 16


def test_the_reverse_example_runs_and_gives_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "models", tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    text = block("python", "import onnx_fc2conv as fc2conv\n\nfc2conv.convolution_to_matmul(")
    *lines, table, back = text.strip().splitlines()
    names: dict[str, Any] = {}
    exec("\n".join(lines), names)
    assert (tmp_path / "lenet_matmul.onnx").is_file()
    matrices = eval(table.split("#")[0], names)
    assert [m[:3] for m in matrices] == [("Conv 'conv_1'", 784, 3456), ("Conv 'conv_2'", 864, 1024)]
    assert eval(back.split("#")[0], names) == onnx.load("models/lenet.onnx")
