"""Judging a converted file of which nothing is known but its original.

Which axes are spatial is read off the two files: they are the dims that were fixed and are free now. The stride is what
the file claims of itself. Where the map is cut is found by trying: every value through which all of the image flows is
a candidate, and one of them must satisfy the law in every cell, unless the original does on image crops.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, ValueInfoProto

from .law import difference, excused, in_form, on_crops, on_windows
from .runtime import CannotRun, Feeds, Session, in_order, reads, values_of

GEOMETRY = "onnx_fc2conv.geometry"
OPEN = (8, 16, 32, 64)  #: sizes to try for spatial dims that the model leaves open
MOST_VALUES = 2**24  #: of an input; larger ones are not judged
CELLS = 12
LOOSE = 1e-3  #: of an enlarged image: models come as they are, and some subtract numbers that are nearly equal


class Unjudged(Exception):
    """Nothing can be said of this file, and why."""


@dataclass
class Image:
    """An input whose size became free: its axes, its trained size, and how many pixels larger it is made."""

    name: str
    axes: list[int]
    size: list[int]
    grow: list[int]


@dataclass
class Pair:
    """An original and what was made of it, both loaded."""

    model: ModelProto
    original: Session
    images: list[Image]
    form: str = "map"
    denser: bool = False
    claims: dict[str, dict[str, Any]] = field(default_factory=dict)
    made_for: dict[str, list[int | None]] = field(
        default_factory=dict
    )  #: dims of the converted one, some fixed only now
    trained: Feeds = field(default_factory=dict)
    converted: Session = field(init=False)

    @classmethod
    def load(cls, original: str, converted: str, form: str, denser: bool = False) -> Pair:
        """Load both files.

        Raises:
            Unjudged: the original does not run itself.
            CannotRun: the converted one does not load.
        """
        try:
            model, before = onnx.load(original), Session(original)
        except Exception as e:
            raise Unjudged(f"the original does not load: {e}") from e
        written = onnx.load(converted, load_external_data=False)
        made_for = {i.name: dims_of(i) for i in written.graph.input}
        pair = cls(model, before, list(freed(model, written)), form, denser, claims_of(written), made_for)
        pair.trained = inputs_of(pair)
        pair.converted = Session(converted)
        return pair


def dims_of(value: ValueInfoProto) -> list[int | None]:
    """Declared dims, ``None`` for free ones."""
    return [d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim]


def freed(before: ModelProto, after: ModelProto) -> Iterator[Image]:
    """The inputs with spatial dims that were fixed and are free now, or that the file claims to have grids over.

    An input without a grid of its own grows with the one that its dims share their names with.
    """
    claims = claims_of(after)
    given = {i.name: dims_of(i) for i in before.graph.input}
    shared: dict[str, tuple[int, int]] = {}  # name of a dim -> trained size, growth
    for value in after.graph.input:
        old, new = given.get(value.name, []), value.type.tensor_type.shape.dim
        own = [c for c in claims.values() if c.get("input") == value.name]
        axes = [a for a, was in enumerate(old) if a and was is not None and a < len(new) and new[a].dim_param]
        if not own:
            continue
        size = own[0]["trained_size"]
        if len(axes) != len(size):  # left open by the original
            channels_last = len(old) == len(size) + 2 and old[-1] is not None and old[1] is None
            axes = [a + 2 - channels_last for a in range(len(size))]
        grow = [max(c["stride"][a] for c in own) for a in range(len(size))]
        shared |= {new[a].dim_param: (n, g) for a, n, g in zip(axes, size, grow, strict=True) if a < len(new)}
        yield Image(value.name, axes, list(size), grow)
    own_grids = {c.get("input") for c in claims.values()}
    for value in after.graph.input:
        names = [d.dim_param for d in value.type.tensor_type.shape.dim]
        axes = [a for a, name in enumerate(names) if a and name in shared]
        if axes and value.name not in own_grids:
            yield Image(value.name, axes, *([shared[names[a]][i] for a in axes] for i in (0, 1)))


def claims_of(model: ModelProto) -> dict[str, dict[str, Any]]:
    """What the file says of its grids, by output."""
    for prop in model.metadata_props:
        if prop.key == GEOMETRY:
            with suppress(ValueError, KeyError, TypeError, AttributeError):
                found: dict[str, dict[str, Any]] = json.loads(prop.value)["outputs"]
                if all(len(c["trained_size"]) == len(c["stride"]) and c["input"] for c in found.values()):
                    return found
    return {}


def judge(pair: Pair) -> str | None:
    """What is wrong with the converted model; ``None`` if nothing is."""
    wrong = at_trained_size(pair)
    return _enlarged(pair) if pair.images and wrong is None else wrong


def at_trained_size(pair: Pair) -> str | None:
    """What is wrong with it at the size that the original has."""
    trained = pair.trained
    expected = pair.original.run(trained)
    found = _converted(pair, trained)
    for name, want in expected.items():
        if name not in found:
            return f"output '{name}' is gone"
        have = found[name]
        if have.size != want.size:
            return f"output '{name}' has shape {have.shape} at the trained size, and the original gives {want.shape}"
        wrong = excused(pair.original.run, trained, name, have.reshape(want.shape), want)
        if wrong:
            return f"output '{name}' {wrong} at the trained size"
    return None


def _converted(pair: Pair, feeds: Feeds) -> Feeds:
    try:
        return pair.converted.run(feeds)
    except CannotRun as e:
        raise CannotRun(f"the converted model does not run on {[list(v.shape) for v in feeds.values()]}: {e}") from e


def inputs_of(pair: Pair) -> Feeds:
    """Seeded inputs of the trained size, on which the original runs.

    Raises:
        Unjudged: it runs on none that were tried.
    """
    reason = "no inputs"
    for batch, side in itertools.product((2, 1), OPEN):
        try:
            feeds = _feeds(pair, batch, side)
            pair.original.run(feeds)
            return feeds
        except CannotRun as e:
            reason = str(e)
    raise Unjudged(f"the original does not run: {reason}")


def _feeds(pair: Pair, batch: int, side: int) -> Feeds:
    rng = np.random.default_rng(7)
    known = {image.name: image for image in pair.images}
    feeds: Feeds = {}
    for name, (declared, kind) in pair.original.inputs.items():
        fixed = [*pair.made_for.get(name, ()), *[None] * len(declared)]
        sizes = zip(declared, fixed, [batch, *[side] * len(declared)], strict=False)
        shape = [d if isinstance(d, int) else now or size for d, now, size in sizes]
        if name in known:
            for axis, size in zip(known[name].axes, known[name].size, strict=True):
                shape[axis] = size
        if kind is None or any(n < 0 for n in shape) or int(np.prod(shape, dtype=object)) > MOST_VALUES:
            raise Unjudged(f"input '{name}' cannot be made")
        values = rng.normal(size=shape) if np.dtype(kind).kind == "f" else rng.integers(0, 3, shape)
        feeds[name] = values.astype(kind)
    return feeds


def _enlarged(pair: Pair) -> str | None:
    """The law at images that are a cell or two larger."""
    trained = pair.trained
    feeds = dict(trained)
    for image in pair.images:
        shape = list(trained[image.name].shape)
        for axis, grow in zip(image.axes, image.grow, strict=True):
            shape[axis] += grow
        if int(np.prod(shape)) > MOST_VALUES:
            return None
        feeds[image.name] = np.resize(np.roll(trained[image.name], 3), shape)
    found = _converted(pair, feeds)
    if claims_of(pair.model):  # it had a grid before
        return _as_before(pair, feeds, found)
    values = Values(pair, trained, feeds)
    for name, claim in pair.claims.items():
        if name in found and name in pair.original.outputs:
            wrong = _by_the_law(pair, values, name, claim, found[name])
            if wrong:
                return f"output '{name}' {wrong}"
    return None


def _as_before(pair: Pair, feeds: Feeds, found: Feeds) -> str | None:
    """The original runs at this size itself."""
    for name, want in pair.original.run(feeds).items():
        wrong = excused(pair.original.run, feeds, name, found[name], want)
        if wrong:
            return f"output '{name}' {wrong} at the enlarged size"
    return None


class Values:
    """What the original has inside at both sizes, found out once."""

    def __init__(self, pair: Pair, trained: Feeds, large: Feeds) -> None:
        self.trained, self.large = trained, large
        self._pair = pair
        self._known: tuple[Feeds, Feeds] | None = None

    def __call__(self) -> tuple[Feeds, Feeds]:
        """All values that depend on an image and that the backbone gives at the enlarged size too."""
        if self._known is None:
            names = [v for i in self._pair.images for v in behind(self._pair.model, i.name)]
            small = values_of(self._pair.model, names, self.trained)
            names = [n for n in dict.fromkeys(names) if isinstance(small[n], np.ndarray)]
            while names:
                try:
                    self._known = small, values_of(self._pair.model, names, self.large)
                    return self._known
                except CannotRun:  # the head does not run at this size, which is what all this is for
                    names = names[:-1]
            self._known = small, {}
        return self._known


def _by_the_law(pair: Pair, values: Values, name: str, claim: dict[str, Any], found: np.ndarray) -> str | None:
    """Why an output is no grid of the original's answers; ``None`` if it is, or nothing can be said."""
    image = next(i for i in pair.images if i.name == claim["input"])
    rank = len(image.axes)
    reasons = []
    for certain, expected in _expectations(pair, values, name, image, claim):
        grid = expected.shape[expected.ndim - rank :]
        if pair.form == "map" and found.shape[found.ndim - rank :] != grid:
            continue
        want = in_form(expected, rank, pair.form)
        wrong = difference(found, want, False, LOOSE * _scale(want))
        if wrong is None:
            return None
        reasons += [f"{wrong} at the enlarged size"] if certain else []
    return reasons[0] if reasons else None


