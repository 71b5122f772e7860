"""Read-only: where feature maps turn into vectors, and which nodes from there to the outputs form the heads."""

from __future__ import annotations

from dataclasses import dataclass

from . import backbone
from .backbone import Cause, FeatureMap, Trace
from .constants import Constants
from .errors import NothingToConvert
from .flatten import axes_of
from .geometry import Axis
from .ops import FULLY_CONNECTED, VIEWS, Model, Op
from .shapes import Shapes


@dataclass
class Plan:
    """What the rest of the pipeline works on.

    Attributes:
        model: the original.
        shapes: static shapes at the trained size.
        constants: what is known before run time.
        maps: every feature map by name, the image inputs included.
        cuts: names of the maps that are flattened, in order of use.
        head: the head's nodes, in topological order.
        causes: why the maps differ from what the original computes on an image crop; empty if they do not.
        image: the image input as a map.
    """

    model: Model
    shapes: Shapes
    constants: Constants
    maps: dict[str, FeatureMap]
    cuts: list[str]
    head: list[Op]
    causes: list[Cause]
    image: FeatureMap

    @property
    def fully_connected(self) -> list[Op]:
        """The FC nodes of the heads."""
        return [op for op in self.head if op.op_type in FULLY_CONNECTED]


def find(model: Model, shapes: Shapes, other_batch: Shapes | None) -> Plan:
    """Trace the backbone from the image input and collect the heads.

    Raises:
        NothingToConvert: no FC node depends on an image.
        Unliftable: a node of the backbone is unknown or bakes the trained size.
        UnreadableModel: the image input has no fixed size.
    """
    constants = Constants(model, shapes, other_batch)
    images = backbone.image_inputs(model)
    _require_fc(model, {v.name for v in images}, constants)
    if len(images) > 1:
        raise _several_images([v.name for v in images], model, constants)
    image = backbone.input_map(model, images[0])
    trace = Trace(constants, shapes)
    maps, head_values = {image.name: image}, set[str]()
    cuts: dict[str, None] = {}
    head: list[Op] = []
    for op in model.ops:
        reads = [name for name in op.reads() if name in head_values or name in maps]
        if not reads or (op.op_type in ("Shape", "Size") and op.standard):
            continue
        if any(name in head_values for name in reads) or _flattens(op, maps, trace):
            head.append(op)
            head_values |= {name for name in op.outputs if name}
            cuts |= {name: None for name in reads if name in maps}
        else:
            maps |= {m.name: m for m in backbone.move(op, model, maps, trace)}
    if not any(op.op_type in FULLY_CONNECTED for op in head):
        raise NothingToConvert("no fully connected node stands behind a flattened feature map")
    for name in cuts:
        _require_window(maps[name], image, model, trace)
    return Plan(model, shapes, constants, maps, list(cuts), head, trace.causes, image)


def _require_fc(model: Model, images: set[str], constants: Constants) -> None:
    tainted = set(images)
    for op in model.ops:
        if any(name in tainted for name in op.reads()) and op.op_type not in ("Shape", "Size"):
            if op.op_type in FULLY_CONNECTED or not op.standard or op.captured:
                return  # an FC, or something that may hide one
            tainted |= {name for name in op.outputs if name}
    raise NothingToConvert("no fully connected node depends on the image input")


def _several_images(names: list[str], model: Model, constants: Constants) -> Exception:
    reader = next((op for op in model.ops if names[1] in op.reads()), None)
    listed = ", ".join(f"'{n}'" for n in names)
    return (reader or model.ops[0]).refuse(f"the model has {len(names)} image inputs ({listed}); one is supported so far")


def _flattens(op: Op, maps: dict[str, FeatureMap], trace: Trace) -> bool:
    """True if this node ends the backbone: a view that takes spatial axes away."""
    if not op.standard or op.op_type not in VIEWS or op.inputs[0] not in maps:
        return False
    if op.op_type in ("Flatten", "Reshape"):
        return True
    if op.op_type == "Unsqueeze":
        return False
    dims = maps[op.inputs[0]].dims
    operand = trace.ints(op, 1, "axes") if len(op.inputs) > 1 and op.inputs[1] else None
    axes = axes_of(op, operand, len(dims))
    gone = [d for i, d in enumerate(dims) if (axes is None or i in axes)]
    return any(isinstance(d, Axis) and d.size == 1 for d in gone)


def _require_window(cut: FeatureMap, image: FeatureMap, model: Model, trace: Trace) -> None:
    reader = model.consumers[cut.name][0]
    pooled = [c for c in trace.causes if c.kind == "global context"]
    whole = f"; the whole map was pooled by {pooled[-1].node}" if pooled else ""
    lost = len(cut.axes) < len(image.axes)
    reader.refuse_if(lost, f"reads '{cut.name}', which has lost {len(image.axes) - len(cut.axes)} spatial axes{whole}")
    reader.refuse_if(
        any(a.law.is_constant for a in cut.axes), f"reads '{cut.name}', whose size does not follow the input's{whole}"
    )
    for axis in cut.axes:
        reader.refuse_if(
            axis.stride.denominator != 1, f"reads '{cut.name}', whose effective stride {axis.stride} is not whole"
        )
