"""What the checks need of a runtime, whichever it is."""

from __future__ import annotations

import errno
from typing import Protocol

import numpy as np
from onnx import ModelProto

Feeds = dict[str, np.ndarray]


class RuntimeRefusal(Exception):
    """A runtime does not load or run a model; the message is its own, on one line."""


class OutOfMemory(MemoryError):
    """A runtime had not enough memory to load or run a model, which says nothing about the model."""


#: how runtimes and libraries say so
NO_MEMORY = ("Failed to allocate memory", "bad_alloc", "bad allocation", "Unable to allocate", "Cannot allocate memory")


def refusal(error: Exception) -> Exception:
    """What to raise for whatever a runtime raised: ``OutOfMemory`` or ``RuntimeRefusal``."""
    if isinstance(error, (RuntimeRefusal, OutOfMemory)):
        return error
    words = one_line(error)
    short = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    if short or any(said in str(error) for said in NO_MEMORY):
        return OutOfMemory(words)
    return RuntimeRefusal(words)


class Session(Protocol):
    """One model, loaded.

    Attributes:
        inputs, outputs: names, constants not among them.
        as_stored: names of the weights that a default session does not rearrange, for lack of memory.
    """

    inputs: list[str]
    outputs: list[str]
    as_stored: list[str]

    def run(self, feeds: Feeds, outputs: list[str] | None = None) -> Feeds:
        """The outputs by name. Feeds that the model has no input for are left out.

        Raises:
            RuntimeRefusal: it does not run on these.
            OutOfMemory: there is not enough memory to tell.
        """


class Runtime(Protocol):
    """A library that runs models. What it loads shares one copy of all large tensors for as long as it lives.

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
            OutOfMemory: there is not enough memory to tell.
        """

    def newest_opset(self) -> int:
        """The newest opset of the default domain that the library loads."""


def opset_of(proto: ModelProto) -> int:
    """Version of the default domain that a model imports."""
    return max((int(o.version) for o in proto.opset_import if o.domain in ("", "ai.onnx")), default=1)


def one_line(error: object) -> str:
    """An error's text on one line, cut to what a terminal shows."""
    return " ".join(str(error).split())[:300]
