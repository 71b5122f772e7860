"""What ``tools/fuzz.py --save`` has written down is fine by now."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.fuzzing import cases

FOLDER = Path(__file__).parents[1] / "fuzz_cases"


@pytest.mark.parametrize("name", sorted(p.parent.name for p in FOLDER.glob("*/case.json")))
def test_a_case_that_failed_once(name: str, tmp_path: Path) -> None:
    verdict = cases.again(FOLDER / name, tmp_path)
    assert not verdict.failed, verdict
