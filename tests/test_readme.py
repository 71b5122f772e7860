"""The README does what it says: its commands run, its Python runs, its tables are those of the code."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import onnx_fc2conv as fc2conv
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
