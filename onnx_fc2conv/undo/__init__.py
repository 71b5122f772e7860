"""The way back: from a converted model to the one that it was made from.

``remember`` writes what is needed into the converted model's metadata, ``restore`` carries it out. Where it was
stripped, or the model edited, ``found`` reads the head from the graph.
"""

from .finding import found
from .record import METADATA_KEY
from .remembering import remember
from .restored import FOUND, IDENTICAL, RECORDED, Edited, Restored, Row
from .restoring import restore

__all__ = [
    "FOUND",
    "IDENTICAL",
    "METADATA_KEY",
    "RECORDED",
    "Edited",
    "Restored",
    "Row",
    "found",
    "remember",
    "restore",
]
