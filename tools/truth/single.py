"""A model in its own precision: on onnxruntime as it is written and optimised as users run it, and on onnx.reference.

The order in which onnxruntime adds up depends on the operator and on the number of rows and columns; onnx.reference
computes Conv, Gemm and MatMul by the same matrix product of numpy. So what is off there is off by the nodes.
"""

from __future__ import annotations

import warnings
from typing import Protocol

import numpy as np
import onnxruntime as ort
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator

from onnx_fc2conv.verification.definitions import OPERATORS

from .doubled import NotEvaluated, Values

LEVELS = (ort.GraphOptimizationLevel.ORT_DISABLE_ALL, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)


class Runs(Protocol):
    """A model that can be run both ways."""

    def run(self, *feeds: Values) -> tuple[Values, Values]:
        """Outputs by name, as ``Single.run`` gives them."""


class Neutral:
    """One model on onnx.reference, where both ways are the same."""

    def __init__(self, model: ModelProto) -> None:
        """Load it."""
        self._evaluator = ReferenceEvaluator(model, new_ops=OPERATORS)
        self._names = [o.name for o in model.graph.output]

    def run(self, *feeds: Values) -> tuple[Values, Values]:
        """All outputs by name, twice.

        Raises:
            NotEvaluated: an operator fails.
        """
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                found = dict(zip(self._names, self._evaluator.run(None, feeds[0]), strict=True))
        except Exception as e:  # it raises many types
            raise NotEvaluated("onnx.reference does not run it in its own precision") from e
        return found, found


class Single:
    """One model, loaded both ways."""

    def __init__(self, model: ModelProto) -> None:
        """Load it.

        Raises:
            NotEvaluated: onnxruntime does not.
        """
        self._sessions = [_session(model, level) for level in LEVELS]
        self._names = [o.name for o in self._sessions[0].get_outputs()]
        self._inputs = {i.name for i in self._sessions[0].get_inputs()}

    def run(self, *feeds: Values) -> tuple[Values, Values]:
        """All outputs by name, of the nodes as they are written and of the optimised ones.

        Args:
            feeds: for both ways, or for each of them.

        Raises:
            NotEvaluated: it does not run on these.
        """
        found = []
        for session, given in zip(self._sessions, (feeds[0], feeds[-1]), strict=True):
            try:
                values = session.run(None, {k: v for k, v in given.items() if k in self._inputs})
            except Exception as e:  # the bindings raise many types
                raise NotEvaluated("onnxruntime does not run it") from e
            found.append(dict(zip(self._names, values, strict=True)))
        return found[0], found[1]


def _session(model: ModelProto, level: ort.GraphOptimizationLevel) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = level
    try:
        return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as e:
        raise NotEvaluated("onnxruntime does not load it") from e
