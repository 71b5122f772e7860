"""What a tensor of the original is made from: a tensor of the converted model, or the tiles that one was cut into."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from onnx import TensorProto

from .bits import bits

LARGEST = 2**31 - 1  #: elements; what a record may ask to be put together


@dataclass(frozen=True)
class Source:
    """One tensor, or several side by side.

    Attributes:
        positions: of the tensors, in ``bits.listed`` of the converted model.
        dims: of what the tiles are put together to; of one tensor that is no tile ``None``.
        starts: where each tile starts, along each axis.
    """

    positions: tuple[int, ...]
    dims: tuple[int, ...] | None = None
    starts: tuple[tuple[int, ...], ...] = ()

    def tensors(self, stored: list[TensorProto]) -> list[TensorProto]:
        """The tensors."""
        return [stored[i] for i in self.positions]

    def shape(self, stored: list[TensorProto]) -> tuple[int, ...]:
        """Dims of the whole."""
        return tuple(stored[self.positions[0]].dims) if self.dims is None else self.dims

    def fits(self, target: TensorProto, stored: list[TensorProto]) -> bool:
        """Whether a tensor could be made of it by moving its values."""
        types = {t.data_type for t in self.tensors(stored)}
        sizes = [prod(t.dims) for t in self.tensors(stored)]
        if types != {target.data_type} or sum(sizes) != prod(target.dims) or not sum(sizes):
            return False
        return self.dims is None or prod(self.dims) == sum(sizes) <= LARGEST

    def bits(self, stored: list[TensorProto], folder: str) -> np.ndarray | None:
        """Its elements as unsigned integers, flat; ``None`` for strings.

        Raises:
            ValueError: the tiles do not fit.
        """
        if self.dims is None:
            return bits(stored[self.positions[0]], folder)
        joined: np.ndarray | None = None
        for tensor, starts in zip(self.tensors(stored), self.starts, strict=True):
            values = bits(tensor, folder)
            if values is None:
                return None
            joined = np.zeros(self.dims, values.dtype) if joined is None else joined
            place = tuple(slice(a, a + n) for a, n in zip(starts, tensor.dims, strict=True))
            joined[place] = values.reshape(tuple(tensor.dims))  # which raises where it sticks out
        return None if joined is None else joined.reshape(-1)

    def to_json(self) -> Any:
        """What is stored of it."""
        if self.dims is None:
            return self.positions[0]
        tiles = [[i, list(starts)] for i, starts in zip(self.positions, self.starts, strict=True)]
        return {"dims": list(self.dims), "tiles": tiles}

    @classmethod
    def from_json(cls, row: Any) -> Source:
        """The source that was stored.

        Raises:
            ValueError, KeyError, TypeError: it is none.
        """
        if not isinstance(row, dict):
            return cls((natural(row),))
        tiles = [(natural(i), tuple(natural(n) for n in starts)) for i, starts in row["tiles"]]
        if not tiles:
            raise ValueError("a tensor of no tiles")
        return cls(tuple(i for i, _ in tiles), naturals(row["dims"]), tuple(starts for _, starts in tiles))


def natural(n: Any) -> int:
    """A number that is read.

    Raises:
        ValueError: it is no whole number, or negative.
    """
    if not isinstance(n, int) or isinstance(n, bool) or n < 0:
        raise ValueError(f"no number >= 0: {n!r}")
    return n


def naturals(numbers: Iterable[Any]) -> tuple[int, ...]:
    """Several of them."""
    return tuple(natural(n) for n in numbers)


def joined(parts: Iterable[tuple[int, tuple[int, ...]]], dims: tuple[int, ...]) -> Source:
    """The source that tiles make up, given the position and the start of each."""
    positions, starts = zip(*parts, strict=True)
    return Source(positions, dims, starts)
