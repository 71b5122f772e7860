"""Einsum: a product with a constant is an FC; between values of the head the grid axes become further labels."""

from __future__ import annotations

from string import ascii_letters

import numpy as np

from ..flatten import Layout
from ..ops import Array
from ..rewrite import Windowed
from .grids import aligned
from .product import Weight, times
from .registry import lifts
from .rewriter import Operand, Rewriter
from .views import transpose


@lifts("Einsum", family="linear")
def lift_einsum(op: Rewriter, *operands: Operand) -> Windowed:
    """Lift an Einsum whose batch label goes through to the result."""
    terms, result = _labels(op, operands)
    operands, terms = _without_ones(op, operands, terms)
    lifted = [(x, term) for x, term in zip(operands, terms, strict=True) if isinstance(x, Windowed)]
    constants = [(c, term) for c, term in zip(operands, terms, strict=True) if isinstance(c, Array)]
    batches = {_batch_label(op, x, term) for x, term in lifted} - {""}
    op.refuse_if(len(batches) > 1, "pairs images with each other")
    batch = "".join(batches)
    op.refuse_if(batch and batch not in result, "sums over the batch axis, so it mixes the windows of different images")
    op.refuse_if(batch and any(batch in term for _, term in constants), "has a constant with a row for each image")
    for constant, labels in constants:  # one after the other, each with a value that shares a label if there is one
        i = next((i for i, (_, term) in enumerate(lifted) if set(term) & set(labels)), 0)
        x, term = lifted.pop(i)
        others = "".join(t for _, t in (*lifted, *constants) if t != labels) + result
        wanted = "".join(dict.fromkeys(c for c in term + labels if c in others or c == batch))
        made = _with_constant(op, x, term, constant, labels, wanted, batch)
        lifted.append((made, wanted))
    if len(lifted) == 1:
        x, term = lifted[0]
        if sorted(term) == sorted(result):
            return transpose(op, x, [term.index(c) for c in result])
    return _among_values(op, lifted, result, batch)


def _labels(op: Rewriter, operands: tuple[Operand, ...]) -> tuple[list[str], str]:
    """The labels of each operand and of the result, ``...`` written out."""
    equation = str(op.attr("equation")).replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    ranks = [x.rank if isinstance(x, Windowed) else len(x.shape) if isinstance(x, Array) else 0 for x in operands]
    unused = [c for c in ascii_letters if c not in equation]
    width = max([rank - len(t) + 3 for t, rank in zip(terms, ranks, strict=True) if "..." in t], default=0)
    hidden = "".join(unused[:width])  # the same for all: every ellipsis stands for as many axes
    if not arrow:
        named = left.replace("...", "").replace(",", "")
        right = ("..." if "..." in left else "") + "".join(sorted(c for c in set(named) if named.count(c) == 1))
    written = []
    for term, rank in zip(terms, ranks, strict=True):
        written.append(term.replace("...", hidden))
        op.refuse_if(len(written[-1]) != rank, f"its equation '{equation}' does not fit its operands")
        op.refuse_if(len(set(written[-1])) != rank, f"its equation '{equation}' takes a diagonal")
    return written, right.replace("...", hidden)


def _without_ones(
    op: Rewriter, operands: tuple[Operand, ...], terms: list[str]
) -> tuple[tuple[Operand, ...], list[str]]:
    """The operands without the axes of size 1 that stretch to another operand's size."""
    shapes = [
        x.layout.shape(x.features, op.batch) if isinstance(x, Windowed) else x.shape if isinstance(x, Array) else ()
        for x in operands
    ]
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        sizes |= {c: max(n, sizes.get(c, 1)) for c, n in zip(term, shape, strict=True)}
    kept_operands, kept_terms = [], []
    for x, term, shape in zip(operands, terms, shapes, strict=True):
        ones = [i for i, (c, n) in enumerate(zip(term, shape, strict=True)) if n == 1 < sizes[c]]
        dims = [n for i, n in enumerate(shape) if i not in ones]
        if ones and isinstance(x, Windowed):
            features = [f for i in ones if (f := x.layout.feature(i)) is not None]
            left = tuple(n for f, n in enumerate(x.features) if f not in features)
            x = _rows(op, x, left).placed(x.layout.without(features))
        elif ones and isinstance(x, Array):
            x = Array.of(x.name, x.values.reshape(dims))
        kept_operands.append(x)
        kept_terms.append("".join(c for i, c in enumerate(term) if i not in ones))
    return tuple(kept_operands), kept_terms


