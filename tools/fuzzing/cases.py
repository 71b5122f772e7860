"""Which case a number is: a seed and a number say all about it.

Of twenty numbers, fifteen are damaged files, three random networks, and two models of the onnx package.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from . import mutated, network_trial, networks, suite
from .trial import PROGRAMS, Trial, Verdict, judged, run

Plan = dict[str, Any]
KINDS = ("mutated", "network", "onnx")
ORDER = tuple("network" if n in (0, 7, 14) else "onnx" if n in (3, 11) else "mutated" for n in range(20))
CASE = "case.json"


def kind_of(number: int) -> str:
    """One of ``KINDS``."""
    return ORDER[number % len(ORDER)]


def plan_of(seed: int, number: int) -> Plan:
    """What is to be done."""
    kind = kind_of(number)
    rng = np.random.default_rng([seed, number])
    if kind == "onnx":
        rounds, place = divmod(number, len(ORDER))
        before = sum(k == kind for k in ORDER[:place])
        plan = suite.plan_of(rounds * ORDER.count(kind) + before)
    else:
        plan = mutated.plan_of(rng) if kind == "mutated" else networks.plan_of(rng)
    return {"kind": kind, **plan}


def perform(plan: Plan, folder: Path) -> Verdict:
    """Do it, in a folder of its own."""
    room: Any = {"mutated": mutated, "network": network_trial, "onnx": suite}[plan["kind"]]
    verdict: Verdict = room.perform(plan, folder)
    return verdict


def reductions(plan: Plan) -> Iterator[Plan]:
    """Plans with less in them."""
    room: Any = {"mutated": mutated, "network": networks, "onnx": suite}[plan["kind"]]
    yield from room.reductions(plan)


def reason(text: str) -> str:
    """A message without what differs from one model to the next: names and numbers."""
    short = re.sub(r"'[^']*'", "'..'", text)
    return re.sub(r"-?\d+(\.\d+)?(e-?\d+)?", "#", short)[:150]


def save(plan: Plan, verdict: Verdict, folder: Path, work: Path) -> None:
    """Write a failing case down, so that a test can run it: its files, the command, and what was seen.

    Args:
        plan: of the case.
        verdict: what came of it.
        folder: where to; made anew.
        work: where its files lie.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("in.onnx", "weights.bin"):
        if (work / name).exists():
            shutil.copy(work / name, folder / name)
    seen = {**asdict(verdict), "text": verdict.text.replace(str(work), "FOLDER")}
    row: dict[str, Any] = {"found": seen, "plan": plan}
    if plan["kind"] == "network":
        network = networks.build(plan)
        assert network is not None
        row["law"] = network.known()
        (folder / "oracle.onnx").write_bytes(network.oracle.SerializeToString())
    row["program"], row["options"], row["writes"] = command_of(plan)
    (folder / CASE).write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")


def command_of(plan: Plan) -> tuple[str, list[str], bool]:
    """Program, options, and whether it writes."""
    if plan["kind"] == "onnx":
        command = suite.COMMANDS[suite.command_of(plan)]
        return command[0], list(command[1]), command[2]
    return plan["program"], list(plan["options"]), plan.get("writes", True)


def again(folder: Path, work: Path) -> Verdict:
    """Run a case that was written down.

    Args:
        folder: what ``save`` has made.
        work: an empty folder.
    """
    row = json.loads((folder / CASE).read_text(encoding="utf-8"))
    for path in folder.iterdir():
        if path.name not in (CASE, "oracle.onnx"):
            shutil.copy(path, work / path.name)
    if "law" in row and row["program"] == "onnx-fc2conv":
        network = networks.Network.recalled(row["law"], work / "in.onnx", folder / "oracle.onnx")
        return network_trial.convert(network, tuple(row["options"]), bool(row["plan"]["report"]), work)
    if row["program"] not in PROGRAMS:
        raise ValueError(f"'{folder}' names no program")
    trial = Trial(work, row["program"], tuple(row["options"]), row["writes"])
    return run(trial, mutated.reverted if mutated.REVERT in row["options"] else judged, may_lie=True)
