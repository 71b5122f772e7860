"""Small networks for the tests, written as ONNX text, and the oracle that judges their conversion.

The oracle shares no code with the package. It cuts the original at its feature map with nothing but onnx, runs the
original's own backbone on an enlarged image, and then, in a plain loop, the original's own head on every window.
Weights and images are small integers, so that linear and ReLU heads are exact in float32 and compared bit for bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

import onnx_fc2conv as fc2conv

ort.set_default_logger_severity(4)

IR_VERSION = 8
MICROSOFT = "com.microsoft"
RUNTIME_TYPES = {
    "tensor(float)": TensorProto.FLOAT,
    "tensor(float16)": TensorProto.FLOAT16,
    "tensor(int8)": TensorProto.INT8,
    "tensor(uint8)": TensorProto.UINT8,
    "tensor(int16)": TensorProto.INT16,
    "tensor(uint16)": TensorProto.UINT16,
    "tensor(int32)": TensorProto.INT32,
    "tensor(int64)": TensorProto.INT64,
    "tensor(bool)": TensorProto.BOOL,
}
SESSIONS = 32  #: that are kept: a case asks for the same ones again, and many share a backbone
MAP = "map"  #: every network's feature map has this name


def integers(shape: Sequence[int], seed: int = 0, low: int = -2, high: int = 3, dtype: Any = np.float32) -> np.ndarray:
    """Small integers, so that sums of products are exact."""
    return np.random.default_rng(seed).integers(low, high, tuple(shape)).astype(dtype)


@dataclass(frozen=True)
class Head:
    """A head as ONNX text behind the feature map ``map`` of shape [N, channels, *window].

    Attributes:
        text: nodes, one a line, as in ``onnx.parser``; the last line's outputs are graph outputs unless named.
        weights: initializers; a shape stands for seeded small integers.
        window: the feature map's spatial size at the trained input size.
        ratios: for a head over several maps, each map's name and how many of its cells, per axis, one step of the grid
            is; ``map`` alone by default.
        sides: dims of further graph inputs, by name.
    """

    text: str
    weights: Mapping[str, Any] = field(default_factory=dict)
    window: tuple[int, ...] = (3, 2)
    channels: int = 2
    opset: int = 17
    outputs: tuple[str, ...] = ("y",)
    batch: str | int = "N"
    dtype: Any = np.float32
    ratios: Mapping[str, Sequence[int]] = field(default_factory=dict)
    sides: Mapping[str, Sequence[str | int]] = field(default_factory=dict)

    @property
    def features(self) -> int:
        return self.channels * int(np.prod(self.window))


def network(head: Head, stride: int = 2) -> ModelProto:
    """The head behind one unpadded Conv whose kernel equals its stride: input ``x`` [N, 1, *(stride * window)]."""
    rank = len(head.window)
    elem = helper.np_dtype_to_tensor_dtype(np.dtype(head.dtype))
    kernel = integers((head.channels, 1, *[stride] * rank), seed=7, low=-1, high=2, dtype=head.dtype)
    size = [stride * w for w in head.window]
    lines = [f"map = Conv <strides = [{', '.join([str(stride)] * rank)}]> (x, backbone)"]
    lines += [line.strip() for line in head.text.strip().splitlines() if line.strip()]
    nodes = parser.parse_graph("g (float x) => (float y) {\n" + "\n".join(lines) + "\n}").node
    arrays = {"backbone": kernel}
    for i, (name, value) in enumerate(head.weights.items()):
        shape = isinstance(value, tuple)
        arrays[name] = integers(value, seed=11 + i, dtype=head.dtype) if shape else np.asarray(value)
    graph = helper.make_graph(
        nodes,
        "network",
        [
            helper.make_tensor_value_info("x", elem, [head.batch, 1, *size]),
            *(helper.make_tensor_value_info(name, elem, list(dims)) for name, dims in head.sides.items()),
        ],
        [onnx.ValueInfoProto(name=name) for name in head.outputs],
        [numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )
    opsets = [helper.make_opsetid("", head.opset)]
    opsets += [helper.make_opsetid(MICROSOFT, 1)] if any(node.domain == MICROSOFT for node in nodes) else []
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    return _with_output_types(model)


def _with_output_types(model: ModelProto) -> ModelProto:
    inferred = onnx.shape_inference.infer_shapes(model)
    known = {v.name: v for v in (*inferred.graph.output, *inferred.graph.value_info, *model.graph.input)}
    outputs = [known.get(o.name, o) for o in model.graph.output]
    if any(node.domain == MICROSOFT for node in model.graph.node):  # inference stops there; the runtime knows
        for o, found in zip(outputs, session(model).get_outputs(), strict=True):
            o.type.tensor_type.elem_type = RUNTIME_TYPES[found.type]
    for o in outputs:
        if not o.type.tensor_type.elem_type:
            o.type.tensor_type.elem_type = TensorProto.FLOAT
        o.type.tensor_type.shape.SetInParent()
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    return model


def cut(model: ModelProto, inputs: Sequence[str], outputs: Sequence[str], elem: int = TensorProto.FLOAT) -> ModelProto:
    """The part of a model between some values and some others, with free dims."""
    producer = {o: n for n in model.graph.node for o in n.output if o}
    needed, keep, seen = list(outputs), [], set()
    while needed:
        name = needed.pop()
        if name in seen or name in inputs:
            continue
        seen.add(name)
        node = producer.get(name)
        if node is not None and not any(node is k for k in keep):
            keep.append(node)
            needed += [i for i in node.input if i]
    nodes = [n for n in model.graph.node if any(n is k for k in keep)]
    graph = helper.make_graph(
        nodes,
        "part",
        [
            *(helper.make_tensor_value_info(n, elem, None) for n in inputs),
            *(i for i in model.graph.input if i.name in seen and i.name not in inputs),
        ],
        [onnx.ValueInfoProto(name=o) for o in outputs],
        [t for t in model.graph.initializer],
    )
    return helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=IR_VERSION)


def session(model: ModelProto) -> ort.InferenceSession:
    """A session that runs the nodes as they are written; the same one for the same bytes."""
    return _session(model.SerializeToString())


@lru_cache(maxsize=SESSIONS)
def _session(model: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1  # starting and joining threads takes longer than these models do
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def answers(
    model: ModelProto,
    image: np.ndarray,
    window: Sequence[int],
    outputs: Sequence[str] | None = None,
    map_name: str = MAP,
) -> dict[str, np.ndarray]:
    """The original head's outputs on every window of the enlarged map; the grid axes are appended last."""
    places = {map_name: (tuple(window), (1,) * len(window))}
    return answers_over(model, {model.graph.input[0].name: image}, places, outputs)


