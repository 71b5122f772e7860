"""Pure integers: how sizes, strides and windows follow from the input size. No ONNX here.

Terms and formulas of receptive-field arithmetic as in Araujo, Norris, Sim, "Computing Receptive Fields of
Convolutional Neural Networks" (Distill, 2019). What is added is a normal form: every size-changing operator is
``n -> (n * mul + add) // div``, and since ``((n + a) // s + b) // t == (n + a + b * s) // (s * t)``, a whole
chain of unpadded, padded, floor or ceil steps collapses into one such step (upsampling may need a second). Values
whose normal forms are equal align at every input size, so alignment is decided without trying sizes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd
from typing import Any

Step = tuple[int, int, int]  #: (mul, add, div): n -> (n * mul + add) // div

SCHEMA = 1
METADATA_KEY = "onnx_fc2conv.geometry"


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


@dataclass(frozen=True)
class Axis:
    """One spatial axis of a value in the backbone, traced from the input that it comes from.

    Attributes:
        source: name of the graph input; of inputs that must have one size, the first.
        index: which of its spatial axes, in the order in which the first sliding operator takes them.
        trained: the input's trained size along it, in pixels.
        law: this value's size along it.
        stride: effective stride in pixels: what one step along this axis is worth.
        field: receptive field size in pixels.
        padding: effective padding before the first pixel, in pixels.
    """

    source: str
    index: int
    trained: int
    law: SizeLaw = SizeLaw()
    stride: Fraction = Fraction(1)
    field: Fraction = Fraction(1)
    padding: Fraction = Fraction(0)

    @property
    def size(self) -> int:
        """Size at the trained input size."""
        return self.law(self.trained)

    def window_op(self, kernel: int, stride: int, pad_before: int, add: int) -> Axis:
        """Behind a sliding-window operator whose output size is ``(n + add) // stride``."""
        return Axis(
            self.source,
            self.index,
            self.trained,
            self.law.then(1, add, stride),
            self.stride * stride,
            self.field + (kernel - 1) * self.stride,
            self.padding + pad_before * self.stride,
        )

    def scaled(self, factor: int, add: int = 0) -> Axis:
        """Behind an operator that makes ``factor`` cells of each (upsampling), plus ``add`` cells."""
        law = self.law.then(factor, add, 1)
        return Axis(self.source, self.index, self.trained, law, self.stride / factor, self.field, self.padding)

    def constant(self, size: int) -> Axis:
        """Behind an operator whose result has this size whatever the input's size is."""
        return Axis(
            self.source, self.index, self.trained, self.law.then(0, size, 1), self.stride, self.field, self.padding
        )


def conv_add(kernel: int, stride: int, pads: int) -> int:
    """``add`` of a floor-mode window operator: ``(n + pads - kernel) // stride + 1``. ``kernel`` is the dilated one."""
    return pads - kernel + stride


def ceil_add(kernel: int, stride: int, pad_before: int, pad_after: int) -> int:
    """``add`` of a ceil-mode pool. A window that would start behind the input and its first pad is dropped."""
    return pad_before + min(pad_after - kernel + 2 * stride - 1, stride - 1)


def same_add(stride: int) -> int:
    """``add`` of ``auto_pad=SAME_*``: the output size is ``ceil(n / stride)``."""
    return stride - 1


