"""A model with its FC nodes, found in the graph of a converted one that does not say what it was made from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from ..errors import NothingToConvert, Unliftable, UnreadableModel, UsageError
from ..geometry import METADATA_KEY as GEOMETRY
from ..geometry import Geometry
from ..head_form import METADATA_KEY as HEAD_FORM
from ..ops import Model, view
from ..output_form import METADATA_KEY as OUTPUT_FORMS
from ..settings import Size
from ..shapes import Shapes, declared_batch, infer
from .flat import Flattened
from .record import METADATA_KEY
from .restored import FOUND, Restored
from .sizes import Sizes, chosen_size, completed, likely
from .spenders import SLIDING, Spender, spenders, vectors

INITIALIZERS_ARE_INPUTS = 3  #: up to this IR version every initializer must be listed as a graph input
BATCHES = (13, 17)  #: two numbers of images, to tell the batch from other dims

Chosen = dict[str, int]  #: size of each free axis, by its name


def found(model: Model, sizes: tuple[Size, ...] = ()) -> Restored:
    """Flatten the heads of a converted model at the size that it was trained at.

    A Conv whose kernel covers its map is an FC behind a flattening, and 1x1 Convs behind it are FC nodes too (Ma and
    Lu, "An Equivalence of Fully Connected Layer and Convolutional Layer", 2017).

    Args:
        model: the converted model; not changed.
        sizes: the trained size, if it is known; else it is what the model's geometry says, or where that is not there
            either, a likely one of those that fit, and the range is noted.

    Raises:
        NothingToConvert: no Conv of the model can be an FC.
        Unliftable: a head cannot be flattened, or fits no size.
        UsageError: a kernel does not cover its map at the size that was asked for.
    """
    last = spenders(model)
    heads = [s for s in last if s.begins_head]
    known = Sizes(model, heads)
    if not known.free and not (heads and known.fit({})):  # a model of one size, in which nothing covers its map
        known = Sizes(model, [])
    chosen, notes = _chosen(known, sizes)
    at = _at(known, chosen)
    flattened = Flattened(model, at, {s.op.index: s for s in (*known.spenders, *vectors(model, at))})
    flattened.run()
    if not flattened.rows:
        raise _no_fc(last)
    grids = dict(_drop_grids(flattened, known, chosen, last))
    proto = _assembled(flattened, known, chosen, grids)
    return Restored(proto, FOUND, _trained(proto), tuple(flattened.rows), tuple(notes), grids)


def _no_fc(last: list[Spender]) -> NothingToConvert:
    """Why the last nodes that look at more than one cell have led to no FC."""
    for spender in last:
        if spender.op.op_type in SLIDING:
            reason = f"it {spender.why_not or 'has a kernel that does not cover its map'}, so it is no FC"
            return NothingToConvert(f"{reason}, and there is none behind it", str(spender.op))
    return NothingToConvert("no Conv behind the last node that looks at more than one cell sees all of its input")


def _chosen(known: Sizes, asked: tuple[Size, ...]) -> tuple[Chosen, list[str]]:
    """The size of each free axis, and what to say of it."""
    if asked:
        chosen = chosen_size(known, asked)
        if not known.fit(chosen):
            raise UsageError(f"at size {_text(asked[0])} {_misfit(known, chosen)}")
        return chosen, []
    stored = _stored(known)
    if stored is not None:
        return stored, []
    ranges = known.ranges()
    chosen = {symbol: likely(low, high) for symbol, (low, high) in ranges.items()}
    if not known.fit(_probed(known, chosen)):
        raise Unliftable(f"no size of the input was found at which its kernel covers its map: {_misfit(known, chosen)}")
    notes = []
    for symbol, (low, high) in ranges.items():
        if high > low:
            places = " and ".join(f"axis {axis} of input '{name}'" for name, axis in known.free[symbol])
            notes.append(f"the trained size of {places} may be any from {low} to {high}: {chosen[symbol]} was taken")
    return chosen, notes


def _stored(known: Sizes) -> Chosen | None:
    """The trained size that the model's geometry says, if it has one that fits."""
    text = next((prop.value for prop in known.model.proto.metadata_props if prop.key == GEOMETRY), None)
    try:
        outputs = Geometry.from_json(text).outputs if text is not None else {}
    except ValueError:
        return None
    chosen: Chosen = {}
    for grid in outputs.values():
        symbols = [s for s, places in known.free.items() if any(name == grid.source for name, _ in places)]
        chosen |= dict(zip(symbols, grid.trained_size, strict=False))
    return chosen if chosen and known.fit(_probed(known, chosen)) else None


