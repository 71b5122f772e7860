"""What the README says of heat maps is what the commands print; scores may differ a little between libraries."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import onnx_fc2conv as fc2conv
from onnx_fc2conv.heatmap.command import main
from tools import bench_windows

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
SCORE = re.compile(r"^  (0\.\d+) at ([\d, .]+) \(1\)$", re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the README's commands are run, with the detector converted."""
    for name in ("models", "tools/pictures"):
        shutil.copytree(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    fc2conv.convert("models/dress_64x128.onnx", verify=False).save("dress.onnx")
    return tmp_path


def test_the_command_prints_what_the_readme_says(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = TEXT.index("$ python -m onnx_fc2conv.heatmap dress.onnx")
    command, *said = TEXT[start : TEXT.index("```", start)].splitlines()
    assert main(command.split()[4:]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == said[0]
    assert printed[1].partition("highest")[0] == said[1].partition("highest")[0]
    assert printed[2] == said[2]
    found, expected = (SCORE.findall("\n".join(lines)) for lines in (printed, said))
    assert len(expected) == len(said) - 3 >= 4
    assert {box: float(score) for score, box in found} == pytest.approx(
        {box: float(score) for score, box in expected}, abs=0.02
    )
    assert (folder / "heat.png").is_file()


def test_the_python_example_runs(folder: Path) -> None:
    (example,) = re.findall(r"^```python\n(from onnx_fc2conv import heatmap\n.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(example, names)
    assert names["found"] == names["heat"].detections
    assert names["heat"].map().shape == (512, 1024)
    assert (folder / "heat.png").is_file()


def test_the_table_has_the_rows_that_the_benchmark_prints() -> None:
    header = "| " + " | ".join(bench_windows.COLUMNS) + " |"
    table = TEXT[TEXT.index(header) :].split("\n\n")[0].splitlines()[2:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in table] == [
        "one pass of the converted model",
        "feature-map crops, one by one",
        "feature-map crops, one batch",
        "image crops, one by one",
        "image crops, one batch",
    ]
    assert "](tools/pictures/dresses_32.jpg)" in TEXT
