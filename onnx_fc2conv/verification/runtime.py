"""onnxruntime, as the checks need it: from memory, weights not copied, optionally without any optimisation.

Without graph optimisation and prepacking both models run the nodes that are written in them, so equal arithmetic gives
equal bits and a difference is a difference of the models. One more run in a default session shows what users get.

How weights are shared. A session option gives the values of an initializer, and the session reads them where they are.
In the model the initializer then refers to an empty file: whatever looked there instead would fail, and not find other
values. A default session rearranges constant weights, and holds up to five copies of one while it does; where the model
is large, it is given the largest ones as initializers that might be overridden, which it runs as they are stored.
"""

from __future__ import annotations

import os
import tempfile
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto, TensorProto, defs, helper

from .apart import Apart, apart
from .session import Feeds, OutOfMemory, RuntimeRefusal, opset_of, refusal
from .weights import Weights

ort.set_default_logger_severity(4)

#: element types whose tensors can be given apart: numpy has them, and none of them is a shape
SHARED = frozenset(
    (
        *(TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE),
        *(TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16),
    )
)
#: threads that wait for work by spinning, one pool for each session, take the processor from one another
SPINNING = "session.intra_op.allow_spinning"
FOLDER = "session.model_external_initializers_file_folder_path"
COPIES, TRANSIENT = 2, 3  #: of each weight that a default session rearranges, and of the largest while it does
REARRANGED = 2**29  #: bytes of such copies that any model may take


class Session:
    """One model, loaded."""

    def __init__(
        self, proto: ModelProto | str, folder: str = "", default: bool = False, weights: Weights | None = None
    ) -> None:
        """Load a model, as ``session.Runtime.load`` says; ``weights`` are those of other sessions."""
        self.as_stored: list[str] = []
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.add_session_config_entry(SPINNING, "0")
        if not default:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.add_session_config_entry("session.disable_prepacking", "1")
        try:
            if isinstance(proto, str):
                self._session = _session(proto, options)
            else:
                self._session = self._apart(apart(proto, folder, weights or Weights(), SHARED), options, default)
        except Exception as e:  # the bindings raise many types, all of them refusals
            raise refusal(e) from e
        self.inputs = [i.name for i in self._session.get_inputs()]
        self.outputs = [o.name for o in self._session.get_outputs()]

    def _apart(self, parts: Apart, options: Any, default: bool) -> Any:
        """A session of a model whose large tensors are apart."""
        proto = _runnable(parts.light)
        self._keep = parts.values
        if not parts.values:
            return _session(proto.SerializeToString(), options)
        given = {name: ort.OrtValue.ortvalue_from_numpy(values) for name, values in parts.values.items()}
        constant = list(given)
        if default:
            constant = rearranged({name: v.nbytes for name, v in parts.values.items()})
            options.add_external_initializers(constant, [given[name] for name in constant])
            self.as_stored = [name for name in given if name not in constant]
        for name in self.as_stored if default else constant:
            options.add_initializer(name, given[name])
        with tempfile.NamedTemporaryFile() as nothing:
            place, name = os.path.split(os.path.realpath(nothing.name))
            options.add_session_config_entry(FOLDER, place)
            return _session(_referring(proto, parts.values, name, self.as_stored).SerializeToString(), options)

    def run(self, feeds: Feeds, outputs: list[str] | None = None) -> Feeds:
        """The outputs by name, as ``session.Session.run`` says."""
        outputs = outputs or self.outputs
        try:
            values = self._session.run(outputs, {k: v for k, v in feeds.items() if k in self.inputs})
        except Exception as e:
            raise refusal(e) from e
        return dict(zip(outputs, values, strict=True))


def _session(model: str | bytes, options: Any) -> Any:
    # without the fallback, which prints to stdout what it does
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"], enable_fallback=0)


def rearranged(sizes: dict[str, int]) -> list[str]:
    """The weights that a default session may rearrange, the smallest first, by their bytes.

    The copies that it makes are to take no more memory than all weights do, unless that is little.
    """
    room = max(sum(sizes.values()), REARRANGED)
    chosen: list[str] = []
    total = 0
    for name, size in sorted(sizes.items(), key=lambda item: item[1]):
        total += size
        if COPIES * total + TRANSIENT * size > room:
            break
        chosen.append(name)
    return chosen


def _referring(proto: ModelProto, values: dict[str, np.ndarray], location: str, overridable: list[str]) -> ModelProto:
    """The model with initializers of these names, whose values are to be given.

    Args:
        proto: the model without them.
        values: their values.
        location: name of the file that they refer to.
        overridable: those that are not to be taken for constants.
    """
    whole = ModelProto()
    whole.CopyFrom(proto)
    graph = whole.graph
    for name, value in values.items():
        elem_type = helper.np_dtype_to_tensor_dtype(value.dtype)
        tensor = graph.initializer.add(name=name, data_type=elem_type, dims=value.shape)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
    if not overridable:
        return whole
    if whole.ir_version < 4:  # there every initializer is listed, and all are constants
        constants = {t.name for t in graph.initializer}
        real = [i for i in graph.input if i.name not in constants]
        del graph.input[:]
        graph.input.extend(real)
        whole.ir_version = 4
    listed = {i.name for i in graph.input}
    graph.input.extend(
        helper.make_tensor_value_info(t.name, t.data_type, list(t.dims))
        for t in graph.initializer
        if t.name in overridable and t.name not in listed
    )
    return whole


class OnnxRuntime:
    """onnxruntime as a ``session.Runtime``."""

    name = "onnxruntime"
    version = str(ort.__version__)
    optimises = True

    def __init__(self) -> None:
        self._weights = Weights()

    def load(self, proto: ModelProto | str, folder: str = "", default: bool = False) -> Session:
        """Load a model."""
        try:
            return Session(proto, folder, default, self._weights)
        except RuntimeRefusal as e:
            written = _newer(proto) if isinstance(proto, str) else None
            if written is None:
                raise e
        return Session(written, os.path.dirname(str(proto)), default, self._weights)  # lowered in memory

    def newest_opset(self) -> int:
        """The newest opset that this onnxruntime loads."""
        return newest_opset()


def _newer(path: str) -> ModelProto | None:
    """The model of a file whose opset is newer than the runtime; ``None`` for any other file."""
    try:
        written = onnx.load(path, load_external_data=False)
    except Exception:  # the file is damaged, as the runtime has said
        return None
    return written if opset_of(written) > newest_opset() else None


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
        except Exception as e:
            if isinstance(refusal(e), OutOfMemory):
                raise refusal(e) from e
            continue  # too new
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
