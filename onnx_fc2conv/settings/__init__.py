"""Every option once: its name, type, default and help. Command lines, README and Python API are made from it."""

from .forward import OUTPUTS, Settings
from .options import RUNTIMES, Size, parse_count, parse_size, parse_stride
from .reverse import FORMS, ReverseSettings

__all__ = [
    "FORMS",
    "OUTPUTS",
    "RUNTIMES",
    "ReverseSettings",
    "Settings",
    "Size",
    "parse_count",
    "parse_size",
    "parse_stride",
]
