"""The benchmark runs, and the README's table has the rows that it prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools import bench_conv2fc

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
TINY = bench_conv2fc.Case("tiny", lambda: bench_conv2fc.conv(1, 2, 6, 3))
HUGE = bench_conv2fc.Case("huge", lambda: bench_conv2fc.conv(4, 4, 64, 3))


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_conv2fc, "SECONDS", 0.01)


def test_every_form_is_measured() -> None:
    conv, matmul, dense = bench_conv2fc.rows(TINY)
    assert [r[:4] for r in (conv, matmul, dense)] == [
        ("tiny", "Conv", "", ""),
        ("", "matmul", "9 x 2", ""),
        ("", "dense", "36 x 72", "80.24%"),
    ]
    assert conv[-1] == "1.00"
    assert all(float(r[-1]) > 0 and re.fullmatch(r"[\d.]+ [kMG]B", r[-2]) for r in (conv, matmul, dense))
    assert dense[4] == "10.7 kB"  # (36 * 72 + 72) float32


def test_what_is_too_large_is_not_built() -> None:
    assert bench_conv2fc.rows(HUGE)[-1][1:] == ("dense", "16384 x 16384", "99.78%", "1.07 GB", "not built", "")


def test_the_readme_has_the_table_that_is_printed() -> None:
    header = "| " + " | ".join(bench_conv2fc.COLUMNS) + " |"
    table = README[README.index(header) :].split("\n\n")[0].splitlines()[2:]
    names = [tuple(cell.strip() for cell in line.strip("|").split("|"))[:2] for line in table]
    expected = [
        (case.name if form == "Conv" else "", form) for case in bench_conv2fc.CASES for form in bench_conv2fc.FORMS
    ]
    assert names == expected
