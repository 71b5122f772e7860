"""Operators that slide a window over the map: convolutions and pools with a kernel."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import helper

from ..geometry import Axis, ceil_add, conv_add, same_add
from ..ops import Op
from ..plan import Dim, Dims, FeatureMap, Part
from .pointwise import join
from .registry import Operand, Trace, moves, only_map
from .unbaked import Replacement


@dataclass(frozen=True)
class Slide:
    """One axis of a sliding-window node. ``kernel`` is the dilated one."""

    kernel: int
    stride: int
    before: int
    after: int
    mode: str  # "floor", "ceil", "same"

    def add(self) -> int:
        """``add`` of the size law ``(n + add) // stride``."""
        if self.mode == "same":
            return same_add(self.stride)
        if self.mode == "ceil":
            return ceil_add(self.kernel, self.stride, self.before, self.after)
        return conv_add(self.kernel, self.stride, self.before + self.after)

    def overhang(self, n: int) -> int:
        """Cells by which the last window sticks out behind an input of size n (declared pads included)."""
        out = (n + self.add()) // self.stride
        return max((out - 1) * self.stride + self.kernel - n - self.before, 0)


@moves("Conv", "ConvInteger", "QLinearConv", "com.microsoft.FusedConv")
def move_conv(op: Op, operands: list[Operand], trace: Trace) -> Dims:
    """Conv: the map's channels become the kernel's. FusedConv may add another map of the same shape."""
    x = only_map(op, operands)
    weight = op.inputs[3 if op.op_type == "QLinearConv" else 1]
    shape = trace.shapes.of(weight)
    if shape is None:
        raise op.refuse(f"the shape of its weight '{weight}' is not known")
    channels = x.dims[1] if len(x.dims) > 1 else 0
    fits = shape[1] * op.attr("group", 1)
    op.contradict_if(
        isinstance(channels, int) and channels != fits, f"has weights for {fits} channels and gets {channels}"
    )
    op.contradict_if(isinstance(channels, Part), "has weights for channels that are as many as rows of a part")
    dims = _slide(op, x, list(shape[2:]), shape[0], trace)
    for other in operands[1:]:
        if isinstance(other, FeatureMap):
            own, added = ([d for d in m if isinstance(d, Axis)] for m in (dims, other.dims))
            alike = [a.law for a in own] == [a.law for a in added]
            op.refuse_if(not alike, "adds a map whose size does not follow its own")
            both = iter([join(op, a, b, trace) for a, b in zip(own, added, strict=True)])
            dims = tuple(next(both) if isinstance(d, Axis) else d for d in dims)
    return dims


@moves("MaxPool", "AveragePool", "LpPool", "com.microsoft.QLinearAveragePool")
def move_pool(op: Op, operands: list[Operand], trace: Trace) -> list[Dims | None]:
    """Pools keep the channels. MaxPool's second output counts positions of the whole map, so it is no map."""
    x = only_map(op, operands)
    op.refuse_if(op.attr("channels_last", 0), "has its channels last")
    channels = x.dims[1]
    if not isinstance(channels, int):
        raise op.refuse("axis 1 of its input is not the channel axis")
    if trace.keep_pools and _covers(op, x):
        return [_kept_whole(op, x, trace)]
    dims = _slide(op, x, list(op.attr("kernel_shape")), channels, trace)
    return [dims, dims]


