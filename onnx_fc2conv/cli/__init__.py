"""The command lines: argv -> settings -> the story -> a report -> an exit code."""

from .forward import COMMAND as FORWARD
from .reverse import COMMAND as REVERSE

main = FORWARD.main
main_reverse = REVERSE.main

__all__ = ["main", "main_reverse"]
