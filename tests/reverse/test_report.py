"""How the reverse direction's report is shown."""

from __future__ import annotations

import itertools
from io import StringIO

import pytest

import onnx_fc2conv as fc2conv
from onnx_fc2conv.report import markdown_reverse, percent, print_reverse
from onnx_fc2conv.report.reverse import in_bytes, in_units
from tests.reverse.models import model

SHARES = [(0, "0%"), (1, "100%"), (0.99999, "99.99%"), (0.5, "50%"), (0.9978, "99.78%"), (1 / 3, "33.33%")]


@pytest.mark.parametrize(("share", "said"), SHARES)
def test_only_all_is_a_hundred_percent(share: float, said: str) -> None:
    assert percent(share) == said


NUMBERS = [(None, "?", "?"), (0, "0", "0 B"), (999, "999", "999 B"), (1000, "1 k", "1000 B"), (1024, "1.02 k", "1 KiB")]
NUMBERS += [(123456789, "123 M", "118 MiB"), (2**61, "2.31e+03 P", "2.05e+03 PiB")]


@pytest.mark.parametrize(("n", "units", "size"), NUMBERS)
def test_numbers_are_short(n: int | None, units: str, size: str) -> None:
    assert (in_units(n), in_bytes(n)) == (units, size)


def many(count: int) -> fc2conv.ReverseReport:
    """A chain of 1x1 convolutions."""
    names = ["x", *(f"v{i}" for i in range(count - 1)), "y"]
    text = "\n".join(f"{b} = Conv({a}, w)" for a, b in itertools.pairwise(names))
    return fc2conv.convolution_to_matmul(model(text, {"w": (2, 2, 1, 1)}, (1, 2, 4, 4)), verify=False).report


def shown(report: fc2conv.ReverseReport) -> str:
    stream = StringIO()
    print_reverse(report, stream)
    return stream.getvalue()


def test_a_long_list_is_cut_on_a_terminal_and_nowhere_else() -> None:
    report = many(60)
    words = shown(report)
    assert len(words.splitlines()) < 40
    assert "... " in words
    listed = sum(1 for p in report.products if f"Conv '{p.node.split(chr(39))[1]}' " in words)
    assert f"{60 - listed} more" in words
    assert "all 60" in words
    assert all(f"| {p.node} |" in markdown_reverse(report) for p in report.products)


def test_the_total_adds_up() -> None:
    total = many(5).total()
    assert total is not None
    assert (total.node, total.count, total.before, total.after) == ("all 5", 5, 5 * 64, 5 * 64)
    assert (total.bytes_before, total.bytes_after, total.gathered, total.zeros) == (80, 80, 0, 0)
    assert many(1).total() is None


def test_what_is_not_known_is_not_added() -> None:
    text = "v = Conv <pads = [1, 1, 1, 1]> (x, w)\ny = Conv(v, w)"
    total = fc2conv.convolution_to_matmul(model(text, {"w": (2, 2, 3, 3)}), verify=False).report.total()
    assert total is not None
    assert (total.before, total.gathered) == (None, None)


def test_names_do_not_steer_a_terminal_or_a_table() -> None:
    proto = model("y = Conv(x, w)", {"w": (2, 2, 1, 1)}, (1, 2, 4, 4))
    proto.graph.node[0].name = "a\x1b[31m|b"
    report = fc2conv.convolution_to_matmul(proto, verify=False).report
    assert "\x1b" not in shown(report) + markdown_reverse(report)
    assert "\\|b" in markdown_reverse(report)
