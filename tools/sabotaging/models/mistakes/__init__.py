"""Every known way to be wrong, by what it is done to."""

from . import attributes, declared, integers, nodes, outputs, places, weights
from .registry import MISTAKES, Mistake

__all__ = ["FAMILIES", "MISTAKES", "Mistake"]

FAMILIES = (weights, integers, attributes, nodes, places, outputs, declared)  #: importing them fills MISTAKES
