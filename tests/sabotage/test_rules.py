"""Mutants are what they say; one that matters is killed by a test that runs its line, one that does not survives."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.sabotaging.rules import campaign, score
from tools.sabotaging.rules.campaign import Plan, Verdict, sampled, verdicts
from tools.sabotaging.rules.choosing import batches, covering
from tools.sabotaging.rules.forks import in_processes
from tools.sabotaging.rules.mutants import mutants, mutated, walk_all
from tools.sabotaging.rules.recording import Test as Recorded
from tools.sabotaging.rules.targets import ROOT, module_of, sources

SOURCE = '''"""Docstring 1."""

LIMIT = 3


def pick(values: list[int], n: int = 2) -> list[int]:
    """Docstring 2."""
    assert n > 0, "positive"
    if n < LIMIT and not values:
        raise ValueError(f"text {n}")
    for v in values:
        if v == 7:
            continue
        print(v, end="x")
    return values[n:] + [max(v, -n) for v in values if v]
'''
EXPECTED = {
    "LIMIT = 3 => LIMIT = 4",
    "LIMIT = 3 => LIMIT = 2",
    "if n < LIMIT and (not values): => if n <= LIMIT and (not values):",
    "if n < LIMIT and (not values): => if n >= LIMIT and (not values):",
    "if n < LIMIT and (not values): => if n < LIMIT or not values:",
    "if n < LIMIT and (not values): => if not values:",
    "if n < LIMIT and (not values): => if n < LIMIT:",
    "if n < LIMIT and (not values): => if n < LIMIT and values:",
    "if n < LIMIT and (not values): => if not (n < LIMIT and (not values)):",
    "raise ValueError(f'text {n}') => pass",
    "if v == 7: => if v != 7:",
    "if v == 7: => if v == 8:",
    "if v == 7: => if v == 6:",
    "continue => break",
    "print(v, end='x') => pass",
    "print(v, end='x') => print(v)",
    "print(v, end='x') => print(v, end='xX')",
    "def pick(values: list[int], n: int=2) -> list[int]: => def pick(values: list[int], n: int=3) -> list[int]:",
    "def pick(values: list[int], n: int=2) -> list[int]: => def pick(values: list[int], n: int=1) -> list[int]:",
}
LAST = "return values[n:] + [max(v, -n) for v in values if v]"
RETURNED = {
    "return None",
    "return values[n:] - [max(v, -n) for v in values if v]",
    "return values[n + 1:] + [max(v, -n) for v in values if v]",
    "return values[:] + [max(v, -n) for v in values if v]",
    "return values[n:] + [min(v, -n) for v in values if v]",
    "return values[n:] + [max(v, n) for v in values if v]",
    "return values[n:] + [max(v, -n) for v in values]",
}


def test_the_mutants_of_a_file() -> None:
    """All of them: nothing is done to docstrings, annotations, assertions and messages."""
    found = mutants("pick.py", source=SOURCE)
    assert {f"{m.was} => {m.now}" for m in found} == EXPECTED | {f"{LAST} => {now}" for now in RETURNED}
    assert len({m.name for m in found}) == len(found)
    assert {m.scope for m in found} == {"", "pick"}
    by_text = {m.now: m for m in found}
    assert (by_text["if v == 8:"].first, by_text["if v == 8:"].last) == (12, 12)
    assert by_text["LIMIT = 4"].depending == ((9, 9),)


def test_a_mutant_runs_as_it_reads() -> None:
    by_text = {m.now: m for m in mutants("pick.py", source=SOURCE)}
    for now, expected in (
        ("return values[:] + [max(v, -n) for v in values if v]", [1, 7, 2, 1, 7, 2]),
        ("return None", None),
        ("if v == 8:", [2, 1, 7, 2]),
    ):
        names: dict[str, object] = {"print": lambda *_, **__: None}
        exec(compile(mutated(by_text[now], source=SOURCE), "pick.py", "exec"), names)
        assert names["pick"]([1, 7, 2]) == expected  # type: ignore[operator]


def test_every_mutant_compiles_and_has_its_own_name() -> None:
    found = mutants("onnx_fc2conv/lift/pool.py")
    assert len({m.name for m in found}) == len(found) > 100
    for mutant in found[::20]:
        compile(mutated(mutant), mutant.file, "exec")
        before = ast.dump(ast.parse((ROOT / mutant.file).read_text()))
        assert ast.dump(mutated(mutant)) != before


SCRIPT = """
import json, sys
from tools.sabotaging.rules import forks
from tools.sabotaging.rules.mutants import walk_all
from tools.sabotaging.rules.trial import judged
parts = json.loads(sys.argv[1])
forks.preload()
chosen = [m for m in walk_all(sorted({name.split(" ")[0] for name in parts})) if m.name in parts]
found = forks.in_processes(chosen, lambda m: judged(m, [parts[m.name]]), 2, 300)
print(json.dumps({mutant.name: verdict for mutant, verdict in found}))
"""
WRONG = "onnx_fc2conv/geometry/sizes.py __call__: return n => return None"
SAME = (  # the name under which a value is found again, which may be any
    "onnx_fc2conv/lift/static/cells.py as_blocks: "
    "return op.once(('blocks', name), lambda: value.on(op.shaped(name, [0, size, 1, 1]))) => "
    "return op.once(('blocksX', name), lambda: value.on(op.shaped(name, [0, size, 1, 1])))"
)


def test_a_known_mutant_is_killed_and_an_equivalent_one_survives() -> None:
    """In a process that has not imported the package; each mutant in one of its own that is forked from that."""
    geometry = "tests/test_geometry.py::test_json_round_trip[one output]"
    static = "tests/lift/test_static.py::test_form[a matrix for each row]"
    arguments = json.dumps({WRONG: [geometry], SAME: [static]})
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    command = [sys.executable, "-c", SCRIPT, arguments]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {
        WRONG: {"result": "killed", "by": "tests/test_geometry.py"},  # its tables are made when it is read
        SAME: {"result": "survived", "by": ""},
    }


def test_the_tests_that_run_a_line_are_chosen_its_own_file_and_the_quickest_first() -> None:
    mutant = next(m for m in mutants("onnx_fc2conv/lift/pool.py") if m.scope == "window_pool")
    line = 1 << mutant.first
    tests = [
        Recorded("tests/lift/test_pool.py::test_a[1]", 0.1, {mutant.file: line}),
        Recorded("tests/lift/test_pool.py::test_a[2]", 0.2, {mutant.file: line}),
        Recorded("tests/lift/test_pool.py::test_b", 0.3, {mutant.file: line}),
        Recorded("tests/test_flatten.py::test_c", 0.3, {mutant.file: line}),
        Recorded("tests/lift/test_pool.py::test_elsewhere", 0.1, {mutant.file: line << 50}),
        Recorded("tests/lift/test_pool.py::test_long", 30.0, {mutant.file: line}),
    ]
    assert [t.name[-6:] for t in covering(mutant, tests)] == ["t_a[1]", "t_a[2]", "test_b", "test_c", "t_long"]
    (first,) = batches(mutant, tests, 1.0)
    assert [name[-6:] for name in first] == ["t_a[1]", "test_c", "test_b", "t_a[2]"]


def test_a_sample_is_seeded_and_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        campaign, "sources", lambda: [Path("onnx_fc2conv/flatten.py"), Path("onnx_fc2conv/lift/views.py")]
    )
    few, many = (sampled(Plan(n, 5, 1, 1, 1, tmp_path)) for n in (10, 30))
    assert many[:10] == few
    assert sampled(Plan(10, 6, 1, 1, 1, tmp_path)) != few
    assert {m.file for m in sampled(Plan(10, 5, 1, 1, 1, tmp_path, ("flatten",)))} == {"onnx_fc2conv/flatten.py"}


def test_what_was_judged_is_kept_and_the_last_verdict_counts(tmp_path: Path) -> None:
    rows = [{"mutant": "a", "result": "survived", "by": ""}, {"mutant": "a", "result": "killed", "by": "t"}]
    (tmp_path / "mutants.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert verdicts(tmp_path) == {"a": rows[1]}
    assert verdicts(tmp_path / "empty") == {}


def test_processes_that_die_or_take_too_long_are_noticed() -> None:
    def work(task: str) -> str:
        if task == "dies":
            os._exit(3)
        while task == "hangs":
            pass
        return task.upper()

    found = dict(in_processes(["good", "dies", "hangs", "fine"], work, 2, 2.0))
    assert found == {"good": "GOOD", "dies": None, "hangs": None, "fine": "FINE"}


@pytest.mark.parametrize(
    ("killed", "judged", "expected"), [(90, 100, (0.826, 0.945)), (0, 10, (0.0, 0.278)), (0, 0, (0.0, 1.0))]
)
def test_the_interval_is_wilsons(killed: int, judged: int, expected: tuple[float, float]) -> None:
    assert score.interval(killed, judged) == pytest.approx(expected, abs=1e-3)


def test_the_score_leaves_out_what_no_test_can_notice() -> None:
    chosen = [m for m in mutants("onnx_fc2conv/flatten.py")][:10]
    found = [Verdict(m, "survived" if i < 4 else "killed", "") for i, m in enumerate(chosen)]
    known = {chosen[0].name: "why", chosen[9].name: "killed all the same"}
    assert score.table(found, known)[-1][:6] == ("all", "10", "1", "6", "3", "66.7%")
    assert [v.mutant for v in score.survivors(found, known)] == chosen[1:4]


def test_what_is_explained_is_still_there() -> None:
    """A row of either table is of a mutant that the code still has, and no mutant is in both."""
    equivalent, explained = score.equivalent(), score.explained()
    assert not equivalent.keys() & explained.keys()
    known = equivalent | explained
    assert all(known.values())
    assert set(known) <= {m.name for m in walk_all(sorted({name.partition(" ")[0] for name in known}))}


def test_the_names_of_modules() -> None:
    assert module_of(Path("onnx_fc2conv/lift/__init__.py")) == "onnx_fc2conv.lift"
    assert module_of(Path("onnx_fc2conv/flatten.py")) == "onnx_fc2conv.flatten"
    assert {s.parts[1] for s in sources()} == {"flatten.py", "geometry", "lift"}
