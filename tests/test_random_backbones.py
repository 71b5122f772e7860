"""Random small backbones in front of a fixed head, against the loop over windows and against image crops, bit for bit.

Every number in these networks is an integer or a short binary fraction that float32 holds exactly, whatever the order
of the sums: the strategy keeps count of how large values can get and how finely they are divided.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

import onnx_fc2conv as fc2conv
from onnx_fc2conv import model_io, pipeline

from .networks import answers, cut, integers, session

EXACT = 2**24  #: float32 holds every integer up to here
UNITS = 3  #: outputs of each FC
PIXEL = 2  #: the largest pixel


class Network:
    """A backbone under construction.

    Attributes:
        value: the last value, a map of ``channels``.
        parts, largest: the value is a whole number of 1/parts, and of at most ``largest`` of them.
    """

    def __init__(self, rank: int, batch: str | int | None, size: tuple[int, ...]) -> None:
        self.rank, self.batch, self.size = rank, batch, size
        self.channels, self.value, self.parts, self.largest = 2, "x", 1, PIXEL
        self.nodes: list[onnx.NodeProto] = []
        self.arrays: dict[str, np.ndarray] = {}
        self.kinds: list[str] = []

    def __repr__(self) -> str:
        return f"<batch {self.batch}, size {self.size}: {onnx.printer.to_text(self.backbone().graph)}>"

    def put(self, op_type: str, *inputs: str, **attrs: object) -> str:
        """Add a node; its output's name."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [name], name=f"{op_type} {name}", **attrs))
        return name

    def weight(self, shape: tuple[int, ...]) -> str:
        """An initializer of -1, 0 and 1."""
        name = f"w{len(self.arrays)}"
        self.arrays[name] = integers(shape, seed=len(self.arrays) + 17, low=-1, high=2)
        return name

    def model(self, features: int) -> ModelProto:
        """The network with the head Flatten, Gemm, Relu, Gemm."""
        arrays = {
            **self.arrays,
            "fc1": integers((UNITS, features), 1, -1, 2),
            "bias1": integers((UNITS,), 2),
            "fc2": integers((UNITS, UNITS), 3, -1, 2),
        }
        head = [
            helper.make_node("Flatten", [self.value], ["flat"]),
            helper.make_node("Gemm", ["flat", "fc1", "bias1"], ["hidden"], name="fc1", transB=1),
            helper.make_node("Relu", ["hidden"], ["active"]),
            helper.make_node("Gemm", ["active", "fc2"], ["y"], name="fc2"),
        ]
        return self._graph([*self.nodes, *head], arrays, "y", [self.batch, UNITS])

    def backbone(self) -> ModelProto:
        """The network up to its last value."""
        return self._graph(self.nodes, self.arrays, self.value, None)

    def _graph(
        self, nodes: list[onnx.NodeProto], arrays: dict[str, np.ndarray], output: str, dims: list[object] | None
    ) -> ModelProto:
        graph = helper.make_graph(
            nodes,
            "random",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [self.batch, 2, *self.size])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, dims)],
            [numpy_helper.from_array(value, name) for name, value in arrays.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=8)


