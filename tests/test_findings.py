"""``--check``: what breaks or lies in a model as it is, and that onnxruntime says the same of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

import onnx_fc2conv as fc2conv
from tests.backbone.test_baked import CASES
from tests.networks import Head, network
from tests.test_cli import MODELS, call


def relabelled(model: ModelProto) -> ModelProto:
    """Height and width with names, as tools do it that change nothing else."""
    copy = ModelProto()
    copy.CopyFrom(model)
    for dim, name in zip(copy.graph.input[0].type.tensor_type.shape.dim[2:], ("height", "width"), strict=False):
        dim.Clear()
        dim.dim_param = name
    return copy


def rows(model: ModelProto, **options: tuple[int, ...]) -> list[tuple[str, str]]:
    return [(f.node, f.consequence) for f in fc2conv.check(model, **options).found]


FLAT = Head("[f] f = Flatten(map)\n[fc] y = Gemm(f, W)", {"W": (12, 3)})
COPIED = Head("[f] f = Reshape(map, s)\n[fc] y = Gemm(f, W)", {"s": np.array([0, -1]), "W": (12, 3)})
ROWS = Head("[f] f = Reshape(map, s)\n[fc] y = Gemm(f, W)", {"s": np.array([-1, 12]), "W": (12, 3)})
FIXED = Head("[f] f = Reshape(map, s)\n[fc] y = Gemm(f, W)", {"s": np.array([1, 12]), "W": (12, 3)}, batch=1)
POOL = Head("[p] p = GlobalAveragePool(map)\nf = Flatten(p)\n[fc] y = Gemm(f, W)", {"W": (2, 3)})

FOUND = {
    "an FC behind Flatten": (network(FLAT), [("Gemm 'fc'", "breaks")]),
    "an FC behind a copied batch": (network(COPIED), [("Gemm 'fc'", "breaks")]),
    "one image becomes several rows": (network(ROWS), [("Reshape 'f'", "lies")]),
    "a target of fixed size": (network(FIXED), [("Reshape 'f'", "breaks")]),
    "a global pool": (network(POOL), [("GlobalAveragePool 'p'", "differs")]),
}


@pytest.mark.parametrize(("model", "expected"), FOUND.values(), ids=FOUND.keys())
def test_finds_by_node_and_consequence(model: ModelProto, expected: list[tuple[str, str]]) -> None:
    assert rows(model) == expected


@pytest.mark.parametrize(("model", "expected"), FOUND.values(), ids=FOUND.keys())
def test_the_same_where_height_and_width_are_names(model: ModelProto, expected: list[tuple[str, str]]) -> None:
    size = tuple(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[2:])
    assert rows(relabelled(model), size=size) == expected


def test_what_breaks_breaks_in_onnxruntime_and_what_lies_runs() -> None:
    assert "Dimension mismatch" in (fc2conv.check(network(FLAT)).measured or "")
    lying = fc2conv.check(network(ROWS))
    assert "runs: 'y' has shape [4, 3]" in (lying.measured or "")
    assert "returns 52 rows for 13 image(s)" in lying.found[0].what


@pytest.mark.parametrize("name", ["channel shuffle", "upsampled to the size of another map", "a pooled map, tiled"])
def test_finds_what_carries_the_trained_size(name: str) -> None:
    case = CASES[name]
    found = fc2conv.check(case.model)
    broken = [f.node for f in found.found if f.consequence == "breaks"]
    assert broken[: len(case.rewritten or ())] == list(case.rewritten or ())
    assert all("carries the trained size" in f.what for f in found.found[: len(case.rewritten or ())])
    assert "runs:" not in (found.measured or "")


def test_a_shape_with_the_size_in_it_and_a_batch_that_is_left_over_lies() -> None:
    found = fc2conv.check(CASES["channel shuffle, any batch"].model).found
    assert [(f.node, f.consequence) for f in found if "trained size" in f.what] == [
        ("Reshape 'a'", "lies"),
        ("Reshape 'b'", "lies"),
    ]


def test_what_cannot_be_followed_is_a_finding() -> None:
    model = network(
        Head(
            "a = Add(map, pos)\n[c] c = Conv(a, K)\nf = Flatten(c)\ny = Gemm(f, W)",
            {"pos": (2, 3, 2), "K": (2, 2, 1, 1), "W": (12, 3)},
        )
    )
    (finding,) = fc2conv.check(model).found
    assert (finding.node, finding.consequence) == ("Add 'a'", "breaks")
    assert "position-dependent" in finding.what


def test_padding_differs() -> None:
    found = fc2conv.check(MODELS / "reference_detector_padded.onnx").found
    assert {"padding: pads"} <= {f.what for f in found if f.consequence == "differs"}


def test_a_converted_model_is_clean() -> None:
    converted = fc2conv.convert(MODELS / "reference_detector.onnx", verify=False).model
    found = fc2conv.check(converted, size=(128, 64))
    assert found.clean
    assert " runs: 'score' has shape [1, 1, " in (found.measured or "")


def test_a_size_is_found_that_the_fc_nodes_fit() -> None:
    model = relabelled(network(FLAT))
    (size,) = fc2conv.check(model).trained_size.values()
    assert len(size) == 2
    with pytest.raises(fc2conv.UsageError, match="has 3 axes"):
        fc2conv.check(model, size=(1, 2, 3))


def test_without_an_image_there_is_nothing_to_check() -> None:
    model = network(FLAT)
    dims = model.graph.input[0].type.tensor_type.shape.dim
    del dims[2:]
    with pytest.raises(fc2conv.NothingToConvert):
        fc2conv.check(model)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, clean, report = tmp_path / "in.onnx", tmp_path / "clean.onnx", tmp_path / "found.json"
    onnx.save(network(ROWS), source)
    before = source.read_bytes()
    done = call(capsys, "--check", source, "--report", report)
    assert done.code == 1
    assert "1 finding when its size changes" in " ".join(done.out.split())
    assert "lies" in done.out
    assert json.loads(report.read_text())["found"][0]["consequence"] == "lies"
    assert source.read_bytes() == before
    fc2conv.convert(MODELS / "reference_detector.onnx", verify=False).save(clean)
    done = call(capsys, "--check", clean, "--size", "128x64")
    assert done.code == 0
    assert "nothing breaks or lies" in done.words()
    assert "takes no output file" in call(capsys, "--check", source, tmp_path / "out.onnx").one_line(2)
    assert ".json" in call(capsys, "--check", source, "--report", tmp_path / "found.md").one_line(2)


def test_weights_outside_of_the_file_are_used(tmp_path: Path) -> None:
    model = network(FLAT)
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1000, np.float32), "unused"))
    onnx.save(model, tmp_path / "in.onnx", save_as_external_data=True, location="in.data", size_threshold=100)
    assert "Dimension mismatch" in (fc2conv.check(tmp_path / "in.onnx").measured or "")
