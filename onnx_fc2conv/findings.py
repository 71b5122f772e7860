"""What will break, or lie, in a model as it is when the size of its image changes.

Shapes are followed through the model at an enlarged size, node by node, by what each node does there: a Reshape that
carries the trained size fails or, with a -1 in its target, returns several rows for one image; an FC behind a flattened
map gets more features than it has weights for; a pool over the whole map takes in everything; pads stand elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any, Literal

from .errors import Fc2ConvError, UsageError
from .flatten import target_of
from .geometry import Axis
from .ops import FULLY_CONNECTED, REDUCTIONS, VIEWS, Model, Op
from .plan import Plan, follows
from .reach import strides
from .shapes import Shapes, infer

Consequence = Literal["breaks", "lies", "differs"]

SCHEMA = 1
POOLS = frozenset(("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "QLinearGlobalAveragePool"))


@dataclass(frozen=True)
class Finding:
    """One node and what it does at another size.

    Attributes:
        node: the node (``Reshape 'view'``).
        consequence: ``breaks``: no runtime can run it; ``lies``: it runs and gives something else than it says;
            ``differs``: it runs, and its answers are not those of image crops.
        what: why, in words.
    """

    node: str
    consequence: Consequence
    what: str


@dataclass
class Findings:
    """What was found in one model.

    Attributes:
        input: the model's name in messages.
        trained_size: of each image input, in pixels.
        size: the enlarged size that was followed, of each image input.
        found: the findings, those that break first.
        measured: what a runtime said to the enlarged size, where it was asked.
        guessed: the model has no trained size; it was taken for the smallest that its FC nodes fit.
    """

    input: str
    trained_size: dict[str, list[int]]
    size: dict[str, list[int]]
    found: list[Finding]
    measured: str | None = None
    guessed: bool = False
    schema: int = field(default=SCHEMA)

    @property
    def clean(self) -> bool:
        """True if nothing was found."""
        return not self.found

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    def to_json(self) -> str:
        """The JSON text that ``--report FILE.json`` writes."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"


def enlarged(plan: Plan) -> dict[str, list[int]]:
    """A larger size of each image input: every map has a whole number of strides more, flattened ones twice the cells.

    Where the features of twice the cells are counted, a target with a -1 finds as many rows as it likes.
    """
    found = {}
    steps = strides(plan)
    for image in plan.images:
        source = image.axes[0].source
        cuts = [plan.maps[name].axes for name in plan.cuts]
        doubled = [[a.size * a.stride for a in axes] for axes in cuts if axes and axes[0].source == source]
        grown = []
        for i, (axis, step) in enumerate(zip(image.axes, steps[source], strict=True)):
            more = doubled[0][i] if doubled and len(doubled[0]) > i else Fraction(2 * step)
            grown.append(axis.trained + (int(more) if more % step == 0 else 2 * step))
        found[image.name] = grown
    return found


def of_plan(plan: Plan, baked: Iterable[str], size: dict[str, list[int]]) -> list[Finding]:
    """The findings of a model that was understood.

    Args:
        plan: what was understood of it, with the nodes replaced that carry the trained size.
        baked: these replacements, one line each, ``node: what -> what``.
        size: an enlarged size of each image input.
    """
    found = [_baked(line) for line in baked]
    images = {image.name: dict(zip(image.spatial, size[image.name], strict=True)) for image in plan.images}
    found += _in_heads(plan, infer(plan.model, plan.shapes.batch, images), size)
    for cause in plan.causes:
        what = "between sizes of the form trained + n * stride: " if cause.kind == "phase" else ""
        found.append(Finding(cause.node, "differs", f"{cause.kind}: {what}{cause.detail}"))
    order: list[Consequence] = ["breaks", "lies", "differs"]
    return sorted(dict.fromkeys(found), key=lambda f: order.index(f.consequence))


def of_refusal(error: Fc2ConvError) -> Finding:
    """The finding of a node that cannot be followed to another size."""
    return Finding(error.node or "the model", "breaks", error.reason)


