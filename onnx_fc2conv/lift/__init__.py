"""Lifting: every head operator re-expressed so that it works on all window positions at once.

The rewriting is what ``vmap`` does to a function. One rule per operator, found in the registry; the files of this
folder are its families. Values go through the head in topological order; nothing here looks at more than one node.
"""

from __future__ import annotations

import numpy as np

from ..errors import Unliftable
from ..geometry import Grid
from ..ops import Op
from ..plan import FeatureMap, Plan
from ..rewrite import Rewrite, Unread, Windowed
from . import broadcast, linear, norm, pool, reduce, refused, select, unary, views
from .registry import RULES, rule_for
from .rewriter import Names, Operand, Rewriter, RunTime, Shared, rename

__all__ = ["RULES", "lift"]

FAMILIES = (broadcast, linear, norm, pool, reduce, refused, select, unary, views)  #: importing them fills RULES
OLDEST_OPSET = 7


def lift(plan: Plan) -> Rewrite:
    """Lift all heads.

    Raises:
        Unliftable: a node of a head has no rule, or its rule refuses; the error names the node and the reason.
    """
    if plan.model.opset < OLDEST_OPSET:
        raise Unliftable(
            f"opset {plan.model.opset} is older than {OLDEST_OPSET} and broadcasts differently; "
            "convert the model with onnx.version_converter first",
            str(plan.head[0]),
        )
    names = Names(_names_of(plan))
    shared = Shared(plan.constants, plan.shapes, names, plan.runtime)
    outputs = set(plan.model.outputs)
    starts: dict[str, Op] = {}
    for op in plan.head:
        rewriter = Rewriter(op, shared)
        start = next((starts[name] for name in op.reads() if name in starts), op)
        starts |= {name: start for name in op.outputs if name}
        results = _apply(rewriter, start, plan, shared)
        for name, value in zip(op.outputs, results, strict=False):
            if name:
                shared.rewrite.values[name] = _settle(rewriter, shared, name, value, name in outputs)
        if rewriter.emitted and op.name:
            rewriter.emitted[-1].name = op.name
        shared.rewrite.replaced[op.index] = rewriter.emitted
    return shared.rewrite


def _names_of(plan: Plan) -> set[str]:
    graph = plan.model.proto.graph
    names = {value.name for part in (graph.input, graph.output, graph.initializer, graph.value_info) for value in part}
    names |= {t.values.name for t in graph.sparse_initializer}
    for op in plan.model.ops:
        names |= {op.name, *op.outputs, *op.reads()}
    return names


def _apply(rewriter: Rewriter, start: Op, plan: Plan, shared: Shared) -> tuple[Windowed, ...]:
    op = rewriter.op
    rule = rule_for(op, start)
    op.refuse_if(op.captured, "contains a subgraph that reads the head")
    family = RULES[op.op_type].family
    operands = [_operand(rewriter, name, plan, shared) for name in op.inputs]
    for operand in operands:
        if isinstance(operand, RunTime) and family != "view":
            raise op.refuse(f"its input '{operand.name}' is computed at run time, not a constant")
    try:
        results = rule(rewriter, *operands)
    except (TypeError, AttributeError, ValueError, IndexError, KeyError) as e:
        raise op.refuse(f"its operands or attributes are not of the kinds that are lifted ({e})") from e
    return results if isinstance(results, tuple) else (results,)


def _operand(rewriter: Rewriter, name: str, plan: Plan, shared: Shared) -> Operand:
    if not name:
        return None
    if name in shared.rewrite.values:
        return shared.rewrite.values[name]
    if name in plan.maps:
        rewriter.refuse_if(name not in plan.cuts, f"combines the head with the feature map '{name}'")
        return _window_over(rewriter, plan.maps[name], plan)
    array = plan.constants.get(name)
    if array is not None and name in plan.constants.measured:
        return rewriter.frozen(array)
    if array is not None:
        return array
    rewriter.refuse_if(
        name not in plan.constants.static, f"its input '{name}' is neither a constant nor computed from the image"
    )
    return RunTime(name)


def _window_over(rewriter: Rewriter, cut: FeatureMap, plan: Plan) -> Windowed:
    """The map that is flattened, as an unread value: its window is its own trained size."""
    axes = cut.axes
    features = cut.shape(rewriter.batch)[1:]
    rewriter.refuse_if(cut.dims[0] != "batch", f"flattens '{cut.name}', whose first axis is not the batch")
    channel_axes = [i for i in range(1, len(cut.dims)) if i not in cut.spatial]
    wide = [i for i in channel_axes if cut.dims[i] != 1] or channel_axes[:1]
    rewriter.refuse_if(len(wide) != 1, f"flattens '{cut.name}', which has {len(wide)} feature axes instead of one")
    channels = features[wide[0] - 1]
    window = tuple(a.size for a in axes)
    positions = np.arange(channels * int(np.prod(window)), dtype=np.int64).reshape(channels, *window)
    order = positions.transpose(np.argsort([*wide, *cut.spatial])).reshape(features)
    tensor = _canonical(rewriter, cut, plan, wide)
    return Windowed(
        tensor, features, plan.shapes.elem_types[cut.name], Grid.over(axes), Unread(channels, window, order)
    )


def _canonical(rewriter: Rewriter, cut: FeatureMap, plan: Plan, wide: list[int]) -> str:
    """The map laid out as ``[N, C, *spatial]``, as Conv wants it; the Transpose in front of it is looked through."""
    wanted = [0, *wide, *cut.spatial]
    producer = plan.model.producer.get(cut.name)
    if wanted == list(range(len(cut.dims))):
        return cut.name
    if producer is not None and producer.op_type == "Transpose" and len(wanted) == len(cut.dims):
        perm = producer.attr("perm") or list(reversed(range(len(cut.dims))))
        if [perm[w] for w in wanted] == list(range(len(perm))):
            return producer.inputs[0]
    tensor = cut.name
    dropped = [i for i in range(1, len(cut.dims)) if i not in wanted]
    if dropped:
        if plan.model.opset < 13:
            tensor = rewriter.emit("Squeeze", tensor, axes=dropped)
        else:
            tensor = rewriter.emit("Squeeze", tensor, rewriter.constant(np.array(dropped, np.int64), "axes"))
        wanted = [w - sum(d < w for d in dropped) for w in wanted]
    if wanted != list(range(len(wanted))):
        tensor = rewriter.emit("Transpose", tensor, perm=wanted)
    return tensor


def _settle(rewriter: Rewriter, shared: Shared, name: str, value: Windowed, is_output: bool) -> Windowed:
    """Give the result the original's name where it can carry it: a graph output must, a spent value may."""
    final = rewriter.read(value) if is_output else value
    made_here = any(final.tensor in node.output for node in rewriter.emitted)
    if is_output and not made_here:
        final = final.on(rewriter.emit("Identity", final))
        made_here = True
    if not made_here or final.unread is not None:
        return value
    rename(rewriter.emitted, final.tensor, name)
    shared.spent = {k: v.on(name) if v.tensor == final.tensor else v for k, v in shared.spent.items()}
    shared.reshaped = {name if k == final.tensor else k: v for k, v in shared.reshaped.items()}
    return value if value.unread is not None else final.on(name)
