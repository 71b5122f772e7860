"""Which image inputs take part: those that an FC depends on, and those that meet them."""

from __future__ import annotations

from onnx import ValueInfoProto

from ..errors import Unliftable
from ..ops import FULLY_CONNECTED, Model


def images_of_heads(model: Model, images: list[str]) -> set[str]:
    """The images that an FC depends on, or something that may hide one, and all that meet them in some node."""
    origins, needed = origins_of(model, images, False), set[str]()
    for op in model.ops:
        if op.op_type in FULLY_CONNECTED or not op.standard or op.captured:
            needed |= set().union(*(origins.get(name, set()) for name in op.reads()))
    together = origins_of(model, images, True)
    while True:
        met = [set().union(*(together.get(name, set()) for name in op.reads())) for op in model.ops]
        more = needed.union(*(m for m in met if m & needed))
        if more == needed:
            return needed
        needed = more


def origins_of(model: Model, images: list[str], through_shapes: bool) -> dict[str, set[str]]:
    """For each value the images that it is computed from; also from their shapes only, if asked."""
    origins = {name: {name} for name in images}
    for op in model.ops:
        read = set().union(*(origins.get(name, set()) for name in op.reads()))
        if read and (through_shapes or op.op_type not in ("Shape", "Size")):
            origins |= {name: read for name in op.outputs if name}
    return origins


def require_one_batch(images: list[ValueInfoProto]) -> None:
    """Refuse images of which the batch sizes are declared differently.

    Raises:
        Unliftable: they are.
    """
    batches: dict[int, tuple[str, int | str]] = {}
    for value in images:
        dim = value.type.tensor_type.shape.dim[0]
        batches.setdefault(dim.dim_value if dim.dim_value > 0 else 0, (value.name, dim.dim_value or dim.dim_param))
    if len(batches) > 1:
        (one, first), (other, second) = list(batches.values())[:2]
        reason = f"the batch of image input '{one}' is {first or 'free'} and that of '{other}' is {second or 'free'}"
        raise Unliftable(f"{reason}; give them the same first")
