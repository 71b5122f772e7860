"""Convs that fit into hardware: a large one becomes a sum of smaller ones, or several side by side.

A Conv is linear in its input, so its kernel may be cut into tiles, and its input into blocks of channels, whose Convs
are added; units of the result are independent, so they may be computed in blocks and joined:

    ``conv(x, W) = sum over tiles and blocks of conv(x[block, tile], W[:, block, tile])``

For a tile that takes the rows ``a .. b`` of a kernel of ``h`` rows, the map is cropped by ``a`` rows in front and by
``h - b`` behind (of a dilated kernel, by so many times its dilation): what is left is slid over as often as the whole
was, at every size of the map and with every stride.

Only what the conversion writes is split; nodes of the original stay, those too of which only attributes were changed.
The bias is added once. Integers are added as integers, so nothing changes there; a QLinearConv rounds its sum to a
step, so its input cannot be split.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto, helper, numpy_helper

from .errors import Unliftable
from .plan import Plan
from .rewrite import Rewrite, Tile
from .tensors import read

KERNEL_AT = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}
#: inputs that have one value for each unit, or one for all
PER_UNIT = {"Conv": (2,), "ConvInteger": (3,), "QLinearConv": (4, 5, 8)}
TO_THE_LAST = 2**31 - 1

Range = tuple[int, int]


def split(plan: Plan, rewrite: Rewrite, max_kernel: int | None, max_channels: int | None) -> None:
    """Split the Convs of a rewrite that are over a limit, in place.

    Args:
        plan: what was understood of the original.
        rewrite: the lifted heads.
        max_kernel: largest kernel along any axis; ``None`` for any.
        max_channels: most channels of an input and of an output; ``None`` for any.

    Raises:
        Unliftable: one is over a limit and cannot be split exactly.
    """
    if max_kernel is None and max_channels is None:
        return
    pieces = _Pieces(plan, rewrite, max_kernel or TO_THE_LAST, max_channels or TO_THE_LAST)
    kept = plan.dense.kept if plan.dense else frozenset[int]()
    for index, nodes in rewrite.replaced.items():
        if index in kept:
            continue
        rewrite.replaced[index] = [made for node in nodes for made in pieces.of(node)]


def over_limit(node: NodeProto, kernel: tuple[int, ...], max_kernel: int, max_channels: int) -> str | None:
    """What of a Conv with a kernel of these dims is over a limit, in words; ``None`` if nothing is."""
    channels = kernel[1] * _group(node)
    if max(kernel[2:], default=1) > max_kernel:
        return f"has a kernel of {'x'.join(map(str, kernel[2:]))}, and the largest allowed is {max_kernel}"
    for what, count in (("input", channels), ("output", kernel[0])):
        if count > max_channels:
            return f"has {count} {what} channels, and the most allowed are {max_channels}"
    return None


@dataclass(frozen=True)
class _Part:
    """Units that are computed together: the sum over blocks of input channels.

    Attributes:
        units: which of the outputs.
        blocks: which of the input channels, one Conv for each.
        columns: the same, counted inside of the kernel's own second axis.
        group: groups of that Conv.
    """

    units: Range
    blocks: list[Range]
    columns: list[Range]
    group: int


class _Pieces:
    """Makes the smaller Convs."""

    def __init__(self, plan: Plan, rewrite: Rewrite, max_kernel: int, max_channels: int) -> None:
        self._plan, self._rewrite = plan, rewrite
        self._max_kernel, self._max_channels = max_kernel, max_channels
        self._stored = {t.name: t for t in rewrite.initializers}
        self._emitted = {o: n for nodes in rewrite.replaced.values() for n in nodes for o in n.output}
        self._taken = plan.model.names | set(self._stored) | set(self._emitted)
        self._taken |= {n.name for n in self._emitted.values()}
        self._sliced: dict[tuple[str, tuple[Range, ...]], str] = {}
        self._nodes: list[NodeProto] = []
        self._crops: dict[tuple[Range, ...], str] = {}
        self._units = 1
        self._last: tuple[str, np.ndarray] | None = None

    def of(self, node: NodeProto) -> list[NodeProto]:
        """The nodes that take the place of this one; itself, if it is within the limits."""
        if node.op_type not in KERNEL_AT:
            return [node]
        name = node.input[KERNEL_AT[node.op_type]]
        kernel = self._dims(name)
        reason = over_limit(node, kernel, self._max_kernel, self._max_channels)
        if reason is None:
            return [node]
        parts = list(self._parts(kernel, _group(node)))
        tiles = _product([_ranges(n, self._max_kernel) for n in kernel[2:]])
        _require_splittable(node, reason, len(tiles) * len(parts[0].blocks))
        self._nodes, self._crops, self._units = [], {}, kernel[0]
        joined = [self._part(node, kernel, part, tiles) for part in parts]
        result = joined[0] if len(joined) == 1 else self._emit(node, "Concat", joined, axis=1)
        self._nodes[-1].output[0] = node.output[0]
        self._nodes[-1].name = node.name
        assert result
        return self._nodes

    def _parts(self, kernel: tuple[int, ...], group: int) -> Iterator[_Part]:
        """The outputs in order: blocks of units of an ungrouped Conv, or blocks of whole groups."""
        own, most = kernel[0] // group, self._max_channels
        together = min(most // kernel[1], most // own, group)
        if group > 1 and together > 0:
            for first, end in _ranges(group, together):
                columns = [(0, kernel[1])]
                yield _Part((first * own, end * own), [(first * kernel[1], end * kernel[1])], columns, end - first)
            return
        columns = _ranges(kernel[1], most)
        for g in range(group):
            blocks = [(g * kernel[1] + a, g * kernel[1] + b) for a, b in columns]
            for a, b in _ranges(own, most):
                yield _Part((g * own + a, g * own + b), blocks, columns, 1)

    def _part(self, node: NodeProto, kernel: tuple[int, ...], part: _Part, tiles: list[tuple[Range, ...]]) -> str:
        summands: list[str] = []
        channels = kernel[1] * _group(node)
        for block, columns in zip(part.blocks, part.columns, strict=True):
            for tile in tiles:
                crop = self._crop(node, block, channels, tile, kernel[2:])
                summands.append(self._conv(node, crop, (part.units, columns, *tile), part, not summands))
        levels = 0
        while len(summands) > 1:  # pairs of pairs: rounding grows with the depth only
            pairs = [summands[i : i + 2] for i in range(0, len(summands), 2)]
            summands = [self._emit(node, "Add", pair) if len(pair) > 1 else pair[0] for pair in pairs]
            levels += 1
        self._rewrite.additions = max(self._rewrite.additions, levels)
        return summands[0]

    def _crop(
        self, node: NodeProto, block: Range, channels: int, tile: tuple[Range, ...], window: tuple[int, ...]
    ) -> str:
        """The part of the input that a piece of the kernel meets."""
        cuts = [(1, *block)] if block != (0, channels) else []
        for axis, ((a, b), n, k) in enumerate(zip(tile, window, _dilations(node, len(window)), strict=True), 2):
            if (a, b) != (0, n):
                cuts.append((axis, a * k, (b - n) * k or TO_THE_LAST))
        x = str(node.input[0])
        if not cuts:
            return x
        key = (block, *tile)
        if key not in self._crops:
            axes, starts, ends = (list(values) for values in zip(*cuts, strict=True))
            if self._plan.model.opset < 10:
                self._crops[key] = self._emit(node, "Slice", [x], axes=axes, starts=starts, ends=ends)
            else:
                operands = [
                    self._ints(f"{node.name}_{k}", v) for k, v in (("starts", starts), ("ends", ends), ("axes", axes))
                ]
                self._crops[key] = self._emit(node, "Slice", [x, *operands])
        return self._crops[key]

    def _conv(self, node: NodeProto, crop: str, index: tuple[Range, ...], part: _Part, first: bool) -> str:
        """One piece; the bias goes to the first."""
        at = KERNEL_AT[node.op_type]
        inputs: list[str] = [crop, *node.input[1:]]
        inputs[at] = self._kernel(node, inputs[at], index)
        for i in PER_UNIT[node.op_type]:
            if len(inputs) > i and inputs[i]:
                inputs[i] = self._per_unit(inputs[i], part.units)
        if node.op_type == "Conv" and not first:
            del inputs[2:]
        attrs = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        attrs |= {"kernel_shape": [b - a for a, b in index[2:]], "group": part.group}
        return self._emit(node, node.op_type, inputs, **attrs)

    def _kernel(self, node: NodeProto, name: str, index: tuple[Range, ...]) -> str:
        """A part of the kernel; of one that is dequantised, a part of its integers, which is dequantised."""
        made_by = self._emitted.get(name)
        if made_by is None or made_by.op_type != "DequantizeLinear":
            return self._slice(name, index)
        parameters = [self._per_unit(p, index[0]) if p else p for p in made_by.input[1:]]
        attrs = {a.name: helper.get_attribute_value(a) for a in made_by.attribute}
        attrs |= {"domain": made_by.domain} if made_by.domain else {}
        return self._emit(node, made_by.op_type, [self._slice(made_by.input[0], index), *parameters], **attrs)

    def _per_unit(self, name: str, units: Range) -> str:
        """A constant that has one value for each unit, for some of them; one that holds for all as it is."""
        return self._slice(name, (units,)) if self._dims(name) == (self._units,) else name

    # -- constants -----------------------------------------------------------------------------------------------------

    def _dims(self, name: str) -> tuple[int, ...]:
        if name in self._stored:
            return tuple(self._stored[name].dims)
        made_by = self._emitted.get(name)
        if made_by is not None:
            return self._dims(made_by.input[0])
        array = self._plan.constants.get(name)
        return array.shape if array is not None else ()

    def _values(self, name: str) -> np.ndarray:
        """A constant; the last one is kept, because all its parts are made in a row."""
        if self._last is None or self._last[0] != name:
            array = None if name in self._stored else self._plan.constants.get(name)
            values = read(self._stored[name], self._plan.model.folder) if array is None else array.values
            self._last = name, values
        return self._last[1]

    def _slice(self, name: str, index: tuple[Range, ...]) -> str:
        if all(r == (0, n) for r, n in zip(index, self._dims(name), strict=True)):
            return name
        if (name, index) not in self._sliced:
            values = self._values(name)[tuple(slice(a, b) for a, b in index)]
            part = self._sliced[name, index] = self._constant(f"{name}_part", values)
            self._rewrite.tiles[part] = Tile(name, self._dims(name), tuple(a for a, _ in index))
        return self._sliced[name, index]

    def _ints(self, hint: str, values: Iterable[int]) -> str:
        return self._constant(hint, np.array(list(values), np.int64))

    def _constant(self, hint: str, values: np.ndarray) -> str:
        tensor = numpy_helper.from_array(np.ascontiguousarray(values), self._fresh(hint))
        self._rewrite.initializers.append(tensor)
        self._rewrite.made_from[tensor.name] = tensor.name
        self._stored[tensor.name] = tensor
        return tensor.name

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def _emit(self, node: NodeProto, op_type: str, inputs: list[str], **attrs: Any) -> str:
        output, name = self._fresh(f"{node.output[0]}_part"), self._fresh(f"{node.name}/{op_type}")
        self._nodes.append(helper.make_node(op_type, inputs, [output], name=name, **attrs))
        return output

    def _fresh(self, hint: str) -> str:
        name, n = hint, 1
        while name in self._taken:
            n += 1
            name = f"{hint}_{n}"
        self._taken.add(name)
        return name


def _require_splittable(node: NodeProto, reason: str, summands: int) -> None:
    title = f"{node.op_type} '{node.name}'"
    if node.op_type == "QLinearConv" and summands > 1:
        raise Unliftable(f"{reason}; it rounds its sum to a step, so it cannot be split exactly", title)
    attrs = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if (any(attrs.get("pads", ())) or attrs.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")) and summands > 1:
        raise Unliftable(f"{reason}; it pads, so it is not split", title)


def _dilations(node: NodeProto, rank: int) -> list[int]:
    return next((list(a.ints) for a in node.attribute if a.name == "dilations"), [1] * rank)


def _group(node: NodeProto) -> int:
    return next((int(a.i) for a in node.attribute if a.name == "group"), 1)


def _ranges(size: int, most: int) -> list[Range]:
    """Consecutive ranges of at most so many entries, as even as can be."""
    count = -(-size // most)
    ends = [size * (i + 1) // count for i in range(count)]
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _product(axes: list[list[Range]]) -> list[tuple[Range, ...]]:
    tiles: list[tuple[Range, ...]] = [()]
    for ranges in axes:
        tiles = [(*tile, r) for tile in tiles for r in ranges]
    return tiles
