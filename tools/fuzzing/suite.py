"""The models that ship inside of the onnx package: those of its backend tests, in files and made in memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import onnx

from .trial import Trial, Verdict, judged, overheard, run

Plan = dict[str, Any]
LARGEST = 5_000_000  #: bytes

#: what is done to all models, one command after the other
COMMANDS: list[tuple[str, tuple[str, ...], bool]] = [
    ("onnx-fc2conv", ("--quiet",), True),
    ("onnx-fc2conv", ("--quiet", "--static"), True),
    ("onnx-fc2conv", ("--quiet", "--check"), False),
    ("onnx-conv2fc", ("--quiet",), True),
    ("onnx-fc2conv", ("--quiet", "--no-verify", "--dynamic-batch"), True),
    ("onnx-conv2fc", ("--quiet", "--no-verify", "--revert"), True),
]


@lru_cache(maxsize=1)
def files() -> list[Path]:
    """The model files, in the order of their paths."""
    data = Path(onnx.__file__).parent / "backend" / "test" / "data"
    return sorted(p for p in data.rglob("*.onnx") if p.stat().st_size <= LARGEST)


@lru_cache(maxsize=1)
def made() -> list[tuple[str, bytes]]:
    """The models that the package makes when asked to, which takes it some seconds."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings(), overheard():
        warnings.simplefilter("ignore")
        found = [(c.name, c.model.SerializeToString()) for c in collect_testcases(None) if c.model is not None]
    return [(name, data) for name, data in found if len(data) <= LARGEST]


def plan_of(index: int) -> Plan:
    """The files first, with every command; then what is made, with every command."""
    whole = len(files()) * len(COMMANDS)
    return {"index": index, "file": index < whole}


def command_of(plan: Plan) -> int:
    """Which of ``COMMANDS``."""
    if plan["file"]:
        return int(plan["index"] // len(files()))
    return int((plan["index"] - len(files()) * len(COMMANDS)) // len(made()) % len(COMMANDS))


def perform(plan: Plan, folder: Path) -> Verdict:
    """Run the command on a copy."""
    if plan["file"]:
        data = files()[plan["index"] % len(files())].read_bytes()
    else:
        data = made()[(plan["index"] - len(files()) * len(COMMANDS)) % len(made())][1]
    (folder / "in.onnx").write_bytes(data)
    program, options, writes = COMMANDS[command_of(plan)]
    return run(Trial(folder, program, options, writes), judged)


def reductions(plan: Plan) -> Iterator[Plan]:
    """There is nothing to leave out."""
    yield from ()
