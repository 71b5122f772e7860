"""Models of real exporters, outside of this repository, there and back: the same nodes, weights and answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv import model_io, undo
from onnx_fc2conv.dtypes import tolerance

from ..networks import session
from ..test_corpus import CORPUS, MODELS, expected_refusal, needs_corpus
from .models import view

CONVERTED = [m for m in MODELS if m["class"] == "must_convert" and expected_refusal(m["path"]) is None]
FLAT = [m for m in CONVERTED if any(step.split("<")[0] in ("Gemm", "MatMul") for step in m.get("head_form") or ())]


def images(proto: ModelProto) -> dict[str, np.ndarray]:
    """Random inputs of the declared shapes, one image."""
    rng = np.random.default_rng(0)
    stored = {t.name for t in proto.graph.initializer}
    feeds = {}
    for value in (v for v in proto.graph.input if v.name not in stored):
        dims = [d.dim_value or 1 for d in value.type.tensor_type.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        feeds[value.name] = (rng.random(dims) if dtype.kind == "f" else rng.integers(0, 5, dims)).astype(dtype)
    return feeds


def without_places(proto: ModelProto) -> ModelProto:
    """A copy that does not say where bytes outside of the file are."""
    copy = ModelProto()
    copy.CopyFrom(proto)
    for tensor in copy.graph.initializer:
        tensor.ClearField("external_data")
    return copy


def answers(proto: ModelProto, folder: Path, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    copy = ModelProto()
    copy.CopyFrom(proto)
    onnx.load_external_data_for_model(copy, str(folder))
    return list(session(copy).run(None, feeds))


@needs_corpus
@pytest.mark.parametrize("entry", CONVERTED, ids=[m["path"] for m in CONVERTED])
def test_a_model_comes_back(entry: dict[str, Any], tmp_path: Path) -> None:
    """Through the disk; the file as it was, except where its weights lie in another one."""
    path, target = CORPUS / entry["path"], tmp_path / "out.onnx"
    fc2conv.convert(path, verify=False).save(target)
    found = undo.restore(view(target))
    assert found is not None
    original = ModelProto.FromString(path.read_bytes())
    proto = model_io.whole(found.proto)
    assert found.identical
    assert found.rows or entry not in FLAT
    outside = any(t.data_location == TensorProto.EXTERNAL for t in original.graph.initializer)
    assert without_places(proto) == without_places(original)
    assert bool(found.notes) == outside
    if outside:
        feeds = images(original)
        pairs = zip(answers(original, path.parent, feeds), answers(proto, tmp_path, feeds), strict=True)
        assert all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in pairs)


TERMS = 2**14  #: more than any sum of these models has


@needs_corpus
@pytest.mark.parametrize("entry", FLAT[::3], ids=[m["path"] for m in FLAT[::3]])
def test_a_head_is_found_without_the_record(entry: dict[str, Any]) -> None:
    """Some size is found, and at the trained one the answers are the original's, but for rounding."""
    path = CORPUS / entry["path"]
    converted = fc2conv.convert(path, verify=False).model
    del converted.metadata_props[:]
    model = view(converted)
    model.folder = str(path.parent)
    assert undo.found(model).rows
    original = ModelProto.FromString(path.read_bytes())
    feeds = images(original)
    axes = [(v.name, i) for v in model.inputs for i, d in enumerate(v.type.tensor_type.shape.dim) if i and d.dim_param]
    size = tuple(feeds[name].shape[i] for name, i in axes if name == axes[0][0])
    found = undo.found(model, (size,))
    given = answers(original, path.parent, feeds)
    for a, b in zip(given, answers(model_io.whole(found.proto), path.parent, feeds), strict=True):
        assert a.shape == b.shape
        bound = tolerance(helper.np_dtype_to_tensor_dtype(a.dtype), TERMS, len(original.graph.node))
        scale = np.abs(a.astype(np.float64)).max(initial=0)
        assert np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0) <= bound * scale
