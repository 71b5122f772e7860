"""``start-up``: wall time of ``--help`` and ``--version``, against the ``--help`` of a bare argparse program.

The bare program has two arguments; it and the commands are run by the same interpreter, and take turns.
"""

from __future__ import annotations

import sys
from pathlib import Path

from .plan import Plan
from .tables import Table, duration
from .timing import Child, children

COLUMNS = ("command", "time", "times a bare --help")
BARE = """
import argparse

parser = argparse.ArgumentParser(description="Nothing but a parser.")
parser.add_argument("input", help="the model")
parser.add_argument("--size", metavar="HxW", help="a size")
parser.parse_args()
"""
MODEL = Path(__file__).parents[2] / "models" / "reference_detector.onnx"
REVERSE = "import sys; from onnx_fc2conv.cli import main_reverse; sys.exit(main_reverse(sys.argv[1:]))"
TIMES_ROUNDS = 4  #: these runs are short, so there are more of them


def run(plan: Plan) -> list[Table]:
    """Measure both commands."""
    about = (__doc__ or "").partition("\n\n")[2].replace("\n", " ").strip()
    table = Table("bench start-up", about, COLUMNS)
    bare = plan.folder / "bare.py"
    bare.write_text(BARE, encoding="utf-8")
    forward, reverse = [sys.executable, "-m", "onnx_fc2conv"], [sys.executable, "-c", REVERSE]
    ways = {
        "a bare argparse program --help": [sys.executable, str(bare), "--help"],
        "onnx-fc2conv --help": [*forward, "--help"],
        "onnx-fc2conv --version": [*forward, "--version"],
        "onnx-conv2fc --help": [*reverse, "--help"],
        "onnx-conv2fc --version": [*reverse, "--version"],
        "onnx-fc2conv reference_detector.onnx (inspect)": [*forward, str(MODEL), "--quiet"],
    }
    pairs = plan.rounds * (1 if plan.small else TIMES_ROUNDS)
    processes = {name: Child(command, reports=False) for name, command in ways.items()}
    if not plan.small:
        children(processes, 1)  # which writes the compiled files
    found = children(processes, pairs)
    base = next(iter(found.values()))
    for name, times in found.items():
        ratio = times.median / base.median
        row = (name, duration(times.median), f"{ratio:.2f}")
        table.add(row, command=name, seconds=times.seconds, ratio=ratio, pairs=pairs, peak=times.peak)
    return [table]