def _batch_label(op: Rewriter, x: Windowed, term: str) -> str:
    op.refuse_if(x.layout.merged, "reads rows of several images")
    return "" if x.layout.before is None else term[x.layout.before]


def _features(term: str, batch: str) -> str:
    return term.replace(batch, "") if batch else term


def _layout(result: str, batch: str) -> Layout:
    return Layout(result.index(batch) if batch else None)


def _among_values(op: Rewriter, lifted: list[tuple[Windowed, str]], result: str, batch: str) -> Windowed:
    """The equation itself, with the batch first and the grid last everywhere."""
    values = aligned(op, [x for x, _ in lifted])
    first = values[0]
    used = "".join(term for _, term in lifted) + result
    unused = [c for c in ascii_letters if c not in used]
    images, grid = batch or unused[0], "".join(unused[1 : 1 + first.grid_rank])
    sizes = {label: n for x, term in lifted for label, n in zip(_features(term, batch), x.features, strict=True)}
    terms = [images + _features(term, batch) + grid for _, term in lifted]
    equation = f"{','.join(terms)}->{images}{_features(result, batch)}{grid}"
    tensor = op.emit("Einsum", *(op.read(x) for x in values), equation=equation)
    features = tuple(sizes[label] for label in _features(result, batch))
    return first.spent(tensor, features).placed(_layout(result, batch))


def _with_constant(
    op: Rewriter, x: Windowed, term: str, constant: Array, labels: str, result: str, batch: str
) -> Windowed:
    """One product: shared labels choose a matrix, free ones are rows, those that the result lacks are summed."""
    names = _features(term, batch)
    wanted = _features(result, batch)
    sizes = dict(zip(names, x.features, strict=True)) | dict(zip(labels, constant.shape, strict=True))
    shared = [c for c in names if c in labels and c in wanted]
    free = [c for c in names if c not in labels and c in wanted]
    summed = [c for c in names if c not in wanted]
    units = [c for c in labels if c not in names and c in wanted]
    product = op.permute(x, [names.index(c) for c in (*shared, *free, *summed)])
    count = {
        part: int(np.prod([sizes[c] for c in cs]))
        for part, cs in zip("sfku", (shared, free, summed, units), strict=True)
    }
    product = _rows(op, product, (count["s"] * count["f"], count["k"])).placed(Layout())
    product = times(op, product, _weight(constant, labels, shared, summed, units, sizes, count["f"]))
    made = [*shared, *free, *units]
    product = op.reshape_features(op.read(product), tuple(sizes[c] for c in made))
    return op.permute(product, [made.index(c) for c in wanted]).placed(_layout(result, batch))


def _rows(op: Rewriter, x: Windowed, features: tuple[int, ...]) -> Windowed:
    return x.reordered(x.unread.order.reshape(features)) if x.unread else op.reshape_features(x, features)


def _weight(
    constant: Array,
    labels: str,
    shared: list[str],
    summed: list[str],
    units: list[str],
    sizes: dict[str, int],
    free: int,
) -> Weight:
    """The constant as one matrix ``[K, M]`` for each shared entry; a label that it lacks is summed with ones."""
    if [*summed, *units] == list(labels) and len(labels) == 2:
        return Weight(constant)
    if [*units, *summed] == list(labels) and len(labels) == 2:
        return Weight(constant, transposed=True)
    dims = [sizes[c] for c in summed]
    alone = tuple(i for i, c in enumerate(labels) if c not in (*shared, *summed, *units))
    values = constant.values.sum(alone) if alone else constant.values
    kept = [c for c in labels if c in (*shared, *summed, *units)]
    values = values.transpose([kept.index(c) for c in (*shared, *summed, *units) if c in kept])
    inner = [sizes[c] if c in kept else 1 for c in summed]
    values = values.reshape([*[sizes[c] for c in shared], *inner, *[sizes[c] for c in units]])
    full = np.broadcast_to(values, (*[sizes[c] for c in shared], *dims, *[sizes[c] for c in units]))
    count = int(np.prod([sizes[c] for c in shared]))
    stack = full.reshape(count, int(np.prod(dims)), -1)
    made_by = (labels, *shared, "|", *summed, "|", *units)
    return Weight(Array.of(constant.name, stack), which=np.repeat(np.arange(count), free), made_by=made_by)
