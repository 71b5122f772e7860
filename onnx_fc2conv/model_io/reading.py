"""From a file, a ModelProto or a graphsurgeon Graph to a checked, read-only view."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import onnx
import onnx_graphsurgeon as gs
from onnx import ModelProto, TensorProto, ValueInfoProto, defs
from onnx.external_data_helper import ExternalDataInfo

from ..errors import UnreadableModel
from ..ops import STANDARD_DOMAINS, Model, view
from ..places import Place, place_of
from ..tensors import bytes_for, data_files, external_path, in_data_file, tensors, where
from . import light
from .soundness import require_sound

MOST_AXES = 32  #: that any numpy holds
TYPED = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")  #: lists of values


def load(source: Any) -> tuple[Model, str]:
    """Read a model and check that it is whole.

    Args:
        source: a path, a ModelProto, or a graphsurgeon Graph; never changed.

    Returns:
        The view of the model, and a name for it in messages.

    Raises:
        UnreadableModel: missing, damaged, or not a model that a runtime could run.
    """
    if isinstance(source, ModelProto):
        return _checked(source, "", "the model"), "the model"
    if isinstance(source, gs.Graph):
        return _checked(gs.export_onnx(source.copy()), "", "the graph"), "the graph"
    path = Path(os.fspath(source))
    return _checked(parse(path), str(path.parent), str(path)), str(path)


def parse(source: Any) -> ModelProto:
    """The ModelProto of a file. External data is not read, and the bytes of large tensors are left in the file.

    Raises:
        UnreadableModel: missing, a folder, empty, truncated, or not a model.
    """
    return light.parse(file_of(source))


def file_of(source: Any) -> Path:
    """The path of a regular file.

    Raises:
        UnreadableModel: it is missing, a folder, or something else.
    """
    path = Path(os.fspath(source))
    try:
        if path.is_dir():
            raise UnreadableModel(f"'{path}' is a folder, not a model file")
        if not path.exists():
            raise UnreadableModel(f"'{path}' does not exist")
        if not path.is_file():
            raise UnreadableModel(f"'{path}' is not a regular file")
    except OSError as e:
        raise UnreadableModel(f"'{path}' cannot be read: {e.strerror or e}") from e
    return path


def _checked(proto: ModelProto, folder: str, name: str) -> Model:
    if not proto.HasField("graph") or not proto.opset_import:
        raise UnreadableModel(f"'{name}' is not an ONNX model: it has no graph or no opset")
    if not proto.graph.output:
        raise UnreadableModel(f"'{name}' has no graph outputs")
    newest = defs.onnx_opset_version()
    if any(o.domain in STANDARD_DOMAINS and o.version > newest for o in proto.opset_import):
        raise UnreadableModel(
            f"'{name}' needs an opset newer than {newest}, the newest that onnx {onnx.__version__} knows"
        )
    try:
        require_sound(proto, name)
        read_from = data_files(proto, folder)
        for tensor in tensors(proto):
            _check_tensor(tensor, folder)
        for value in proto.graph.input:
            _check_axes(value)
        _check_apart(proto, folder)
        model = replace(view(proto, folder), data_files=read_from)
        _check_names(model)
    except UnreadableModel:
        raise
    except Exception as e:  # graphsurgeon raises what it finds in a damaged file
        raise UnreadableModel(f"'{name}' is not a valid model: {e}") from e
    return model


def _check_tensor(tensor: TensorProto, folder: str) -> None:
    what = f"tensor '{tensor.name}'"
    if any(d < 0 for d in tensor.dims):
        raise UnreadableModel(f"{what} has negative dims {list(tensor.dims)}")
    if tensor.HasField("segment"):
        raise UnreadableModel(f"{what} is stored in segments, which onnx does not read")
    if len(tensor.dims) > MOST_AXES:
        raise UnreadableModel(f"{what} has {len(tensor.dims)} axes; more than {MOST_AXES} are not supported")
    count, strings = prod(tensor.dims), len(tensor.string_data)
    if tensor.data_type == TensorProto.STRING and strings != count:  # no other field can hold them
        raise UnreadableModel(f"{what} has {strings} strings, its dims {list(tensor.dims)} need {count}")
    expected = bytes_for(tensor.data_type, count)
    place = place_of(tensor)
    if place is not None:
        _check_inline(place, tensor, what, count, expected)
    elif tensor.data_location == TensorProto.EXTERNAL:
        _check_external(tensor, folder, what, expected)
    elif tensor.HasField("raw_data"):
        if expected is not None and len(tensor.raw_data) != expected:
            raise UnreadableModel(
                f"{what} has {len(tensor.raw_data)} bytes, its dims {list(tensor.dims)} need {expected}"
            )
    elif tensor.data_type != TensorProto.STRING and (count or any(getattr(tensor, name) for name in TYPED)):
        onnx.numpy_helper.to_array(tensor)  # typed fields are small: reading them is the check


def _check_axes(value: ValueInfoProto) -> None:
    count = len(value.type.tensor_type.shape.dim)
    if count > MOST_AXES:
        raise UnreadableModel(f"input '{value.name}' has {count} axes; more than {MOST_AXES} are not supported")


def _check_inline(place: Place, tensor: TensorProto, what: str, count: int, expected: int | None) -> None:
    if place.plain_field and place.length != expected:
        raise UnreadableModel(f"{what} has {place.length} bytes, its dims {list(tensor.dims)} need {expected}")
    if not place.plain_field:
        per_byte = expected if expected is not None and expected < count else count
        found = light.numbers_in(place)
        if found != per_byte:
            raise UnreadableModel(f"{what} has {found} numbers, its dims {list(tensor.dims)} need {per_byte}")


def _check_external(tensor: TensorProto, folder: str, what: str, expected: int | None) -> None:
    info = ExternalDataInfo(tensor)
    path = external_path(tensor, folder)
    size = path.stat().st_size
    offset = info.offset or 0
    length = info.length if info.length is not None else expected or size - offset
    if offset < 0 or length < 0 or offset + length > size:
        raise UnreadableModel(f"{what}: its data file '{info.location}' has {size} bytes, it needs {offset + length}")
    if expected is not None and length != expected:
        raise UnreadableModel(
            f"{what} has {length} bytes of external data, its dims {list(tensor.dims)} need {expected}"
        )


def _check_apart(proto: ModelProto, folder: str) -> None:
    """Tensors may have the same bytes of a data file, as tied weights do, but not some of one another's."""
    stretches: dict[str, list[tuple[int, int, str]]] = {}
    for tensor in filter(in_data_file, tensors(proto)):
        place = where(tensor, folder)
        if place.length:
            stretches.setdefault(place.path, []).append((place.offset, place.offset + place.length, tensor.name))
    for path, found in stretches.items():
        for (*one, name), (*other, beside) in pairwise(sorted(found)):
            if other[0] < one[1] and one != other:
                raise UnreadableModel(f"tensors '{name}' and '{beside}' overlap in their data file '{path}'")


def _check_names(model: Model) -> None:
    names = [t.name for t in model.proto.graph.initializer]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise UnreadableModel(f"initializer '{twice}' is defined twice")
    defined: set[str] = {i.name for i in model.inputs} | set(names)
    defined |= {t.values.name for t in model.proto.graph.sparse_initializer}
    for op in model.ops:
        for name in op.outputs:
            if name and name in defined:
                raise UnreadableModel(f"value '{name}' is defined twice", str(op))
            defined.add(name)
    for op in model.ops:
        for name in op.reads():
            if name not in defined:
                raise UnreadableModel(f"its input '{name}' is not defined anywhere in the model", str(op))
    for name in model.outputs:
        if name not in defined:
            raise UnreadableModel(f"graph output '{name}' is not defined anywhere in the model")
