"""Models of real exporters: no Conv is left, and the answers are the same.

Every model at the size that it was trained at, with one image and with two where that is open; and some that were
converted before, so that height and width are open, at that size and at two others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto

import onnx_fc2conv as fc2conv
from onnx_fc2conv import dtypes, model_io
from onnx_fc2conv.conv2fc import Lowering
from onnx_fc2conv.errors import Fc2ConvError
from onnx_fc2conv.verification.runtime import Session
from onnx_fc2conv.verification.session import RuntimeRefusal
from tests.conv2fc.products import Feeds, lowered
from tests.test_corpus import CORPUS, HUGE, MODELS, needs_corpus

OPEN_SIZES = (28, 32, 64, 224)  #: tried where a model itself leaves its size open
EVERY = 16  #: of the models that can be converted, one of so many is


@dataclass(frozen=True)
class Tried:
    """What a model and its products give on the same inputs."""

    lowering: Lowering
    pairs: list[tuple[np.ndarray, np.ndarray]]


def feeds(model: ModelProto, batch: int, size: int | dict[str, Sequence[int]]) -> Feeds:
    """Random inputs; where a size is open it is this one, or for each input these dims."""
    rng, found = np.random.default_rng(3), {}
    constants = {t.name for t in model.graph.initializer}
    for value in (v for v in model.graph.input if v.name not in constants):
        tensor = value.type.tensor_type
        given = size[value.name] if isinstance(size, dict) else [batch, *[size] * len(tensor.shape.dim)]
        dims = [d.dim_value or (batch if i == 0 else given[i]) for i, d in enumerate(tensor.shape.dim)]
        found[value.name] = (rng.integers(-32, 96, dims) / 64).astype(dtypes.numpy_type(tensor.elem_type))
    return found


def tried(source: Any, model: ModelProto, folder: str, inputs: Iterable[Feeds]) -> Tried | None:
    """Both, on the inputs that the original runs on; ``None`` if there are none."""
    try:
        before = Session(model, folder)
    except RuntimeRefusal:
        return None
    found, lowering = lowered(source)
    assert not [n for n in found.graph.node if "Conv" in n.op_type and n.op_type != "ConvTranspose"]
    after, pairs = Session(found, folder), []
    for given in inputs:
        try:
            expected = before.run(given)
        except RuntimeRefusal:
            continue
        answers = after.run(given)
        pairs += [(expected[name], answers[name]) for name in expected]
    return Tried(lowering, pairs) if pairs else None


def tolerance(model: ModelProto, found: Tried) -> float:
    """For the longest sum, the nodes on the longest path, and those that quantise."""
    depth: dict[str, int] = {}
    for node in model.graph.node:
        depth |= dict.fromkeys(node.output, 1 + max((depth.get(name, 0) for name in node.input), default=0))
    terms = max((int(np.prod(t.dims)) // min(t.dims) for t in model.graph.initializer if len(t.dims) > 1), default=1)
    half = any(v.type.tensor_type.elem_type == TensorProto.FLOAT16 for v in model.graph.input)
    elem_type = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    bound = dtypes.tolerance(elem_type, terms, max(depth.values()) + found.lowering.roundings)
    steps = sum("Quantize" in node.op_type for node in model.graph.node)
    return bound + (dtypes.quantised_tolerance(dtypes.STEPS[TensorProto.INT8], steps) if steps else 0)


def compare(model: ModelProto, found: Tried) -> None:
    bound = tolerance(model, found)
    for expected, answer in found.pairs:
        assert answer.shape == expected.shape
        assert answer.dtype == expected.dtype
        if expected.dtype.kind != "f":
            np.testing.assert_array_equal(answer, expected)
            continue
        scale = np.abs(expected[np.isfinite(expected)]).max(initial=0)
        np.testing.assert_allclose(answer, expected, rtol=0, atol=bound * scale)


SMALL = [entry for entry in MODELS if entry["bytes"] <= HUGE]
NOT_RUN: dict[str, type[Fc2ConvError] | None] = {  #: what the command says of a model that cannot be run as it is here
    "edge/bad_input_rank_unknown_dims.onnx": None,  # it finds the one size that fits
    "edge/seq_input.onnx": fc2conv.VerificationFailed,
}


@needs_corpus
@pytest.mark.parametrize("entry", SMALL, ids=[entry["path"] for entry in SMALL])
def test_a_model_at_its_own_size(entry: dict[str, Any]) -> None:
    path = CORPUS / entry["path"]
    try:
        read, _ = model_io.load(str(path))
    except fc2conv.UnreadableModel:
        with pytest.raises(fc2conv.UnreadableModel):
            fc2conv.convolution_to_matmul(str(path))
        return
    model = read.proto
    found = None
    if all(v.type.WhichOneof("value") == "tensor_type" for v in model.graph.input):
        is_open = [not d.dim_value for v in model.graph.input for d in v.type.tensor_type.shape.dim[1:]]
        inputs = (feeds(model, batch, n) for n in (OPEN_SIZES if any(is_open) else (0,)) for batch in (1, 2))
        found = tried(str(path), model, read.folder, inputs)
    if found is not None:
        assert found.lowering.left == {}
        compare(model, found)
        return
    error = NOT_RUN.get(entry["path"], fc2conv.UnreadableModel)
    if error is None:
        assert fc2conv.convolution_to_matmul(str(path)).report.verified
        return
    with pytest.raises(error):
        fc2conv.convolution_to_matmul(str(path))


SAMPLE = [entry for entry in MODELS if entry["class"] == "must_convert" and "external" not in entry["tags"]][::EVERY]


@needs_corpus
@pytest.mark.parametrize("entry", SAMPLE, ids=[entry["path"] for entry in SAMPLE])
def test_a_converted_model_at_several_sizes(entry: dict[str, Any]) -> None:
    result = fc2conv.convert(str(CORPUS / entry["path"]), verify=False)
    dims = {name: [d if isinstance(d, int) else 1 for d in dims] for name, dims in entry["inputs"].items()}
    sizes = [{name: [n + more for n in given] for name, given in dims.items()} for more in (0, 7, 32)]
    inputs = [feeds(result.model, batch, size) for size in sizes for batch in (1, 2)]
    found = tried(result.model, result.model, "", inputs)
    assert found is not None
    assert found.lowering.left == {}
    compare(result.model, found)
