"""What slides: dilated by what one cell of the original's map is worth, its pads as many times as wide."""

from __future__ import annotations

from dataclasses import dataclass

from ..backbone.sliding import read_slide
from ..dilated import Pool
from ..geometry import Axis
from ..ops import Op
from ..plan import Cause, FeatureMap
from .walk import Sizes, Walk, rule

STANDARD_POOLS = ("MaxPool", "AveragePool", "LpPool")


@dataclass(frozen=True)
class Dilated:
    """How a node slides over the dense map, one number per spatial axis; ``before`` and ``after`` are its pads."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    sizes: Sizes

    @property
    def attrs(self) -> dict[str, list[int]]:
        """It as attributes."""
        pads = [*self.before, *self.after]
        return {"strides": list(self.strides), "dilations": list(self.dilations), "pads": pads}

    def changed(self, op: Op) -> dict[str, list[int]]:
        """Those attributes that the node does not have so."""
        ones, zeros = [1] * len(self.kernel), [0] * (2 * len(self.kernel))
        given = op.attr("pads") or zeros
        old = {"strides": op.attr("strides", ones), "dilations": op.attr("dilations", ones), "pads": given}
        return {name: values for name, values in self.attrs.items() if values != old[name]}

    def said(self, op: Op) -> str:
        """What is another one in words: ``strides 2x2 -> 1x1``."""
        words = []
        for name, values in self.changed(op).items():
            old = op.attr(name) or [0 if name == "pads" else 1] * len(values)
            words.append(f"{name} {'x'.join(map(str, old))} -> {'x'.join(map(str, values))}")
        return ", ".join(words) or "pads that depend on the size -> those of the trained size"


@rule("Conv", "ConvInteger", "QLinearConv", "com.microsoft.FusedConv")
def dilate_conv(walk: Walk, op: Op) -> Sizes:
    """Conv: its weights stay."""
    shape = walk.plan.shapes.of(op.inputs[3 if op.op_type == "QLinearConv" else 1]) or ()
    found = _dilated(walk, op, list(shape[2:]))
    for name in op.inputs[1:]:
        sizes = walk.cells(name) if name in walk.plan.maps else found.sizes
        op.refuse_if(sizes != found.sizes, "adds a map of another size where --stride makes both denser")
    _alter(walk, op, found)
    return found.sizes


@rule(*STANDARD_POOLS, "com.microsoft.QLinearAveragePool")
def dilate_pool(walk: Walk, op: Op) -> Sizes:
    """A pool: with dilations where its opset has them, else written in another way."""
    indices = any(name in walk.plan.model.consumers or name in walk.plan.model.outputs for name in op.outputs[1:])
    op.refuse_if(indices, "gives positions inside of a map that --stride makes denser")
    found = _dilated(walk, op, list(op.attr("kernel_shape")))
    counts = bool(op.attr("count_include_pad", 0))
    _require_same_count(walk, op, counts)
    if set(found.dilations) == {1}:
        _alter(walk, op, found)
        return found.sizes
    if not op.standard:
        raise op.refuse("has no dilations, which --stride needs")
    m = walk.plan.maps[op.inputs[0]]
    channels = m.dims[1]
    assert isinstance(channels, int)
    pool = Pool(
        op.op_type, found.kernel, found.strides, found.dilations, found.before, found.after, counts, op.attr("p", 2)
    )
    elem_type = walk.plan.shapes.elem_types[m.name]
    walk.write(op, lambda: walk.pools.write(m.name, pool, channels, elem_type), found.said(op))
    return found.sizes


def _require_same_count(walk: Walk, op: Op, counts: bool) -> None:
    """Refuse an average that counts its pads and has windows that reach beyond them, where nothing is counted."""
    if not counts or not op.attr("ceil_mode", 0):
        return
    m = walk.plan.maps[op.inputs[0]]
    rank = len(m.dims) - 2
    for i, dim in enumerate(m.dims[2:]):
        n = dim.size if isinstance(dim, Axis) else dim
        assert isinstance(n, int)
        slide = read_slide(op, i, rank, op.attr("kernel_shape")[i], n)
        op.refuse_if(
            slide.overhang(n) > slide.after,
            "counts its pads and, with ceil_mode, not what is beyond them, which --stride cannot keep apart",
        )


def _alter(walk: Walk, op: Op, found: Dilated) -> None:
    by_size = [name for name in ("auto_pad", "ceil_mode") if op.attr(name, 0) not in (0, "NOTSET", "VALID")]
    changed = found.changed(op)
    if by_size:
        changed["pads"] = found.attrs["pads"]
    if changed or by_size:
        walk.alter(op, found.said(op), ("auto_pad", "ceil_mode"), **changed)


def _dilated(walk: Walk, op: Op, kernel: list[int]) -> Dilated:
    """How a node slides over the dense map.

    1. Pads that depend on the size (``auto_pad``, ``ceil_mode``) become those of the trained size. They are the same at
       sizes of the form trained + n * stride.
    2. Of an axis that is no spatial one, everything stays.
    """
    x, y = walk.plan.maps[op.inputs[0]], _result(walk, op)
    rank = len(kernel)
    behind = {a.index: a for a in y.axes}
    columns, sizes = [], {}
    for i, dim in enumerate(x.dims[2:]):
        assert isinstance(dim, (int, Axis))
        slide = read_slide(op, i, rank, kernel[i], dim.size if isinstance(dim, Axis) else dim)
        old = op.attr("dilations", [1] * rank)[i]
        if not isinstance(dim, Axis) or dim.index not in behind:
            columns.append((slide.stride, old, slide.before, slide.after))
            continue
        k, after = walk.k(dim), slide.after
        if slide.mode != "floor":
            after = slide.overhang(dim.size)
            if slide.stride > 1 and (slide.kernel > 1 or "Pool" in op.op_type):
                detail = f"{'auto_pad' if slide.mode == 'same' else 'ceil_mode'} depends on the input size"
                walk.phases.append(Cause(str(op), "phase", detail))
        stride = slide.stride * k // walk.k(behind[dim.index])
        columns.append((stride, old * k if kernel[i] > 1 else old, slide.before * k, after * k))
        total = walk.cells(x.name)[dim.index] + (slide.before + after) * k
        sizes[dim.index] = (total - (kernel[i] - 1) * old * k - 1) // stride + 1
    strides, dilations, before, after_ = (tuple(row) for row in zip(*columns, strict=True))
    return Dilated(tuple(kernel), strides, dilations, before, after_, sizes)


def _result(walk: Walk, op: Op) -> FeatureMap:
    return walk.plan.maps[next(name for name in op.outputs if name in walk.plan.maps)]
