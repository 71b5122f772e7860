"""What the checks need of a runtime, whichever it is."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper

from ..ops import captured
from ..tensors import read, tensors

Feeds = dict[str, np.ndarray]


class RuntimeRefusal(Exception):
    """A runtime does not load or run a model; the message is its own, on one line."""


class Session(Protocol):
    """One model, loaded; ``inputs`` and ``outputs`` are names, constants not among them."""

    inputs: list[str]
    outputs: list[str]

    def run(self, feeds: Feeds, outputs: list[str] | None = None) -> Feeds:
        """The outputs by name. Feeds that the model has no input for are left out.

        Raises:
            RuntimeRefusal: it does not run on these.
        """


class Runtime(Protocol):
    """A library that runs models.

    Attributes:
        name: as messages spell it.
        version: the library's.
        optimises: users run a model with graph optimisations that can be left out.
    """

    name: str
    version: str
    optimises: bool

    def load(self, proto: ModelProto | str, folder: str = "", default: bool = False) -> Session:
        """Load a model.

        Args:
            proto: the model, or the path of a file.
            folder: where its external data lies.
            default: with all graph optimisations, as users run it.

        Raises:
            RuntimeRefusal: the runtime rejects it.
        """

    def newest_opset(self) -> int:
        """The newest opset of the default domain that the library loads."""


def external(proto: ModelProto, folder: str) -> Feeds:
    """The values of the initializers whose data is external, mapped and not read; onnxruntime drops unused ones."""
    used = {o.name for o in proto.graph.output}
    used |= {name for node in proto.graph.node for name in (*node.input, *captured(node))}
    found = (t for t in proto.graph.initializer if t.data_location == TensorProto.EXTERNAL and t.name in used)
    return {t.name: read(t, folder) for t in found}


def inlined(proto: ModelProto, folder: str) -> ModelProto:
    """The model with the external data of subgraphs and attributes inside, where a session cannot be given them."""
    at_top = {t.name for t in proto.graph.initializer}
    if not any(t.data_location == TensorProto.EXTERNAL and t.name not in at_top for t in tensors(proto)):
        return proto
    copy = ModelProto()
    copy.CopyFrom(proto)
    for tensor in tensors(copy):
        if tensor.data_location == TensorProto.EXTERNAL and tensor.name not in at_top:
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(read(tensor, folder)), tensor.name))
    return copy


def opset_of(proto: ModelProto) -> int:
    """Version of the default domain that a model imports."""
    return max((int(o.version) for o in proto.opset_import if o.domain in ("", "ai.onnx")), default=1)


def one_line(error: object) -> str:
    """An error's text on one line, cut to what a terminal shows."""
    return " ".join(str(error).split())[:300]
