"""``tools/bench.py``: every benchmark measures, prints and writes what it promises, and notices a wrong model."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv import cli
from tests.test_cli import change_one_weight
from tools import bench
from tools.benchmarks import command, convert, dense, flops, graphs, growth, models, same_size, start_up, timing, verify
from tools.benchmarks.plan import Plan, require_same
from tools.benchmarks.tables import Table, head, size

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
GROWTH_COLUMNS = ("graph", *(f"{n} nodes" for n in growth.COUNTS), f"{growth.COUNTS[-1]} / {growth.COUNTS[0]}")
TABLES: dict[str, tuple[tuple[str, ...], list[str]]] = {
    # place in the README -> columns, what stands first in its rows
    "convert": (convert.COLUMNS, [c.name for c in models.vgg_cases(False)]),
    "verify": (verify.COLUMNS, [*verify.CASES]),
    "same-size": (
        same_size.COLUMNS,
        [*models.inference_cases(False), "64x128 detector (reference_detector.onnx)"],
    ),
    "dense": (dense.COLUMNS, ["reference detector", *dense.IMAGES]),
    "growth": (GROWTH_COLUMNS, list(graphs.GRAPHS)),
    "start-up": (start_up.COLUMNS, []),
}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(tmp_path, small=True, rounds=1)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(same_size, "TURN", 0.001)
    monkeypatch.setattr(same_size, "TURNS", 3)
    monkeypatch.setattr(flops, "SIDE", 64)
    monkeypatch.setattr(flops, "rate", lambda: 1e9)


def table_of(columns: tuple[str, ...]) -> Table:
    return Table("bench", "", columns)


def numbers(value: Any) -> Iterator[float]:
    """All numbers in some JSON."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from numbers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from numbers(inner)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value


def expect_whole(table: Table) -> None:
    """As many cells as columns, and positive finite numbers behind them, that JSON can hold."""
    assert table.rows
    assert len(table.rows) == len(table.figures)
    assert all(len(row) == len(table.columns) for row in table.rows)
    for figures in json.loads(json.dumps(table.figures)):
        found = list(numbers(figures))
        assert found or figures.get("seconds", 1) is None
        assert all(math.isfinite(n) and n > 0 for n in found), figures


def spoiled(do: Callable[..., Any]) -> Callable[..., Any]:
    """``convert`` of the API, with one weight of its result changed."""

    def convert(*args: Any, **kwargs: Any) -> Any:
        result = do(*args, **kwargs)
        change_one_weight(result.model)
        return result

    return convert


def spoiled_main(argv: list[str]) -> int:
    """The command, with the biases of the file that it wrote changed."""
    code = cli.main(argv)
    model = onnx.load(argv[1])
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 1 or tensor.name == "fc":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + 3, tensor.name))
    onnx.save(model, argv[1])
    return code


# -- each benchmark ----------------------------------------------------------------------------------------------------


def test_conversions_are_measured_against_a_copy(plan: Plan) -> None:
    table = table_of(convert.COLUMNS)
    case = models.vgg_cases(True)[1]
    convert.measure(case, plan, {"onnx.load, onnx.save": convert.LOAD_SAVE}, table)
    expect_whole(table)
    ways = [row[2] for row in table.rows]
    assert set(ways) == {
        "plain copy",
        convert.OURS,
        f"{convert.OURS}, with start-up",
        "onnx.load, onnx.save",
        convert.SHARED,
    }
    assert table.rows[0][:2] == (case.name, size(table.figures[0]["bytes"]))
    assert table.rows[0][4] == "1.00"
    assert table.figures[1]["peak"] > table.figures[0]["peak"] > 2**22  # one of them has imported onnx


def test_a_copy_is_whole(plan: Plan) -> None:
    path = models.vgg_cases(True)[1].saved(plan.folder)
    target = plan.folder / "copies"
    target.mkdir()
    timing.Child(timing.python(convert.COPY, path.parent, target)).run()
    for name in ("model.onnx", "weights.data"):
        assert (target / name).read_bytes() == (path.parent / name).read_bytes()


def test_checks_are_measured(plan: Plan) -> None:
    table = table_of(verify.COLUMNS)
    verify.measure(models.vgg_cases(True)[0], plan, table)
    expect_whole(table)
    (figures,) = table.figures
    assert figures["verified"]["peak"] > figures["plain"]["peak"]
    assert figures["times_bytes"] == figures["verified"]["peak"] / figures["bytes"]


