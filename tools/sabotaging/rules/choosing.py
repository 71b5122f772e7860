"""Which tests judge a mutant, and in what order: those of its own file first, of each kind the quickest."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest
from pathlib import PurePosixPath

from .mutants import Mutant
from .recording import Test

BATCHES = (2.0, 8.0)  #: seconds of tests until the results are looked at; what is left comes after them
REGISTRY = "tests/lift/test_registry.py"


def covering(mutant: Mutant, tests: Iterable[Test]) -> list[Test]:
    """The tests that run its lines; for what runs at import those that run a line that depends on it.

    Of a decorator or a default these are the lines of its function, of a constant those that name it. Where there are
    none, it is all tests that run any line of the file, or bear its name.
    """
    tests = list(tests)
    spans = mutant.depending or [(mutant.first, mutant.last)]
    found = [t for t in tests if any(t.runs(mutant.file, first, last) for first, last in spans)]
    if mutant.scope or found:
        return found
    return [test for test in tests if mutant.file in test.lines or _own(mutant, test) or _file(test) == REGISTRY]


def batches(mutant: Mutant, tests: Iterable[Test], seconds: float) -> list[list[str]]:
    """Ids of the tests that judge it, in parts: each part is only run if nothing was noticed before.

    Args:
        mutant: what is to be judged.
        tests: all, the quickest first.
        seconds: the most that the chosen tests take in all, on the code as it is; half of it goes to the tests of the
            mutant's own file, as long as there are others.
    """
    found = covering(mutant, tests)
    own, others = (_turns([t for t in found if _own(mutant, t) is mine]) for mine in (True, False))
    spent = {True: 0.0, False: 0.0}
    parts: list[list[str]] = [[] for _ in range(len(BATCHES) + 1)]
    while own or others:
        mine = bool(own) and (not others or spent[True] <= spent[False])
        test = (own if mine else others).pop(0)
        if sum(spent.values()) + test.seconds > seconds and any(parts):
            continue
        spent[mine] += test.seconds
        now = sum(spent.values())
        parts[next((i for i, limit in enumerate(BATCHES) if now <= limit), len(BATCHES))].append(test.name)
    return [part for part in parts if part]


def _turns(tests: list[Test]) -> list[Test]:
    """The quickest case of each test function, then the second of each, and so on."""
    functions: dict[str, list[Test]] = {}
    for test in tests:
        functions.setdefault(test.name.partition("[")[0], []).append(test)
    return [test for turn in zip_longest(*functions.values()) for test in turn if test is not None]


def _own(mutant: Mutant, test: Test) -> bool:
    """Whether a test is in the file that tests the mutant's file, by its name."""
    path = PurePosixPath(mutant.file)
    own = path.parent.name if path.stem in ("__init__", "walk") else path.stem
    return PurePosixPath(_file(test)).stem.startswith(f"test_{own}")


def _file(test: Test) -> str:
    return test.name.partition("::")[0]
