"""The fuzzer finds nothing in a short run, and finds everything that the package is broken with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from onnx_fc2conv.lift import RULES
from tools import fuzz
from tools.fuzzing import cases, mutated, networks, suite, trial, wire, workers
from tools.fuzzing.trial import Verdict

from . import sabotage

MODELS = Path(__file__).parents[2] / "models"
SHORT = {"mutated": 50, "network": 6, "onnx": 10}


@pytest.fixture(autouse=True)
def _only_own_models(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same cases whether the corpus is there or not."""
    monkeypatch.setenv("ONNX_FC2CONV_CORPUS", "none")
    mutated.bases.cache_clear()
    yield
    mutated.bases.cache_clear()


def numbers(kind: str, first: int = 0) -> Iterator[int]:
    return (n for n in range(first, 10**6) if cases.kind_of(n) == kind)


# -- a short run -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", cases.KINDS)
def test_a_short_run_finds_nothing(kind: str, tmp_path: Path) -> None:
    first = 0 if kind != "onnx" else 600  # the first of these have hundreds of megabytes of weights
    chosen = [n for _, n in zip(range(SHORT[kind]), numbers(kind, first), strict=False)]
    seen = []
    for n in chosen:
        folder = tmp_path / str(n)
        folder.mkdir()
        verdict = cases.perform(cases.plan_of(0, n), folder)
        assert not verdict.failed, f"python -m tools.fuzz --case {n}: {verdict}"
        seen.append(verdict.kind)
    assert seen.count("ok") >= len(seen) // 8, seen


def test_a_case_is_its_seed_and_number() -> None:
    for n in (0, 1, 3, 7):
        assert json.loads(json.dumps(cases.plan_of(5, n))) == cases.plan_of(5, n)
    assert cases.plan_of(5, 1) != cases.plan_of(6, 1)
    assert [cases.ORDER.count(kind) for kind in cases.KINDS] == [15, 3, 2]


def test_heads_are_drawn_from_the_whole_registry() -> None:
    folder = Path(networks.__file__).parent
    text = "".join(p.read_text(encoding="utf-8") for p in folder.glob("*.py"))
    names = {entry.kind.rpartition(".")[2].removeprefix("Reduce") for entry in RULES.values() if entry.rule is not None}
    assert not sorted(name for name in names if name and name not in text)


@pytest.mark.parametrize("name", ["lenet.onnx", "two_heads_prelu.onnx"])
def test_a_file_is_the_tree_that_it_was_parsed_to(name: str) -> None:
    data = (MODELS / name).read_bytes()
    tree = wire.parse(data)
    assert wire.write(tree) == data
    tree[0].value = 2**64 - 1
    assert wire.write(tree) != data


# -- sabotage --------------------------------------------------------------------------------------------------------


#: a plain conversion without its own checks, of a window that is not square
PLAIN: dict[str, Any] = {
    **{"kind": "network", "opset": 13, "dtype": "float32", "batch": "N", "channels": 2, "size": [7, 6], "more": 0},
    **{"channels_last": False, "may_pad": False, "backbone": [["conv", 5]], "program": "onnx-fc2conv"},
    **{"heads": [{"from": 0, "entry": ["in_order", 1], "nodes": [["matmul", 1]]}], "options": ["--no-verify"]},
    "report": False,
}


BROKEN: list[tuple[Callable[[sabotage.Set], None], str]] = [
    (sabotage.swapped_axes, "wrong"),
    (sabotage.partial_file, "partial"),
    (sabotage.stray_file, "partial"),
    (sabotage.wrong_error, "internal error"),
    (sabotage.traceback, "traceback"),
    (sabotage.odd_exit_code, "exit"),
]


@pytest.mark.parametrize(("broken", "kind"), BROKEN, ids=[b.__name__ for b, _ in BROKEN])
def test_a_broken_package_is_found(
    broken: Callable[[sabotage.Set], None], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "right").mkdir()
    (tmp_path / "broken").mkdir()
    assert cases.perform(PLAIN, tmp_path / "right").kind == "ok"
    with monkeypatch.context() as patch:
        broken(patch.setattr)
        verdict = cases.perform(PLAIN, tmp_path / "broken")
    assert (verdict.kind, verdict.failed) == (kind, True), verdict


def test_a_failure_of_two_lines_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in.onnx").write_bytes(b"no model")
    given = trial.Trial(tmp_path, "onnx-fc2conv", ("--quiet",))
    assert trial.run(given).kind == "unreadable"
    sabotage.two_lines(monkeypatch.setattr)
    assert trial.run(given).kind == "stderr"


