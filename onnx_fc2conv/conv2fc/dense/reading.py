"""How one list of features is read from another: some of them, in some order, each scaled and shifted.

Nothing has to be computed for that as long as a matrix takes it in: of ``y = M @ (s * x[i] + t)`` the rows of ``M``
are put at the places ``i`` and scaled by ``s``, and ``M @ t`` goes into the bias. Pads stay exact, because the matrix
holds every product that there is, and none for a cell outside of the map.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Numbers = np.ndarray
NOTHING = -1  #: in an index, of a feature that reads none: it is its shift


@dataclass(frozen=True, eq=False)
class Reading:
    """``after[f] = scale[f] * before[index[f]] + shift[f]``.

    Attributes:
        index: ``[features]``, positions in what is read, or ``NOTHING``; ``None``: all of them in order.
        scale, shift: ``[features]``, float64; ``None``: 1 and 0.
    """

    index: Numbers | None = None
    scale: Numbers | None = None
    shift: Numbers | None = None

    @property
    def plain(self) -> bool:
        """True if it reads everything as it is."""
        return self.index is None and not self.affine

    @property
    def affine(self) -> bool:
        """True if it scales or shifts."""
        return self.scale is not None or self.shift is not None

    @property
    def fills(self) -> bool:
        """True if some features read nothing."""
        return self.index is not None and bool((self.index < 0).any())

    @property
    def repeats(self) -> bool:
        """True if something is read more than once."""
        if self.index is None:
            return False
        read = self.index[self.index >= 0]
        return len(np.unique(read)) < len(read)

    def permutes(self, size: int) -> bool:
        """True if it reads each of ``size`` features exactly once."""
        return self.index is None or (len(self.index) == size and not self.fills and not self.repeats)

    def moved(self, places: Numbers, fill: float = 0.0) -> Reading:
        """Followed by a choice of features.

        Args:
            places: ``[features]``, which of the present features each is; ``NOTHING`` for the number ``fill``.
            fill: that number.
        """
        taken = places >= 0
        index = np.where(taken, places if self.index is None else self.index[places], NOTHING)
        scale = None if self.scale is None else np.where(taken, self.scale[places], 1.0)
        shift = self.shift
        if shift is not None or (fill and not taken.all()):
            shift = np.where(taken, 0.0 if shift is None else shift[places], fill)
        return Reading(index, scale, shift)

    def scaled(self, scale: Numbers | None, shift: Numbers | None) -> Reading:
        """Followed by a scale and a shift of each feature."""
        factor, offset = self.scale, self.shift
        if scale is not None:
            factor = scale if factor is None else factor * scale
            offset = None if offset is None else offset * scale
        if shift is not None:
            offset = shift if offset is None else offset + shift
        return Reading(self.index, factor, offset)

    def then(self, later: Reading) -> Reading:
        """Followed by another reading."""
        first = self if later.index is None else self.moved(later.index)
        return first.scaled(later.scale, later.shift)

    def settled(self, size: int) -> Reading:
        """The same, without an index that says nothing; ``size`` features are read."""
        in_order = self.index is not None and len(self.index) == size and np.array_equal(self.index, np.arange(size))
        return Reading(None, self.scale, self.shift) if in_order else self

    def apply(self, before: Numbers) -> Numbers:
        """The features of one row; float64."""
        after = np.asarray(before, np.float64)
        if self.index is not None:
            after = np.where(self.index >= 0, after[self.index], 0.0)
        after = after if self.scale is None else after * self.scale
        return after if self.shift is None else after + self.shift
