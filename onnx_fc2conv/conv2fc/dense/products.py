"""Which operators are products with a constant matrix, and which one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from ...constants import Constants
from ...errors import Unliftable
from ...flatten import axes_of
from ...ops import Array, Op
from ...shapes import Shapes
from ...tensors import bytes_for
from .. import convolution
from ..matmul import fused
from .linear import FullyConnected, Linear, Sums, Windows
from .window import Sliding


@dataclass(frozen=True)
class Known:
    """What the rules may ask of the model."""

    shapes: Shapes
    constants: Constants

    def dims(self, name: str) -> tuple[int, ...]:
        """Dims without the first.

        Raises:
            Unliftable: they are not known.
        """
        shape = self.shapes.of(name)
        if not shape:
            raise Unliftable(f"the size of '{name}' is not known; give --size")
        return shape[1:]

    def stored(self, op: Op, position: int) -> Array | None:
        """The constant at an input; ``None`` if the node has none there.

        Raises:
            Unliftable: it is not constant.
        """
        name = op.inputs[position] if len(op.inputs) > position else ""
        if not name:
            return None
        found = self.constants.get(name)
        op.refuse_if(found is None, f"its input '{name}' is computed at run time, so there is no constant matrix")
        return found

    def numbers(self, op: Op, position: int, name: str) -> list[int] | None:
        """Whole numbers that are an attribute in some opsets and an input in others; ``None`` if there are none.

        Raises:
            Unliftable: they are not constant.
        """
        given = self.stored(op, position)
        return given.ints() if given is not None else op.attr(name)


def conv(op: Op, known: Known) -> Linear:
    """A Conv: the doubly block Toeplitz matrix (Ma and Lu, 2017), one block for each pair of channels."""
    weight, bias = known.stored(op, 1), known.stored(op, 2)
    assert weight is not None
    dims = known.dims(op.inputs[0])
    read = convolution.read(op, known.shapes, weight.shape)
    op.refuse_if(dims[0] != weight.shape[1] * read.group, f"its kernel does not fit a map of {dims[0]} channels")
    _require_valid(op, bias, read.units)
    axes = []
    for i, (size, outputs, pads) in enumerate(zip(dims[1:], read.output_size, read.pads, strict=True)):
        assert outputs is not None, "known where the map's size is"
        assert pads is not None, "known where the map's size is"
        axes.append(Sliding(size, outputs, read.window[i], read.strides[i], read.dilations[i], *pads))
    op.refuse_if(any(axis.outputs < 1 for axis in axes), "its kernel is larger than its map")
    positions = prod(axis.outputs for axis in axes)
    return Windows(
        rows=prod(dims),
        columns=read.units * positions,
        what=described(read.window, read.strides, read.dilations, read.group),
        before=prod(weight.shape) * positions,
        bytes_before=stored_bytes(weight, bias),
        offset=_for_each_position(bias, positions),
        axes=tuple(axes),
        group=read.group,
        channels=weight.shape[1],
        units=read.units // read.group,
        weight=weight,
    )


def conv_transpose(op: Op, known: Known) -> Linear:
    """A ConvTranspose: the transposed matrix of the Conv that leads from its result to its input."""
    weight, bias = known.stored(op, 1), known.stored(op, 2)
    assert weight is not None
    dims, gives, group = known.dims(op.inputs[0]), known.dims(op.outputs[0]), op.attr("group", 1)
    _require_valid(op, bias, weight.shape[1] * group)
    given = _auto_pad(op) != "NOTSET" or op.attr("output_shape")
    op.refuse_if(given, "its pads follow from auto_pad or output_shape")
    window, strides, dilations, before, after = _sliding(op, weight.shape[2:])
    sizes = zip(gives[1:], dims[1:], window, strides, dilations, before, after, strict=True)
    return Windows(
        rows=prod(dims),
        columns=prod(gives),
        what=f"transposed {described(window, strides, dilations, group)}",
        before=prod(weight.shape) * prod(dims[1:]),
        bytes_before=stored_bytes(weight, bias),
        offset=_for_each_position(bias, prod(gives[1:])),
        axes=tuple(Sliding(*numbers) for numbers in sizes),
        group=group,
        channels=weight.shape[1],
        units=weight.shape[0] // group,
        weight=weight,
        transposed=True,
    )


def average_pool(op: Op, known: Known) -> Linear:
    """An AveragePool: a Conv with one channel in each group, whose weights are shares of the cells that count."""
    dims, gives = known.dims(op.inputs[0]), known.dims(op.outputs[0])
    window, strides, dilations, before, after = _sliding(op, tuple(op.attr("kernel_shape")))
    auto_pad = _auto_pad(op)
    if auto_pad in convolution.SAME:
        extent = [(k - 1) * d + 1 for k, d in zip(window, dilations, strict=True)]
        pads = [convolution.same_pads(n, e, s, auto_pad) for n, e, s in zip(dims[1:], extent, strides, strict=True)]
        before, after = [p[0] for p in pads if p], [p[1] for p in pads if p]
    sizes = zip(dims[1:], gives[1:], window, strides, dilations, before, after, strict=True)
    return Windows(
        rows=prod(dims),
        columns=prod(gives),
        what=f"mean over {described(window, strides, dilations, 1)}",
        before=prod(gives),
        bytes_before=0,
        rounds=True,
        axes=tuple(Sliding(*numbers) for numbers in sizes),
        group=dims[0],
        channels=1,
        units=1,
        pads_count=bool(op.attr("count_include_pad", 0)),
    )


def reduction(op: Op, known: Known) -> Linear:
    """A mean or a sum over some axes, the spatial ones of a GlobalAveragePool."""
    dims = known.dims(op.inputs[0])
    rank = len(dims) + 1
    if op.op_type == "GlobalAveragePool":
        axes = list(range(2, rank))
    else:
        found = axes_of(op, known.numbers(op, 1, "axes"), rank)
        op.refuse_if(not found and op.attr("noop_with_empty_axes", 0), "it changes nothing")
        axes = found or list(range(rank))
    op.refuse_if(0 in axes, "it mixes the images of a batch")
    kept = tuple(1 if i + 1 in axes else d for i, d in enumerate(dims))
    count = prod(dims) // prod(kept)
    mean = op.op_type != "ReduceSum"
    return Sums(
        rows=prod(dims),
        columns=prod(kept),
        what=f"{'mean' if mean else 'sum'} over {count} values",
        before=prod(kept) if mean else 0,
        bytes_before=0,
        rounds=mean,
        dims=dims,
        kept=kept,
        factor=1 / count if mean else 1.0,
    )


def gemm(op: Op, known: Known) -> Linear:
    """A Gemm with constant weights."""
    weight, added = known.stored(op, 1), known.stored(op, 2)
    assert weight is not None
    transposed, beta = bool(op.attr("transB", 0)), op.attr("beta", 1.0)
    op.refuse_if(op.attr("transA", 0), "transA=1 sums over the images of a batch")
    units, inputs = weight.shape if transposed else weight.shape[::-1]
    per_image = added is not None and len(added.shape) == 2 and added.shape[0] > 1
    op.refuse_if(per_image, "its C has a row for each image")

    def offset() -> np.ndarray:
        assert added is not None
        numbers = added.values.astype(np.float64) * beta
        return np.array(np.broadcast_to(numbers.ravel() if numbers.ndim else numbers, (units,)))

    return FullyConnected(
        rows=inputs,
        columns=units,
        what="FC",
        before=inputs * units,
        bytes_before=stored_bytes(weight, added),
        offset=offset if added is not None and beta else None,
        weight=weight,
        transposed=transposed,
        alpha=op.attr("alpha", 1.0),
    )


def matmul(op: Op, known: Known) -> Linear:
    """A MatMul with constant weights, of one row for each image, or of several tokens."""
    weight = known.stored(op, 1)
    assert weight is not None
    dims = known.dims(op.inputs[0])
    op.refuse_if(len(weight.shape) != 2 or not dims, "its weight is no matrix")
    tokens, (inputs, units) = prod(dims[:-1]), weight.shape
    return FullyConnected(
        rows=tokens * inputs,
        columns=tokens * units,
        what="FC" if tokens == 1 else f"FC on {tokens} tokens",
        before=tokens * inputs * units,
        bytes_before=stored_bytes(weight, None),
        weight=weight,
        tokens=tokens,
    )


#: of another domain: a product with an activation behind it
FUSED = frozenset(("com.microsoft.FusedConv", "com.microsoft.FusedGemm"))
RULES: dict[str, Callable[[Op, Known], Linear]] = {
    "AveragePool": average_pool,
    "Conv": conv,
    "FusedConv": conv,
    "FusedGemm": gemm,
    "ConvTranspose": conv_transpose,
    "Gemm": gemm,
    "GlobalAveragePool": reduction,
    "MatMul": matmul,
    "ReduceMean": reduction,
    "ReduceSum": reduction,
}


def is_product(op: Op) -> bool:
    """True for an operator that is a product with a matrix, if that is constant."""
    return op.op_type in RULES and (op.standard or op.kind in FUSED)


def activation(op: Op) -> tuple[str, dict[str, float]]:
    """What a product has behind it: op_type and attributes; nothing for most of them.

    Raises:
        Unliftable: something that is not known, or a summand.
    """
    if op.kind not in FUSED:
        return "", {}
    kind, numbers = op.attr("activation", ""), list(op.attr("activation_params") or [])
    kind = kind.decode() if isinstance(kind, bytes) else kind
    op.refuse_if(len(op.inputs) > 3 and op.inputs[3], "adds another value behind its product")
    op.refuse_if(kind not in fused.PARAMETERS, f"its activation '{kind}' is not known")
    names = fused.PARAMETERS[kind]
    given = {name: op.attr(f"activation_{name}") for name in names}
    found = dict(zip(names, numbers, strict=False)) | {n: v for n, v in given.items() if v is not None}
    return kind, found


def described(window: Sequence[int], strides: Sequence[int], dilations: Sequence[int], group: int) -> str:
    """A convolution in a few words: ``3x3 stride 2, 32 groups``."""
    words = "x".join(map(str, window))
    for name, numbers in (("stride", strides), ("dilation", dilations)):
        if any(n != 1 for n in numbers):
            words += f" {name} " + ("x".join(map(str, numbers)) if len(set(numbers)) > 1 else str(numbers[0]))
    return words + (f", {group} groups" if group > 1 else "")


def stored_bytes(weight: Array, bias: Array | None) -> int:
    """Bytes of a weight and a bias."""
    return sum(bytes_for(a.elem_type, prod(a.shape)) or 0 for a in (weight, bias) if a is not None)


def _for_each_position(bias: Array | None, positions: int) -> Callable[[], np.ndarray] | None:
    if bias is None:
        return None
    return lambda: np.repeat(bias.values.astype(np.float64), positions)


def _require_valid(op: Op, bias: Array | None, units: int) -> None:
    """Refuse a bias of another size, and pads of an unknown kind."""
    op.refuse_if(bias is not None and bias.shape != (units,), f"its bias is not one number for each of {units} units")
    known = ("NOTSET", "VALID", *convolution.SAME)
    op.refuse_if(_auto_pad(op) not in known, f"its auto_pad '{_auto_pad(op)}' is not known")


def _auto_pad(op: Op) -> str:
    value = op.attr("auto_pad", "NOTSET")
    return value.decode() if isinstance(value, bytes) else str(value)


def _sliding(op: Op, window: tuple[int, ...]) -> tuple[tuple[int, ...], list[int], list[int], list[int], list[int]]:
    """Window, strides, dilations, pads in front and behind, per spatial axis."""
    rank = len(window)
    strides, dilations = (list(op.attr(name) or [1] * rank) for name in ("strides", "dilations"))
    pads = list(op.attr("pads") or [0] * 2 * rank) if _auto_pad(op) == "NOTSET" else [0] * 2 * rank
    return window, strides, dilations, pads[:rank], pads[rank:]