def test_inference_is_measured_at_every_batch_size(plan: Plan) -> None:
    table = table_of(same_size.COLUMNS)
    case = models.inference_cases(True)["LeNet head"]
    same_size.measure("LeNet head", case.made(), plan, table)
    expect_whole(table)
    forms = [row[1] for row in table.rows]
    assert forms == ["original", "plain Conv", "--tune"]
    assert set(table.figures[1]["ratios"]) == set(same_size.BATCHES)


def test_one_pass_is_measured_against_windows(plan: Plan) -> None:
    table = table_of(dense.COLUMNS)
    dense.measure("detector", onnx.load(dense.DETECTOR), (160, 96), plan, table)
    expect_whole(table)
    assert [row[3] for row in table.rows] == [
        "one pass",
        "image crops",
        "feature crops",
        "feature crops, one batch",
    ]
    assert table.rows[0][:3] == ("detector", "160x96", "4")
    assert table.rows[1][4] == "4"


def test_many_windows_of_a_large_network_are_sampled(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "SAMPLED_FROM", 0)
    monkeypatch.setattr(dense, "SAMPLE", 3)
    table = table_of(dense.COLUMNS)
    dense.measure("detector", onnx.load(dense.DETECTOR), (160, 96), plan, table)
    assert table.rows[1][4] == "3 of 4, scaled"
    assert table.rows[2][4] == "1 + 3 of 4 heads, scaled"


def test_growth_is_measured(plan: Plan) -> None:
    table = table_of(("graph", "60", "120", "ratio"))
    growth.measure("the same, unsorted", growth.SMALL_COUNTS, plan, table)
    expect_whole(table)
    assert table.figures[0]["ratio"] == pytest.approx(
        table.figures[0]["seconds"][120] / table.figures[0]["seconds"][60] / 2
    )


def test_start_up_is_measured(plan: Plan) -> None:
    (table,) = start_up.run(plan)
    expect_whole(table)
    assert [row[0].split(" ")[-1] for row in table.rows] == [
        *["--help"] * 2,
        "--version",
        "--help",
        "--version",
        "(inspect)",
    ]
    assert table.rows[0][2] == "1.00"


# -- what is measured is right -----------------------------------------------------------------------------------------


