"""All or nothing: a private folder beside the target, flushed to the disk, renamed last."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto
from onnx.external_data_helper import ExternalDataInfo

from ..errors import UnreadableModel, UsageError
from ..tensors import bytes_for, external_path, tensors

PROTOBUF_LIMIT = 2**31 - 2**20  #: bytes; protobuf refuses messages of 2 GiB
EXTERNAL_FROM = 1024  #: bytes; smaller tensors stay in the .onnx file even where weights are external
PAGE = 4096  #: external tensors start on page boundaries, so that they can be mapped


@dataclass
class Target:
    """A file to be written, checked before any work is done."""

    path: Path

    @classmethod
    def of(cls, path: Any, *sources: Any) -> Target:
        """Check that the target can be written and is not one of the sources.

        Raises:
            UsageError: it is a folder, its folder is missing or not writable, or it is a file that is read.
        """
        target = Path(os.fspath(path))
        try:
            if target.is_dir():
                raise UsageError(f"'{target}' is a folder; name the file to write")
            if not target.parent.is_dir():
                raise UsageError(f"cannot write '{target}': the folder '{target.parent}' does not exist")
            if target.exists() and not target.is_file():
                raise UsageError(f"'{target}' is not a regular file")
            for source in sources:
                if target.exists() and _is_file(source) and os.path.samefile(target, source):
                    raise UsageError(f"'{target}' is the input itself; it is never changed, so name another file")
            if not os.access(target.parent, os.W_OK):
                raise UsageError(f"cannot write '{target}': no permission to write into '{target.parent}'")
        except OSError as e:
            raise UsageError(f"cannot write '{target}': {e.strerror or e}") from e
        return cls(target)


def _is_file(source: Any) -> bool:
    return isinstance(source, (str, os.PathLike)) and Path(source).exists()


def data_files(proto: ModelProto, folder: str) -> set[Path]:
    """The external data files that a model refers to."""
    return {external_path(t, folder) for t in tensors(proto) if t.data_location == TensorProto.EXTERNAL}


@contextmanager
def staged(target: Target, proto: ModelProto, folder: str) -> Iterator[Path]:
    """Write the model to a private folder beside the target, hand out its path, and rename it when the block ends.

    External data goes to one file beside the model, under a name that is not taken yet, so that whatever stood at the
    target is whole until the one rename that replaces it; then the data file of what was replaced goes.

    Args:
        target: where to.
        proto: the model.
        folder: where external data that it refers to lies now.

    Raises:
        UsageError: the disk is full or the folder not writable, or the target is one of the model's own data files.
    """
    sources = data_files(proto, folder)
    Target.of(target.path, *sources)
    try:
        private = Path(tempfile.mkdtemp(prefix=f".{target.path.name[:40]}.", dir=target.path.parent))
    except OSError as e:
        raise UsageError(f"cannot write '{target.path}': {e.strerror or e}") from e
    try:
        data = _write(proto, folder, private, target.path, bool(sources))
        yield private / target.path.name
        replaced = _own_data(target.path) - sources
        _publish(private, target.path, data)
        for old in replaced:
            with suppress(OSError):
                old.unlink()
    except OSError as e:
        raise UsageError(f"cannot write '{target.path}': {e.strerror or e}") from e
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _publish(private: Path, target: Path, data: str | None) -> None:
    if data is not None:
        os.replace(private / data, target.parent / data)
    try:
        os.replace(private / target.name, target)
    except OSError:
        if data is not None:
            (target.parent / data).unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _own_data(target: Path) -> set[Path]:
    """Data files beside an existing target that were written for it: it refers to them, and they carry its name."""
    try:
        old = ModelProto.FromString(target.read_bytes()) if target.exists() else ModelProto()
        found = data_files(old, str(target.parent))
    except (OSError, DecodeError, UnreadableModel):
        return set()
    prefix = f"{target.name}."
    return {p for p in found if p.parent == target.parent and p.name.startswith(prefix) and p.suffix == ".data"}


def _write(proto: ModelProto, folder: str, private: Path, target: Path, external: bool) -> str | None:
    data = None
    if external or proto.ByteSize() > PROTOBUF_LIMIT:
        moved = ModelProto()
        moved.CopyFrom(proto)
        proto, data = moved, _data_name(target)
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


def _data_name(target: Path) -> str:
    """A data file name beside the target that is not taken."""
    n = 0
    while (target.parent / (name := f"{target.name}{f'.{n}' if n else ''}.data")).exists():
        n += 1
    return name


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
            _copy(source, f, bytes_for(tensor.data_type, prod(tensor.dims)) or 0)
    else:
        f.write(tensor.raw_data)
    length = f.tell() - offset
    tensor.ClearField("raw_data")
    del tensor.external_data[:]
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)


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


def write_text(path: Any, text: str) -> None:
    """Write a small text file (a report) in one rename.

    Raises:
        UsageError: it cannot be written.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: Any, data: bytes) -> None:
    """Write a small file (a report, a picture) in one rename.

    Raises:
        UsageError: it cannot be written.
    """
    target = Target.of(path).path
    try:
        private = Path(tempfile.mkdtemp(prefix=f".{target.name[:40]}.", dir=target.parent))
        try:
            (private / "file").write_bytes(data)
            os.replace(private / "file", target)
        finally:
            shutil.rmtree(private, ignore_errors=True)
    except OSError as e:
        raise UsageError(f"cannot write '{target}': {e.strerror or e}") from e
