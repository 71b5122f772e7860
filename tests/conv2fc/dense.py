"""What the tests of the dense form share: it is built from a model without any check, and run beside the original."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto, numpy_helper

from onnx_fc2conv import model_io, shapes, spatial
from onnx_fc2conv.assemble import assemble
from onnx_fc2conv.conv2fc import Lowering, Selection, dense
from onnx_fc2conv.heads import constants_of

ort.set_default_logger_severity(4)
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


@dataclass
class Built:
    """A model in its dense form."""

    model: ModelProto
    estimate: dense.Estimate
    lowering: Lowering

    @property
    def op_types(self) -> list[str]:
        return [node.op_type for node in self.model.graph.node]

    def constants(self) -> dict[str, np.ndarray]:
        return {t.name: numpy_helper.to_array(t) for t in self.model.graph.initializer}

    def matrices(self) -> list[np.ndarray]:
        """The matrix ``[rows, columns]`` of every Gemm, in order."""
        stored, found = self.constants(), []
        for node in self.model.graph.node:
            if node.op_type == "Gemm":
                transposed = any(a.name == "transB" and a.i for a in node.attribute)
                found.append(stored[node.input[1]].T if transposed else stored[node.input[1]])
        return found


def planned(source: Any, selection: Selection = Selection(), strict: bool = False) -> dense.Estimate:  # noqa: B008
    model, _ = model_io.load(source)
    known, other = shapes.at_two_batches(model)
    return dense.plan(model, known, constants_of(model, known, other), selection, strict)


def built(source: Any, selection: Selection = Selection(), strict: bool = False) -> Built:  # noqa: B008
    model, _ = model_io.load(source)
    before = model.proto.SerializeToString(deterministic=True)
    known, other = shapes.at_two_batches(model)
    estimate = dense.plan(model, known, constants_of(model, known, other), selection, strict)
    lowering = estimate.build()
    proto = assemble(model, lowering.rewrite)
    spatial.keep(proto)
    assert model.proto.SerializeToString(deterministic=True) == before
    onnx.checker.check_model(proto, full_check=True)
    return Built(proto, estimate, lowering)


def session(model: ModelProto) -> ort.InferenceSession:
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def feeds_of(model: ModelProto, batch: int = 2, seed: int = 0, small: bool = True) -> dict[str, np.ndarray]:
    """Images of small integers, or of any numbers around 0."""
    found, random = {}, np.random.default_rng(seed)
    for value in session(model).get_inputs():
        shape = [d if isinstance(d, int) else batch for d in value.shape]
        drawn = random.integers(-3, 4, shape) if small else random.standard_normal(shape)
        found[value.name] = drawn.astype(TYPES[value.type])
    return found


def answers(model: ModelProto, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    return list(session(model).run(None, dict(feeds)))


def deviation(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """The largest difference of any output, relative to its largest number."""
    worst = 0.0
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        scale = max(float(np.abs(b.astype(np.float64)).max(initial=0)), 1e-30)
        worst = max(worst, float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0)) / scale)
    return worst
