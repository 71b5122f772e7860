"""The report: the same facts on a terminal, as Markdown and as JSON, whatever the model's names are."""

from __future__ import annotations

import io
import json
import re
import unicodedata
from dataclasses import fields
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import ModelProto

import onnx_fc2conv as fc2conv
from onnx_fc2conv.report import markdown, print_report
from onnx_fc2conv.report.data import (
    CauseRow,
    CheckRow,
    FindingRow,
    HandOverRow,
    HeadRow,
    ImageRow,
    NodeRow,
    OutputRow,
    ProfileRow,
    Report,
)
from onnx_fc2conv.report.speed import SpeedRow, words
from onnx_fc2conv.report.tuning import FormRow, TuningRow
from tests.backbone.test_baked import CASES
from tests.networks import Head, network
from tests.test_cli import EXACT, LINEAR, MODELS, PADDED, call

KEYS = {
    Report: """tool input output status verified runtime image_input trained_size sizes valid_sizes verdict causes
    restructured unbaked deviation heads maps outputs checks geometry images handover static left speed stride dense
    dilations form tuning schema""",
    TuningRow: "batch runtime sizes chosen forms note",
    FormRow: "form what times turns mean to_original reason",
    ImageRow: "name shape trained_size same_size_as valid_sizes sizes",
    CauseRow: "node kind detail",
    HeadRow: "feature_map feature_map_shape nodes",
    NodeRow: "node op to kernel",
    OutputRow: "name shape window stride receptive_field grids whole_image form map",
    SpeedRow: "size answers timed windows crops",
    CheckRow: "name size passed cells cells_total error tolerance note",
    HandOverRow: "source profile arguments notes unsupported",
    ProfileRow: "input min opt max",
    FindingRow: "reason nodes",
}
ONE_SCREEN = 60  #: lines

HOSTILE_NAMES = [
    "[red]x[/red]",
    "[/]",
    "[bold",
    "größe/模型",
    ":smile: :x:",
    "a|b",
    "a\\",
    "`a` *b* _c_ <i>",
    "[link=http://x]y[/link]",
]
CONTROL_NAMES = ["new\nline", "\x1b[31mred", "tab\there", "bell\x07", "back\x08space", "\u2028separated", "cr\rname"]


