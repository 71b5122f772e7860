"""Which strides can be asked for."""

from __future__ import annotations

from fractions import Fraction
from math import gcd, lcm

from ..errors import UsageError
from ..plan import Plan, parts_of

POOLED = 0  #: along an axis that no target has any more; every number divides it, so strides there stay


def per_axis(plan: Plan, targets: list[str], stride: tuple[int, ...]) -> tuple[int, ...]:
    """The stride that is asked for along each axis.

    Every divisor of the effective stride is possible; of several maps, of the coarsest one's (which the others divide).

    Args:
        plan: what was found in the original.
        targets: the maps that heads read, or that are outputs.
        stride: one number for all axes, or one for each.

    Raises:
        UsageError: it does not divide the effective stride; the values that do are in the message.
    """
    found: dict[int, set[Fraction]] = {}
    for name in targets:
        for axis in (part for dim in plan.maps[name].dims for part in parts_of(dim)):
            if not axis.law.is_constant:
                found.setdefault(axis.index, set()).add(axis.stride)
    if not found:
        raise UsageError("--stride makes answers denser, and this model gives one for the whole image")
    rank = max(len(image.axes) for image in plan.images)
    if len(stride) not in (1, rank):
        given = "x".join(map(str, stride))
        raise UsageError(f"--stride {given} has {len(stride)} numbers, and the image has {rank} spatial axes")
    asked = stride * rank if len(stride) == 1 else stride
    wanted = tuple(s if i in found else POOLED for i, s in enumerate(asked))
    coarsest = [lcm(*(s.numerator for s in found.get(i, {Fraction(POOLED)}))) for i in range(rank)]
    if any(e % s for e, s in zip(coarsest, wanted, strict=True) if s != POOLED):
        rows = [e for e in coarsest if e != POOLED]
        possible = " x ".join(_divisors(e) for e in rows) if len(set(rows)) > 1 else _divisors(rows[0])
        given, effective = ("x".join(map(str, row)) for row in (stride, rows))
        raise UsageError(
            f"--stride {given} does not divide the effective stride {effective}; possible along each axis: {possible}"
        )
    return wanted


def dense_stride(effective: Fraction, wanted: int) -> Fraction:
    """The effective stride of a map of the denser backbone: the greatest common divisor of both."""
    n, d = effective.numerator, effective.denominator
    return Fraction(gcd(n, wanted * d), d)


def _divisors(n: int) -> str:
    return ", ".join(str(d) for d in range(1, n + 1) if n % d == 0)
