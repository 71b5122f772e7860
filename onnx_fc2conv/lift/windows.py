"""A window in numbers: the attributes of a Conv over it, and where the map's values at one of its cells are."""

from __future__ import annotations

from typing import Any

FAR = 2**31 - 1  #: an end that means "to the last"


def conv_attrs(kernel: tuple[int, ...], dilations: tuple[int, ...] = ()) -> dict[str, Any]:
    """Attributes of a Conv with this kernel at stride 1, all written out: some parsers know no defaults.

    Along an axis where the kernel is a single cell, nothing is dilated.
    """
    ones, zeros = [1] * len(kernel), [0] * len(kernel)
    spread = [k if n > 1 else 1 for n, k in zip(kernel, dilations or ones, strict=True)]
    return {"kernel_shape": list(kernel), "strides": ones, "pads": zeros * 2, "dilations": spread}


def of_cell(cell: tuple[int, ...], window: tuple[int, ...], steps: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """Starts and ends of the map's values at one cell of every window, of which one cell is so many of the map's."""
    starts = [c * k for c, k in zip(cell, steps, strict=True)]
    ends = [(c - w + 1) * k or FAR for c, w, k in zip(cell, window, steps, strict=True)]
    return starts, ends
