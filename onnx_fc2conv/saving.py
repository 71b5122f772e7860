"""A result in memory and on the disk: all of it, or nothing, and loaded once more before it counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from onnx import ModelProto

from . import model_io
from .places import Version


class Reported(Protocol):
    """The report of a result."""

    verified: bool
    output: str | None


R = TypeVar("R", bound=Reported)


@dataclass
class Saveable(Generic[R]):
    """A model that was made, and not written yet.

    Attributes:
        light: the model, without the bytes of large weights that were left in the file that it was made from.
        report: what is to be said of it.
        folder: where external data that it refers to lies now.
        data_files: those that the original refers to, as they were when it was read.
        source: what it was made from, which is never overwritten.
        runtime: what loads the written file, if the model was verified.
    """

    light: ModelProto = field(repr=False)
    report: R
    folder: str = field(repr=False, default="", kw_only=True)
    data_files: dict[Path, Version] = field(repr=False, default_factory=dict, kw_only=True)
    source: Any = field(repr=False, default=None, kw_only=True)
    runtime: str = field(repr=False, default="onnxruntime", kw_only=True)

    @cached_property
    def model(self) -> ModelProto:
        """The model, with all its bytes but those of external data, which stay in the original's files.

        It is brought into memory when it is first asked for. What is changed in it is written by ``save``.

        Raises:
            UnreadableModel: the file that it was made from was changed meanwhile.
        """
        return model_io.whole(self.light)

    def save(self, path: Any, share_data: bool = False) -> None:
        """Write the model: all of it, or nothing.

        Args:
            path: of the file.
            share_data: where the weights are external data and the file stands beside them, refer to the same data
                files, and write only what is in none of them. They must then be kept as long as either model is.

        Raises:
            UsageError: the target cannot be written, or is the input itself, or there is no data beside it to share.
            UnreadableModel: a file that bytes are taken from was changed since the original was read.
            VerificationFailed: what lies on the disk is not accepted by the runtime that checked the model.
        """
        target = model_io.Target.of(path, self.source)
        proto = self.__dict__.get("model", self.light)
        with model_io.staged(target, proto, self.folder, share_data, self.data_files) as staged:
            if self.report.verified:
                from .verification import require_loads

                require_loads(str(staged), self.runtime, model_io.parse)
        self.report.output = str(path)
