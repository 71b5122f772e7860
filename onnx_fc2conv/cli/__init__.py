"""The command lines: argv -> settings -> the story -> a report -> an exit code."""

from .forward import COMMAND as FORWARD

main = FORWARD.main

__all__ = ["main"]
