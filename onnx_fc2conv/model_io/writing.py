"""All or nothing: a private folder beside the target, flushed to the disk, renamed last."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx import ModelProto, TensorProto
from onnx.external_data_helper import ExternalDataInfo

from ..errors import UnreadableModel, UsageError
from .tensors import bytes_for, external_path, tensors

PROTOBUF_LIMIT = 2**31 - 2**20  #: bytes; protobuf refuses messages of 2 GiB
EXTERNAL_FROM = 1024  #: bytes; smaller tensors stay in the .onnx file even where weights are external
PAGE = 4096  #: external tensors start on page boundaries, so that they can be mapped


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
        if target.exists() and _is_file(source) and os.path.samefile(target, source):
            raise UsageError(f"'{target}' is the input itself; it is never changed, so name another file")
        if not os.access(target.parent, os.W_OK):
            raise UsageError(f"cannot write '{target}': no permission to write into '{target.parent}'")
        return cls(target)


def _is_file(source: Any) -> bool:
    return isinstance(source, (str, os.PathLike)) and Path(source).exists()


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
    return bytes_for(tensor.data_type, count) or 0


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