def _scale(want: np.ndarray) -> float:
    return float(np.abs(want[np.isfinite(want)]).max(initial=0.0)) if want.dtype.kind == "f" else 0.0


def _expectations(
    pair: Pair, values: Values, name: str, image: Image, claim: dict[str, Any]
) -> Iterator[tuple[bool, np.ndarray]]:
    """What the law may give for an output: on image crops, and on the windows of each candidate.

    With each, whether the law must hold in one of these: on image crops only where nothing pads.
    """
    stride = tuple(claim["stride"])
    sees_more = bool(claim.get("global_context")) or any(n > 0 for n in (*claim["padding"], *claim["padding_after"]))
    grid = tuple(grow // s + 1 for grow, s in zip(image.grow, stride, strict=True))
    crops_of = {i.name: (i.axes, i.size, stride) for i in pair.images if len(i.axes) == len(stride)}
    if len(crops_of) == len(pair.images) and np.prod(grid) <= CELLS:
        with suppress(CannotRun):
            yield not sees_more, on_crops(pair.original, values.large, crops_of, grid, [name])[name]
    if pair.denser:
        return
    try:
        small, large = values()
    except CannotRun:
        return
    for value in reversed(candidates(pair.model, image.name, name)):
        axes = _grows(small.get(value), large.get(value), grid)
        if axes is None:
            continue
        with suppress(CannotRun):
            yield True, on_windows(pair.model, values.large, values.trained, value, axes, [name])[name]


def _grows(small: np.ndarray | None, large: np.ndarray | None, grid: tuple[int, ...]) -> list[int] | None:
    """The axes along which a value has more cells, if its windows make this grid."""
    if small is None or large is None or small.ndim != large.ndim or np.prod(grid) > CELLS:
        return None
    axes = [a for a in range(1, small.ndim) if large.shape[a] > small.shape[a]]
    if len(axes) < len(grid):  # as many cells as before along some axis
        axes = [a for a in range(small.ndim - len(grid), small.ndim) if a]
    return axes if tuple(large.shape[a] - small.shape[a] + 1 for a in axes) == grid else None


def behind(model: ModelProto, image: str) -> list[str]:
    """Values that depend on an image, in the order of the nodes."""
    depends, order = {image}, list[str]()
    for node in in_order(model):
        if reads(node) & depends:
            depends |= {o for o in node.output if o}
            order += [o for o in node.output if o]
    return order


def candidates(model: ModelProto, image: str, output: str) -> list[str]:
    """Values through which everything flows that an output has of an image, in the order of the nodes."""

    def flows_around(value: str) -> bool:
        reached = {image}
        for node in in_order(model):
            if reads(node) & reached:
                reached |= {o for o in node.output if o and o != value}
        return output in reached

    return [v for v in behind(model, image) if v != output and not flows_around(v)]