def _probed(known: Sizes, chosen: Chosen) -> Chosen:
    """The chosen sizes, and some for axes on which nothing depends."""
    return dict.fromkeys(known.free, max(chosen.values(), default=64)) | chosen


def _misfit(known: Sizes, chosen: Chosen) -> str:
    """Which kernel does not cover its map."""
    maps = known.maps(_probed(known, chosen))
    if maps is None:
        return "some node has no input left"
    for spender, size in zip(known.spenders, maps, strict=True):
        if spender.kernel and spender.kernel != size:
            return f"{spender.op} sees a map of {_text(size)} cells, and its kernel has {_text(spender.kernel)}"
    return "the heads need different sizes"


def _text(size: Size) -> str:
    return "x".join(map(str, size))


def _at(known: Sizes, chosen: Chosen) -> Shapes:
    try:
        return known.shapes(_probed(known, chosen))
    except UnreadableModel as e:
        raise Unliftable(e.reason) from e


def _drop_grids(flattened: Flattened, known: Sizes, chosen: Chosen, last: list[Spender]) -> Iterator[tuple[str, int]]:
    """Give every output of a head its own axes, without the grid's."""
    at = flattened.shapes
    grid = max((len(at.of(s.op.inputs[0]) or ()) - 2 for s in known.spenders), default=2)
    try:
        larger = known.shapes({symbol: 2 * n for symbol, n in _probed(known, chosen).items()})
    except UnreadableModel:
        larger = at
    covering = [s for s in last if not s.kernel or s.kernel == (at.of(s.op.inputs[0]) or ())[2:]]
    behind = _behind(flattened.model, covering)
    for name in flattened.model.outputs:
        dims, grown = at.of(name) or (), larger.of(name) or ()
        on_grid = len(dims) == len(grown) > grid and set(dims[-grid:]) == {1} and min(grown[-grid:]) > 1
        if name in flattened.flat:
            yield name, max(len(dims) - 2, 0)
        elif on_grid and name in behind:
            flattened.drop_grid(name, grid)
            yield name, grid
        else:
            yield name, 0


def _behind(model: Model, covering: list[Spender]) -> set[str]:
    """All values behind some nodes, and theirs."""
    found = {o for s in covering for o in s.op.outputs if o}
    for op in model.ops:
        if any(name in found for name in op.reads()):
            found |= {o for o in op.outputs if o}
    return found


def _assembled(flattened: Flattened, known: Sizes, chosen: Chosen, grids: dict[str, int]) -> ModelProto:
    """The model with the nodes that were written."""
    model, proto = flattened.model, ModelProto()
    proto.CopyFrom(model.proto)
    graph = proto.graph
    del graph.node[:]
    graph.node.extend(_live(flattened))
    _exchange_initializers(flattened, graph, proto.ir_version)
    for symbol, size in chosen.items():
        for name, axis in known.free[symbol]:
            value = next(v for v in graph.input if v.name == name)
            value.type.tensor_type.shape.dim[axis].Clear()
            value.type.tensor_type.shape.dim[axis].dim_value = size
    _drop_value_info(model, graph, flattened)
    kept = [p for p in proto.metadata_props if p.key not in (METADATA_KEY, GEOMETRY, OUTPUT_FORMS, HEAD_FORM)]
    rest = ModelProto(metadata_props=kept)
    del proto.metadata_props[:]
    proto.metadata_props.extend(rest.metadata_props)
    _declare_outputs(proto, model.folder, grids)
    return proto


