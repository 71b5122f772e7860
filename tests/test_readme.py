"""The README does what it says: its commands run, its Python runs, its tables are those of the code."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from onnx_fc2conv.cli import main
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
