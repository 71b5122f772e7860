"""Running models, and parts of them, with onnx and onnxruntime alone; nothing here knows the package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

ort.set_default_logger_severity(4)

Feeds = dict[str, np.ndarray]

#: numpy types of what onnxruntime says of an input or output
TYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    **{f"tensor({t}{bits})": np.dtype(f"{t}{bits}") for t in ("int", "uint") for bits in (8, 16, 32, 64)},
    "tensor(bool)": np.bool_,
}


class CannotRun(Exception):
    """onnxruntime does not load or run a model."""


class Reference:
    """``onnx.reference``, with onnxruntime's interface."""

    def __init__(self, model: ModelProto) -> None:
        from onnx.reference import ReferenceEvaluator

        self._evaluator = ReferenceEvaluator(model)

    def run(self, outputs: list[str], feeds: Feeds) -> list[Any]:
        """The outputs in this order."""
        return list(self._evaluator.run(outputs, feeds))


class Session:
    """One model, its nodes run as they are written, on one thread."""

    def __init__(self, model: ModelProto | str) -> None:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        source = model if isinstance(model, str) else model.SerializeToString()
        self._session: Any
        try:
            providers = ["CPUExecutionProvider"]
            self._session = ort.InferenceSession(source, options, providers=providers, enable_fallback=0)
            self.inputs = {i.name: (i.shape, TYPES.get(i.type)) for i in self._session.get_inputs()}
            self.outputs = [o.name for o in self._session.get_outputs()]
        except Exception as e:  # the bindings raise many types, and UnicodeDecodeError for names that are no text
            if "NOT_IMPLEMENTED" not in str(e) or not self._by_reference(model):
                raise CannotRun(str(e)) from e

    def _by_reference(self, source: ModelProto | str) -> bool:
        """Use ONNX's own evaluator for float64, of which onnxruntime's CPU provider has hardly anything."""
        model = onnx.load(source) if isinstance(source, str) else source
        types = [i.type.tensor_type for i in model.graph.input]
        if not any(t.elem_type == TensorProto.DOUBLE for t in types):
            return False
        try:
            self._session = Reference(model)
        except Exception:  # it has not every operator either
            return False
        shapes = [[d.dim_value or None for d in t.shape.dim] for t in types]
        self.inputs = {i.name: (shape, np.float64) for i, shape in zip(model.graph.input, shapes, strict=True)}
        self.outputs = [o.name for o in model.graph.output]
        return True

    def run(self, feeds: Feeds, outputs: Sequence[str] | None = None) -> Feeds:
        """The outputs by name; feeds that the model has no input for are left out."""
        names = list(outputs or self.outputs)
        try:
            found = self._session.run(names, {n: v for n, v in feeds.items() if n in self.inputs})
        except Exception as e:
            raise CannotRun(str(e)) from e
        return dict(zip(names, found, strict=True))


def graphs_of(node: NodeProto) -> Iterator[GraphProto]:
    """The subgraphs in a node's attributes."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def reads(node: NodeProto) -> set[str]:
    """The values that a node depends on, those that its subgraphs take from outside among them."""
    found = {name for name in node.input if name}
    for graph in graphs_of(node):
        inside = {name for n in graph.node for name in reads(n)} | {o.name for o in graph.output}
        made = {name for n in graph.node for name in n.output} | {i.name for i in graph.input}
        found |= inside - made - {t.name for t in graph.initializer}
    return found


def in_order(model: ModelProto) -> list[NodeProto]:
    """The nodes, each behind those that it reads of; files need not have them so."""
    known = {o for n in model.graph.node for o in n.output if o}
    done, waiting = list[NodeProto](), list(model.graph.node)
    while waiting:
        ready = [n for n in waiting if not reads(n) & known]
        if not ready:
            return [*done, *waiting]
        for node in ready:
            known -= set(node.output)
        waiting = [n for n in waiting if not any(n is r for r in ready)]
        done += ready
    return done


def cut(model: ModelProto, inputs: dict[str, int], outputs: Sequence[str]) -> ModelProto:
    """The part of a model between some values and some others, with free dims.

    Args:
        model: the original.
        inputs: values that are given, with their ONNX element types.
        outputs: values that are wanted.
    """
    producer = {o: i for i, n in enumerate(model.graph.node) for o in n.output if o}
    needed, keep, seen = list(outputs), set[int](), set[str]()
    while needed:
        name = needed.pop()
        if name in seen or name in inputs:
            continue
        seen.add(name)
        if name in producer and producer[name] not in keep:
            keep.add(producer[name])
            needed += reads(model.graph.node[producer[name]])
    graph = helper.make_graph(
        [n for n in in_order(model) if any(producer.get(o) in keep for o in n.output if o)],
        "part",
        [
            *(helper.make_tensor_value_info(n, elem, None) for n, elem in inputs.items()),
            *(_of_any_size(i) for i in model.graph.input if i.name in seen),
        ],
        [ValueInfoProto(name=name) for name in outputs],
    )
    graph.initializer.extend(t for t in model.graph.initializer if t.name in seen)
    graph.sparse_initializer.extend(t for t in model.graph.sparse_initializer if t.values.name in seen)
    part = helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)
    part.functions.extend(model.functions)
    return part


def _of_any_size(value: ValueInfoProto) -> ValueInfoProto:
    free = ValueInfoProto()
    free.CopyFrom(value)
    free.type.tensor_type.ClearField("shape")
    return free


def values_of(model: ModelProto, names: Sequence[str], feeds: Feeds) -> Feeds:
    """Values inside of a model, as its own nodes compute them; what stands behind them is not run."""
    return Session(cut(model, {}, list(dict.fromkeys(names)))).run(feeds)
