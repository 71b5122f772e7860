"""Declared shapes of the converted model: spatial dims become ``dim_param``s, stale ones go.

Every size that follows from the input's is written as the expression that it is, so that two values that have the same
size at every input size carry the same ``dim_param``: ``height``, ``(height - 96)//32``.
"""

from __future__ import annotations

from onnx import ModelProto, TensorShapeProto, ValueInfoProto

from . import reach
from .geometry import METADATA_KEY, Axis, Geometry, SizeLaw
from .plan import Dims, Merged, Plan, follows
from .rewrite import Rewrite, Windowed

NAMES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}


def free(proto: ModelProto, plan: Plan, rewrite: Rewrite) -> Geometry:
    """Free the spatial dims of a converted model in place and store its geometry in ``metadata_props``."""
    graph = proto.graph
    symbols = _symbols(plan)
    touched = _touched(plan)
    mapped = {name: m.dims for name, m in plan.maps.items()} | plan.shadows
    batches = {i.name: i.type.tensor_type.shape.dim[0] for i in plan.model.inputs if i.name in symbols}
    images = {image.name: image.dims for image in plan.images}
    for value in graph.input:
        if value.name in images:
            _free_map(value, images[value.name], symbols)
    batch = next(iter(batches.values()), None)
    for value in graph.output:
        if value.name in rewrite.values:
            source = rewrite.values[value.name].grid.source
            _declare_output(value, rewrite.values[value.name], batches[source], symbols[source])
        elif value.name in mapped:
            _free_map(value, mapped[value.name], symbols, batch)
        elif value.name in touched:
            _forget_sizes(value)
    before = {name: array.shape for name, array in plan.model.constants.items()}
    present = {name for node in graph.node for name in node.output}
    present |= {t.name for t in graph.initializer if before.get(t.name) == tuple(t.dims)}
    known = set(rewrite.values) | set(mapped)
    kept = [v for v in graph.value_info if v.name in present and (v.name in known or v.name not in touched)]
    for value in kept:
        if value.name in rewrite.values:
            source = rewrite.values[value.name].grid.source
            _declare(value, rewrite.values[value.name], batches[source], symbols[source])
        elif value.name in mapped:
            _free_map(value, mapped[value.name], symbols, batch)
    copies = [ValueInfoProto.FromString(v.SerializeToString()) for v in kept]
    del graph.value_info[:]
    graph.value_info.extend(copies)
    geometry = reach.geometry(plan, rewrite)
    _store(proto, geometry)
    return geometry


def keep(proto: ModelProto) -> Geometry:
    """Where no size changes, only what was declared of values that are gone goes; there are no grids."""
    graph = proto.graph
    present = {name for node in graph.node for name in node.output} | {t.name for t in graph.initializer}
    dims = {t.name: list(t.dims) for t in graph.initializer}
    kept = [v for v in graph.value_info if v.name in present and _dims(v) == dims.get(v.name, _dims(v))]
    copies = [ValueInfoProto.FromString(v.SerializeToString()) for v in kept]
    del graph.value_info[:]
    graph.value_info.extend(copies)
    return Geometry({})


def _dims(value: ValueInfoProto) -> list[int]:
    return [d.dim_value for d in value.type.tensor_type.shape.dim]


def _touched(plan: Plan) -> set[str]:
    """Every value that an image, or only its shape, has a part in: what is declared of its size may be stale."""
    touched = {image.name for image in plan.images}
    for op in plan.model.ops:
        if any(name in touched for name in op.reads()):
            touched |= {name for name in op.outputs if name}
    return touched


def _forget_sizes(value: ValueInfoProto) -> None:
    """Leave an output whose size law is not known its rank and its symbols only."""
    for dim in value.type.tensor_type.shape.dim:
        dim.ClearField("dim_value")


