"""The models in ``models/``: they are what the tool writes, and they are what their manifest says."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper, shape_inference

from tools import make_models

MODELS = Path(__file__).parents[1] / "models"
ENTRIES: list[dict[str, Any]] = json.loads((MODELS / make_models.MANIFEST).read_text())
BY_NAME = {entry["name"]: entry for entry in ENTRIES}
INTEGER_MODELS = [
    "conv1d.onnx",
    "conv3d.onnx",
    "reference_detector.onnx",
    "reference_detector_padded.onnx",
]
DYNAMIC_MODELS = [
    "alexnet_mini.onnx",
    "dress_64x128.onnx",
    "reference_detector.onnx",
    "reference_detector_padded.onnx",
    "two_heads_prelu.onnx",
]
FC_OPS = {"Gemm", "MatMul"}

every_model = pytest.mark.parametrize("entry", ENTRIES, ids=[entry["name"] for entry in ENTRIES])
every_integer_model = pytest.mark.parametrize("name", INTEGER_MODELS)


#: how large a file may be: generated models show one thing each, a trained one has learnt something
LARGEST = {"tools/make_models.py": 300_000, "tools/train_dress_detector.py": 1_000_000}


def load(name: str) -> ModelProto:
    """Return the model as it is on disk."""
    return onnx.load(MODELS / name)


def concrete(shape: list[int | str]) -> list[int]:
    """Return the shape with every dim_param (here only the batch) set to 1."""
    return [1 if isinstance(dim, str) else dim for dim in shape]


def images(shape: list[int], *, seed: int = 0) -> NDArray[np.float32]:
    """Return an input of integers 0..3, for which the integer models are exact in float32."""
    return np.random.default_rng(seed).integers(0, 4, shape).astype(np.float32)


def run(model: ModelProto, x: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Return the outputs of the model for one input."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, {"input": x}))


def weights(model: ModelProto) -> dict[str, NDArray[Any]]:
    """Return the initializers by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def backbone(entry: dict[str, Any], *, sizes: list[int] | None = None) -> ModelProto:
    """Return the model cut behind its feature map, with its spatial dims free or set to ``sizes``."""
    model = load(entry["name"])
    made = [entry["feature_map"]["name"] in node.output for node in model.graph.node]
    del model.graph.node[made.index(True) + 1 :]
    batch, channels, *spatial = entry["input"]["shape"]
    free = [f"free_{axis}" for axis in range(len(spatial))]
    shape = [batch, channels, *(sizes or free)]
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("input", TensorProto.FLOAT, shape))
    output_shape = [f"out_{axis}" for axis in range(len(shape))]
    del model.graph.output[:]
    name = entry["feature_map"]["name"]
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, output_shape))
    return model


def box(starts: Sequence[int], sizes: Sequence[int]) -> tuple[slice, ...]:
    """Return the index of a box in an array with batch, channel and spatial axes."""
    spatial = (slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
    return (slice(None), slice(None), *spatial)


def map_size(entry: dict[str, Any], sizes: list[int]) -> list[int]:
    """Return the spatial size of the feature map for an input of these sizes, by shape inference."""
    model = backbone(entry, sizes=sizes)
    model.graph.ClearField("output")
    inferred = shape_inference.infer_shapes(model, strict_mode=True)
    value = next(value for value in inferred.graph.value_info if value.name == entry["feature_map"]["name"])
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim][2:]


def test_rebuilding_gives_the_same_bytes(tmp_path: Path) -> None:
    assert make_models.main(["--out", str(tmp_path)]) == 0
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert written == {name: (MODELS / name).read_bytes() for name in [*BY_NAME, make_models.MANIFEST]}


