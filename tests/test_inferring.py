"""Models on which ONNX's own shape inference ends the process are refused in one line, in every command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import ModelProto, parser

import onnx_fc2conv as fc2conv
from onnx_fc2conv import inferring

SLICE = "int64[1] s = {0}, int64[1] e = {1}, int64[1] a = {2}"
HEAD = "f = Flatten(cut)\ny = Gemm(f, w)"
#: what stands in front of the slice, the image's dims, and what is declared of a value inside
NEGATIVE = {
    "a kernel that is larger than its map": ("map = Conv(x, k)", "N, 1, 1, 1", ""),
    "a pool that is": ("map = MaxPool <kernel_shape = [3, 3]> (x)", "N, 1, 1, 1", ""),
    "an open size as -1": ("map = Relu(x)", "N, 1, -1, 1", ""),
    "a value that is declared so": ("map = Relu(x)", "N, 1, 1, 1", "float[N, 1, -4, 1] map"),
}


def model(front: str, dims: str, declared: str) -> ModelProto:
    weights = f"float[1, 1, 3, 3] k = {{1, 1, 1, 1, 1, 1, 1, 1, 1}}, float[1, 2] w = {{1, 2}}, {SLICE}"
    stored = f"{weights}, {declared}" if declared else weights
    return parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 13]> g (float[{dims}] x) => (float[N, 2] y) <{stored}> '
        f"{{ {front}\ncut = Slice(map, s, e, a)\n{HEAD} }}"
    )


COMMANDS = [
    ("main", []),
    ("main", ["--static"]),
    ("main", ["--check"]),
    ("main_reverse", []),
    ("main_reverse", ["--form", "dense"]),
    ("main_reverse", ["--revert"]),
]


@pytest.mark.parametrize("what", NEGATIVE)
def test_no_command_ends_otherwise_than_it_says(what: str, tmp_path: Path) -> None:
    """In a process of its own, which is what would end."""
    onnx.save(model(*NEGATIVE[what]), tmp_path / "in.onnx")
    code = "import sys, json; from onnx_fc2conv import cli\n"
    code += "for i, (name, options) in enumerate(json.loads(sys.argv[1])):\n"
    code += "    target = [] if '--check' in options else [f'out{i}.onnx']\n"
    code += "    print(getattr(cli, name)(['in.onnx', *target, '--quiet', *options]))\n"
    given = str(COMMANDS).replace("'", '"').replace("(", "[").replace(")", "]")
    ran = subprocess.run([sys.executable, "-c", code, given], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-300:]
    assert len(ran.stdout.split()) == len(COMMANDS)
    assert "internal error" not in ran.stderr
    assert "Traceback" not in ran.stderr


def test_what_ends_the_inference_is_said() -> None:
    with pytest.raises(fc2conv.UnreadableModel, match=r"ends the process on it \(SIGABRT\): an attribute or a size"):
        fc2conv.convert(model("map = Conv(x, k)", "N, 1, 1, 1", ""))


def test_the_checker_may_end_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx.checker, "check_model", lambda *_, **__: os.abort())
    with pytest.raises(fc2conv.UnreadableModel, match="SIGABRT"):
        inferring.require_accepted(model("map = Relu(x)", "N, 1, 5, 1", ""))


def test_what_the_checker_says_is_passed_on() -> None:
    proto = model("map = Relu(x)", "N, 1, 5, 1", "")
    proto.graph.node[0].op_type = "NoSuchOp"
    with pytest.raises(ValueError, match="No Op registered for NoSuchOp"):
        inferring.require_accepted(proto)


def test_a_slice_is_inferred_where_it_can_be() -> None:
    found = inferring.inferred(model("map = Relu(x)", "N, 1, 5, 1", ""))
    dims = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in found.graph.value_info}
    assert dims["cut"] == [0, 1, 1, 1]
