"""The table of mistakes: each gives, for a right model, copies of it with the mistake at one place after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from onnx import ModelProto

Wrong = tuple[str, ModelProto]  #: where, and the model that is wrong there
Sites = Callable[[ModelProto], Iterator[Wrong]]


@dataclass(frozen=True)
class Mistake:
    """One way to be wrong.

    Attributes:
        name: what was done.
        family: what it was done to.
        sites: all places of a model at which it can be done.
    """

    name: str
    family: str
    sites: Sites


MISTAKES: dict[str, Mistake] = {}


def mistake(name: str, family: str) -> Callable[[Sites], Sites]:
    """Register a way to be wrong."""

    def register(sites: Sites) -> Sites:
        assert name not in MISTAKES, name
        MISTAKES[name] = Mistake(name, family, sites)
        return sites

    return register
