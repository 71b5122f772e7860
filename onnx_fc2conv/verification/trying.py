"""Models as users run them, for whoever measures how long they take."""

from __future__ import annotations

from onnx import ModelProto

from ..conversion import Conversion, Sizes
from .choice import runtime
from .inputs import Images
from .session import Feeds, Session
from .static_inputs import Inputs


def runs_on() -> str:
    """The runtime that the sessions are of, with its version."""
    found = runtime("onnxruntime")
    return f"{found.name} {found.version}"


def default_session(proto: ModelProto, folder: str) -> Session:
    """A session of onnxruntime's with default options.

    Raises:
        RuntimeRefusal: it does not load the model.
    """
    return runtime("onnxruntime").load(proto, folder, default=True)


def drawn(conversion: Conversion, sizes: Sizes, batch: int) -> Feeds:
    """Seeded random values for all inputs of a converted model.

    Args:
        conversion: it, with what is known of the original.
        sizes: of its images; empty where no size changes.
        batch: number of images.

    Raises:
        RuntimeRefusal: the original, whose inputs it has, cannot be loaded.
        VerificationFailed: no values can be drawn for an input.
    """
    if conversion.plan.static:
        folder = conversion.plan.model.folder
        return Inputs(conversion.plan, runtime("onnxruntime").load(conversion.original, folder)).draw(batch=batch)
    return Images(conversion.plan).draw(sizes, batch)
