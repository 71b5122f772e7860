"""Pure integers: how sizes, strides and windows follow from the input size. No ONNX here.

Terms and formulas of receptive-field arithmetic as in Araujo, Norris, Sim, "Computing Receptive Fields of
Convolutional Neural Networks" (Distill, 2019). What is added is a normal form of size laws (``sizes``).
"""

from .axis import Axis
from .grid import Grid
from .outputs import METADATA_KEY, SCHEMA, Geometry
from .sizes import SizeLaw, Step, ceil_add, conv_add, same_add

__all__ = [
    "METADATA_KEY",
    "SCHEMA",
    "Axis",
    "Geometry",
    "Grid",
    "SizeLaw",
    "Step",
    "ceil_add",
    "conv_add",
    "same_add",
]
