"""A seeded sample of all mutants, judged in processes, and kept line by line, so that it can go on another day."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .choosing import batches
from .forks import in_processes, preload
from .mutants import Mutant, walk_all
from .recording import record, recorded
from .targets import sources
from .trial import LATE, SURVIVED, judged

GRACE = 6.0  #: a mutant may take this many times what its tests take, and these seconds
START = 20.0


@dataclass(frozen=True)
class Plan:
    """What is asked for.

    Attributes:
        sample: mutants, of all files together.
        seed: of the sample; a larger sample of one seed has a smaller one in it.
        minutes: no mutant is begun after these.
        seconds: of tests, at most, to judge one.
        jobs: processes at a time.
        folder: for what is kept.
        files: only mutants of paths that contain one of these.
        again: judge those anew that survived before.
    """

    sample: int
    seed: int
    minutes: float
    seconds: float
    jobs: int
    folder: Path
    files: tuple[str, ...] = ()
    again: bool = False


@dataclass(frozen=True)
class Verdict:
    """A mutant, what became of it, and the test that noticed it."""

    mutant: Mutant
    result: str
    by: str


def sampled(plan: Plan) -> list[Mutant]:
    """The sample, in the order in which it is judged."""
    everything = list(walk_all([source.as_posix() for source in sources()]))
    random.Random(plan.seed).shuffle(everything)
    chosen = [m for m in everything if not plan.files or any(part in m.file for part in plan.files)]
    return chosen[: plan.sample]


def run(plan: Plan) -> list[Verdict]:
    """Judge the sample, as far as the time goes; what was judged before is not judged again."""
    start = time.monotonic()
    plan.folder.mkdir(parents=True, exist_ok=True)
    preload()
    record(plan.folder / "tests.jsonl", plan.jobs)
    tests = recorded(plan.folder / "tests.jsonl")
    wanted = sampled(plan)
    known = verdicts(plan.folder)
    settled = {name for name, row in known.items() if not (plan.again and row["result"] == SURVIVED)}
    parts: dict[str, list[list[str]]] = {}

    def left() -> Iterator[Mutant]:
        for mutant in wanted:
            if time.monotonic() - start > 60 * plan.minutes:
                return
            if mutant.name not in settled:
                parts[mutant.name] = batches(mutant, tests, plan.seconds)
                yield mutant

    def work(mutant: Mutant) -> dict[str, str]:
        return judged(mutant, parts[mutant.name])

    limit = START + GRACE * plan.seconds
    with (plan.folder / "mutants.jsonl").open("a") as file:
        for mutant, found in in_processes(left(), work, plan.jobs, limit):
            row = {"mutant": mutant.name, **(found or {"result": LATE, "by": ""})}
            known[mutant.name] = row
            file.write(json.dumps(row) + "\n")
            file.flush()
            if row["result"] == SURVIVED:
                print(f"survived: {mutant.file}:{mutant.first}: {mutant.was} => {mutant.now}", flush=True)
    return [Verdict(m, known[m.name]["result"], known[m.name]["by"]) for m in wanted if m.name in known]


def verdicts(folder: Path) -> dict[str, dict[str, Any]]:
    """What was judged so far, the last result of each: name of the mutant -> its line."""
    path = folder / "mutants.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    return {row["mutant"]: row for row in map(json.loads, lines)}
