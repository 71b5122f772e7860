"""Cases of damaged files: a model, what happens to it, and the command that it is given to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from onnx import ModelProto

from . import tensor_edits, wrapping_edits  # noqa: F401  they register their edits
from .damage import DAMAGES
from .edits import EDITS
from .trial import Trial, Verdict, judged, overheard, run

ROOT = Path(__file__).parents[2]
LARGEST = 300_000  #: bytes of a file; larger ones only make everything slow

Plan = dict[str, Any]

#: how often, which program, with which options, whether it writes
COMMANDS: list[tuple[int, str, tuple[str, ...], bool]] = [
    (24, "onnx-fc2conv", ("--quiet",), False),
    (2, "onnx-fc2conv", (), False),
    (24, "onnx-fc2conv", ("--quiet", "--no-verify"), True),
    (12, "onnx-fc2conv", ("--quiet",), True),
    (2, "onnx-fc2conv", (), True),
    (8, "onnx-fc2conv", ("--quiet", "--no-verify", "--static"), True),
    (3, "onnx-fc2conv", ("--quiet", "--static", "--max-kernel", "3", "--max-channels", "5"), True),
    (5, "onnx-fc2conv", ("--quiet", "--no-verify", "--dynamic-batch"), True),
    *((2, "onnx-fc2conv", ("--quiet", "--no-verify", "--output", form), True) for form in ("rows", "mean", "max")),
    (3, "onnx-fc2conv", ("--quiet", "--no-verify", "--stride", "2"), True),
    (2, "onnx-fc2conv", ("--quiet", "--no-verify", "--global-pool", "keep"), True),
    (3, "onnx-fc2conv", ("--quiet", "--check"), False),
    (6, "onnx-conv2fc", ("--quiet", "--no-verify"), True),
    (2, "onnx-conv2fc", ("--quiet",), True),
    (2, "onnx-conv2fc", ("--quiet", "--no-verify", "--form", "dense", "--max-bytes", "20000000"), True),
    (6, "onnx-conv2fc", ("--quiet", "--no-verify", "--revert"), True),
    (2, "onnx-conv2fc", ("--quiet", "--revert"), True),
]
REVERT = "--revert"


@lru_cache(maxsize=1)
def bases() -> dict[str, tuple[Path, float]]:
    """The models by name, each with how often it is taken: small ones more often."""
    folders = [ROOT / "models", Path(os.environ.get("ONNX_FC2CONV_CORPUS", ROOT.parent / "shared" / "models"))]
    found: dict[str, tuple[Path, float]] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*.onnx")) if folder.is_dir() else []:
            size = path.stat().st_size
            if 0 < size <= LARGEST:
                share = 4.0 if folder == folders[0] else 1.0
                found[path.relative_to(folder).as_posix()] = path, share / (1 + size / 20_000)
    return found


def plan_of(rng: np.random.Generator) -> Plan:
    """A model, one to four things that happen to it, and a command."""
    known = bases()
    weights = np.array([w for _, w in known.values()])
    base = list(known)[int(rng.choice(len(known), p=weights / weights.sum()))]
    shares = np.array([c[0] for c in COMMANDS], float)
    _, program, options, writes = COMMANDS[int(rng.choice(len(COMMANDS), p=shares / shares.sum()))]
    names = list(DAMAGES) if rng.integers(3) == 0 else list(EDITS)
    count = int(rng.choice([1, 1, 1, 2, 3, 4]))
    changes = [[str(rng.choice(names)), int(rng.integers(2**31))] for _ in range(count)]
    return {
        "base": base,
        "converted": REVERT in options or bool(rng.integers(15) == 0),
        "changes": changes,
        "program": program,
        "options": list(options),
        "writes": writes,
    }


def perform(plan: Plan, folder: Path) -> Verdict:
    """Make the file and run the command."""
    trial = written(plan, folder)
    return run(trial, reverted if REVERT in plan["options"] else judged, may_lie=True)


def written(plan: Plan, folder: Path) -> Trial:
    """The file of a plan, and what it is given to."""
    data = _converted(plan["base"]) if plan["converted"] else bases()[plan["base"]][0].read_bytes()
    for name, seed in plan["changes"]:
        data = _changed(data, name, np.random.default_rng(seed))
    (folder / "in.onnx").write_bytes(data)
    if b"weights.bin" in data:
        (folder / "weights.bin").write_bytes(np.random.default_rng(0).normal(size=2000).astype(np.float32).tobytes())
    return Trial(folder, plan["program"], tuple(plan["options"]), plan["writes"])


def _changed(data: bytes, name: str, rng: np.random.Generator) -> bytes:
    """The file after one more thing has happened to it; as it was where that cannot be."""
    if not data:
        return data
    try:
        if name in DAMAGES:
            return DAMAGES[name](rng, data)
        model = ModelProto.FromString(data)
        EDITS[name](rng, model)
        return bytes(model.SerializeToString())
    except (DecodeError, ValueError, RecursionError, UnicodeDecodeError):
        return data


@lru_cache(maxsize=64)
def _converted(base: str) -> bytes:
    """What the tool makes of a model; the model itself where it refuses."""
    import tempfile

    from onnx_fc2conv import cli

    with tempfile.TemporaryDirectory() as folder, overheard():
        target = Path(folder) / "out.onnx"
        cli.main([str(bases()[base][0]), str(target), "--no-verify", "--quiet"])
        return target.read_bytes() if target.exists() else bases()[base][0].read_bytes()


def reverted(trial: Trial) -> Verdict | None:
    """What was taken back gives what the file gave, at the one size that it has: the file may mix answers at others."""
    from .pairs import Pair, Unjudged, at_trained_size
    from .runtime import CannotRun

    try:
        pair = Pair.load(str(trial.output), str(trial.folder / trial.source), "map")
        wrong = at_trained_size(pair)
    except Unjudged as e:
        return Verdict("unjudged", str(e)[:300], 0)
    except CannotRun as e:
        return Verdict("unjudged", f"the converted model does not run: {e}"[:300], 0)
    return Verdict("wrong", f"what came back is another: {wrong}", 0) if wrong else None


def reductions(plan: Plan) -> Iterator[Plan]:
    """Plans with less in them."""
    for i in range(len(plan["changes"])):
        yield {**plan, "changes": plan["changes"][:i] + plan["changes"][i + 1 :]}
    if plan["converted"] and REVERT not in plan["options"]:
        yield {**plan, "converted": False}
    for i, option in enumerate(plan["options"]):
        if option.startswith("--") and option not in ("--quiet", REVERT):
            alone = i + 1 == len(plan["options"]) or plan["options"][i + 1].startswith("--")
            yield {**plan, "options": plan["options"][:i] + plan["options"][i + (1 if alone else 2) :]}
