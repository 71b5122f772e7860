"""Whole classifiers with the trained size all over their shapes: a ShuffleNetV2 and one with a feature pyramid.

Both were trained at 224x224 and run at 320x448. The oracle is a twin without any size in it (a Gather shuffles, factors
upsample), whose map is cut into windows, each of which goes through the original's own head.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

import onnx_fc2conv as fc2conv
from onnx_fc2conv.dtypes import tolerance

from ..networks import session

TRAINED, GROWN = (224, 224), (320, 448)
NEAREST = 'mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"'


@dataclass
class Net:
    """Nodes as text, and their weights.

    Attributes:
        baked: whether shapes carry the trained size.
        rng: source of the weights.
        lines: the nodes.
        weights: the initializers.
    """

    baked: bool
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))
    lines: list[str] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, op: str, *inputs: str, **arrays: object) -> str:
        """A node; its result's name."""
        name = f"v{len(self.lines)}"
        names = [f"{name}_{key}" for key in arrays]
        self.weights |= {n: np.asarray(a) for n, a in zip(names, arrays.values(), strict=True)}
        self.lines.append(f"[n{len(self.lines)}] {name} = {op} ({', '.join([*inputs, *names])})")
        return name

    def conv(self, x: str, into: int, out: int, kernel: int, stride: int = 1, group: int = 1) -> str:
        """A Conv that pads by half of its kernel."""
        shape = (out, into // group, kernel, kernel)
        weight = (self.rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        pads = [kernel // 2] * 4
        return self.add(f"Conv <strides = [{stride}, {stride}], pads = {pads}, group = {group}>", x, w=weight)

    def shuffle(self, x: str, channels: int, size: int) -> str:
        """Channels of two halves one by one."""
        if not self.baked:
            return self.add("Gather <axis = 1>", x, order=np.arange(channels).reshape(2, -1).T.ravel())
        r = self.add("Reshape", x, shape=np.array([1, 2, channels // 2, size, size]))
        t = self.add("Transpose <perm = [0, 2, 1, 3, 4]>", r)
        return self.add("Reshape", t, shape=np.array([1, channels, size, size]))

    def upsample(self, x: str, channels: int, size: int) -> str:
        """Twice as many rows and columns."""
        if self.baked:
            return self.add(f"Resize <{NEAREST}>", x, "", "", sizes=np.array([1, channels, size, size]))
        return self.add(f"Resize <{NEAREST}>", x, "", scales=np.float32([1, 1, 2, 2]))

    def model(self, head: str | None, image: tuple[object, ...], **arrays: np.ndarray) -> ModelProto:
        """The network, with its head or with its map as the output."""
        lines = [*self.lines, head] if head else self.lines
        nodes = parser.parse_graph("g (float x) => (float y) {\n" + "\n".join(lines) + "\n}").node
        last = nodes[-1].output[0]
        graph = helper.make_graph(
            nodes,
            "classifier",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, image)],
            [helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, 10] if head else None)],
            [numpy_helper.from_array(a, n) for n, a in (self.weights | (arrays if head else {})).items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        if head:
            onnx.checker.check_model(model, full_check=True)
        return model


def unit(net: Net, x: str, into: int, out: int, stride: int, size: int) -> str:
    """A ShuffleNetV2 unit: one branch is passed on, or both are at half the size; then the channels are shuffled."""
    half = out // 2
    if stride == 1:
        left = net.add("Slice", x, s=np.array([0]), e=np.array([half]), a=np.array([1]))
        right = net.add("Slice", x, s=np.array([half]), e=np.array([out]), a=np.array([1]))
        into = half
    else:
        left = net.conv(net.conv(x, into, into, 3, 2, group=into), into, half, 1)
        right = x
    right = net.add("Relu", net.conv(right, into, half, 1))
    right = net.add("Relu", net.conv(net.conv(right, half, half, 3, stride, group=half), half, half, 1))
    return net.shuffle(net.add("Concat <axis = 1>", left, right), out, size)


def shufflenet(baked: bool) -> Net:
    """Stride 32; its map has 7x7 cells at 224x224."""
    net = Net(baked)
    x = net.add("Relu", net.conv("x", 3, 24, 3, 2))
    x = net.add("MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]>", x)
    channels, size = 24, 56
    for out, units in ((48, 3), (96, 4), (192, 2)):
        size //= 2
        for i in range(units):
            x = unit(net, x, channels, out, 2 if i == 0 else 1, size)
            channels = out
    net.add("Relu", net.conv(x, channels, 64, 1))
    return net


def pyramid(baked: bool) -> Net:
    """Three levels, the coarser ones upsampled onto the finer; the head reads a map of stride 16, 14x14 at 224x224."""
    net = Net(baked)
    one = net.add("Relu", net.conv("x", 3, 8, 3, 2))
    two = net.add("Relu", net.conv(one, 8, 16, 3, 2))
    three = net.add("Relu", net.conv(two, 16, 24, 3, 2))
    four = net.add("Relu", net.conv(three, 24, 32, 3, 2))
    top = net.conv(four, 32, 12, 1)
    top = net.add("Add", net.upsample(top, 12, 28), net.conv(three, 24, 12, 1))
    top = net.add("Add", net.upsample(top, 12, 56), net.conv(two, 16, 12, 1))
    net.add("Relu", net.conv(net.conv(top, 12, 12, 3, 2), 12, 4, 3, 2))
    return net


POOLED = "p = GlobalAveragePool (m)\nf = Flatten (p)\ny = Gemm (f, W, B)"
FLAT = "f = Flatten (m)\ny = Gemm (f, W, B)"


@pytest.mark.parametrize(
    ("build", "head", "features", "grid", "rewritten"),
    [(shufflenet, POOLED, 64, (4, 8), 18), (pyramid, FLAT, 4 * 14 * 14, (7, 15), 2)],
    ids=["ShuffleNetV2", "feature pyramid"],
)
def test_runs_at_320x448(build: object, head: str, features: int, grid: tuple[int, int], rewritten: int) -> None:
    assert callable(build)
    original, twin = build(True), build(False)
    rng = np.random.default_rng(3)
    head_weights = {
        "W": (rng.standard_normal((features, 10)) / np.sqrt(features)).astype(np.float32),
        "B": rng.standard_normal(10).astype(np.float32),
    }
    last = f"v{len(original.lines) - 1}"
    model = original.model(head.replace("(m)", f"({last})"), (1, 3, *TRAINED), **head_weights)
    result = fc2conv.convert(model, sizes=[GROWN])
    assert result.report.verified
    assert len(result.report.unbaked) == rewritten

    image = np.random.default_rng(11).standard_normal((1, 3, *GROWN)).astype(np.float32)
    (found,) = session(result.model).run(None, {"x": image})
    (enlarged,) = session(twin.model(None, (None, 3, None, None))).run(None, {"x": image})
    window = [n - g + 1 for n, g in zip(enlarged.shape[2:], grid, strict=True)]
    expected = np.empty((1, 10, *grid), np.float32)
    for i, j in np.ndindex(*grid):
        cut = enlarged[:, :, i : i + window[0], j : j + window[1]]
        vector = cut.mean((2, 3)) if head is POOLED else cut.reshape(1, -1)
        expected[:, :, i, j] = vector @ head_weights["W"] + head_weights["B"]
    assert found.shape == expected.shape
    bound = tolerance(TensorProto.FLOAT, 9 * 192, len(original.lines))
    assert np.abs(found - expected).max() <= bound * np.abs(expected).max()