def _baked(line: str) -> Finding:
    node, colon, rest = line.partition(": ")
    if not colon:
        node, rest = line.split(" -> ")[0], "it is " + line.split(" -> ")[1] + " of one size"
    rows = "-1" in rest.split(" -> ")[0]  # the axis that is left over takes in what does not fit
    lies = ", or returns several rows for one image and no runtime says so" if rows else ""
    return Finding(node, "lies" if rows else "breaks", f"carries the trained size{lies}; to follow the image's, {rest}")


def _in_heads(plan: Plan, larger: Shapes, size: dict[str, list[int]]) -> Iterator[Finding]:
    """Follow the shapes behind the flattened maps until something cannot go on."""
    words = ", ".join(dict.fromkeys("x".join(map(str, s)) for s in size.values()))
    broken: set[str] = set()
    for op in plan.head:
        if any(name in broken for name in op.reads()):
            broken |= set(op.outputs)
            continue
        finding = _of_view(op, plan, larger, words) or _of_product(op, plan, larger, words) or _of_pool(op, plan)
        if finding is not None:
            yield finding
            if finding.consequence != "differs":
                broken |= set(op.outputs)


def _of_view(op: Op, plan: Plan, larger: Shapes, words: str) -> Finding | None:
    given, before = larger.of(op.inputs[0]), plan.shapes.of(op.outputs[0])
    if op.op_type not in VIEWS or given is None or op.op_type in ("Squeeze", "Unsqueeze"):
        return None
    target = plan.constants.fixed(op.inputs[1]) if len(op.inputs) > 1 else None
    if target is None and op.op_type == "Reshape":
        return None
    try:
        shape = target_of(op, given, target.ints() if target else None)
    except ValueError as e:
        return Finding(str(op), "breaks", f"at {words} {e}")
    batch = plan.shapes.batch
    if before is not None and before[:1] == (batch,) and shape[0] != batch:
        reason = f"its target {target.ints() if target else ''} returns {shape[0]} rows for {batch} image(s) at {words}"
        return Finding(str(op), "lies", f"{reason}, and no runtime says so")
    return None


def _of_product(op: Op, plan: Plan, larger: Shapes, words: str) -> Finding | None:
    if op.op_type not in FULLY_CONNECTED or op.op_type == "Einsum":
        return None
    given, before = larger.of(op.inputs[0]), plan.shapes.of(op.inputs[0])
    if given is None or before is None or given[-1] == before[-1]:
        return None
    return Finding(
        str(op), "breaks", f"dimension mismatch: its weight takes {before[-1]} features and gets {given[-1]} at {words}"
    )


def _of_pool(op: Op, plan: Plan) -> Finding | None:
    source = plan.maps.get(op.inputs[0])
    whole = op.op_type in POOLS or op.op_type in REDUCTIONS
    if source is None or not whole or not any(isinstance(d, Axis) and follows(d) for d in source.dims):
        return None
    return Finding(str(op), "differs", "global pool: one answer for the whole image, over everything in it")


def guess_size(model: Model, image: str, spatial: list[int], batch: int) -> list[int]:
    """The trained size of an image whose height and width have names only: the smallest that its FC nodes fit.

    Args:
        model: the model.
        image: name of its image input.
        spatial: its spatial axes.
        batch: a batch size.

    Raises:
        UsageError: no size fits; it has to be given.
    """
    squares = [224, *range(32, 513, 32), *range(1, 513)]
    small, large = range(2, 33, 2), range(32, 513, 32)
    others = [(h, w) for sizes in (small, large) for h in sizes for w in sizes if h != w] if len(spatial) == 2 else []
    for size in (*((n,) * len(spatial) for n in squares), *others):
        if _fits(model, infer(model, batch, {image: dict(zip(spatial, size, strict=True))}), batch):
            return list(size)
    raise UsageError(
        f"input '{image}' has no fixed size, and none was found that its FC nodes fit: give it with --size"
    )


def _fits(model: Model, shapes: Shapes, batch: int) -> bool:
    for op in model.ops:
        given = shapes.of(op.inputs[0]) if op.inputs else None
        weight = model.constants.get(op.inputs[1]) if len(op.inputs) > 1 else None
        if op.op_type not in ("Gemm", "MatMul") or weight is None or given is None:
            continue
        rows = weight.shape[-1 if op.attr("transB", 0) else 0]
        if given[-1] != rows or (len(given) == 2 and given[0] != batch):
            return False
    return True