def answers_over(
    model: ModelProto,
    feeds: Mapping[str, np.ndarray],
    places: Mapping[str, tuple[Sequence[int], Sequence[int]]],
    outputs: Sequence[str] | None = None,
) -> dict[str, np.ndarray]:
    """The original head's outputs on every window of several maps of one image; the grid axes are appended last.

    Args:
        model: the original.
        feeds: the enlarged image first, then the values of all other inputs.
        places: for each map its window, and how many of its cells one step of the grid is, per axis.
        outputs: all of the graph's by default.
    """
    outputs = list(outputs or [o.name for o in model.graph.output])
    (image, pixels), *others = feeds.items()
    elem = model.graph.input[0].type.tensor_type.elem_type
    maps = dict(zip(places, session(cut(model, [image], list(places), elem)).run(None, {image: pixels}), strict=True))
    head = session(cut(model, list(places), outputs, elem))
    dims = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    trained = pixels[tuple(slice(d or None) for d in dims)]  # for a head that asks for the image's shape
    wanted = [i.name for i in head.get_inputs()]
    rest = {name: value for name, value in [(image, trained), *others] if name in wanted and name not in places}
    grids = {
        tuple((n - w) // r + 1 for n, w, r in zip(maps[name].shape[2:], *place, strict=True))
        for name, place in places.items()
    }
    assert len(grids) == 1, f"the maps have no grid in common: {grids}"
    (grid,) = grids
    collected: dict[str, dict[tuple[int, ...], np.ndarray]] = {o: {} for o in outputs}
    for cell in itertools.product(*map(range, grid)):
        windows = {name: _window(maps[name], cell, *place) for name, place in places.items()}
        for name, value in zip(outputs, head.run(outputs, windows | rest), strict=True):
            collected[name][cell] = value
    result = {}
    for name, values in collected.items():
        first = next(iter(values.values()))
        full = np.empty((*first.shape, *grid), first.dtype)
        for cell, value in values.items():
            full[(Ellipsis, *cell)] = value
        result[name] = full
    return result


def _window(feature_map: np.ndarray, cell: Sequence[int], window: Sequence[int], ratio: Sequence[int]) -> np.ndarray:
    starts = [i * r for i, r in zip(cell, ratio, strict=True)]
    return np.ascontiguousarray(feature_map[(..., *(slice(a, a + w) for a, w in zip(starts, window, strict=True)))])


def places_of(head: Head, model: ModelProto) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Window and ratio of each map that the head reads; the windows are measured at the trained size."""
    ratios = head.ratios or {MAP: (1,) * len(head.window)}
    trained = integers((batch_of(head), 1, *(2 * w for w in head.window)), dtype=head.dtype)
    elem = model.graph.input[0].type.tensor_type.elem_type
    maps = session(cut(model, ["x"], list(ratios), elem)).run(list(ratios), {"x": trained})
    return {n: (m.shape[2:], tuple(r)) for (n, r), m in zip(ratios.items(), maps, strict=True)}


def batch_of(head: Head, batch: int = 2) -> int:
    """The head's own batch if it is fixed, else this one."""
    return head.batch if isinstance(head.batch, int) else batch


def feeds_of(head: Head, grow: Sequence[int], batch: int = 2, seed: int = 3) -> dict[str, np.ndarray]:
    """Small integers for all inputs: an image that is ``grow`` cells of ``map`` larger per axis, then the others."""
    size = [2 * (w + g) for w, g in zip(head.window, grow, strict=False)]
    feeds = {"x": integers((batch_of(head, batch), 1, *size), seed=seed, dtype=head.dtype)}
    for i, (name, dims) in enumerate(head.sides.items()):
        shape = [batch_of(head, batch) if isinstance(d, str) else d for d in dims]
        feeds[name] = integers(shape, seed=seed + 20 + i, dtype=head.dtype)
    return feeds


def assert_lifted(
    head: Head, *, tolerance: float = 0.0, grow: Sequence[int] = (2, 3, 1), batch: int = 2, verify: bool = False
) -> fc2conv.Result:
    """Convert the head's network and compare every cell with the loop over windows.

    Args:
        tolerance: relative to the reference's scale; 0 compares bit for bit. Take it from ``dtypes.tolerance``.
        grow: windows added per spatial axis.
        batch: images in the batch (a fixed batch of the head goes first).
        verify: run the package's own checks too.
    """
    model = network(head)
    result = fc2conv.convert(model, verify=verify)
    onnx.checker.check_model(result.model, full_check=True)
    coarsest = [max(ratio) for ratio in zip(*head.ratios.values(), strict=True)] or [1] * len(head.window)
    feeds = feeds_of(head, [g * r for g, r in zip(grow, coarsest, strict=False)], batch)
    expected = answers_over(model, feeds, places_of(head, model))
    found = dict(zip(expected, session(result.model).run(list(expected), feeds), strict=True))
    for name, reference in expected.items():
        assert found[name].dtype == reference.dtype, name
        assert found[name].shape == reference.shape, name
        assert_close(found[name], reference, tolerance)
    return result


def assert_close(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Equal bits (NaN equals NaN) at tolerance 0, else within it relative to the largest reference value."""
    if tolerance == 0 or expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected)
        return
    scale = float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0))
    np.testing.assert_allclose(found.astype(np.float64), expected.astype(np.float64), rtol=0, atol=tolerance * scale)
