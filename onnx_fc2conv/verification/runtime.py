"""onnxruntime, as the checks need it: from memory, weights not copied, optionally without any optimisation.

Without graph optimisation and prepacking both models run the nodes that are written in them, so equal arithmetic gives
equal bits and a difference is a difference of the models. One more run in a default session shows what users get.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

import onnx
import onnxruntime as ort
from onnx import ModelProto, TensorProto, defs, helper

from .session import Feeds, RuntimeRefusal, external, inlined, one_line, opset_of

ort.set_default_logger_severity(4)


class Session:
    """One model, loaded."""

    def __init__(self, proto: ModelProto | str, folder: str = "", default: bool = False) -> None:
        """Load a model, as ``session.Runtime.load`` says."""
        options = ort.SessionOptions()
        options.log_severity_level = 4
        if not default:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.add_session_config_entry("session.disable_prepacking", "1")
        try:
            model: Any = proto
            if isinstance(proto, ModelProto):
                self._keep = external(proto, folder)
                if self._keep:
                    values = [ort.OrtValue.ortvalue_from_numpy(v) for v in self._keep.values()]
                    options.add_external_initializers(list(self._keep), values)
                model = _runnable(inlined(proto, folder)).SerializeToString()
            # without the fallback, which prints to stdout what it does
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"], enable_fallback=0)
        except Exception as e:  # the bindings raise many types, all of them refusals
            raise RuntimeRefusal(one_line(e)) from e
        self.inputs = [i.name for i in self._session.get_inputs()]
        self.outputs = [o.name for o in self._session.get_outputs()]

    def run(self, feeds: Feeds, outputs: list[str] | None = None) -> Feeds:
        """The outputs by name, as ``session.Session.run`` says."""
        outputs = outputs or self.outputs
        try:
            values = self._session.run(outputs, {k: v for k, v in feeds.items() if k in self.inputs})
        except Exception as e:
            raise RuntimeRefusal(one_line(e)) from e
        return dict(zip(outputs, values, strict=True))


class OnnxRuntime:
    """onnxruntime as a ``session.Runtime``."""

    name = "onnxruntime"
    version = str(ort.__version__)
    optimises = True

    def load(self, proto: ModelProto | str, folder: str = "", default: bool = False) -> Session:
        """Load a model."""
        if isinstance(proto, str):  # what is newer than the runtime is lowered in memory
            written = onnx.load(proto, load_external_data=False)
            folder, proto = os.path.dirname(proto), proto if opset_of(written) <= newest_opset() else written
        return Session(proto, folder, default)

    def newest_opset(self) -> int:
        """The newest opset that this onnxruntime loads."""
        return newest_opset()


@lru_cache(maxsize=1)
def newest_opset() -> int:
    """The newest opset of the default domain that this onnxruntime loads."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "probe", [value], [result])
    for version in range(defs.onnx_opset_version(), 0, -1):
        probe = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=8)
        try:
            ort.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
        except Exception:  # too new
            continue
        return version
    raise RuntimeRefusal("this onnxruntime loads no opset that this onnx knows")


def _runnable(proto: ModelProto) -> ModelProto:
    """The model, or, if its opset is newer than the runtime, a copy at the runtime's newest.

    That is the same model if no operator in it has changed in between, which is what opset versions mean.
    """
    opset, newest = opset_of(proto), newest_opset()
    if opset <= newest:
        return proto
    for node in proto.graph.node:
        standard = node.domain in ("", "ai.onnx") and defs.has(node.op_type, opset, "")
        if standard and defs.get_schema(node.op_type, opset, "").since_version > newest:
            raise RuntimeRefusal(f"{node.op_type} of opset {opset} is newer than onnxruntime {ort.__version__}")
    lowered = ModelProto()
    lowered.CopyFrom(proto)
    for imported in lowered.opset_import:
        if imported.domain in ("", "ai.onnx"):
            imported.version = newest
    return lowered
