"""Outputs: swapped, scaled, mixed over the images of a batch, in another precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from .edits import constant, copied, edited, element_type, insert_behind
from .registry import Wrong, mistake

Nodes = Callable[[ModelProto, str], list[NodeProto]]


def _each(name: str, nodes: Nodes, kinds: tuple[int, ...] = (TensorProto.FLOAT,)) -> None:
    """Register nodes that are put behind one output after the other."""

    def sites(model: ModelProto) -> Iterator[Wrong]:
        for output in model.graph.output:
            if element_type(model, output.name) in kinds:
                copy = copied(model)
                insert_behind(copy, output.name, *nodes(copy, output.name))
                yield f"output '{output.name}'", copy

    mistake(name, "outputs")(sites)


def _first_image(model: ModelProto, output: str) -> list[NodeProto]:
    zero, one, axis = (constant(model, n, [v]) for n, v in (("begin", 0), ("stop", 1), ("batch_axis", 0)))
    return [
        helper.make_node("Slice", [f"{output}_right", zero, one, axis], ["first_image"]),
        helper.make_node("Shape", [f"{output}_right"], ["all_dims"]),
        helper.make_node("Expand", ["first_image", "all_dims"], [output]),
    ]


def _half(model: ModelProto, output: str) -> list[NodeProto]:
    there = helper.make_node("Cast", [f"{output}_right"], ["half_output"], to=TensorProto.FLOAT16)
    return [there, helper.make_node("Cast", ["half_output"], [output], to=TensorProto.FLOAT)]


def _more(model: ModelProto, output: str) -> list[NodeProto]:
    factor = constant(model, "factor", 1.001, "float32")
    return [helper.make_node("Mul", [f"{output}_right", factor], [output])]


def _negative(model: ModelProto, output: str) -> list[NodeProto]:
    return [helper.make_node("Neg", [f"{output}_right"], [output])]


def _classes_reversed(model: ModelProto, output: str) -> list[NodeProto]:
    names = (("start", -1), ("end", -(2**62)), ("class_axis", 1), ("step", -1))
    operands = [constant(model, n, [v]) for n, v in names]
    return [helper.make_node("Slice", [f"{output}_right", *operands], [output])]


BOTH = (TensorProto.FLOAT, TensorProto.INT64)
_each("the first image's answer for all", _first_image, BOTH)
_each("an output in half precision", _half)
_each("an output off by 0.1 %", _more)
_each("an output's sign flipped", _negative, BOTH)
_each("classes in the reverse order", _classes_reversed)


def _pairs(model: ModelProto) -> Iterator[tuple[int, int]]:
    for i in range(len(model.graph.output) - 1):
        yield i, i + 1


@mistake("two outputs swapped", "outputs")
def swapped(model: ModelProto) -> Iterator[Wrong]:
    """What computes one has the name of the other."""
    for i, j in _pairs(model):
        names = {model.graph.output[i].name: model.graph.output[j].name}
        names |= {new: old for old, new in names.items()}
        yield " and ".join(names), edited(model, lambda copy, names=names: _renamed(copy, names))  # type: ignore[misc]


def _renamed(model: ModelProto, names: dict[str, str]) -> None:
    for node in model.graph.node:
        node.output[:] = [names.get(name, name) for name in node.output]
        node.input[:] = [names.get(name, name) for name in node.input]
    first = next(i for i, n in enumerate(model.graph.node) if set(n.output) & set(names))
    nodes = sorted(
        enumerate(model.graph.node), key=lambda p: (p[0] >= first and bool(set(p[1].input) & set(names)), p[0])
    )
    ordered = [NodeProto.FromString(n.SerializeToString()) for _, n in nodes]
    del model.graph.node[:]
    model.graph.node.extend(ordered)


@mistake("outputs in another order", "outputs")
def reordered(model: ModelProto) -> Iterator[Wrong]:
    """Whoever asks for the first output gets another."""
    for i, j in _pairs(model):
        copy = copied(model)
        first, second = ValueInfoProto(), ValueInfoProto()
        first.CopyFrom(model.graph.output[i])
        second.CopyFrom(model.graph.output[j])
        copy.graph.output[i].CopyFrom(second)
        copy.graph.output[j].CopyFrom(first)
        yield f"{first.name} and {second.name}", copy


@mistake("an output gone", "outputs")
def gone(model: ModelProto) -> Iterator[Wrong]:
    """Not declared any more."""
    if len(model.graph.output) > 1:
        copy = copied(model)
        del copy.graph.output[-1]
        yield model.graph.output[-1].name, copy


@mistake("an output renamed", "outputs")
def renamed(model: ModelProto) -> Iterator[Wrong]:
    """Whoever asks for it by name finds nothing."""
    copy = copied(model)
    old = copy.graph.output[0].name
    copy.graph.node.append(helper.make_node("Identity", [old], ["renamed"]))
    copy.graph.output[0].name = "renamed"
    yield old, copy
