"""How a tensor of the original is made from one of the converted model.

``target = source.reshape(dims).transpose(perm)[order]``, transposed once more if ``back``, divided by ``divisor``, and
its bits flipped where ``residual`` has a one. Most are one step: other dims (a ``[M, C*h*w]`` matrix and its
``[M, C, h, w]`` kernel have the same bytes), or a permutation of the axes. A factor that was folded in is divided out;
floating-point division does not always undo a multiplication, so the bits that differ are kept.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .bits import BLOCK, SAMPLES, sample, whole
from .sources import Source, naturals

LARGEST_RESIDUAL = 2**20  #: bytes, compressed
ORDER = np.dtype("<i4")


@dataclass(frozen=True, eq=False)
class Recipe:
    """One tensor's.

    Attributes:
        source: the tensor that it is made from.
        dims: what the source is reshaped to; no step but other dims if ``None``.
        perm: axes of it.
        order: positions along the first axis that is then, in the target's order, compressed; all of them if ``None``.
        back: whether the two axes that it has then are exchanged.
        divisor: factor that was folded in.
        residual: bits of the quotients that differ; empty where there was no room for them.
        digest: of the source, as it was.
        exactly: the recipe holds for these values only, so the digest is of all of them.
    """

    source: Source
    dims: tuple[int, ...] | None = None
    perm: tuple[int, ...] = ()
    order: bytes | None = None
    back: bool = False
    divisor: float | None = None
    residual: bytes | None = None
    digest: str = ""
    exactly: bool = False

    @property
    def moves(self) -> bool:
        """False where nothing but the dims is another."""
        return self.dims is not None

    def unchanged(self, source: np.ndarray) -> bool:
        """Whether the source has the values that it had."""
        return (whole if self.exactly else sample)(source) == self.digest

    def compares_all(self, source: np.ndarray) -> bool:
        """Whether ``unchanged`` looks at every value."""
        return self.exactly or source.size <= SAMPLES * BLOCK

    def made(self, source: np.ndarray, dtype: np.dtype, trusted: bool = True) -> np.ndarray:
        """The target's bits, flat.

        Args:
            source: the source's.
            dtype: element type of both.
            trusted: the source has the values that it had, so that the residual applies.

        Raises:
            ValueError: the recipe does not fit the source.
        """
        if self.dims is not None:
            source = source.reshape(self.dims).transpose(self.perm)
            source = source if self.order is None else source[_unpacked(self.order, ORDER, len(source))]
            source = source.T if self.back else source
        flat = np.ascontiguousarray(source).reshape(-1)
        if self.divisor is not None:
            flat = _quotient(flat.view(dtype), self.divisor).view(flat.dtype)
        if self.residual and trusted:
            flat = flat ^ _unpacked(self.residual, flat.dtype, flat.size)
        return flat

    def to_json(self) -> dict[str, Any]:
        """What is stored of it."""
        row: dict[str, Any] = {"from": self.source.to_json(), "digest": self.digest, "exactly": self.exactly}
        if self.dims is not None:
            row |= {"dims": list(self.dims), "perm": list(self.perm), "back": self.back}
        if self.order is not None:
            row["order"] = base64.b64encode(self.order).decode()
        if self.divisor is not None:
            row["divisor"] = self.divisor
        if self.residual is not None:
            row["residual"] = base64.b64encode(self.residual).decode()
        return row

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Recipe:
        """The recipe that was stored.

        Raises:
            ValueError, KeyError, TypeError: it is none.
        """
        dims = None if "dims" not in row else naturals(row["dims"])
        perm = naturals(row.get("perm", ()))
        if dims is not None and sorted(perm) != list(range(len(dims))):
            raise ValueError(f"no permutation of {len(dims)} axes: {perm}")
        order = base64.b64decode(row["order"], validate=True) if "order" in row else None
        divisor = row.get("divisor")
        if divisor is not None and (not isinstance(divisor, (int, float)) or not divisor):
            raise ValueError(f"no divisor: {divisor!r}")
        residual = base64.b64decode(row["residual"], validate=True) if "residual" in row else None
        back = bool(row.get("back", False))
        return cls(
            Source.from_json(row["from"]),
            dims,
            perm,
            order,
            back,
            divisor,
            residual,
            str(row["digest"]),
            bool(row["exactly"]),
        )


def _unpacked(data: bytes, dtype: np.dtype, count: int) -> np.ndarray:
    """Compressed values, of which there must be so many; never more than that are brought into memory."""
    size = count * dtype.itemsize
    raw = zlib.decompressobj().decompress(data, size + 1)
    if len(raw) != size:
        raise ValueError(f"{len(raw)} bytes where {size} are due")
    return np.frombuffer(raw, dtype)


def _quotient(values: np.ndarray, divisor: float) -> np.ndarray:
    with np.errstate(all="ignore"):
        found: np.ndarray = (values / np.asarray(divisor, values.dtype)).astype(values.dtype)
    return found


def packed_order(order: list[int]) -> bytes:
    """Positions as they are stored."""
    return zlib.compress(np.array(order, ORDER).tobytes(), 9)


def same_values(source: Source, values: np.ndarray) -> Recipe:
    """The recipe of a tensor that has the source's values, in other dims."""
    return Recipe(source, digest=sample(values))


def divided(target: np.ndarray, values: np.ndarray, recipe: Recipe, divisor: float, dtype: np.dtype) -> Recipe:
    """A recipe with a factor divided out, and the bits that come out differently kept if there is room for them."""
    bare = replace(recipe, divisor=divisor, exactly=False, digest=sample(values))
    differing = target ^ bare.made(values, dtype)
    packed = zlib.compress(differing.tobytes(), 9) if differing.any() else None
    if packed is None:
        return bare
    room = packed if len(packed) <= LARGEST_RESIDUAL else b""
    return replace(bare, residual=room, exactly=True, digest=whole(values))
