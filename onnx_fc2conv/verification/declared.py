"""What a converted model says of itself, held against what comes out: shapes that it declares, and its geometry.

A runtime computes the right answers whatever is declared of them, so no comparison of answers shows a stale shape; but
who plans memory by it, or draws boxes by the geometry in the metadata, is misled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from onnx import ModelProto, TensorShapeProto, ValueInfoProto

from ..conversion import Conversion
from ..errors import VerificationFailed
from ..geometry import METADATA_KEY, Geometry
from ..inferring import inferred
from .session import Feeds


def require_geometry(conversion: Conversion, proto: ModelProto) -> None:
    """The geometry in the metadata is the model's own. One whose metadata was stripped says nothing, and passes.

    Raises:
        VerificationFailed: it is damaged, or another one.
    """
    right = conversion.geometry.to_dict()["outputs"]
    for text in (prop.value for prop in proto.metadata_props if prop.key == METADATA_KEY):
        try:
            found = Geometry.from_json(text).to_dict()["outputs"]
        except ValueError as e:
            raise VerificationFailed(f"structure: in the metadata the {e}") from e
        if list(found) != list(right):
            raise VerificationFailed(
                f"structure: the geometry in the metadata is of outputs {list(found)}, expected {list(right)}"
            )
        for name, row in right.items():
            for key, value in row.items():
                if found[name][key] != value:
                    what = f"the geometry in the metadata says {key} {found[name][key]} of output '{name}'"
                    raise VerificationFailed(f"structure: {what}, expected {value}")


def require_order(original: ModelProto, proto: ModelProto) -> None:
    """Inputs and outputs stand in the original's order, for whoever asks for the first one; new ones only behind them.

    Raises:
        VerificationFailed: they do not.
    """
    constants = {t.name for t in proto.graph.initializer} | {t.name for t in original.graph.initializer}
    for what, before, after in (
        ("input", original.graph.input, proto.graph.input),
        ("output", original.graph.output, proto.graph.output),
    ):
        expected, found = ([v.name for v in values if v.name not in constants] for values in (before, after))
        if found[: len(expected)] != expected:
            raise VerificationFailed(f"structure: the {what}s are {found}, expected {expected}")


def require_shapes(proto: ModelProto, feeds: Feeds, found: Feeds) -> None:
    """At this size every output, and every value inside whose shape can be inferred, has the shape that is declared.

    Args:
        proto: the model under test.
        feeds: its inputs at an enlarged size.
        found: its outputs there.

    Raises:
        VerificationFailed: one is declared with a number that is stale.
    """
    shapes = {name: np.shape(value) for name, value in found.items()}
    _require(proto.graph.output, shapes)
    if proto.graph.value_info:
        _require(proto.graph.value_info, _inferred(proto, {name: np.shape(value) for name, value in feeds.items()}))


def _require(values: Iterable[ValueInfoProto], shapes: Mapping[str, tuple[int | None, ...]]) -> None:
    for value in values:
        if value.name not in shapes or not value.type.tensor_type.HasField("shape"):
            continue
        shape, dims = shapes[value.name], value.type.tensor_type.shape.dim
        pairs = zip(dims, shape, strict=False)
        if len(dims) != len(shape) or any(_is_false(d, n) for d, n in pairs):
            declared = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in dims]
            computed = ["?" if n is None else n for n in shape]
            what = f"value '{value.name}' is declared as {declared} and has shape {computed} at an enlarged size"
            raise VerificationFailed(f"structure: {what}")


def _is_false(dim: TensorShapeProto.Dimension, n: int | None) -> bool:
    """Whether it declares another number; -1 is none."""
    return dim.HasField("dim_value") and dim.dim_value >= 0 and n not in (None, dim.dim_value)


def _inferred(proto: ModelProto, inputs: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int | None, ...]]:
    """The shapes of the values inside, as they follow from those of the inputs and from no declaration."""
    sized = ModelProto()
    sized.CopyFrom(proto)
    del sized.graph.value_info[:]
    for value in sized.graph.output:
        value.type.tensor_type.ClearField("shape")
    for value in sized.graph.input:
        for dim, n in zip(value.type.tensor_type.shape.dim, inputs.get(value.name, ()), strict=False):
            dim.dim_value = n
    values = inferred(sized).graph.value_info
    return {
        v.name: tuple(d.dim_value if d.HasField("dim_value") else None for d in v.type.tensor_type.shape.dim)
        for v in values
        if v.type.tensor_type.HasField("shape")
    }
