"""The benchmarks run, and the README's tables have the rows that they print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools import bench_conv2fc, bench_stride

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
TINY = bench_conv2fc.Case("tiny", lambda: bench_conv2fc.conv(1, 2, 6, 3))
HUGE = bench_conv2fc.Case("huge", lambda: bench_conv2fc.conv(4, 4, 64, 3))


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_conv2fc, "SECONDS", 0.01)
    monkeypatch.setattr(bench_stride, "SECONDS", 0.01)


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


def test_denser_answers_are_measured_against_shifted_copies() -> None:
    case = bench_stride.Case("tiny", bench_stride.stored("reference_detector"), (160, 128), (16, 8))
    first, second = bench_stride.rows(case)
    assert first[:4] == ("tiny", "160x128", "32x32 -> 16x16", "3x5")
    assert second[:4] == ("", "", "32x32 -> 8x8", "5x9")
    assert all(float(r[4]) > 0 and float(r[5]) > 0 and re.fullmatch(r"[\d.]+ x", r[6]) for r in (first, second))


def test_the_readme_has_the_table_of_denser_answers_that_is_printed() -> None:
    header = "| " + " | ".join(bench_stride.COLUMNS) + " |"
    table = README[README.index(header) :].split("\n\n")[0].splitlines()[2:]
    printed = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table]
    assert [row[0] for row in printed if row[0]] == [case.name for case in bench_stride.CASES]
    strides = [f"{s}x{s}" for case in bench_stride.CASES for s in case.strides]
    assert [row[2].split(" -> ")[1] for row in printed] == strides