def _covers(op: Op, x: FeatureMap) -> bool:
    """True if the one window of a pool takes in every cell of the map, pads or not."""
    sizes, kernel = [d.size for d in x.dims[2:] if isinstance(d, Axis)], op.attr("kernel_shape")
    rank = len(x.dims) - 2
    if len(sizes) < rank or len(kernel) != rank or max(sizes) == 1 or any(d != 1 for d in op.attr("dilations") or ()):
        return False
    slides = [read_slide(op, i, rank, kernel[i], n) for i, n in enumerate(sizes)]
    return all((n + s.add()) // s.stride == 1 and s.kernel - s.before >= n for n, s in zip(sizes, slides, strict=True))


def _kept_whole(op: Op, x: FeatureMap, trace: Trace) -> Dims:
    """Write a pool whose kernel is the trained map as the global pool that it is, so that it is one at every size.

    Pads do not count in a maximum or a norm, and in an average only where it says so.
    """
    sizes = [d.size for d in x.dims[2:] if isinstance(d, Axis)]
    op.refuse_if(any(op.outputs[1:]), "gives positions inside the trained map")
    op.refuse_if(
        op.attr("kernel_shape") != sizes and (op.attr("count_include_pad", 0) or op.attr("ceil_mode", 0)),
        f"its kernel {op.attr('kernel_shape')} reaches beyond the map {sizes} and counts what is not there, "
        "so it is no pool over the whole map",
    )
    norm = {"p": op.attr("p", 2)} if op.op_type == "LpPool" else {}
    node = helper.make_node(f"Global{op.op_type}", op.inputs[:1], op.outputs[:1], name=op.name, **norm)
    trace.unbaked[op.index] = Replacement([node], f"{op} -> {node.op_type}")
    trace.blame(op, "global context", "pools the whole map")
    return x.dims[:2] + tuple(d.constant(1) for d in x.dims[2:] if isinstance(d, Axis))


def _slide(op: Op, x: FeatureMap, kernel: list[int], channels: int, trace: Trace) -> Dims:
    op.refuse_if(x.dims[0] != "batch" or isinstance(x.dims[1], Axis), "its input is not laid out as N, C, spatial axes")
    rank = len(x.dims) - 2
    op.refuse_if(len(kernel) != rank, f"its kernel has {len(kernel)} axes and its input {rank} spatial ones")
    dims: list[Dim] = ["batch", channels]
    for i, dim in enumerate(x.dims[2:]):
        assert isinstance(dim, (int, Axis))
        slide = read_slide(op, i, rank, kernel[i], dim.size if isinstance(dim, Axis) else dim)
        if isinstance(dim, Axis):
            _blame(op, slide, dim, trace)
            dims.append(dim.window_op(slide.kernel, slide.stride, slide.before, slide.add()))
        else:
            dims.append((dim + slide.add()) // slide.stride)
    return tuple(dims)


def read_slide(op: Op, i: int, rank: int, kernel: int, n: int) -> Slide:
    """How a node slides along its i-th spatial axis, of which the map has n cells."""
    dilation = op.attr("dilations", [1] * rank)[i]
    stride = op.attr("strides", [1] * rank)[i]
    op.refuse_if(stride < 1 or dilation < 1, f"slides by {stride} cells, {dilation} apart")
    dilated = (kernel - 1) * dilation + 1
    auto_pad = op.attr("auto_pad", "NOTSET")
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        total = max((-(-n // stride) - 1) * stride + dilated - n, 0)
        before = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
        return Slide(dilated, stride, before, total - before, "same")
    pads = [0] * (2 * rank) if auto_pad == "VALID" else op.attr("pads") or [0] * (2 * rank)
    return Slide(dilated, stride, pads[i], pads[i + rank], "ceil" if op.attr("ceil_mode", 0) else "floor")


def _blame(op: Op, slide: Slide, axis: Axis, trace: Trace) -> None:
    """Note whether windows reach beyond the map: at the trained size and all that keep its phase, or at others only."""
    if slide.before > 0 or slide.overhang(axis.size):
        trace.blame(
            op, "padding", "auto_pad" if slide.mode == "same" else "ceil_mode" if slide.mode == "ceil" else "pads"
        )
    elif slide.after > 0 and slide.mode == "floor":
        trace.blame(op, "padding", "pads")
    elif slide.mode != "floor" and slide.stride > 1 and not _single_cells(op, slide):
        trace.blame(op, "phase", f"{'auto_pad' if slide.mode == 'same' else 'ceil_mode'} depends on the input size")
    if slide.mode == "same" and slide.stride > 1 and (slide.before or slide.after):
        trace.blame(op, "phase", "auto_pad depends on the input size")


def _single_cells(op: Op, slide: Slide) -> bool:
    """True for windows of one cell, which never reach beyond the map.

    Pools are left out: at some sizes onnxruntime computes negative pads for those with auto_pad, and does not run, and
    ONNX counts a window with ceil_mode that starts behind the map.
    """
    return slide.kernel == 1 and not op.op_type.endswith("Pool")
