"""The forms that a head can be written in besides the plain one, and why a head cannot have one.

==========  ==============================  =====================
form        products over several cells     products of one cell
==========  ==============================  =====================
conv        Conv over the window            1x1 Conv
folded      Conv over the window            1x1 Conv on columns
unfolded    1x1 Conv on columns             1x1 Conv on columns
gemm        Gemm on rows                    Gemm on rows
==========  ==============================  =====================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from . import columns, rows
from .products import Product
from .writer import Origin, Writer


class Layout(Protocol):
    """How all windows of all images are laid out; a module."""

    @property
    def KINDS(self) -> frozenset[str]:
        """The op_types of the products that there are in it."""

    def enter(self, writer: Writer, product: Product, /) -> tuple[str, Origin]:
        """Lay the windows of a product out."""

    def times(self, writer: Writer, product: Product, x: str, /) -> str:
        """The product of all of them with the kernel."""

    def leave(self, writer: Writer, y: str, units: int, rank: int, origin: Origin, /) -> str:
        """``[N, units, *grid]`` again."""

    def constant(self, writer: Writer, name: str, dims: tuple[int, ...], rank: int, /) -> str | None:
        """What takes the place of a constant that is combined with each window; ``None`` if it cannot be."""


@dataclass(frozen=True)
class Form:
    """One form.

    Attributes:
        layout: of what it takes.
        windows: whether it takes products over several cells too.
    """

    layout: Layout
    windows: bool

    def takes(self, product: Product) -> bool:
        """Whether a product is written in the layout."""
        return product.node.op_type in self.layout.KINDS and (self.windows or product.taps == 1)


FORMS: dict[str, Form] = {
    "folded": Form(columns, windows=False),
    "unfolded": Form(columns, windows=True),
    "gemm": Form(rows, windows=True),
}


def fitting(products: Mapping[str, Product], static: bool, batch: int) -> dict[str, str]:
    """For every form but the plain one why it is none for these products; empty where it is one.

    Args:
        products: of the heads.
        static: whether the conversion is for what runs no FC.
        batch: how many images it is for.
    """
    if not products:
        reason = "no Conv of a head is a product with a constant matrix"
        return dict.fromkeys(FORMS, reason)
    found = dict.fromkeys(FORMS, "")
    single = sum(p.taps == 1 for p in products.values())
    if single == 0:
        found["folded"] = "no product sees one cell only"
    elif single == len(products):
        found["unfolded"] = "no product sees more than one cell, so it is the form 'folded'"
    elif batch == 1:
        found["folded"] = "one image needs no folding"
    if not any(FORMS["gemm"].takes(p) for p in products.values()):
        found["gemm"] = "its products are of integers"
    if static:
        found["gemm"] = "--static is for what runs no FC"
    return found