@dataclass(frozen=True)
class Grid:
    """All window positions over one feature map, per spatial axis.

    Attributes:
        source: the graph input that the map is computed from; of inputs that must have one size, the first.
        trained_size: that input's trained size, in pixels.
        window: size of the window on the feature map, in cells.
        stride: effective stride, in pixels; where the map was pooled whole, that of the map in front of the pool.
        laws: grid size as a function of the input size, per axis.
        field: receptive field size of one map cell, in pixels.
        padding: effective padding before the first pixel, in pixels.
    """

    source: str
    trained_size: tuple[int, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]
    laws: tuple[SizeLaw, ...]
    field: tuple[int, ...]
    padding: tuple[int, ...]

    @classmethod
    def over(cls, axes: tuple[Axis, ...]) -> Grid:
        """The grid of windows of the trained map's own size, slid over the map with these axes."""
        window = tuple(a.size for a in axes)
        laws = tuple(a.law.then(1, 1 - w, 1) for a, w in zip(axes, window, strict=True))
        return cls(
            axes[0].source,
            tuple(a.trained for a in axes),
            window,
            tuple(a.stride.numerator for a in axes),
            laws,
            tuple(int(a.field) for a in axes),
            tuple(int(a.padding) for a in axes),
        )

    def aligns_with(self, other: Grid) -> bool:
        """True if both have the same cells at every input size, so that their values may meet in one node."""
        aligned = self.stride == other.stride or self.whole_image
        return (self.source, self.laws) == (other.source, other.laws) and aligned

    @property
    def whole_image(self) -> bool:
        """True if there is one cell at every input size, because the map was pooled whole."""
        return all(law.is_constant for law in self.laws)

    def every(self, ratio: tuple[int, ...]) -> Grid:
        """Every ``ratio``-th cell per axis, from the first on."""
        stride = tuple(s * r for s, r in zip(self.stride, ratio, strict=True))
        laws = tuple(law.then(1, r - 1, r) for law, r in zip(self.laws, ratio, strict=True))
        return replace(self, stride=stride, laws=laws)

    def grid_size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Window positions per axis for an input of ``size`` pixels.

        Raises:
            ValueError: wrong number of axes, or the input is smaller than the trained size.
        """
        if len(size) != len(self.trained_size):
            raise ValueError(f"size {size} has {len(size)} axes, the model has {len(self.trained_size)}")
        if any(n < t for n, t in zip(size, self.trained_size, strict=True)):
            raise ValueError(f"size {size} is smaller than the trained size {self.trained_size}")
        return tuple(law(n) for law, n in zip(self.laws, size, strict=True))

    def box(self, *cell: int, size: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """Input box of one grid cell in pixels: all starts, then all ends (``y0, x0, y1, x1``).

        Args:
            cell: its indices.
            size: the input's size in pixels, which is the box of an answer for the whole image.

        Raises:
            ValueError: wrong number of indices, or the answer is for the whole image and no size is given.
        """
        if len(cell) != len(self.stride):
            raise ValueError(f"cell {cell} has {len(cell)} indices, the grid has {len(self.stride)} axes")
        if self.whole_image and size is None:
            raise ValueError("the answer is for the whole image; give its size: box(0, 0, size=(height, width))")
        if self.whole_image and size is not None:
            return (0,) * len(size) + size
        starts = tuple(i * s for i, s in zip(cell, self.stride, strict=True))
        return starts + tuple(y + t for y, t in zip(starts, self.trained_size, strict=True))


@dataclass(frozen=True)
class Geometry:
    """The grid of every converted output."""

    outputs: dict[str, Grid]

    def __getitem__(self, output: str) -> Grid:
        return self.outputs[output]

    @property
    def grid(self) -> Grid:
        """The grid that all outputs share.

        Raises:
            ValueError: the outputs have different grids; ask for one by name: ``geometry["prob"]``.
        """
        grids = list(self.outputs.values())
        if any(g != grids[0] for g in grids):
            raise ValueError(f"outputs have different grids; choose one: {', '.join(self.outputs)}")
        return grids[0]

    def grid_size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """``Grid.grid_size`` of the grid that all outputs share."""
        return self.grid.grid_size(size)

    def box(self, *cell: int, size: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """``Grid.box`` of the grid that all outputs share."""
        return self.grid.box(*cell, size=size)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, also what is stored in the converted model's ``metadata_props``."""
        outputs = {
            name: {
                "input": g.source,
                "trained_size": list(g.trained_size),
                "window": list(g.window),
                "stride": list(g.stride),
                "grid_law": [[list(step) for step in law.steps] for law in g.laws],
                "receptive_field": list(g.field),
                "padding": list(g.padding),
            }
            for name, g in self.outputs.items()
        }
        return {"schema": SCHEMA, "outputs": outputs}

    def to_json(self) -> str:
        """``to_dict`` as one line of text."""
        return json.dumps(self.to_dict(), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Geometry:
        """The inverse of ``to_json``.

        Raises:
            ValueError: not JSON of a schema that this version knows.
        """
        try:
            data = json.loads(text)
            if data["schema"] != SCHEMA:
                raise ValueError(f"geometry has schema {data['schema']}, this version reads {SCHEMA}")
            return cls({name: _grid_from_dict(row) for name, row in data["outputs"].items()})
        except (KeyError, TypeError, AttributeError, RecursionError) as e:
            raise ValueError(f"geometry is damaged: {e}") from e


def _grid_from_dict(row: dict[str, Any]) -> Grid:
    laws = tuple(SizeLaw(tuple((int(m), int(a), int(d)) for m, a, d in law)) for law in row["grid_law"])
    ints = {
        k: tuple(int(v) for v in row[k]) for k in ("trained_size", "window", "stride", "receptive_field", "padding")
    }
    return Grid(
        row["input"],
        ints["trained_size"],
        ints["window"],
        ints["stride"],
        laws,
        ints["receptive_field"],
        ints["padding"],
    )
