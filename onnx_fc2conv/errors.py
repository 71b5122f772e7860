"""Every way in which the tool says no.

One small tree: ``Fc2ConvError`` above everything, one class per exit code that a user can act on.
Each error is one sentence that names the node or file and says what to do.
"""

from __future__ import annotations


class Fc2ConvError(Exception):
    """Base of all errors that this package raises on purpose.

    Attributes:
        reason: what is wrong, without the node's name.
        node: the node that it is about (``Gemm 'fc1'``), or ``None``.
        exit_code: what the command line returns for it.
    """

    exit_code = 1

    def __init__(self, reason: str, node: str | None = None) -> None:
        self.reason = " ".join(reason.split())
        self.node = node
        super().__init__(f"{node}: {self.reason}" if node else self.reason)


class UsageError(Fc2ConvError):
    """The request cannot be carried out as given (a bad option, an unwritable target)."""

    exit_code = 2


class UnreadableModel(Fc2ConvError):
    """The input is missing, damaged, or not a model that the runtime could run."""

    exit_code = 2


class NothingToConvert(Fc2ConvError):
    """The model is fine and has no fully connected node behind a feature map."""


class Unliftable(Fc2ConvError):
    """A node cannot be converted so that it is right at every size; nothing is guessed."""


class BatchBaked(Unliftable):
    """A view that only makes sense for a batch of one, in a model that declares any batch size.

    Attributes:
        runs: whether it can be run on several images, and mixes them.
    """

    def __init__(self, reason: str, node: str | None = None, runs: bool = True) -> None:
        super().__init__(reason, node)
        self.runs = runs


class Contradiction(Unliftable):
    """A node that could not run at another size of the image if the shapes in front of it were read as they were."""


class PositionDependent(Unliftable):
    """A node that fits the trained size of its map only: right on a window, and so in a head, but not on a map."""


class VerificationFailed(Fc2ConvError):
    """The converted model was built and a check rejected it; nothing is written."""

    exit_code = 3


class NotVerified(VerificationFailed):
    """A check could not be run for lack of memory: nothing is known against the model, and nothing is written."""

    exit_code = 1


def printable(text: str) -> str:
    """The text with everything that a terminal would act on (escapes, line breaks) written out instead."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)
