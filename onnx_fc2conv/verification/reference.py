"""onnx.reference, ONNX's own evaluator, as the checks need it: every element type, in numpy, and slowly.

It takes a model at its word, so what a runtime would reject is looked for here: a file goes through the ONNX checker,
and a result must have the element type that the model declares. Weights stay where they are and are fed as inputs.
"""

from __future__ import annotations

import os
import warnings

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, defs
from onnx.reference import ReferenceEvaluator

from ..dtypes import name_of, numpy_type
from .session import Feeds, RuntimeRefusal, external, inlined, one_line, opset_of


class Session:
    """One model, loaded."""

    def __init__(self, proto: ModelProto | str, folder: str = "") -> None:
        """Load a model, as ``session.Runtime.load`` says."""
        try:
            if isinstance(proto, str):
                onnx.checker.check_model(proto, full_check=True)
                folder, proto = os.path.dirname(proto), onnx.load(proto, load_external_data=False)
            _require_right(proto)
            self._weights = external(proto, folder)
            self._evaluator = ReferenceEvaluator(_without(self._weights, inlined(proto, folder)))
        except RuntimeRefusal:
            raise
        except Exception as e:  # the evaluator raises many types, all of them refusals
            raise RuntimeRefusal(one_line(e)) from e
        constants = {t.name for t in proto.graph.initializer}
        self.inputs = [i.name for i in proto.graph.input if i.name not in constants]
        self.outputs = [o.name for o in proto.graph.output]
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
            raise RuntimeRefusal(one_line(e)) from e
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

    def load(self, proto: ModelProto | str, folder: str = "", default: bool = False) -> Session:
        """Load a model; there are no optimisations to ask for."""
        return Session(proto, folder)

    def newest_opset(self) -> int:
        """The newest opset that this onnx knows."""
        return int(defs.onnx_opset_version())


def _without(weights: Feeds, proto: ModelProto) -> ModelProto:
    """The model without these initializers."""
    if not weights:
        return proto
    rest = ModelProto()
    rest.CopyFrom(proto)
    del rest.graph.initializer[:]
    rest.graph.initializer.extend(t for t in proto.graph.initializer if t.data_location != TensorProto.EXTERNAL)
    return rest


def _require_right(proto: ModelProto) -> None:
    """Refuse what the evaluator would run to another result than the standard says, or only stumble over later.

    Where BatchNormalization has no ``training_mode`` yet, it normalises by the batch, as in training.
    """
    made_later = {name for node in proto.graph.node for name in node.output if name}
    for node in proto.graph.node:
        early = next((name for name in node.input if name in made_later), None)
        if early is not None:
            raise RuntimeRefusal(f"the node that makes '{node.output[0]}' reads '{early}' before it is computed")
        made_later -= set(node.output)
        if opset_of(proto) >= 14:
            continue
        if node.op_type == "BatchNormalization" and node.domain in ("", "ai.onnx"):
            raise RuntimeRefusal(
                "onnx.reference runs BatchNormalization as in training before opset 14; "
                "convert the model with onnx.version_converter first"
            )
