"""The size of one axis as a function of the input's, in a normal form.

Every size-changing operator is ``n -> (n * mul + add) // div``, and since
``((n + a) // s + b) // t == (n + a + b * s) // (s * t)``, a whole chain of unpadded, padded, floor or ceil steps
collapses into one such step (upsampling may need a second). Values whose normal forms are equal align at every input
size, so alignment is decided without trying sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

Step = tuple[int, int, int]  #: (mul, add, div): n -> (n * mul + add) // div


@dataclass(frozen=True)
class SizeLaw:
    """The size of one axis as a function of the input's size along the same axis."""

    steps: tuple[Step, ...] = ()

    def __call__(self, n: int) -> int:
        """The size at input size ``n``."""
        for mul, add, div in self.steps:
            n = (n * mul + add) // div
        return n

    def then(self, mul: int, add: int, div: int) -> SizeLaw:
        """This law followed by ``n -> (n * mul + add) // div``, in normal form."""
        steps = list(self.steps) if mul else []
        while True:
            common = gcd(mul, div)
            mul, add, div = mul // common, add // common, div // common
            if not steps or (mul != 1 and steps[-1][2] != 1):
                break
            m, a, d = steps.pop()
            mul, add, div = m * mul, a * mul + add * d, d * div
        if (mul, add, div) != (1, 0, 1):
            steps.append((mul, add, div))
        return SizeLaw(tuple(steps))

    @property
    def is_constant(self) -> bool:
        """True where the size does not depend on the input at all (a pool over the whole map)."""
        return any(mul == 0 for mul, _, _ in self.steps)

    def expression(self, name: str) -> str:
        """The law in words, as a ``dim_param``: ``(height - 96)//32``."""
        text, atom = name, True
        for mul, add, div in self.steps:
            if mul == 0:
                text, atom = str(add // div), True
                continue
            if mul != 1:
                text, atom = f"{mul}*{text if atom else f'({text})'}", False
            if add:
                text, atom = f"{text} {'+' if add > 0 else '-'} {abs(add)}", False
            if div != 1:
                text, atom = f"{text if atom else f'({text})'}//{div}", False
        return text


IDENTITY = SizeLaw()  #: the law of the input itself


def conv_add(kernel: int, stride: int, pads: int) -> int:
    """``add`` of a floor-mode window operator: ``(n + pads - kernel) // stride + 1``. ``kernel`` is the dilated one."""
    return pads - kernel + stride


def ceil_add(kernel: int, stride: int, pad_before: int, pad_after: int) -> int:
    """``add`` of a ceil-mode pool. A window that would start behind the input and its first pad is dropped."""
    return pad_before + min(pad_after - kernel + 2 * stride - 1, stride - 1)


def same_add(stride: int) -> int:
    """``add`` of ``auto_pad=SAME_*``: the output size is ``ceil(n / stride)``."""
    return stride - 1
