"""The command lines: argv -> settings -> the story -> a report -> an exit code."""

from __future__ import annotations

TYPE_CHECKING = False  # ``typing`` takes longer than ``argparse``
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main", "main_reverse"]


def main(argv: Sequence[str] | None = None) -> int:
    """``onnx-fc2conv``: run it and return its exit code."""
    from .forward import COMMAND

    return COMMAND.main(argv)


def main_reverse(argv: Sequence[str] | None = None) -> int:
    """``onnx-conv2fc``: run it and return its exit code."""
    from .reverse import COMMAND

    return COMMAND.main(argv)
