"""Linear operators as matrices, by the places of their entries: nothing of a matrix's size is held here.

``y[column] = bias[column] + sum over rows of x[row] * m[row, column]``, where rows and columns are the features of one
image in row-major order: ``C, H, W`` of a map. The entries come in blocks, whose rows and columns broadcast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from math import prod

import numpy as np

from ...ops import Array
from .window import Sliding, crossed

UNITS_AT_ONCE = 256  #: of an FC whose weights are read block by block, so that no second copy of them is made


@dataclass(frozen=True)
class Block:
    """Some entries of a matrix.

    Attributes:
        rows, columns: places; they broadcast to the block's shape. No two entries share both.
        values: gives the entries, which broadcast to that shape too.
    """

    rows: np.ndarray
    columns: np.ndarray
    values: Callable[[], np.ndarray]

    @property
    def shape(self) -> tuple[int, ...]:
        """How many entries there are, along each axis of the block."""
        return np.broadcast_shapes(self.rows.shape, self.columns.shape)


@dataclass(frozen=True, kw_only=True)
class Linear:
    """A linear operator on the features of one image.

    Attributes:
        rows, columns: features before and after.
        what: what it is, in a few words.
        before: multiplications that it takes as it is.
        bytes_before: of its weights and bias.
        offset: gives the bias ``[columns]``, if there is one.
        rounds: whether its entries are not the original's own numbers.
        tokens: how often the same matrix stands on the diagonal.
    """

    rows: int
    columns: int
    what: str
    before: int
    bytes_before: int
    offset: Callable[[], np.ndarray] | None = field(default=None, repr=False)
    rounds: bool = False
    tokens: int = 1

    @property
    def nonzeros(self) -> int:
        """Entries that are not zero because of the structure."""
        raise NotImplementedError

    def blocks(self) -> Iterator[Block]:
        """All of these entries."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Windows(Linear):
    """A window that slides over a map: a convolution, its transpose, or a mean.

    Attributes:
        axes: how it slides, per spatial axis.
        group: blocks of channels that do not mix.
        channels, units: in front and behind, of one block; of a transposed one, behind and in front.
        weight: the kernel ``[group * units, channels, *window]``; ``None`` for ones.
        pads_count: of a mean, whether it counts the pads; ``None`` if it is a sum.
        transposed: whether the input is what the window gives, and the output what it slides over.
    """

    axes: tuple[Sliding, ...]
    group: int
    channels: int
    units: int
    weight: Array | None = None
    pads_count: bool | None = None
    transposed: bool = False

    @property
    def nonzeros(self) -> int:
        """Of each axis, the pairs of an output and a tap inside of the map; all of them for each pair of channels."""
        return self.group * self.channels * self.units * prod(axis.pairs for axis in self.axes)

    def blocks(self) -> Iterator[Block]:
        """One block for each tap of the window, ``[group, channels, units, positions]``."""
        sizes, outputs = [a.size for a in self.axes], [a.outputs for a in self.axes]
        over = np.arange(self.group * self.channels).reshape(self.group, self.channels, 1, 1) * prod(sizes)
        given = np.arange(self.group * self.units).reshape(self.group, 1, self.units, 1) * prod(outputs)
        for taps in product(*(range(axis.window) for axis in self.axes)):
            met = [axis.at(tap) for axis, tap in zip(self.axes, taps, strict=True)]
            positions = crossed([outputs for outputs, _ in met], outputs)
            if len(positions):
                slid, gives = over + crossed([cells for _, cells in met], sizes), given + positions
                places = (gives, slid) if self.transposed else (slid, gives)
                yield Block(*places, self._values(taps, positions))

    def _values(self, taps: tuple[int, ...], positions: np.ndarray) -> Callable[[], np.ndarray]:
        def values() -> np.ndarray:
            if self.weight is not None:
                kernel = self.weight.values.reshape(self.group, self.units, self.channels, -1)
                tap = int(np.ravel_multi_index(taps, [axis.window for axis in self.axes]))
                return np.asarray(kernel[:, :, :, tap].transpose(0, 2, 1)[..., None])
            ones = np.ones((self.group, self.channels, self.units, 1))
            if self.pads_count is None:
                return ones
            counts = [axis.counted(self.pads_count) for axis in self.axes]
            together = counts[0]
            for count in counts[1:]:
                together = (together[:, None] * count).ravel()
            return np.asarray(ones / together[positions])

        return values


@dataclass(frozen=True, kw_only=True)
class Sums(Linear):
    """Sums or means of features, each of which goes into one of them; with as many sums as features, nothing happens.

    Attributes:
        dims: of the features.
        kept: dims of the sums: 1 along the axes that are summed.
        factor: what each feature is multiplied by.
    """

    dims: tuple[int, ...]
    kept: tuple[int, ...]
    factor: float = 1.0

    @property
    def nonzeros(self) -> int:
        """One for each feature."""
        return self.rows

    def blocks(self) -> Iterator[Block]:
        """One block."""
        into = np.broadcast_to(np.arange(self.columns).reshape(self.kept), self.dims)
        yield Block(np.arange(self.rows), into.ravel(), lambda: np.array([self.factor]))


@dataclass(frozen=True, kw_only=True)
class FullyConnected(Linear):
    """An FC, also on each of several tokens.

    Attributes:
        weight: ``[inputs, units]``, or ``[units, inputs]`` if ``transposed``.
        alpha: a factor of all weights.
    """

    weight: Array
    transposed: bool = False
    alpha: float = 1.0

    @property
    def nonzeros(self) -> int:
        """Its weights, for each token."""
        return self.tokens * prod(self.weight.shape)

    def blocks(self) -> Iterator[Block]:
        """Some units each, ``[tokens, inputs, units]``."""
        inputs, units = self.rows // self.tokens, self.columns // self.tokens
        tokens = np.arange(self.tokens).reshape(-1, 1, 1)
        rows = tokens * inputs + np.arange(inputs)[:, None]
        for start in range(0, units, UNITS_AT_ONCE):
            some = slice(start, min(start + UNITS_AT_ONCE, units))
            yield Block(rows, tokens * units + np.arange(units)[some], self._values(some))

    def _values(self, some: slice) -> Callable[[], np.ndarray]:
        def values() -> np.ndarray:
            stored = self.weight.values
            part = stored[some].T if self.transposed else stored[:, some]
            return np.asarray(part if self.alpha == 1 else part.astype(np.float64) * self.alpha)

        return values