def _live(flattened: Flattened) -> list[NodeProto]:
    """The nodes without those that only replaced ones used; what was unused before stays."""
    model = flattened.model
    needed = set(model.outputs) | {name for op in model.ops for name in op.captured}
    live: list[NodeProto] = []
    for node in reversed(flattened.nodes):
        unused_before = not any(o in model.consumers for o in node.output)
        if unused_before or any(o in needed for o in node.output):
            needed.update(node.input)
            live.append(node)
    return live[::-1]


def _exchange_initializers(flattened: Flattened, graph: GraphProto, ir_version: int) -> None:
    """New constants take the names of those that nothing reads any more."""
    needed = {i for node in graph.node for i in node.input} | {o.name for o in graph.output}
    for op in flattened.model.ops:
        needed |= op.captured
    gone = {name for name in flattened.of.values() if name not in needed}
    names: dict[str, str] = {}
    for new, old in flattened.of.items():
        if old in gone and old not in names.values():
            names[new] = old
    for node in graph.node:
        node.input[:] = [names.get(i, i) for i in node.input]
    used_before = set(flattened.model.consumers) - needed
    kept = [t for t in graph.initializer if t.name not in used_before]
    copies = [TensorProto.FromString(t.SerializeToString()) for t in kept]
    made = [t for t in flattened.made.values() if t.name in needed]
    for tensor in made:
        tensor.name = names.get(tensor.name, tensor.name)
    listed = {v.name for v in graph.input} & set(flattened.model.constants)
    inputs = [v for v in graph.input if v.name not in used_before]
    for tensor in made:
        if ir_version <= INITIALIZERS_ARE_INPUTS or tensor.name in listed:
            inputs.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    rest = GraphProto(input=inputs)
    del graph.initializer[:], graph.input[:]
    graph.initializer.extend([*copies, *made])
    graph.input.extend(rest.input)
    flattened.of = {names.get(new, new): old for new, old in flattened.of.items()}
    flattened.rows = [replace(row, weight=names.get(row.weight, row.weight)) for row in flattened.rows]


def _drop_value_info(model: Model, graph: GraphProto, flattened: Flattened) -> None:
    """What was declared of values at any size is stale; inference gives it again."""
    touched = {v.name for v in model.inputs}
    for op in model.ops:
        if any(name in touched for name in op.reads()):
            touched |= {o for o in op.outputs if o}
    present = {o for node in graph.node for o in node.output} | {t.name for t in graph.initializer}
    old = set(flattened.of.values())
    kept = [v for v in graph.value_info if v.name not in touched | old and v.name in present]
    copies = [ValueInfoProto.FromString(v.SerializeToString()) for v in kept]
    del graph.value_info[:]
    graph.value_info.extend(copies)


def _declare_outputs(proto: ModelProto, folder: str, grids: dict[str, int]) -> None:
    """Outputs have the dims that follow from the inputs', and the batch's name where they have a batch."""
    model = view(proto, folder)
    batch = declared_batch(model)
    shapes = [completed(model, infer(model, n)) for n in ((batch,) if batch else BATCHES)]
    name = next((v.type.tensor_type.shape.dim[0].dim_param for v in model.inputs if v.type.tensor_type.shape.dim), "")
    for value in proto.graph.output:
        dims = [s.of(value.name) for s in shapes]
        declared = value.type.tensor_type.shape.dim
        if dims[0] is None or dims[-1] is None:  # not known: at least not those of the grid
            del declared[len(declared) - grids[value.name] :]
            continue
        value.type.tensor_type.shape.Clear()
        value.type.tensor_type.shape.SetInParent()
        for a, b in zip(dims[0], dims[-1], strict=True):
            dim = value.type.tensor_type.shape.dim.add()
            if a == b:
                dim.dim_value = a
            elif a == BATCHES[0]:
                dim.dim_param = name


def _trained(proto: ModelProto) -> dict[str, tuple[int | None, ...]]:
    stored = {t.name for t in proto.graph.initializer}
    return {
        v.name: tuple(d.dim_value if d.dim_value > 0 else None for d in v.type.tensor_type.shape.dim)
        for v in proto.graph.input
        if v.name not in stored
    }
