"""The tool that kills conversions: it runs, and it sees what is broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import interruptions


def test_it_kills_and_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert interruptions.main(["--small", "--kills", "2"]) == 0
    assert "2 conversions killed, no target broken" in capsys.readouterr().out


@pytest.mark.parametrize("data", [b"", interruptions.OLD[:-1], interruptions.OLD + b"x"])
def test_it_sees_a_broken_target(data: bytes, tmp_path: Path) -> None:
    course = interruptions.Course(tmp_path / "in.onnx", tmp_path / "killed", tmp_path / "whole" / "out.onnx")
    course.folder.mkdir()
    course.expected.parent.mkdir()
    course.expected.write_bytes(b"whole")
    course.target.write_bytes(data)
    with pytest.raises(SystemExit, match="BROKEN"):
        course.state(occupied=True)
    if data:
        course.target.unlink()
        with pytest.raises(SystemExit, match="BROKEN"):
            course.state(occupied=True)