def test_workers_are_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What hangs is killed, what crashes is noticed, what takes all memory is refused."""
    monkeypatch.setenv(sabotage.TURN, str(tmp_path / "turn"))
    worker = workers.Worker(tmp_path / "work", 3.0, prelude=sabotage.in_turn)
    found = []
    for limit in (3.0, 120.0, 120.0):
        worker.limit = limit
        found.append(worker.do(PLAIN))
    worker.stop()
    assert [v.kind for v in found] == ["hang", "crash", "refused"]
    assert "SIGSEGV" in found[1].text
    assert "not enough memory" in found[2].text


# -- what is done with a failure -------------------------------------------------------------------------------------


class Stub(workers.Worker):
    """Fails whenever one change is among those of the plan."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 1.0)

    def do(self, plan: dict[str, Any]) -> Verdict:
        guilty = any(name == "node_order" for name, _ in plan["changes"])
        return Verdict("wrong", "output 'y' is off") if guilty else Verdict("ok")


def test_a_failure_is_made_smaller_and_written_down(tmp_path: Path) -> None:
    base = {"base": "conv1d.onnx", "converted": False, "program": "onnx-fc2conv", "writes": True, "kind": "mutated"}
    changes = [["node_order", 1], ["renamed_node", 2], ["operator_set", 3]]
    large = {**base, "options": ["--quiet", "--output", "rows", "--no-verify"], "changes": changes}
    small, verdict = workers.shrunk(Stub(tmp_path), large, Verdict("wrong", "output 'z' is off"))
    assert small == {**base, "options": ["--quiet"], "changes": [["node_order", 1]]}
    work, again = tmp_path / "work", tmp_path / "again"
    work.mkdir()
    again.mkdir()
    cases.perform(small, work)
    cases.save(small, verdict, tmp_path / "saved", work)
    assert cases.again(tmp_path / "saved", again).kind in trial.FINE
    assert (again / "in.onnx").read_bytes() == (tmp_path / "saved" / "in.onnx").read_bytes()


def test_a_network_is_written_down_with_what_is_known_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("work", "right", "broken"):
        (tmp_path / name).mkdir()
    cases.perform(PLAIN, tmp_path / "work")
    cases.save(PLAIN, Verdict("wrong", "made up"), tmp_path / "saved", tmp_path / "work")
    assert cases.again(tmp_path / "saved", tmp_path / "right").kind == "ok"
    sabotage.swapped_axes(monkeypatch.setattr)
    assert cases.again(tmp_path / "saved", tmp_path / "broken").kind == "wrong"


def test_a_run_goes_on_where_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every case once, whatever it was interrupted by; a failure counts in every run that goes on."""
    done: list[int] = []

    def pretend(of: list[workers.Worker], plans: Iterator[Any]) -> Iterator[Any]:
        for number, _ in plans:
            of[0].number = number
            done.append(number)
            yield of[0], Verdict("hang" if number == 5 else "ok"), 0.1
            if len(done) == 8:
                raise KeyboardInterrupt

    monkeypatch.setattr(fuzz, "all_of", pretend)
    arguments = ["--cases", "12", "--resume", str(tmp_path / "log"), "--workers", "1"]
    assert fuzz.main(arguments) == 1
    with (tmp_path / "log").open("a") as log:
        log.write('{"seed": 0, "case": 8, "verd')  # cut off
    assert fuzz.main(arguments) == 1
    assert done == list(range(12))
    assert fuzz.main([*arguments, "--seed", "1"]) == 1
    assert done == [*range(12), *range(12)]


def test_one_case_and_kinds_can_be_chosen(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(fuzz, "all_of", lambda of, plans: iter([chosen.extend(n for n, _ in plans)][:0]))
    assert fuzz.main(["--case", "7"]) == 0
    assert fuzz.main(["--kinds", "onnx", "--cases", "40"]) == 0
    assert fuzz.main(["--minutes", "0"]) == 0
    assert chosen == [7, 3, 11, 23, 31]
    assert fuzz.main(["--kinds", "none"]) == 2
    assert "no such kind: none" in capsys.readouterr().out


def test_every_command_is_given_to_every_model_of_onnx() -> None:
    count = len(suite.files())
    given = {suite.command_of(suite.plan_of(n * count)) for n in range(len(suite.COMMANDS))}
    assert given == set(range(len(suite.COMMANDS)))
    assert not suite.plan_of(count * len(suite.COMMANDS))["file"]
