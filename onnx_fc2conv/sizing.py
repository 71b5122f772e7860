"""Sizes to look at a model of open size at: what was asked for, what it says of itself, or what can be guessed."""

from __future__ import annotations

from . import findings, heads
from .conversion import DEFAULT_GROWTHS, text
from .errors import NothingToConvert, UsageError
from .geometry import METADATA_KEY, Geometry
from .open_sizes import at_size, open_axes
from .ops import FULLY_CONNECTED, Model
from .settings import Size

#: tried where nothing is known of the size; not square, so that swapped axes show
GUESSES: tuple[Size, ...] = ((32, 48), (64, 96), (7, 9), (128, 96), (224, 256), (256, 320), (28, 28), (512, 512))


def asked_or_known(model: Model, asked: tuple[Size, ...]) -> tuple[Size, ...]:
    """The sizes that were asked for; else the trained one that the model carries, and two larger ones.

    Raises:
        UsageError: every size is fixed, or an input has another number of open axes.
    """
    open_ = open_axes(model)
    if asked:
        if not open_:
            raise UsageError("--size: every size of the model is fixed; leave it out")
        for size in asked:
            for name, axes in open_.items():
                if len(axes) != len(size):
                    raise UsageError(f"size {text(size)} has {len(size)} axes, input '{name}' leaves {len(axes)} open")
        return asked
    props = {p.key: p.value for p in model.proto.metadata_props}
    if not open_ or METADATA_KEY not in props:
        return ()
    try:
        grids = list(Geometry.from_json(props[METADATA_KEY]).outputs.values())
    except ValueError:
        return ()  # it is a hint, no more: the sizes that are tried then do as well
    if not grids:
        return ()
    steps = (s if s % least == 0 else least for s, least in zip(grids[0].stride, grids[0].step, strict=True))
    return _grown(grids[0].trained_size, tuple(steps))


def _grown(trained: Size, step: Size) -> tuple[Size, ...]:
    """The trained size, and two that are whole strides larger."""
    grown = (tuple(t + g * s for t, g, s in zip(trained, growth, step, strict=False)) for growth in DEFAULT_GROWTHS)
    return trained, *grown


def guesses(model: Model) -> tuple[Size, ...]:
    """Sizes to try where none is known: the one that FC nodes fit first, if there are any."""
    open_ = open_axes(model)
    if not open_ or not any(op.op_type in FULLY_CONNECTED for op in model.ops):
        return GUESSES
    name, axes = next(iter(open_.items()))
    try:
        fitting = findings.guess_size(at_size(model, {}), name, axes, 1)
    except UsageError:
        return GUESSES
    return (tuple(fitting), *GUESSES)


def image_of(model: Model) -> tuple[str, list[int]] | None:
    """Name and spatial axes of the first image input; ``None`` if there is none."""
    try:
        value, axes = heads.images(model)[0]
    except NothingToConvert:
        return None
    return value.name, axes