def _symbols(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Names for the spatial dims of each input that no dim of the model uses for something else.

    Inputs that must have one size share theirs, by the first of them.
    """
    graph = plan.model.proto.graph
    taken = {
        d.dim_param
        for value in (*graph.input, *graph.output, *graph.value_info)
        for d in value.type.tensor_type.shape.dim
        if d.dim_param
    }
    symbols = {}
    for source, images in plan.tied.items():
        rank, names = len(images[0].axes), []
        for name in NAMES.get(rank, tuple(f"size_{i}" for i in range(rank))):
            n, free_name = 1, name
            while free_name in taken:
                n += 1
                free_name = f"{name}_{n}"
            names.append(free_name)
        taken |= set(names)
        symbols[source] = tuple(names)
    return symbols


def _free_map(
    value: ValueInfoProto,
    known: Dims,
    symbols: dict[str, tuple[str, ...]],
    batch: TensorShapeProto.Dimension | None = None,
) -> None:
    dims = value.type.tensor_type.shape.dim
    if len(dims) != len(known):
        if value.type.tensor_type.HasField("shape"):
            value.type.tensor_type.ClearField("shape")
        return
    for dim, meaning in zip(dims, known, strict=True):
        if isinstance(meaning, Axis):
            _set(dim, meaning.law, symbols[meaning.source][meaning.index])
        elif meaning == "batch" and batch is not None and batch.dim_param and dim.dim_value:
            dim.CopyFrom(batch)  # a batch that was fixed
        elif follows(meaning) or (isinstance(meaning, Merged) and "batch" in meaning.parts):
            dim.Clear()
            if isinstance(meaning, Merged) and "batch" not in meaning.parts:
                dim.dim_param = _product(meaning, symbols)


def _product(merged: Merged, symbols: dict[str, tuple[str, ...]]) -> str:
    """Several dims in one as an expression: ``(height//4)*(width//4)``."""
    words = [
        part.law.expression(symbols[part.source][part.index]) if isinstance(part, Axis) else str(part)
        for part in merged.parts
    ]
    return "*".join(f"({word})" if " " in word or "/" in word else word for word in words)


def _set(dim: TensorShapeProto.Dimension, law: SizeLaw, symbol: str) -> None:
    dim.Clear()
    if law.is_constant:
        dim.dim_value = law(1)
    else:
        dim.dim_param = law.expression(symbol)


def _declare(
    value: ValueInfoProto, lifted: Windowed, batch: TensorShapeProto.Dimension, symbols: tuple[str, ...]
) -> None:
    _declare_dims(value, lifted, [batch, *lifted.features], symbols)


def _declare_output(
    value: ValueInfoProto, lifted: Windowed, batch: TensorShapeProto.Dimension, symbols: tuple[str, ...]
) -> None:
    """A graph output keeps its axes, the batch among them wherever it was; the grid axes trail."""
    layout = lifted.layout
    images: TensorShapeProto.Dimension | int = batch
    if layout.merged:  # the rows of all images: as many as declared, if that is known
        images = TensorShapeProto.Dimension()
        before = value.type.tensor_type.shape.dim
        if batch.dim_value:
            images.dim_value = batch.dim_value * lifted.features[0]
        elif len(before) == lifted.rank and before[0].dim_param:
            images.dim_param = before[0].dim_param
    dims: list[TensorShapeProto.Dimension | int] = list(lifted.features[layout.merged :])
    if layout.before is not None:
        dims.insert(layout.before, images)
    _declare_dims(value, lifted, dims, symbols)


def _declare_dims(
    value: ValueInfoProto, lifted: Windowed, front: list[TensorShapeProto.Dimension | int], symbols: tuple[str, ...]
) -> None:
    tensor = value.type.tensor_type
    tensor.elem_type = lifted.elem_type
    tensor.shape.Clear()
    tensor.shape.SetInParent()
    for size in front:
        dim = tensor.shape.dim.add()
        if isinstance(size, int):
            dim.dim_value = size
        else:
            dim.CopyFrom(size)
    for law, symbol in zip(lifted.grid.laws, symbols, strict=True):
        _set(tensor.shape.dim.add(), law, symbol)


def _store(proto: ModelProto, geometry: Geometry) -> None:
    for prop in proto.metadata_props:
        if prop.key == METADATA_KEY:
            prop.value = geometry.to_json()
            return
    proto.metadata_props.add(key=METADATA_KEY, value=geometry.to_json())
