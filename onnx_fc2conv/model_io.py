"""Models on disk. The only room that knows where a tensor's bytes are, and the only one that writes.

Reading trusts nothing: every name must be defined once, every tensor as long as its dims say, every external data
file inside the model's folder. Writing is all or nothing: everything goes to a private folder beside the target, is
flushed to the disk there, and is renamed last.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx_graphsurgeon as gs
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto
from onnx.external_data_helper import ExternalDataInfo

from .errors import UnreadableModel, UsageError
from .ops import Model, view

PROTOBUF_LIMIT = 2**31 - 2**20  #: bytes; protobuf refuses messages of 2 GiB
EXTERNAL_FROM = 1024  #: bytes; smaller tensors stay in the .onnx file even where weights are external
PAGE = 4096  #: external tensors start on page boundaries, so that they can be mapped


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
    """The ModelProto of a file; external data is not read.

    Raises:
        UnreadableModel: missing, a folder, empty, truncated, or not a model.
    """
    path = Path(os.fspath(source))
    try:
        if path.is_dir():
            raise UnreadableModel(f"'{path}' is a folder, not a model file")
        if not path.exists():
            raise UnreadableModel(f"'{path}' does not exist")
        if not path.is_file():
            raise UnreadableModel(f"'{path}' is not a regular file")
        data = path.read_bytes()
    except OSError as e:
        raise UnreadableModel(f"'{path}' cannot be read: {e.strerror or e}") from e
    if not data:
        raise UnreadableModel(f"'{path}' is empty")
    try:
        return ModelProto.FromString(data)
    except DecodeError as e:
        raise UnreadableModel(f"'{path}' is not an ONNX model, or is truncated ({e})") from e


def _checked(proto: ModelProto, folder: str, name: str) -> Model:
    if not proto.HasField("graph") or not proto.opset_import:
        raise UnreadableModel(f"'{name}' is not an ONNX model: it has no graph or no opset")
    if not proto.graph.output:
        raise UnreadableModel(f"'{name}' has no graph outputs")
    try:
        for tensor in tensors(proto):
            _check_tensor(tensor, folder)
        model = view(proto, folder)
        _check_names(model)
    except UnreadableModel:
        raise
    except Exception as e:  # graphsurgeon raises what it finds in a damaged file
        raise UnreadableModel(f"'{name}' is not a valid model: {e}") from e
    return model


def tensors(proto: ModelProto) -> Iterator[TensorProto]:
    """All tensors with weights: initializers, and those that nodes carry as attributes (subgraphs not included)."""
    yield from proto.graph.initializer
    for node in proto.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t


def _check_tensor(tensor: TensorProto, folder: str) -> None:
    what = f"tensor '{tensor.name}'"
    if any(d < 0 for d in tensor.dims):
        raise UnreadableModel(f"{what} has negative dims {list(tensor.dims)}")
    count = 1
    for d in tensor.dims:
        count *= d
    expected = _bytes_for(tensor.data_type, count)
    if tensor.data_location == TensorProto.EXTERNAL:
        _check_external(tensor, folder, what, expected)
    elif tensor.HasField("raw_data"):
        if expected is not None and len(tensor.raw_data) != expected:
            raise UnreadableModel(f"{what} has {len(tensor.raw_data)} bytes, its dims {list(tensor.dims)} need {expected}")
    elif count and tensor.data_type != TensorProto.STRING:
        onnx.numpy_helper.to_array(tensor)  # typed fields are small: reading them is the check


def _bytes_for(data_type: int, count: int) -> int | None:
    """Bytes of so many elements; ``None`` for types that have no fixed width (strings)."""
    if data_type in (TensorProto.STRING, TensorProto.UNDEFINED):
        return None
    name = TensorProto.DataType.Name(data_type)  # type: ignore[arg-type]
    if name in ("INT4", "UINT4", "FLOAT4E2M1"):
        return (count + 1) // 2
    if name in ("INT2", "UINT2"):
        return (count + 3) // 4
    return count * int(onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize)


def _check_external(tensor: TensorProto, folder: str, what: str, expected: int | None) -> None:
    info = ExternalDataInfo(tensor)
    path = external_path(tensor, folder)
    size = path.stat().st_size
    offset = info.offset or 0
    length = info.length if info.length is not None else expected or size - offset
    if offset < 0 or length < 0 or offset + length > size:
        raise UnreadableModel(f"{what}: its data file '{info.location}' has {size} bytes, it needs {offset + length}")
    if expected is not None and length != expected:
        raise UnreadableModel(f"{what} has {length} bytes of external data, its dims {list(tensor.dims)} need {expected}")


def external_path(tensor: TensorProto, folder: str) -> Path:
    """Where a tensor's external data lies; only regular files inside the model's folder are accepted.

    Raises:
        UnreadableModel: no folder is known, or the location leads out of it, or there is no such file.
    """
    location = ExternalDataInfo(tensor).location
    what = f"tensor '{tensor.name}': its data file '{location}'"
    if not folder:
        folder = "."
    if not location or os.path.isabs(location) or ".." in Path(location).parts:
        raise UnreadableModel(f"{what} is not a path inside the model's folder")
    path = Path(folder, location)
    root = os.path.realpath(folder)
    if os.path.commonpath([root, os.path.realpath(path)]) != root:
        raise UnreadableModel(f"{what} leads out of the model's folder through a symbolic link")
    if not path.is_file():
        raise UnreadableModel(f"{what} does not exist in '{folder}'")
    return path


def _check_names(model: Model) -> None:
    defined: set[str] = {i.name for i in model.inputs} | set(model.constants)
    defined |= {t.values.name for t in model.proto.graph.sparse_initializer}
    for op in model.ops:
        for name in op.outputs:
            if name and name in defined:
                raise UnreadableModel(f"value '{name}' is defined twice", str(op))
            defined.add(name)
    for op in model.ops:
        for name in op.inputs:
            if name and name not in defined:
                raise UnreadableModel(f"its input '{name}' is not defined anywhere in the model", str(op))
    for name in model.outputs:
        if name not in defined:
            raise UnreadableModel(f"graph output '{name}' is not defined anywhere in the model")


# -- writing -----------------------------------------------------------------------------------------------------------


@dataclass
class Target:
    """A file to be written, checked before any work is done."""

    path: Path

    @classmethod
    def of(cls, path: Any, source: Any) -> Target:
        """Check that the target can be written and is not the source.

        Raises:
            UsageError: it is a folder, its folder is missing or not writable, or it is the input itself.
        """
        target = Path(os.fspath(path))
        if target.is_dir():
            raise UsageError(f"'{target}' is a folder; name the file to write")
        if not target.parent.is_dir():
            raise UsageError(f"cannot write '{target}': the folder '{target.parent}' does not exist")
        if target.exists() and not target.is_file():
            raise UsageError(f"'{target}' is not a regular file")
        if isinstance(source, (str, os.PathLike)) and target.exists() and Path(source).exists():
            if os.path.samefile(target, source):
                raise UsageError(f"'{target}' is the input itself; it is never changed, so name another file")
        if not os.access(target.parent, os.W_OK):
            raise UsageError(f"cannot write '{target}': no permission to write into '{target.parent}'")
        return cls(target)


@contextmanager
def staged(target: Target, proto: ModelProto, folder: str) -> Iterator[Path]:
    """Write the model to a private folder beside the target, hand out its path, and rename it when the block ends.

    Args:
        proto: the model; changed only if its weights have to move to external data.
        folder: where external data that it refers to lies now.

    Raises:
        UsageError: the disk is full or the folder not writable.
    """
    try:
        private = Path(tempfile.mkdtemp(prefix=f".{target.path.name[:40]}.", dir=target.path.parent))
    except OSError as e:
        raise UsageError(f"cannot write '{target.path}': {e.strerror or e}") from e
    try:
        data = _write(proto, folder, private, target.path)
        yield private / target.path.name
        if data:
            os.replace(private / data, target.path.parent / data)
        os.replace(private / target.path.name, target.path)
        _sync_folder(target.path.parent)
    except OSError as e:
        raise UsageError(f"cannot write '{target.path}': {e.strerror or e}") from e
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _write(proto: ModelProto, folder: str, private: Path, target: Path) -> str | None:
    sources = {external_path(t, folder) for t in tensors(proto) if t.data_location == TensorProto.EXTERNAL}
    data = None
    if sources or proto.ByteSize() > PROTOBUF_LIMIT:
        moved = ModelProto()
        moved.CopyFrom(proto)
        proto, data = moved, _data_name(target, sources)
        with open(private / data, "wb") as f:
            for tensor in tensors(proto):
                _move_out(tensor, folder, f, data)
            f.flush()
            os.fsync(f.fileno())
    with open(private / target.name, "wb") as f:
        f.write(proto.SerializeToString())
        f.flush()
        os.fsync(f.fileno())
    return data


def _data_name(target: Path, sources: set[Path]) -> str:
    """A data file name beside the target that is not one of the input's own data files."""
    n = 0
    while True:
        name = f"{target.name}{f'.{n}' if n else ''}.data"
        path = target.parent / name
        if not path.exists() or not any(os.path.samefile(path, s) for s in sources):
            return name
        n += 1


