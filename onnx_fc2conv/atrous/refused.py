"""Operators that do not act alike on maps that are interleaved, each with its reason."""

from __future__ import annotations

from ..ops import Op
from .walk import Sizes, Walk, rule


def _refuses(*kinds: str, because: str) -> None:
    def refuse(walk: Walk, op: Op) -> Sizes:
        raise op.refuse(because)

    rule(*kinds)(refuse)


_refuses(
    *("Resize", "Upsample", "ConvTranspose", "DepthToSpace"),
    because="makes several cells of one, or one of several, between which --stride would put those of other maps",
)
_refuses(
    "SpaceToDepth",
    because="moves neighbouring cells into channels, and where --stride makes the map denser they are no neighbours",
)
_refuses(
    *("InstanceNormalization", "MeanVarianceNormalization", "GroupNormalization"),
    because="normalises over all positions of a map, of which --stride makes more",
)