def every_model(function: Any) -> Any:
    return pytest.mark.parametrize("path", sorted(MODELS.glob("*.onnx")), ids=lambda p: p.stem)(function)


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def screen(report: Report, columns: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a terminal of so many columns shows, without colours."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    print_report(report, stream)
    text = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    whole = "trtexec "  # its line is not broken up, so that it can be copied
    assert max(_cells(line) for line in text.splitlines() if not line.startswith(whole)) <= columns
    return text


def _cells(line: str) -> int:
    from rich.cells import cell_len

    return cell_len(line)


def piped(report: Report) -> str:
    """What a file or a pipe gets."""
    stream = io.StringIO()
    print_report(report, stream)
    return stream.getvalue()


def squeezed(text: str) -> str:
    return "".join(text.split())


def terminal_tables(text: str) -> list[dict[str, str]]:
    """The tables on a screen: by column name, all of its cells, joined without white space (cells may be wrapped)."""
    tables: list[dict[str, str]] = []
    for line in text.split("\n"):
        if line.startswith("┃"):
            tables.append({cell.strip(): "" for cell in line.strip("┃").split("┃")})
        elif line.startswith("│"):
            pieces = line[1:-1].split("│")
            for name, piece in zip(tables[-1], pieces, strict=True):
                tables[-1][name] += squeezed(piece)
    return tables


def markdown_tables(text: str) -> list[list[dict[str, str]]]:
    """The tables of a Markdown text, row by row; asserts that each is well-formed."""
    tables: list[list[dict[str, str]]] = []
    lines = text.split("\n")
    for i, line in enumerate(lines):
        if re.fullmatch(r"\|( --- \|)+", line):
            assert lines[i - 2] == "", "a table needs an empty line before it"
            columns = cells_of(lines[i - 1])
            assert len(columns) == line.count("---")
            rows = []
            for row in lines[i + 1 :]:
                if not row:
                    break
                rows.append(dict(zip(columns, cells_of(row), strict=True)))
            tables.append(rows)
    rows_seen = sum(len(t) + 2 for t in tables)
    assert rows_seen == sum(line.startswith("|") for line in lines), "a row stands outside of all tables"
    return tables


def cells_of(line: str) -> list[str]:
    assert line.startswith("| ")
    assert line.endswith(" |")
    return [cell.replace("\\|", "|") for cell in re.split(r" (?<!\\)\| ", line[2:-2])]


def x(numbers: list[int]) -> str:
    return "x".join(map(str, numbers))


# -- JSON ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KEYS, ids=lambda k: k.__name__)
def test_the_fields_are_the_golden_ones(kind: Any) -> None:
    """A field that goes or changes its meaning is another schema: raise ``SCHEMA`` and say so in the changelog."""
    assert [f.name for f in fields(kind)] == KEYS[kind].split()


@pytest.mark.parametrize("function", [fc2conv.convert, fc2conv.inspect], ids=["convert", "inspect"])
def test_json_has_schema_1_and_all_fields(function: Any) -> None:
    report = function(PADDED)
    data = json.loads(getattr(report, "report", report).to_json())
    assert data["schema"] == 1
    assert set(data) == set(KEYS[Report].split())
    rows = {"causes": CauseRow, "heads": HeadRow, "images": ImageRow, "outputs": OutputRow}
    measured = {"checks": CheckRow, "speed": SpeedRow}
    for key, kind in (rows | measured).items():
        assert data[key] or (key in measured and function is fc2conv.inspect)
        assert all(list(row) == KEYS[kind].split() for row in data[key])
    assert all(list(node) == KEYS[NodeRow].split() for head in data["heads"] for node in head["nodes"])


@every_model
def test_json_round_trips(path: Path) -> None:
    report = fc2conv.convert(path).report
    text = report.to_json()
    assert text.endswith("}\n")
    assert json.loads(text, parse_constant=_no_constant) == report.to_dict()


def _no_constant(name: str) -> float:
    raise AssertionError(f"{name} is not JSON")


PADDED_LOG = """
<ir_version: 8, opset_import: ["": 17]>
g (float[1, 1, 8, 8] x) => (float[1, 3] y)
<float[1, 1, 3, 3] k = {1, -2, 1, 3, 1, -1, -1, 2, -3}, float[64, 3] w, float[3] b = {0, 0, 0}> {
  map = Conv <pads = [1, 1, 1, 1]> (x, k)
  f = Flatten (map)
  g = Gemm (f, w, b)
  y = Log (g)
}
"""


def test_json_stays_json_where_a_deviation_is_not_finite() -> None:
    """Near the padded border a sum changes its sign: its logarithm is NaN on one side only."""
    weights = ", ".join(["1", "-2", "3", "-1", "2", "-3"] * 32)
    text = PADDED_LOG.replace("float[64, 3] w", f"float[64, 3] w = {{{weights}}}")
    report = fc2conv.convert(onnx.parser.parse_model(text)).report
    assert (report.verdict, list(report.deviation)) == ("padded", ["y"])
    json.loads(report.to_json(), parse_constant=_no_constant)


@pytest.mark.parametrize("source", [EXACT, PADDED], ids=["exact", "padded"])
def test_the_written_numbers_are_those_of_the_api(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(capsys, source, tmp_path / "out.onnx", "--report", tmp_path / "r.json", "--size", "192x128").clean()
    written = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    expected = fc2conv.convert(source, sizes=[(192, 128)]).report.to_dict()
    command = written["handover"].pop("trtexec")
    assert command.startswith(f"trtexec --onnx={tmp_path}")
    assert expected["handover"].pop("trtexec") is None, "there is no file yet"
    (timed,) = written.pop("speed")
    assert [{k: row[k] for k in ("size", "answers", "timed")} for row in expected.pop("speed")] == [
        {k: timed[k] for k in ("size", "answers", "timed")}
    ], "how long something took is another number each time"
    assert written == expected | {"output": str(tmp_path / "out.onnx")}


def test_one_pass_is_compared_with_its_answers_one_by_one() -> None:
    report = fc2conv.convert(EXACT, sizes=[(160, 96), (512, 1024)]).report
    small, large = report.speed
    assert (small.size, small.answers, small.timed) == ([160, 96], 4, 4)
    assert (large.size, large.answers, large.timed) == ([512, 1024], 403, 403)
    assert large.crops > 0
    assert large.windows > 0
    assert words(report.speed) == (
        f"Measured in the checks, without graph optimisation: the 403 answers at 512x1024 one by one take "
        f"{large.crops:.3g} times as long as this one pass from image crops, and {large.windows:.3g} times from "
        "windows of the feature map."
    )
    assert "(20 of them timed)" in words([SpeedRow([9, 9], 30, 20, 1.0, 2.0)])
    assert words(report.speed) in markdown(report)
    assert squeezed(words(report.speed)) in squeezed(piped(report))
    assert words([]) == ""
    assert fc2conv.convert(EXACT, verify=False).report.speed == []


def test_json_says_what_the_geometry_says() -> None:
    result = fc2conv.convert(EXACT, sizes=[(512, 1024)])
    (output,) = result.report.outputs
    grid = result.geometry.grid
    assert (output.window, output.stride, output.receptive_field) == ([4, 2], [32, 32], list(grid.field))
    assert output.grids == {"128x64": [1, 1], "512x1024": [13, 31]}
    assert result.report.geometry["outputs"]["score"]["stride"] == [32, 32]
    windows = next(c for c in result.report.checks if c.name == "windows")
    assert windows.cells_total == 403
    assert windows.cells is not None
    assert 0 < windows.cells <= 403


# -- terminal --------------------------------------------------------------------------------------------------------


@every_model
@pytest.mark.parametrize("columns", [80, 120])
def test_the_terminal_shows_everything(path: Path, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    report = fc2conv.convert(path).report
    text = screen(report, columns, monkeypatch)
    *heads, outputs, checks = terminal_tables(text)
    for head, shown in zip(report.heads, heads, strict=True):
        assert shown == {
            "node": squeezed("".join(n.node for n in head.nodes)),
            "from": "".join(n.op for n in head.nodes),
            "to": "".join("+".join(n.to) or "-" for n in head.nodes),
            "kernel": "".join(x(n.kernel) if n.kernel else "" for n in head.nodes),
        }
    assert outputs["output"] == squeezed("".join(o.name for o in report.outputs))
    assert outputs["window"] == "".join(x(o.window) for o in report.outputs)
    assert outputs["stride"] == "".join(x(o.stride) for o in report.outputs)
    assert outputs["shape"] == squeezed("".join(f"[{','.join(o.shape)}]" for o in report.outputs))
    for o in report.outputs:
        assert all(f"{size}:{x(grid)}=" in outputs["grid"] for size, grid in o.grids.items())
    assert checks["check"] == squeezed("".join(c.name for c in report.checks))
    assert checks["size"] == "".join(x(c.size) if c.size else "" for c in report.checks)
    assert checks["cells"] == "".join(f"{c.cells}of{c.cells_total}" if c.cells else "" for c in report.checks)
    assert checks["tolerance"] == "".join("" if c.tolerance is None else f"{c.tolerance:.2g}" for c in report.checks)
    for c in report.checks:
        assert c.error is None or (f"{c.error:.2g}" if c.error else "equal") in checks["error"]
    assert checks["result"].count("passed") >= sum(c.passed is True for c in report.checks) > 0


@pytest.mark.parametrize("columns", [80, 120])
def test_the_terminal_shows_the_verdict_and_the_nodes_that_cause_it(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = fc2conv.convert(PADDED).report
    text = squeezed(screen(report, columns, monkeypatch))
    blamed = [c.node for c in report.causes]
    assert blamed
    assert "padded:" in text
    assert all(squeezed(node) in text for node in blamed[:4])
    (deviation,) = report.deviation.values()
    assert f"deviatesbyupto{deviation['error']:.2g}" in text
    exact = squeezed(screen(fc2conv.convert(EXACT).report, columns, monkeypatch))
    assert "exact:" in exact
    assert "padded" not in exact


def test_a_pipe_gets_120_columns_and_no_colours() -> None:
    text = piped(fc2conv.convert(PADDED).report)
    assert "\x1b" not in text
    assert 80 < max(map(len, text.splitlines())) <= 120


def test_a_terminal_gets_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    print_report(fc2conv.convert(EXACT).report, stream)
    assert "\x1b[" in stream.getvalue()


DEEP = Head(
    "v0 = Flatten(map)\n" + "\n".join(f"v{i + 1} = Relu(v{i})" for i in range(58)) + "\ny = Gemm(v58, w)",
    {"w": (12, 3)},
)


@pytest.mark.parametrize("columns", [80, 120])
def test_a_head_of_60_nodes_stays_on_one_screen(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    report = fc2conv.convert(network(DEEP)).report
    assert len(report.heads[0].nodes) == 60
    text = screen(report, columns, monkeypatch)
    assert len(text.splitlines()) <= ONE_SCREEN
    nodes = terminal_tables(text)[0]["node"]
    assert nodes.startswith("v0v1v2")
    assert nodes.endswith("v57v58y")
    assert "53more" in terminal_tables(text)[0]["from"]
    assert len(json.loads(report.to_json())["heads"][0]["nodes"]) == 60, "the JSON leaves nothing out"
    assert len(markdown_tables(markdown(report))[0]) == 60


MANY_OUTPUTS = Head(
    "f = Flatten(map)\n" + "\n".join(f"y{i} = Gemm(f, w)" for i in range(30)),
    {"w": (12, 3)},
    outputs=tuple(f"y{i}" for i in range(30)),
)


def test_30_outputs_stay_on_one_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    report = fc2conv.convert(network(MANY_OUTPUTS)).report
    report.output = "out.onnx"
    text = screen(report, 120, monkeypatch)
    assert len(text.splitlines()) <= ONE_SCREEN
    assert "25more" in terminal_tables(text)[1]["output"]
    assert len(report.outputs) == 30


# -- Markdown --------------------------------------------------------------------------------------------------------


@every_model
def test_markdown_tables_are_well_formed_and_complete(path: Path) -> None:
    report = fc2conv.convert(path).report
    text = markdown(report)
    *heads, outputs, checks = markdown_tables(text)
    for head, rows in zip(report.heads, heads, strict=True):
        assert [r["node"] for r in rows] == [n.node for n in head.nodes]
        assert [r["from"] for r in rows] == [n.op for n in head.nodes]
        assert [r["kernel"] for r in rows] == [x(n.kernel) if n.kernel else "" for n in head.nodes]
    assert [r["output"] for r in outputs] == [o.name for o in report.outputs]
    assert [r["check"] for r in checks] == [c.name for c in report.checks]
    assert text.startswith(f"# {path} -> memory: converted and verified\n")
    assert f"Verdict: **{report.verdict}**" in text
    assert text.endswith("\n")


def test_markdown_of_an_inspection_claims_no_check() -> None:
    text = markdown(fc2conv.inspect(EXACT))
    assert "can be converted" in text
    assert "passed" not in text
    assert len(markdown_tables(text)) >= 2


# -- names -----------------------------------------------------------------------------------------------------------


def named(name: str) -> ModelProto:
    """LINEAR's network with this name for every node, value and weight (made distinct by a number behind it)."""
    model = network(LINEAR)
    graph = model.graph
    values = [i.name for i in graph.input] + [t.name for t in graph.initializer]
    values += [o for n in graph.node for o in n.output]
    new = {old: f"{name}{i}" for i, old in enumerate(values)}
    for holder in (graph.input, graph.output, graph.initializer, graph.value_info):
        for value in holder:
            value.name = new.get(value.name, value.name)
    for i, node in enumerate(graph.node):
        node.name = f"n{i} {name}"
        node.input[:] = [new[v] for v in node.input]
        node.output[:] = [new[v] for v in node.output]
    return model


@pytest.mark.parametrize("name", HOSTILE_NAMES)
@pytest.mark.parametrize("columns", [80, 120])
def test_names_are_shown_literally_on_a_terminal(name: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    report = fc2conv.convert(named(name)).report
    report.input = report.output = f"{name}.onnx"
    text = screen(report, columns, monkeypatch)
    shown = squeezed(text)
    assert shown.startswith(squeezed(f"{name}.onnx->{name}.onnx:"))
    assert squeezed(f"input '{report.image_input}'") in shown
    assert squeezed(f"head behind '{report.heads[0].feature_map}' [2, 3, 2]") in shown
    if "|" not in name:
        assert squeezed("".join(n.node for n in report.heads[0].nodes)) == terminal_tables(text)[0]["node"]
    assert squeezed(report.outputs[0].name) == terminal_tables(text)[1]["output"]


@pytest.mark.parametrize("columns", [80, 120])
def test_long_names_are_wrapped_and_not_cut(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    report = fc2conv.convert(named("/classifier/classifier.0/" + "block" * 12)).report
    head, outputs, _ = terminal_tables(screen(report, columns, monkeypatch))
    assert head["node"] == squeezed("".join(n.node for n in report.heads[0].nodes))
    assert outputs["output"] == report.outputs[0].name


@pytest.mark.parametrize("name", HOSTILE_NAMES + CONTROL_NAMES)
def test_names_are_literal_in_json(name: str) -> None:
    data = json.loads(fc2conv.convert(named(name)).report.to_json())
    assert [n["node"] for n in data["heads"][0]["nodes"]] == [f"n1 {name}", f"n2 {name}"]
    assert data["image_input"] == f"{name}0"


@pytest.mark.parametrize("name", HOSTILE_NAMES + CONTROL_NAMES)
def test_names_do_not_break_a_markdown_table(name: str) -> None:
    nodes = markdown_tables(markdown(fc2conv.convert(named(name)).report))[0]
    assert len(nodes) == 2
    if name in HOSTILE_NAMES:
        assert [n["node"] for n in nodes] == [f"n1 {name}", f"n2 {name}"]


@pytest.mark.parametrize("name", CONTROL_NAMES)
def test_names_do_not_steer_the_terminal(name: str) -> None:
    text = piped(fc2conv.convert(named(name)).report)
    assert not {c for c in text if c != "\n" and unicodedata.category(c) == "Cc"}
    assert len(terminal_tables(text)) == 3


def test_a_node_without_a_name_is_shown_by_its_output() -> None:
    assert [n.node for n in fc2conv.inspect(network(LINEAR)).heads[0].nodes] == ["f", "y"]


def test_nodes_that_carried_the_size_are_listed_everywhere() -> None:
    report = fc2conv.convert(CASES["channel shuffle"].model, verify=False).report
    screen = io.StringIO()
    print_report(report, screen)
    assert len(report.unbaked) == 2
    for line in report.unbaked:
        assert line in markdown(report)
        assert line.split(": ")[0] in screen.getvalue()
