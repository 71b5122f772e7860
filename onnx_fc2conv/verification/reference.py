"""onnx.reference, ONNX's own evaluator, as the checks need it: every element type, in numpy, and slowly.

It takes a model at its word, so what a runtime would reject is looked for here: a file goes through the ONNX checker,
and a result must have the element type that the model declares. Large weights stay where they are and are fed as
inputs.
"""

from __future__ import annotations

import os
import warnings

import numpy as np
import onnx
from onnx import ModelProto, defs
from onnx.reference import ReferenceEvaluator

from ..dtypes import name_of, numpy_type
from .apart import apart
from .definitions import OPERATORS
from .session import Feeds, RuntimeRefusal, refusal
from .weights import Weights


class Session:
    """One model, loaded."""

    def __init__(
        self, proto: ModelProto | str, folder: str = "", weights: Weights | None = None, given: Feeds | None = None
    ) -> None:
        """Load a model, as ``session.Runtime.load`` says.

        Args:
            proto, folder: as there.
            weights: those of other sessions.
            given: values of initializers that the model has not.
        """
        try:
            if isinstance(proto, str):
                onnx.checker.check_model(proto, full_check=True)
                folder, proto = os.path.dirname(proto), onnx.load(proto, load_external_data=False)
            _require_right(proto)
            parts = apart(proto, folder, weights or Weights())
            self._weights = parts.values | (given or {})
            self._evaluator = ReferenceEvaluator(parts.light, new_ops=OPERATORS)
        except Exception as e:  # the evaluator raises many types, all of them refusals
            raise refusal(e) from e
        constants = {t.name for t in proto.graph.initializer}
        self.inputs = [i.name for i in proto.graph.input if i.name not in constants]
        self.outputs = [o.name for o in proto.graph.output]
        self.as_stored: list[str] = []
        self._declared = {o.name: o.type.tensor_type.elem_type for o in proto.graph.output}

    def run(self, feeds: Feeds, outputs: list[str] | None = None) -> Feeds:
        """The outputs by name, as ``session.Session.run`` says."""
        outputs = outputs or self.outputs
        given = {k: v for k, v in feeds.items() if k in self.inputs}
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                values = self._evaluator.run(outputs, self._weights | given)
        except Exception as e:
            raise refusal(e) from e
        found = dict(zip(outputs, values, strict=True))
        return {name: self._tensor(name, value) for name, value in found.items()}

    def _tensor(self, name: str, value: object) -> np.ndarray:
        if not isinstance(value, (np.ndarray, np.generic)):
            raise RuntimeRefusal(f"output '{name}' is no tensor")
        declared = self._declared.get(name, 0)
        if declared and value.dtype != numpy_type(declared):
            raise RuntimeRefusal(f"output '{name}' comes out as {value.dtype}, and is declared {name_of(declared)}")
        return np.asarray(value)


class Reference:
    """onnx.reference as a ``session.Runtime``."""

    name = "onnx.reference"
    version = onnx.__version__
    optimises = False

    def __init__(self) -> None:
        self._weights = Weights()

    def load(self, proto: ModelProto | str, folder: str = "", default: bool = False) -> Session:
        """Load a model; there are no optimisations to ask for."""
        return Session(proto, folder, self._weights)

    def newest_opset(self) -> int:
        """The newest opset that this onnx knows."""
        return int(defs.onnx_opset_version())


def _require_right(proto: ModelProto) -> None:
    """Refuse what the evaluator would only stumble over later."""
    made_later = {name for node in proto.graph.node for name in node.output if name}
    for node in proto.graph.node:
        early = next((name for name in node.input if name in made_later), None)
        if early is not None:
            raise RuntimeRefusal(f"the node that makes '{node.output[0]}' reads '{early}' before it is computed")
        made_later -= set(node.output)