def test_a_wrong_conversion_is_noticed(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    path = models.vgg_cases(True)[0].saved(plan.folder)
    convert.require_right("model", path, path.parent / "copies" / "converted.onnx")
    monkeypatch.setattr(convert, "cli", type("Wrong", (), {"main": staticmethod(spoiled_main)}))
    with pytest.raises(SystemExit, match="model: other answers"):
        convert.require_right("model", path, path.parent / "copies" / "converted.onnx")


def test_a_wrong_form_is_noticed(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fc2conv, "convert", spoiled(fc2conv.convert))
    model = models.inference_cases(True)["LeNet head"].made()
    with pytest.raises(SystemExit, match=r"head, plain Conv, batch \d+: other answers"):
        same_size.measure("head", model, plan, table_of(same_size.COLUMNS))


def test_a_wrong_pass_is_noticed(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "convert", spoiled(fc2conv.convert))
    with pytest.raises(SystemExit, match="detector, feature crops: other answers"):
        dense.measure("detector", onnx.load(dense.DETECTOR), (160, 96), plan, table_of(dense.COLUMNS))


def test_a_wrong_large_graph_is_noticed(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    path = growth.saved("residual blocks", 60, plan.folder)
    growth.require_right("graph", path)
    monkeypatch.setattr(growth, "cli", type("Wrong", (), {"main": staticmethod(spoiled_main)}))
    with pytest.raises(SystemExit, match="graph: other answers"):
        growth.require_right("graph", path)


WRONG = [
    (np.array([1.0, math.nan]), np.array([1.0, 2.0]), "may be NaN"),
    (np.zeros(2), np.zeros(2), "all zero"),
    (np.ones(3), np.ones(2), "3 answers, 2 expected"),
    (np.array([1.0, 2.01]), np.array([1.0, 2.0]), "other answers, by 0.005"),
]


@pytest.mark.parametrize(("found", "expected", "said"), WRONG, ids=[w[2] for w in WRONG])
def test_wrong_answers(found: np.ndarray, expected: np.ndarray, said: str) -> None:
    with pytest.raises(SystemExit, match=said):
        require_same("what", found, expected)


def test_a_process_that_fails_is_no_measurement() -> None:
    with pytest.raises(SystemExit, match=r"ended with 3: .*no such thing"):
        timing.Child(timing.python("print('no such thing'); sys.exit(3)")).run()


# -- models ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", models.vgg_cases(True), ids=lambda c: c.name)
def test_models_are_what_their_names_say(case: models.Case, tmp_path: Path) -> None:
    path = case.saved(tmp_path)
    before = path.stat().st_mtime_ns
    assert case.saved(tmp_path).stat().st_mtime_ns == before  # it is reused
    onnx.checker.check_model(str(path), full_check=True)
    model: ModelProto = onnx.load(path, load_external_data=False)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("Conv") == 13
    assert kinds.count("Gemm") == 3
    assert ("Constant" in kinds) == (case.name == "weights in Constant nodes")
    assert (path.parent / "weights.data").exists() == case.name.startswith("external data")
    assert ("Transpose" in kinds) == (case.name == "H,W,C order")
    transposed = {a.i for node in model.graph.node for a in node.attribute if a.name == "transB"}
    assert transposed == {int(case.name != "transB=0")}


def test_the_full_size_is_that_of_vgg16() -> None:
    network = models.Network((3, 224, 224))
    sizes = []
    network._weight = lambda shape, fan_in: sizes.append(math.prod(shape)) or "w"  # type: ignore[method-assign,func-returns-value]
    models.vgg(network, (4096, 4096, 1000))
    assert sum(sizes) == 138_357_544  # Simonyan and Zisserman, 2014, configuration D


def test_operations_are_counted() -> None:
    model = models.inference_cases(False)["LeNet head"].made()
    assert flops.of(model, (5, 5)) == 2 * (400 * 120 + 120 * 84 + 84 * 10)
    converted = fc2conv.convert(model, verify=False).model
    assert flops.of(converted, (6, 7)) == 6 * flops.of(model, (5, 5))  # 2 x 3 windows


# -- the command -------------------------------------------------------------------------------------------------------


def test_figures_are_printed_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Table("bench growth", "About.", ("a", "b"), [("x", "1.5")], [{"ratio": 1.5}])
    monkeypatch.setitem(command.BENCHMARKS, "growth", lambda plan: [made] if plan.small and plan.rounds == 2 else [])
    path = tmp_path / "f.json"
    assert bench.main(["growth", "--small", "--rounds", "2", "--json", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "| a | b |\n| --- | --- |\n| x | 1.5 |" in printed
    assert re.search(r"\d+ cores, [\d.]+ GiB of memory, .*onnxruntime \d", printed)
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["benchmarks"] == {
        "growth": [{"columns": ["a", "b"], "rows": [["x", "1.5"]], "figures": [{"ratio": 1.5}]}]
    }
    assert (written["small"], written["rounds"]) == (True, 2)
    assert {"processor", "cores", "memory", "versions"} <= set(written["machine"])


@pytest.mark.parametrize("argv", [["nothing"], ["--rounds", "0"]])
def test_usage(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        bench.main(argv)
    assert caught.value.code == 2


def test_tables_are_put_into_their_places() -> None:
    made = [Table(f"bench {name}", "", columns, [("x",) * len(columns)]) for name, (columns, _) in TABLES.items()]
    text = command.placed(README, made)
    assert all(table.markdown() in text for table in made)
    assert command.placed(text, made) == text
    with pytest.raises(SystemExit, match="no place for the table 'bench x'"):
        command.placed(README, [Table("bench x", "", ("a",))])


def test_every_benchmark_has_its_place() -> None:
    assert set(TABLES) == set(command.BENCHMARKS)


@pytest.mark.parametrize("name", TABLES)
def test_the_readme_has_the_tables_that_are_printed(name: str) -> None:
    columns, first = TABLES[name]
    found = re.search(f"<!-- bench {name} -->\n(.*?)\n<!-- end -->", README, re.DOTALL)
    assert found
    lines = found[1].splitlines()
    assert lines[:2] == head(columns)
    named = [cell for text in lines[2:] if (cell := text.split("|")[1].strip())]
    assert not first or named in ([], first)
