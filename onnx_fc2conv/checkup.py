"""``--check``: load, straighten, fix the size, follow, and list what breaks or lies when the size changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from onnx import ModelProto

from . import findings, heads, model_io, shapes
from .backbone import resolved
from .constants import Constants
from .errors import Unliftable, UsageError
from .ops import Model, view
from .pipeline import followed
from .settings import Settings
from .structure import straighten


def check(source: Any, settings: Settings) -> findings.Findings:
    """What breaks or lies in a model as it is, when the size of its image changes.

    Raises:
        NothingToConvert: there is no image input.
        Fc2ConvError: the model cannot be read.
    """
    from .verification.trial import tried

    given, name = model_io.load(source)
    straight = straighten(given, lambda m: (Constants(m, shapes.infer(m, 1), None), {})).model
    model, trained, guessed = _of_trained_size(straight, settings)
    try:
        known = resolved(lambda readings: followed(model, replace(settings, sizes=()), readings))
    except Unliftable as e:
        return findings.Findings(name, trained, {}, [findings.of_refusal(e)], guessed=guessed)
    size = findings.enlarged(known.plan)
    found = findings.of_plan(known.plan, known.changes, size)
    spatial_axes = {image.name: image.spatial for image in known.plan.images}
    measured = tried(given.proto, given.folder, spatial_axes, size)
    return findings.Findings(name, trained, size, found, measured, guessed)


def _of_trained_size(model: Model, settings: Settings) -> tuple[Model, dict[str, list[int]], bool]:
    """The model with fixed sizes, these, and whether they are a guess.

    They are its own, or what was given for it, or what its FC nodes fit.
    """
    guessed = False
    batch = shapes.declared_batch(model) or shapes.PROBED_BATCHES[0]
    sizes: dict[str, list[int]] = {}
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    inputs = {value.name: value for value in proto.graph.input}
    for value, axes in heads.images(model):
        dims = inputs[value.name].type.tensor_type.shape.dim
        if all(dims[a].dim_value > 0 for a in axes):
            sizes[value.name] = [dims[a].dim_value for a in axes]
            continue
        guessed = not settings.sizes
        asked = findings.guess_size(model, value.name, axes, batch) if guessed else list(settings.sizes[0])
        if len(asked) != len(axes):
            raise UsageError(f"size {asked} has {len(asked)} axes, input '{value.name}' has {len(axes)} spatial ones")
        for axis, n in zip(axes, asked, strict=True):
            dims[axis].dim_value = n
        sizes[value.name] = asked
    return view(proto, model.folder), sizes, guessed