def test_check_accepts_the_files_on_disk(capsys: pytest.CaptureFixture[str]) -> None:
    assert make_models.main(["--out", str(MODELS), "--check"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", [*BY_NAME, make_models.MANIFEST])
def test_check_notices_one_changed_byte(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_models.main(["--out", str(tmp_path)])
    data = bytearray((tmp_path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / name).write_bytes(data)
    assert make_models.main(["--out", str(tmp_path), "--check"]) == 1
    assert capsys.readouterr().err == f"make_models.py: {tmp_path / name} is missing or differs\n"
    assert (tmp_path / name).read_bytes() == data, "--check must not repair what it reports"


def test_check_notices_a_missing_file(tmp_path: Path) -> None:
    make_models.main(["--out", str(tmp_path)])
    (tmp_path / "lenet.onnx").unlink()
    assert make_models.main(["--out", str(tmp_path), "--check"]) == 1
    assert not (tmp_path / "lenet.onnx").exists()


@pytest.mark.parametrize("name", make_models.TRAINED)
def test_a_trained_model_that_changes_makes_the_manifest_stale(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It cannot be made again, so the hash in the manifest is what holds it."""
    shutil.copytree(MODELS, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(make_models, "MODELS", tmp_path)
    model = onnx.load(tmp_path / name)
    model.graph.initializer[0].raw_data = bytes(len(model.graph.initializer[0].raw_data))
    onnx.save(model, tmp_path / name)
    assert make_models.main(["--out", str(tmp_path), "--check"]) == 1
    assert capsys.readouterr().err == f"make_models.py: {tmp_path / make_models.MANIFEST} is missing or differs\n"


def test_manifest_lists_every_model() -> None:
    assert sorted(BY_NAME) == sorted(path.name for path in MODELS.glob("*.onnx"))
    assert len(BY_NAME) == len(ENTRIES)


@every_model
def test_manifest_describes_the_file(entry: dict[str, Any]) -> None:
    data = (MODELS / entry["name"]).read_bytes()
    model = load(entry["name"])
    dims = model.graph.input[0].type.tensor_type.shape.dim
    pads = [list(a.ints) for node in model.graph.node for a in node.attribute if a.name == "pads"]
    assert entry["sha256"] == hashlib.sha256(data).hexdigest()
    assert entry["bytes"] == len(data) < LARGEST[entry["made_by"]]
    assert entry["opset"] == model.opset_import[0].version
    assert entry["input"]["name"] == model.graph.input[0].name
    assert entry["input"]["shape"] == [dim.dim_param or dim.dim_value for dim in dims]
    assert entry["padded"] == any(map(any, pads))
    assert entry["shows"].endswith(".")
    assert "\n" not in entry["shows"]
    assert model.producer_name == "onnx-fc2conv"


@every_model
def test_feature_map_has_the_shape_that_the_manifest_gives(entry: dict[str, Any]) -> None:
    (feature_map,) = run(backbone(entry), images(concrete(entry["input"]["shape"])))
    assert list(feature_map.shape) == concrete(entry["feature_map"]["shape"])


@every_model
@pytest.mark.parametrize("steps", [1, 2, 50])
def test_one_effective_stride_more_input_is_one_more_cell(entry: dict[str, Any], steps: int) -> None:
    sizes = entry["input"]["shape"][2:]
    larger = [size + steps * stride for size, stride in zip(sizes, entry["effective_stride"], strict=True)]
    assert map_size(entry, larger) == [size + steps for size in map_size(entry, sizes)]


@every_model
def test_model_is_valid_and_runs(entry: dict[str, Any]) -> None:
    model = load(entry["name"])
    onnx.checker.check_model(model, full_check=True)
    outputs = run(model, images(concrete(entry["input"]["shape"])))
    declared = [make_models.value_shape(value) for value in model.graph.output]
    assert [list(output.shape) for output in outputs] == [concrete(shape) for shape in declared]


@pytest.mark.parametrize("name", DYNAMIC_MODELS)
def test_dynamic_batch_takes_three_images(name: str) -> None:
    batch, *image_shape = BY_NAME[name]["input"]["shape"]
    assert batch == "N"
    assert all(len(output) == 3 for output in run(load(name), images([3, *image_shape])))


@every_model
def test_head_answers_differ_from_image_to_image(entry: dict[str, Any]) -> None:
    """A head that ReLUs silence would make every comparison of two models pass."""
    model = load(entry["name"])
    shape = concrete(entry["input"]["shape"])
    answers = [np.concatenate(run(model, images(shape, seed=seed)), axis=1)[0] for seed in range(8)]
    assert all(len(set(column)) > 4 for column in np.array(answers).T.tolist())


@every_model
def test_first_fc_reads_every_cell_and_channel(entry: dict[str, Any]) -> None:
    """Else a kernel with its height and width swapped, or a lost channel, could go unnoticed."""
    model = load(entry["name"])
    node = next(node for node in model.graph.node if node.op_type in FC_OPS)
    weight = weights(model)[node.input[1]]
    weight = weight.T if any(attribute.name == "transB" for attribute in node.attribute) else weight
    kernel = np.abs(weight).sum(axis=1).reshape(entry["feature_map"]["shape"][1:])
    assert np.all(kernel.sum(axis=0) > 0)
    assert np.all(kernel.reshape(len(kernel), -1).sum(axis=1) > 0)


def test_the_integer_models_are_the_ones_declared() -> None:
    assert [entry["name"] for entry in ENTRIES if entry["integer_weights"]] == INTEGER_MODELS


@every_integer_model
def test_integer_model_has_integer_weights(name: str) -> None:
    model = load(name)
    assert all(np.array_equal(values, np.trunc(values)) for values in weights(model).values())
    assert {"Softmax", "Sigmoid"}.isdisjoint(node.op_type for node in model.graph.node)


@every_integer_model
def test_integer_model_stays_exact_in_float32(name: str) -> None:
    """No partial sum reaches 2**24, whatever the order of summation, for inputs 0..3."""
    model = load(name)
    values = weights(model)
    largest = 3
    for node in model.graph.node:
        constants = [np.abs(values[value]) for value in node.input if value in values]
        if node.op_type in {"Conv", "Gemm", "MatMul"}:
            weight = constants.pop(0)
            by_output = weight.T if node.op_type == "MatMul" else weight
            largest *= int(by_output.reshape(len(by_output), -1).sum(axis=1).max())
        largest += sum(int(constant.max()) for constant in constants)
        assert largest < 2**24, node.name


@every_integer_model
def test_windows_equal_image_crops_unless_padded(name: str) -> None:
    """On a larger input, cut the feature map or cut the image: bit for bit the same exactly if unpadded."""
    entry = BY_NAME[name]
    model = backbone(entry)
    strides, trained = entry["effective_stride"], entry["input"]["shape"][2:]
    window = entry["feature_map"]["shape"][2:]
    sizes = [size + 2 * stride for size, stride in zip(trained, strides, strict=True)]
    x = images([1, entry["input"]["shape"][1], *sizes])
    (whole,) = run(model, x)
    same = []
    for cell in itertools.product(range(3), repeat=len(strides)):
        starts = [index * stride for index, stride in zip(cell, strides, strict=True)]
        (expected,) = run(model, np.ascontiguousarray(x[box(starts, trained)]))
        same.append(np.array_equal(whole[box(cell, window)], expected))
    assert not any(same) if entry["padded"] else all(same)


@pytest.mark.parametrize("name", ["reference_detector.onnx", "reference_detector_padded.onnx", "dress_64x128.onnx"])
def test_reference_detector_has_the_reference_sizes(name: str) -> None:
    entry = BY_NAME[name]
    assert entry["input"]["shape"] == ["N", 3, 128, 64]
    assert entry["effective_stride"] == [32, 32]
    assert entry["feature_map"]["shape"][2:] == map_size(entry, [128, 64]) == [4, 2]
    assert map_size(entry, [512, 1024]) == [16, 32]
    assert entry["padded"] == (name == "reference_detector_padded.onnx")