def _pads(draw: st.DrawFn, rank: int, kernel: list[int], padded: bool) -> list[int]:
    if not padded:
        return [0] * (2 * rank)
    return [draw(st.integers(0, (k - 1) // 2)) for k in kernel] + [draw(st.integers(0, k - 1)) for k in kernel]


def _keep_windows_on_the_map(attrs: dict[str, Any]) -> None:
    """With ceil_mode a window can start in the pad behind the map; ONNX counts it and onnxruntime does not."""
    if attrs.get("ceil_mode"):
        rank = len(attrs["pads"]) // 2
        attrs["pads"] = attrs["pads"][:rank] + [0] * rank


def add_conv(net: Network, draw: st.DrawFn, padded: bool) -> None:
    kernel = [draw(st.integers(1, 3)) for _ in range(net.rank)]
    group = draw(st.sampled_from([1, net.channels]))
    units = net.channels if group > 1 else draw(st.integers(1, 3))
    attrs: dict[str, Any] = {"strides": [draw(st.integers(1, 2)) for _ in range(net.rank)], "group": group}
    mode = draw(st.sampled_from(["pads", "dilations", "SAME_UPPER", "SAME_LOWER"] if padded else ["pads", "dilations"]))
    if mode == "pads":
        attrs["pads"] = _pads(draw, net.rank, kernel, padded)
    elif mode == "dilations":
        attrs["dilations"] = [draw(st.integers(1, 2)) for _ in range(net.rank)]
    else:
        attrs["auto_pad"] = mode
    weight = net.weight((units, net.channels // group, *kernel))
    net.value = net.put("Conv", net.value, weight, **attrs)
    net.largest *= net.channels // group * int(np.prod(kernel))
    net.channels = units


def add_max_pool(net: Network, draw: st.DrawFn, padded: bool) -> None:
    kernel = [draw(st.integers(2, 3)) for _ in range(net.rank)]
    strides = [draw(st.integers(1, 2)) for _ in range(net.rank)]
    pads = _pads(draw, net.rank, kernel, padded)
    attrs = {"pads": pads, "ceil_mode": draw(st.integers(0, 1)) if padded else 0}
    _keep_windows_on_the_map(attrs)
    net.value = net.put("MaxPool", net.value, kernel_shape=kernel, strides=strides, **attrs)


def add_average_pool(net: Network, draw: st.DrawFn, padded: bool) -> None:
    kernel = [2] * net.rank  # a power of two, and so is every part of it that pads or ceil_mode leave
    attrs: dict[str, Any] = {
        "pads": _pads(draw, net.rank, kernel, padded),
        "count_include_pad": draw(st.integers(0, 1)),
    }
    if padded and not attrs["count_include_pad"]:
        attrs["ceil_mode"] = draw(st.integers(0, 1))
    _keep_windows_on_the_map(attrs)
    net.value = net.put(
        "AveragePool", net.value, kernel_shape=kernel, strides=[draw(st.integers(1, 2)) for _ in kernel], **attrs
    )
    net.parts *= 2**net.rank
    net.largest *= 2**net.rank


def add_activation(net: Network, draw: st.DrawFn, padded: bool) -> None:
    net.value = net.put(draw(st.sampled_from(["Relu", "Abs", "Neg", "Identity"])), net.value)


def add_residual(net: Network, draw: st.DrawFn, padded: bool) -> None:
    kernel = [3] * net.rank
    weight = net.weight((net.channels, net.channels, *kernel))
    shortcut = net.value
    if padded:
        branch = net.put("Conv", net.value, weight, pads=[1] * (2 * net.rank))
    else:
        branch = net.put("Conv", net.value, weight)
        for name, value in (("ones", 1), ("minus", -1)):
            net.arrays[name] = np.full(net.rank, value, np.int64)
        net.arrays["spatial"] = np.arange(2, 2 + net.rank, dtype=np.int64)
        shortcut = net.put("Slice", net.value, "ones", "minus", "spatial")
    if draw(st.booleans()):
        branch = net.put("Relu", branch)
    net.value = net.put("Add", branch, shortcut)
    net.largest *= net.channels * 3**net.rank + 1


ADD = {
    "conv": add_conv,
    "max pool": add_max_pool,
    "average pool": add_average_pool,
    "activation": add_activation,
    "residual": add_residual,
}


@st.composite
def networks(draw: st.DrawFn) -> Network:
    rank = draw(st.integers(1, 2))
    batch = draw(st.sampled_from(["N", None, 1, 2]))
    net = Network(rank, batch, tuple(draw(st.integers(8, 15 if rank == 1 else 12)) for _ in range(rank)))
    padded = draw(st.booleans())
    for kind in draw(st.lists(st.sampled_from(sorted(ADD)), min_size=1, max_size=5)):
        kept = (net.largest, net.parts, net.channels, net.value, len(net.nodes), dict(net.arrays))
        ADD[kind](net, draw, padded)
        if net.largest * 36 * UNITS > EXACT or not fits(net):  # 36: more features than most maps have
            net.largest, net.parts, net.channels, net.value, count, net.arrays = kept
            del net.nodes[count:]
        else:
            net.kinds.append(kind)
    assume(set(net.kinds) - {"activation"} or net.rank > 1)  # of three axes, something must say which is spatial
    assume(net.kinds)
    return net


def fits(net: Network) -> bool:
    """Whether onnxruntime runs it at the trained size: every window fits on its map."""
    image = np.zeros((net.batch if isinstance(net.batch, int) else 1, 2, *net.size), np.float32)
    try:
        return run_map(net, net.value, image).size > 0
    except (Fail, InvalidArgument, RuntimeException):
        return False


def run_map(net: Network, name: str, image: np.ndarray) -> np.ndarray:
    return session(cut(net.backbone(), ["x"], [name])).run(None, {"x": image})[0]


SEEN: dict[str, int] = {}


@settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    networks(), st.lists(st.integers(0, 3), min_size=2, max_size=2), st.lists(st.integers(0, 1), min_size=2, max_size=2)
)
def check_network(net: Network, growth: list[int], rest: list[int]) -> None:
    batch = net.batch if isinstance(net.batch, int) else 2
    trained = integers((batch, 2, *net.size), 5)
    features = int(np.prod(run_map(net, net.value, trained).shape[1:]))
    assume(net.largest * features * UNITS <= EXACT)
    original = net.model(features)
    try:
        conversion = pipeline.prepare(*model_io.load(original))
    except fc2conv.Unliftable as e:
        # onnxruntime gives a pool whose kernel is larger than its input one window; the size law gives it none.
        assume("by its size law" not in e.reason)
        raise
    result = fc2conv.convert(original, verify=False)
    onnx.checker.check_model(result.model, full_check=True)
    converted, grid = session(result.model), result.geometry.grid
    (cut_at,) = conversion.plan.cuts
    window = run_map(net, cut_at, trained).shape[2:]
    assert grid.window == window
    np.testing.assert_array_equal(
        converted.run(None, {"x": trained})[0][(..., *[0] * net.rank)], session(original).run(None, {"x": trained})[0]
    )

    aligned = [t + g * s for t, g, s in zip(net.size, growth, grid.stride, strict=False)]
    sizes = [aligned] if conversion.phases else [aligned, [n + r for n, r in zip(aligned, rest, strict=False)]]
    for size in sizes:
        image = integers((batch, 2, *size), sum(size), -PIXEL, PIXEL + 1)
        (found,) = converted.run(None, {"x": image})
        expected = answers(original, image, window, map_name=cut_at)["y"]
        assert found.shape == (batch, UNITS, *grid.grid_size(tuple(size)))
        np.testing.assert_array_equal(found, expected)
        if conversion.verdict == "exact":
            compare_with_crops(original, image, net.size, grid, found)
            count("cells compared with crops", found[0, 0].size)
        count("cells", found[0, 0].size)
        count("enlarged grids", found[0, 0].size > 1)
    for kind in [
        *net.kinds,
        conversion.verdict,
        f"rank {net.rank}",
        f"batch {net.batch}",
        *(["phase"] * bool(conversion.phases)),
    ]:
        event(kind)
        count(kind, 1)


def compare_with_crops(
    original: ModelProto, image: np.ndarray, trained: tuple[int, ...], grid: fc2conv.Grid, found: np.ndarray
) -> None:
    """The original on every crop whose box lies in the image; the last window's may reach beyond it."""
    run = session(original)
    for cell in itertools.product(*map(range, found.shape[2:])):
        box = grid.box(*cell)
        starts, ends = box[: len(cell)], box[len(cell) :]
        if any(end > n for end, n in zip(ends, image.shape[2:], strict=True)):
            continue
        crop = image[(slice(None), slice(None), *(slice(a, b) for a, b in zip(starts, ends, strict=True)))]
        assert crop.shape[2:] == trained
        np.testing.assert_array_equal(found[(..., *cell)], run.run(None, {"x": np.ascontiguousarray(crop)})[0])
        count("crops", 1)


def count(what: str, times: int) -> None:
    SEEN[what] = SEEN.get(what, 0) + int(times)


def test_random_backbones() -> None:
    """60 networks; afterwards: they were of every kind, and cells were really compared."""
    SEEN.clear()
    check_network()
    kinds = {*ADD, "exact", "padded", "phase", "rank 1", "rank 2", "batch N", "batch None", "batch 1", "batch 2"}
    assert not {kind for kind in kinds if SEEN.get(kind, 0) < 2}, SEEN
    assert SEEN["enlarged grids"] >= 40
    assert SEEN["crops"] >= 100
    assert SEEN["cells"] >= 300