def _move_out(tensor: TensorProto, folder: str, f: Any, location: str) -> None:
    external = tensor.data_location == TensorProto.EXTERNAL
    if not external and len(tensor.raw_data) < EXTERNAL_FROM:
        return
    f.write(b"\0" * (-f.tell() % PAGE))
    offset = f.tell()
    if external:
        info = ExternalDataInfo(tensor)
        with open(external_path(tensor, folder), "rb") as source:
            source.seek(info.offset or 0)
            _copy(source, f, info.length if info.length is not None else _bytes_of(tensor))
    else:
        f.write(tensor.raw_data)
    length = f.tell() - offset
    tensor.ClearField("raw_data")
    del tensor.external_data[:]
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)


def _bytes_of(tensor: TensorProto) -> int:
    count = 1
    for d in tensor.dims:
        count *= d
    return _bytes_for(tensor.data_type, count) or 0


def _copy(source: Any, target: Any, length: int) -> None:
    while length:
        chunk = source.read(min(length, 2**24))
        if not chunk:
            raise UnreadableModel("an external data file became shorter while it was read")
        target.write(chunk)
        length -= len(chunk)


def _sync_folder(folder: Path) -> None:
    """Flush the rename itself to the disk, where the system allows it."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: str, text: str) -> None:
    """Write a small text file (a report) in one rename.

    Raises:
        UsageError: it cannot be written.
    """
    target = Path(path)
    try:
        descriptor, private = tempfile.mkstemp(prefix=f".{target.name[:40]}.", dir=target.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as f:
                f.write(text)
            os.replace(private, target)
        except BaseException:
            os.unlink(private)
            raise
    except OSError as e:
        raise UsageError(f"cannot write the report '{target}': {e.strerror or e}") from e
