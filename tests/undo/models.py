"""Models on their way there and back, and what a record says of them."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, numpy_helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv import model_io, undo
from onnx_fc2conv.ops import Model

from ..networks import session


def view(proto: ModelProto | Path) -> Model:
    """The model as the rooms see it."""
    return model_io.load(proto)[0]


def converted(model: Any, **options: Any) -> ModelProto:
    """The converted model, with its record."""
    return fc2conv.convert(model, verify=False, **options).model


def restored(proto: ModelProto) -> undo.Restored:
    """What its record gives back."""
    found = undo.restore(view(proto))
    assert found is not None, "nothing was recorded"
    return found


def text_of(proto: ModelProto) -> str | None:
    """The record as it is stored."""
    return next((p.value for p in proto.metadata_props if p.key == undo.METADATA_KEY), None)


def record_of(proto: ModelProto) -> dict[str, Any]:
    """The record as JSON."""
    text = text_of(proto)
    assert text is not None
    row: dict[str, Any] = json.loads(text)
    return row


def with_text(proto: ModelProto, text: str) -> ModelProto:
    """A copy with another record."""
    copy = ModelProto()
    copy.CopyFrom(proto)
    for prop in copy.metadata_props:
        if prop.key == undo.METADATA_KEY:
            prop.value = text
    return copy


def with_record(proto: ModelProto, edit: Callable[[dict[str, Any]], None]) -> ModelProto:
    """A copy with an edited record."""
    row = record_of(proto)
    edit(row)
    return with_text(proto, json.dumps(row))


def packed(data: bytes) -> str:
    """Bytes as a record stores them."""
    return base64.b64encode(zlib.compress(data)).decode()


def unpacked(text: str) -> bytes:
    """The bytes that a record stores."""
    return zlib.decompress(base64.b64decode(text))


def edited(proto: ModelProto, edit: Callable[[ModelProto], None]) -> ModelProto:
    """A copy with something changed."""
    copy = ModelProto()
    copy.CopyFrom(proto)
    edit(copy)
    return copy


def stripped(proto: ModelProto) -> ModelProto:
    """A copy without any metadata."""
    return edited(proto, lambda m: m.ClearField("metadata_props"))


def weights(proto: ModelProto) -> dict[str, np.ndarray]:
    """The initializers by name."""
    return {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}


def set_weight(proto: ModelProto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change the values of an initializer; everything else of it stays."""
    tensor = next(t for t in proto.graph.initializer if t.name == name)
    values = change(numpy_helper.to_array(tensor)).astype(numpy_helper.to_array(tensor).dtype)
    tensor.CopyFrom(numpy_helper.from_array(values, name))


def run(proto: ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """All outputs, by the nodes as they are written."""
    return list(session(proto).run(None, feeds))
