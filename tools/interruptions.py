"""Kill conversions at random moments, and look at what is left: the target is what it was, or whole and new.

    python tools/interruptions.py --kills 50

A killed process cannot clean up, so a hidden folder beside the target may be left; how many were is printed. The file
that was there before, and the input, must be untouched whatever happens.
"""

from __future__ import annotations

import argparse
import filecmp
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from tools.benchmarks.models import Case, Network, vgg
from tools.benchmarks.tables import size

OLD = b"what was there before"


@dataclass
class Course:
    """One model, converted over and over.

    Attributes:
        source: the model.
        folder: where its conversions are written.
        expected: a conversion that nobody killed, with its data file.
        seconds: how long that took.
    """

    source: Path
    folder: Path
    expected: Path
    seconds: float = 0.0
    found: Counter[str] = field(default_factory=Counter)

    @property
    def target(self) -> Path:
        """The file that is killed over; it has the name of the expected one, which its data file's name follows."""
        return self.folder / self.expected.name

    def start(self, target: Path) -> subprocess.Popen[bytes]:
        """The command, running."""
        command = [sys.executable, "-m", "onnx_fc2conv", str(self.source), str(target), "--no-verify", "--quiet"]
        return subprocess.Popen(command)

    def finish(self) -> None:
        """The conversion that the others are held against."""
        begin = time.perf_counter()
        if self.start(self.expected).wait():
            raise SystemExit(f"{self.source.name} is not converted")
        self.seconds = time.perf_counter() - begin

    def kill(self, after: float, occupied: bool) -> str:
        """Kill a conversion after so many seconds; returns what is left of it.

        Raises:
            SystemExit: a target that is neither old nor new.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        if occupied:
            self.target.write_bytes(OLD)
        process = self.start(self.target)
        time.sleep(after)
        process.kill()
        process.wait()
        left = self.state(occupied)
        self.found[left] += 1
        self.found["hidden folders left"] += any(p.name.startswith(".") for p in self.folder.iterdir())
        return left

    def state(self, occupied: bool) -> str:
        """Old or new.

        Raises:
            SystemExit: neither.
        """
        if not self.target.exists():
            if not occupied:
                return "none"
        elif occupied and self.target.read_bytes()[: len(OLD) + 1] == OLD:
            return "the old one"
        elif self.is_new():
            return "the new one, whole"
        raise SystemExit(f"BROKEN: '{self.target}' is neither what was there nor what was to come")

    def is_new(self) -> bool:
        """Whether the target and the data that it refers to are what an undisturbed conversion writes."""
        pairs = [(self.target, self.expected)]
        try:
            proto = onnx.load(self.target, load_external_data=False)
        except DecodeError:
            return False
        for name in {e.value for t in proto.graph.initializer for e in t.external_data if e.key == "location"}:
            pairs.append((self.folder / name, self.expected.parent / name))
        return all(a.exists() and filecmp.cmp(a, b, shallow=False) for a, b in pairs)


def courses(folder: Path, small: bool) -> list[Course]:
    """A model in one file, and one with external data; about 550 MB each."""
    image, units, divisor = ((3, 64, 64), (64, 64, 10), 16) if small else ((3, 224, 224), (4096, 4096, 1000), 1)
    build = partial(vgg, units=units, divisor=divisor)
    cases = [
        Case("in one file", partial(Network, image), build),
        Case("external data", partial(Network, image, storage="external"), build),
    ]
    found = []
    for case in cases:
        source = case.saved(folder)
        own = source.parent / "whole"
        own.mkdir()
        found.append(Course(source, source.parent / "killed", own / "out.onnx"))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Kill, look, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="conversions to kill, in all (default: 50)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--small", action="store_true", help="models of a few hundred kilobytes")
    given = parser.parse_args(argv)
    rng = np.random.default_rng(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        every = courses(Path(folder), given.small)
        for course in every:
            course.finish()
        for i in range(given.kills):
            course = every[i % len(every)]
            course.kill(rng.uniform(0, 1.1 * course.seconds), occupied=bool(i // len(every) % 2))
        for course in every:
            total = size(sum(f.stat().st_size for f in course.source.parent.iterdir() if f.is_file()))
            counts = ", ".join(f"{name}: {count}" for name, count in sorted(course.found.items()))
            print(f"{course.source.parent.name}, {total}, {course.seconds:.1f} s undisturbed; target after: {counts}")
    print(f"{given.kills} conversions killed, no target broken")
    return 0


if __name__ == "__main__":
    sys.exit(main())
