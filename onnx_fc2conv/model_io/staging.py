"""All or nothing: a model is written in a private place beside its target, flushed to the disk, and renamed last."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from onnx import ModelProto, TensorProto

from ..errors import UnreadableModel, UsageError
from ..places import Version
from ..tensors import data_files, tensors, where
from . import light
from .copying import write
from .exchange import length_of
from .outside import moved_out
from .reading import file_of
from .splicing import spliced
from .writing import Target

PROTOBUF_LIMIT = 2**31 - 2**20  #: bytes; protobuf refuses messages of 2 GiB


@dataclass(frozen=True)
class _Stage:
    """Where a model is before it counts.

    Attributes:
        private: a folder that nobody else knows.
        model: the model.
        names: of its data files, which are taken already.
    """

    private: Path
    model: Path
    target: Path
    share_data: bool
    names: list[str]

    def data(self) -> Path:
        """A data file for the model, beside it, under a name beside the target that nobody else has."""
        n = 0
        while True:
            name = f"{self.target.name}{f'.{n}' if n else ''}.data"
            try:
                os.close(os.open(self.target.parent / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            except FileExistsError:
                n += 1
                continue
            self.names.append(name)
            return self.model.parent / name


@contextmanager
def staged(
    target: Target,
    proto: ModelProto,
    folder: str,
    share_data: bool = False,
    read_from: Mapping[Path, Version] | None = None,
) -> Iterator[Path]:
    """Write the model to a private place beside the target, hand out its path, and rename it when the block ends.

    External data goes to as many files beside the model as it comes from, under names that are not taken yet, so that
    whatever stood at the target is whole until the one rename that replaces it; then its own data files go.

    Args:
        target: where to.
        proto: the model; the values of tensors may have been left in files.
        folder: where external data that it refers to lies now.
        share_data: refer to the data files that there are, and write only what is in none.
        read_from: the data files that the model was read from, as they were then. What was checked is what they were.

    Raises:
        UsageError: the disk is full or the folder not writable, the target is one of the model's own data files, or
            there is no data that could be shared.
        UnreadableModel: a file that bytes are taken from was changed meanwhile.
    """
    sources = set(data_files(proto, folder))
    Target.of(target.path, *sources)
    if share_data:
        _require_beside(target.path, folder, sources)
    try:
        with _stage(target.path, share_data) as stage:
            _write(proto, folder, stage, bool(sources))
            yield stage.model
            _require_unchanged(proto, folder, read_from or {})
            replaced = _own_data(target.path) - sources
            _publish(stage)
            for old in replaced:
                with suppress(OSError):
                    old.unlink()
    except OSError as e:
        raise UsageError(f"cannot write '{target.path}': {e.strerror or e}") from e


@contextmanager
def _stage(target: Path, share_data: bool) -> Iterator[_Stage]:
    """A place for the files, which leaves nothing behind. Where data is shared, the model must stand beside it."""
    private = Path(tempfile.mkdtemp(prefix=f".{target.name[:40]}.", dir=target.parent))
    model = private.with_name(f"{private.name}.onnx") if share_data else private / target.name
    stage = _Stage(private, model, target, share_data, [])
    try:
        yield stage
    except BaseException:
        for name in stage.names:
            (target.parent / name).unlink(missing_ok=True)
        raise
    finally:
        model.unlink(missing_ok=True)
        shutil.rmtree(private, ignore_errors=True)


def _require_unchanged(proto: ModelProto, folder: str, read_from: Mapping[Path, Version]) -> None:
    """Every file that bytes were taken from is still what it was when the model was read.

    Asked when all is written, so that what changes while it is copied does not count as what was checked.
    """
    taken = {p.path: p for t in tensors(proto) if t.data_location == TensorProto.EXTERNAL for p in [where(t, folder)]}
    for path, place in taken.items():
        os.close(replace(place, version=place.version or read_from.get(Path(path))).open())


def _publish(stage: _Stage) -> None:
    for name in stage.names:
        if not stage.share_data:
            os.replace(stage.private / name, stage.target.parent / name)
    os.replace(stage.model, stage.target)
    _sync_folder(stage.target.parent)


def _require_beside(target: Path, folder: str, sources: set[Path]) -> None:
    if not sources:
        raise UsageError("there is no data to share: the model has its weights in the .onnx file, or none")
    if not os.path.samefile(target.parent, folder or "."):
        raise UsageError(f"to share its data files, the output must stand in the model's own folder, '{folder or '.'}'")


def require_shareable(target: Any, source: Any) -> None:
    """Refuse, before any work is done, what ``share_data`` would refuse in the end.

    Raises:
        UsageError: the source has no external data, or the target does not stand beside it.
        UnreadableModel: the source cannot be read.
    """
    path = file_of(source)
    folder = str(path.parent)
    _require_beside(Path(target), folder, set(data_files(light.parse(path), folder)))


def _write(proto: ModelProto, folder: str, stage: _Stage, external: bool) -> None:
    chunks = spliced(proto)
    if external or length_of(chunks) > PROTOBUF_LIMIT:
        moved, files = moved_out(proto, folder, stage.share_data)
        for file in files:
            path = stage.data()
            file.refer_to(path.name)
            with open(path, "wb") as f:
                write(file.chunks, f)
                _sync(f)
        chunks = spliced(moved)
        if length_of(chunks) > PROTOBUF_LIMIT:  # lists of numbers that no data file can hold
            raise UsageError(f"cannot write '{stage.target}': it has more than 2 GiB that cannot be external data")
    with open(stage.model, "wb") as f:
        write(chunks, f)
        _sync(f)


def _sync(f: BinaryIO) -> None:
    f.flush()
    os.fsync(f.fileno())


def _sync_folder(folder: Path) -> None:
    """Flush the rename itself to the disk, where the system allows it."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _own_data(target: Path) -> set[Path]:
    """Data files beside an existing target that were written for it, and that no other model of the folder refers to.

    They carry its name, and it refers to them.
    """
    prefix = f"{target.name}."
    own = {p for p in _referred_to(target) if p.name.startswith(prefix) and p.suffix == ".data"}
    for other in target.parent.glob("*.onnx") if own else ():
        if other != target:
            own -= _referred_to(other, unless=own)
    return own


def _referred_to(model: Path, unless: set[Path] | None = None) -> set[Path]:
    """The data files in its own folder that a model file refers to; ``unless`` if it cannot be read."""
    try:
        found = data_files(light.parse(model), str(model.parent)) if model.exists() else set()
    except (OSError, UnreadableModel):
        return unless or set()
    return {p for p in found if p.parent == model.parent}
