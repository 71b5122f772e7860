"""--stride with the other options, on the command line, in the report, and what is stored in the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto

import onnx_fc2conv as fc2conv
from onnx_fc2conv import UsageError, VerificationFailed

from ..networks import integers, session
from ..test_cli import call
from .test_networks import DETECTOR, RES, RES_WEIGHTS, built

PADDED = built(RES, (2, 16, 16), RES_WEIGHTS)
POOLED = built(
    "a = Conv<strides = [2, 2]>(x, w1)\n map = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(a)\n"
    "p = GlobalMaxPool(map)\n f = Flatten(p)\n y = Gemm<transB = 1>(f, fc)",
    (2, 16, 16),
    {"w1": (4, 2, 2, 2), "fc": (3, 4)},
)


def run(model: ModelProto, *size: int, batch: int = 2) -> np.ndarray:
    return session(model).run(["y"], {"x": integers((batch, 2, *size), 3)})[0]


def test_output_forms_act_on_the_denser_grid() -> None:
    dense = run(fc2conv.convert(PADDED, stride=2).model, 24, 22)
    rows = run(fc2conv.convert(PADDED, stride=2, output="rows").model, 24, 22)
    most = run(fc2conv.convert(PADDED, stride=2, output="max").model, 24, 22)
    assert dense.shape == (2, 3, 5, 4)
    np.testing.assert_array_equal(rows, dense.transpose(0, 2, 3, 1).reshape(40, 3))
    np.testing.assert_array_equal(most, dense.max((2, 3)))


@pytest.mark.parametrize("limits", [{"max_kernel": 2}, {"max_kernel": 1}, {"max_channels": 3}], ids=str)
def test_dilated_heads_are_split_too(limits: dict[str, int]) -> None:
    whole = fc2conv.convert(PADDED, stride=1, verify=False)
    parts = fc2conv.convert(PADDED, stride=1, **limits)
    head = [n for n in parts.model.graph.node if n.op_type == "Conv"][4:]
    assert len(head) > 1
    np.testing.assert_array_equal(run(parts.model, 21, 19), run(whole.model, 21, 19))


def test_nodes_of_the_original_are_not_split() -> None:
    parts = fc2conv.convert(PADDED, stride=1, max_kernel=1)
    front = [n for n in parts.model.graph.node if n.op_type == "Conv"][:4]
    assert [list(a.ints) for n in front for a in n.attribute if a.name == "dilations"] == [[2, 2], [4, 4]]


def test_dynamic_batch() -> None:
    fixed = ModelProto()
    fixed.CopyFrom(PADDED)
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    fixed.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1
    result = fc2conv.convert(fixed, stride=2, dynamic_batch=True)
    assert run(result.model, 18, 16, batch=3).shape == (3, 3, 2, 1)


def test_exactness_can_be_required() -> None:
    with pytest.raises(fc2conv.Unliftable, match="padded"):
        fc2conv.convert(PADDED, stride=2, require_exact=True, verify=False)
    assert fc2conv.convert(POOLED, stride=2, require_exact=True, verify=False).report.verdict == "exact"


def test_a_model_of_another_stride_is_rejected() -> None:
    dense, plain = fc2conv.convert(POOLED, stride=2).model, fc2conv.convert(POOLED).model
    assert fc2conv.verify(POOLED, dense, stride=2).verified
    with pytest.raises(VerificationFailed):
        fc2conv.verify(POOLED, dense)
    with pytest.raises(VerificationFailed):
        fc2conv.verify(POOLED, plain, stride=2)


def test_inspect_says_what_would_be_done() -> None:
    report = fc2conv.inspect(POOLED, stride=(2, 1))
    assert report.status == "would convert"
    assert report.dense == [
        "Conv 'a': strides 2x2 -> 2x1",
        "MaxPool 'map': strides 2x2 -> 1x1, dilations 1x1 -> 1x2",
    ]
    assert report.dilations == {"map": [2, 4]}
    assert report.outputs[0].stride == [2, 1]
    assert report.outputs[0].window == [4, 4]
    assert report.to_dict()["stride"] == [2, 1]


def test_dilated_pools_are_named_in_the_hand_over() -> None:
    report = fc2conv.inspect(POOLED, stride=2)
    assert any("dilations other than 1" in f.reason for f in report.handover.unsupported)
    (note,) = (n for n in report.handover.notes if "--stride" in n)
    assert "MaxPool 'p" in note
    assert not fc2conv.inspect(POOLED).handover.notes


def test_the_geometry_is_that_of_the_denser_grid(tmp_path: Path) -> None:
    plain, dense = (fc2conv.convert(PADDED, stride=s, verify=False) for s in (None, 2))
    dense.save(tmp_path / "dense.onnx")
    stored = fc2conv.read_geometry(tmp_path / "dense.onnx")
    assert stored == dense.geometry
    assert stored.stride == (2, 2)
    assert stored.window == plain.geometry.window
    assert stored.box(3, 1) == (6, 2, 22, 18)
    assert stored.grid_size((16, 23)) == (1, 5)  # pads let the last box stick out by less than a stride
    for name in ("field", "padding", "padding_after", "trained_size"):
        assert getattr(stored.grid, name) == getattr(plain.geometry.grid, name)


def test_a_conversion_is_undone_bit_for_bit() -> None:
    for model in (PADDED, POOLED):
        dense = fc2conv.convert(model, stride=1, verify=False).model
        assert fc2conv.revert(dense).model == model


def test_nothing_else_changes() -> None:
    original, dense = onnx.load(DETECTOR), fc2conv.convert(DETECTOR, stride=16, verify=False).model
    changed = [n.name for n in original.graph.node if n not in dense.graph.node]
    assert changed == ["conv_3", "flatten_1", "gemm_1", "gemm_2"]
    kept = {t.name for t in original.graph.initializer} & {t.name for t in dense.graph.initializer}
    assert {"conv_1", "conv_2", "conv_3"} <= {n.name for n in dense.graph.node}
    assert len(kept) == len(original.graph.initializer)


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = call(capsys, DETECTOR, tmp_path / "dense.onnx", "--stride", "16x8", "--size", "144x80")
    assert ran.code == 0
    assert "made denser: Conv 'conv_3'" in ran.out
    assert "every k-th cell" in ran.out
    assert fc2conv.read_geometry(tmp_path / "dense.onnx").stride == (16, 8)
    refused = call(capsys, DETECTOR, tmp_path / "none.onnx", "--stride", "5")
    assert refused.one_line(2).endswith("possible along each axis: 1, 2, 4, 8, 16, 32")
    refused = call(capsys, DETECTOR, tmp_path / "none.onnx", "--stride", "8", "--global-pool", "keep")
    assert "leave --stride out" in refused.one_line(2)
    assert not (tmp_path / "none.onnx").exists()


def test_one_answer_for_the_whole_image_cannot_be_denser() -> None:
    headless = built("a = Conv<strides = [2, 2]>(x, w)\n y = GlobalMaxPool(a)", (1, 8, 8), {"w": (2, 1, 2, 2)})
    with pytest.raises(UsageError, match="one for the whole image"):
        fc2conv.convert(headless, stride=1, verify=False)


def test_the_report_in_markdown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, DETECTOR, "--stride", "8", "--report", tmp_path / "r.md")
    text = (tmp_path / "r.md").read_text(encoding="utf-8")
    assert "## Made denser" in text
    assert "* MaxPool 'maxpool_2': strides 2x2 -> 1x1" in text
