"""The table of backbones: a few nodes from the image ``x`` to the feature map ``map``, and what must be said of them.

A new case is a new row of ``CASES``.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

from onnx_fc2conv import model_io, pipeline
from onnx_fc2conv.conversion import Conversion

from ..networks import MAP, cut, integers, session

INT_MAX = 2**63 - 1
GROWTHS = [(a, b, c) for a, b, c in itertools.product((0, 1, 2, 5), (0, 3, 4), (0, 1)) if (a + b + c) % 2 == 1][:12]


@dataclass(frozen=True)
class Case:
    """A backbone.

    Attributes:
        text: nodes as ONNX text, one a line; the last one makes ``map``.
        weights: initializers; a shape stands for seeded small integers.
        verdict: ``exact``, or why not.
        nodes: the nodes that are named for it, no more and no fewer.
        stride: the effective stride of the map.
        image: dims of ``x`` behind the batch.
        spatial: which axes of ``x`` are spatial.
        map_spatial: which axes of ``map`` are, in the order of the image's; default: all from 2 on.
        terms: products in the longest sum of an operator that is not exact on small integers; 0: compare bits.
        phase: nodes because of which only sizes of the form trained + n * stride are valid.
        any_size: whether onnxruntime can run other sizes at all.
        alike: why the windows are those of the crops although the verdict is not ``exact``.
    """

    text: str
    weights: Mapping[str, Any] = field(default_factory=dict)
    verdict: str = "exact"
    nodes: tuple[str, ...] = ()
    stride: tuple[int, ...] = (1, 1)
    image: tuple[int, ...] = (2, 10, 8)
    spatial: tuple[int, ...] = (2, 3)
    map_spatial: tuple[int, ...] | None = None
    opset: int = 17
    dtype: Any = np.float32
    terms: int = 0
    phase: tuple[str, ...] = ()
    any_size: bool = True
    alike: str = ""

    @property
    def window_axes(self) -> tuple[int, ...]:
        """The spatial axes of the map."""
        return self.map_spatial or tuple(range(2, 2 + len(self.spatial)))

    @property
    def trained(self) -> tuple[int, ...]:
        """The trained size in pixels."""
        return tuple(self.image[a - 1] for a in self.spatial)

    def pixels(self, size: Sequence[int], seed: int = 3) -> np.ndarray:
        """An image of this size."""
        dims = [1, *self.image]
        for axis, n in zip(self.spatial, size, strict=True):
            dims[axis] = n
        low, high = (0, 9) if self.dtype == np.uint8 else (-3, 4)
        return integers(dims, seed, low, high, self.dtype)


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def int64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def backbone(case: Case) -> ModelProto:
    """The nodes of a case, up to the map."""
    lines = "\n".join(line.strip() for line in case.text.strip().splitlines())
    nodes = parser.parse_graph("g (float x) => (float y) {\n" + lines + "\n}").node
    arrays = {
        name: integers(value, 11 + i) if isinstance(value, tuple) else np.asarray(value)
        for i, (name, value) in enumerate(case.weights.items())
    }
    elem = helper.np_dtype_to_tensor_dtype(np.dtype(case.dtype))
    graph = helper.make_graph(
        nodes,
        "backbone",
        [helper.make_tensor_value_info("x", elem, ["N", *case.image])],
        [helper.make_tensor_value_info(MAP, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )
    domains = {node.domain for node in nodes} - {""}
    opsets = [helper.make_opsetid("", case.opset), *(helper.make_opsetid(d, 1) for d in sorted(domains))]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def classifier(case: Case) -> ModelProto:
    """The same with ``Flatten`` and ``Gemm`` behind the map; the map's trained size is asked of onnxruntime."""
    model = backbone(case)
    (trained,) = session(model).run(None, {"x": case.pixels(case.trained)})
    size = int(np.prod(trained.shape[1:]))
    model.graph.node.extend(
        [
            helper.make_node("Flatten", [MAP], ["flat"]),
            helper.make_node("Gemm", ["flat", "fc", "bias"], ["y"], transB=1),
        ]
    )
    arrays = {"fc": integers((3, size), 99), "bias": integers((3,), 98)}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in arrays.items())
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3]))
    return model


def prepared(case: Case) -> Conversion:
    return pipeline.prepare(*model_io.load(classifier(case)))


def run_map(case: Case, size_or_image: Any) -> np.ndarray:
    image = size_or_image if isinstance(size_or_image, np.ndarray) else case.pixels(size_or_image)
    return free_session(case).run(None, {"x": image})[0]


def free_session(case: Case) -> Any:
    elem = helper.np_dtype_to_tensor_dtype(np.dtype(case.dtype))
    return session(cut(backbone(case), ["x"], [MAP], elem))


IMAGE_1D = {"image": (2, 20), "spatial": (2,)}
IMAGE_3D = {"image": (1, 6, 5, 4), "spatial": (2, 3, 4)}
PADS = "pads = [1, 1, 1, 1]"
W3 = {"w": (3, 2, 3, 3)}
BN = {"s": floats(2, 3), "b": floats(1, -1), "m": floats(-1, 2), "v": floats(4, 1)}
SHRINK = {"u": (2, 2, 4, 4)}

STEPS = {"s": np.float32(0.5), "z": np.uint8(128)}  #: scale and zero point of a quantised map

CASES: dict[str, Case] = {
    # -- Conv
    "Conv": Case("map = Conv (x, w)", W3),
    "Conv 1x1": Case("map = Conv (x, w)", {"w": (3, 2, 1, 1)}),
    "Conv strides": Case("map = Conv <strides = [2, 3]> (x, w)", W3, stride=(2, 3)),
    "Conv dilations": Case("map = Conv <dilations = [2, 3]> (x, w)", W3),
    "Conv strides and dilations": Case("map = Conv <dilations = [3, 1], strides = [2, 2]> (x, w)", W3, stride=(2, 2)),
    "Conv groups": Case("map = Conv <group = 2> (x, w, b)", {"w": (4, 1, 3, 2), "b": (4,)}),
    "Conv VALID": Case('map = Conv <auto_pad = "VALID", strides = [2, 1]> (x, w)', W3, stride=(2, 1)),
    "Conv zero pads": Case("map = Conv <pads = [0, 0, 0, 0]> (x, w)", W3),
    "Conv kernel_shape written": Case("map = Conv <kernel_shape = [3, 3]> (x, w)", W3),
    "Conv pads": Case(f"map = Conv <{PADS}> (x, w)", W3, "padded", ("Conv 'map'",)),
    "Conv pads before": Case("map = Conv <pads = [1, 0, 0, 0]> (x, w)", W3, "padded", ("Conv 'map'",)),
    "Conv pads after": Case("map = Conv <pads = [0, 0, 0, 1]> (x, w)", W3, "padded", ("Conv 'map'",)),
    "Conv pads after that no window reaches": Case(
        "map = Conv <strides = [2, 2], pads = [0, 0, 1, 1]> (x, w)",
        {"w": (3, 2, 2, 2)},
        "padded",
        ("Conv 'map'",),
        stride=(2, 2),
        alike="only a size that leaves a pixel over brings the pad into a window",
    ),
    "Conv SAME_UPPER": Case('map = Conv <auto_pad = "SAME_UPPER"> (x, w)', W3, "padded", ("Conv 'map'",)),
    "Conv SAME_LOWER": Case('map = Conv <auto_pad = "SAME_LOWER"> (x, w)', W3, "padded", ("Conv 'map'",)),
    "Conv SAME even kernel": Case(
        'map = Conv <auto_pad = "SAME_LOWER"> (x, w)', {"w": (3, 2, 2, 2)}, "padded", ("Conv 'map'",)
    ),
    "Conv SAME stride 2": Case(
        'map = Conv <auto_pad = "SAME_UPPER", strides = [2, 2]> (x, w)',
        W3,
        "padded",
        ("Conv 'map'",),
        stride=(2, 2),
        phase=("Conv 'map'",),
    ),
    "Conv SAME 1x1": Case('map = Conv <auto_pad = "SAME_UPPER"> (x, w)', {"w": (3, 2, 1, 1)}),
    "Conv SAME that needs no pad": Case(
        'map = Conv <auto_pad = "SAME_UPPER", strides = [2, 2]> (x, w)',
        {"w": (3, 2, 2, 2)},
        stride=(2, 2),
        phase=("Conv 'map'",),
    ),
    "Conv SAME_LOWER 1x1": Case('map = Conv <auto_pad = "SAME_LOWER"> (x, w)', {"w": (3, 2, 1, 1)}),
    "Conv SAME_LOWER that needs no pad": Case(
        'map = Conv <auto_pad = "SAME_LOWER", strides = [2, 2]> (x, w)',
        {"w": (3, 2, 2, 2)},
        stride=(2, 2),
        phase=("Conv 'map'",),
    ),
    "Conv chain": Case(
        """a = Conv <strides = [2, 1]> (x, w)
        b = Relu (a)
        map = Conv <strides = [1, 2]> (b, v)""",
        {"w": (3, 2, 3, 2), "v": (2, 3, 2, 3)},
        stride=(2, 2),
    ),
    "Conv chain, the second pads": Case(
        f"""a = Conv <strides = [2, 2]> (x, w)
        map = Conv <{PADS}> (a, v)""",
        {"w": (3, 2, 2, 2), "v": (2, 3, 3, 3)},
        "padded",
        ("Conv 'map'",),
        stride=(2, 2),
    ),
    "Conv weight behind Constant and Transpose": Case(
        """wt = Transpose <perm = [3, 2, 0, 1]> (w)
        map = Conv (x, wt)""",
        {"w": (3, 2, 2, 4)},
    ),
    "A gate of FusedGemms": Case(
        """p = GlobalAveragePool (x)
        f = Flatten (p)
        g = com.microsoft.FusedGemm <activation = "LeakyRelu", activation_alpha = 0.5> (f, v)
        h = com.microsoft.FusedMatMul (g, u)
        r = Reshape (h, d)
        map = Mul (x, r)""",
        {"v": (2, 3), "u": (3, 2), "d": int64(0, 2, 1, 1)},
        verdict="global context",
        nodes=("GlobalAveragePool 'p'",),
        terms=80,
    ),
    "FusedConv": Case('map = com.microsoft.FusedConv <activation = "Relu"> (x, w)', W3),
    "QLinearConv": Case(
        """q = QLinearConv <strides = [2, 2]> (x, one, zx, w, one, zw, one, zx)
        map = DequantizeLinear (q, one, zx)""",
        {
            "one": np.float32(1),
            "zx": np.uint8(30),
            "w": integers((2, 2, 2, 2), 5, dtype=np.int8),
            "zw": np.int8(0),
        },
        stride=(2, 2),
        dtype=np.uint8,
    ),
    "ConvInteger": Case(
        """q = ConvInteger (x, w)
        map = Cast <to = 1> (q)""",
        {"w": integers((2, 2, 3, 3), 5, dtype=np.uint8, low=0)},
        dtype=np.uint8,
    ),
    # -- pools
    "MaxPool": Case("map = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)", stride=(2, 2)),
    "MaxPool overlapping": Case("map = MaxPool <kernel_shape = [3, 2], strides = [2, 1]> (x)", stride=(2, 1)),
    "MaxPool with Indices": Case("map, i = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)", stride=(2, 2)),
    "MaxPool dilations": Case("map = MaxPool <kernel_shape = [2, 2], dilations = [3, 2]> (x)"),
    "MaxPool pads": Case(
        f"map = MaxPool <kernel_shape = [3, 3], strides = [2, 2], {PADS}> (x)",
        verdict="padded",
        nodes=("MaxPool 'map'",),
        stride=(2, 2),
    ),
    "MaxPool ceil_mode, last window full": Case(
        "map = MaxPool <kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1> (x)",
        stride=(2, 2),
        phase=("MaxPool 'map'",),
    ),
    "MaxPool ceil_mode, last window cut off": Case(
        "map = MaxPool <kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1> (x)",
        verdict="padded",
        nodes=("MaxPool 'map'",),
        stride=(2, 2),
    ),
    "MaxPool ceil_mode VALID": Case(
        'map = MaxPool <kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1, auto_pad = "VALID"> (x)',
        verdict="padded",
        nodes=("MaxPool 'map'",),
        stride=(2, 2),
    ),
    "MaxPool SAME": Case(
        'map = MaxPool <kernel_shape = [3, 3], auto_pad = "SAME_UPPER"> (x)', verdict="padded", nodes=("MaxPool 'map'",)
    ),
    "AveragePool": Case("map = AveragePool <kernel_shape = [2, 4], strides = [1, 2]> (x)", stride=(1, 2)),
    "AveragePool pads": Case(
        f"map = AveragePool <kernel_shape = [3, 3], {PADS}> (x)",
        verdict="padded",
        nodes=("AveragePool 'map'",),
        terms=9,
    ),
    "AveragePool counts its pads": Case(
        f"map = AveragePool <kernel_shape = [2, 2], count_include_pad = 1, {PADS}> (x)",
        verdict="padded",
        nodes=("AveragePool 'map'",),
    ),
    "AveragePool ceil_mode": Case(
        "map = AveragePool <kernel_shape = [4, 4], strides = [4, 4], ceil_mode = 1> (x)",
        verdict="padded",
        nodes=("AveragePool 'map'",),
        stride=(4, 4),
        phase=("AveragePool 'map'",),
    ),
    "LpPool": Case("map = LpPool <kernel_shape = [2, 2], strides = [2, 2], p = 2> (x)", stride=(2, 2), terms=4),
    "LpPool ceil_mode": Case(
        "map = LpPool <kernel_shape = [4, 4], strides = [4, 4], p = 1, ceil_mode = 1> (x)",
        verdict="padded",
        nodes=("LpPool 'map'",),
        stride=(4, 4),
        phase=("LpPool 'map'",),
        opset=18,
        terms=16,
    ),
    # -- pads and crops
    "Pad": Case("map = Pad (x, p)", {"p": int64(0, 0, 1, 0, 0, 0, 0, 2)}, verdict="padded", nodes=("Pad 'map'",)),
    "Pad reflect": Case(
        'map = Pad <mode = "reflect"> (x, p)',
        {"p": int64(0, 0, 2, 1, 0, 0, 2, 1)},
        verdict="padded",
        nodes=("Pad 'map'",),
    ),
    "Pad edge": Case(
        'map = Pad <mode = "edge"> (x, p)', {"p": int64(0, 0, 2, 1, 0, 0, 0, 0)}, verdict="padded", nodes=("Pad 'map'",)
    ),
    "Pad axes": Case(
        "map = Pad (x, p, value, axes)",
        {"p": int64(1, 2), "value": np.float32(1), "axes": int64(-1)},
        verdict="padded",
        nodes=("Pad 'map'",),
        opset=18,
    ),
    "Pad attribute": Case(
        "map = Pad <pads = [0, 0, 1, 1, 0, 0, 0, 0]> (x)", verdict="padded", nodes=("Pad 'map'",), opset=10
    ),
    "Pad nothing": Case("map = Pad (x, p)", {"p": int64(*[0] * 8)}),
    "Pad channels": Case("map = Pad (x, p)", {"p": int64(0, 1, 0, 0, 0, 2, 0, 0)}),
    "Pad that crops": Case("map = Pad (x, p)", {"p": int64(0, 0, -1, 0, 0, 0, -2, -1)}),
    "Pad in front, crop behind": Case(
        "map = Pad (x, p)", {"p": int64(0, 0, 1, 0, 0, 0, -1, 0)}, verdict="padded", nodes=("Pad 'map'",)
    ),
    "Pad that a crop takes away": Case(
        """a = Pad (x, p)
        map = Slice (a, one, minus, axes)""",
        {"p": int64(0, 0, 1, 1, 0, 0, 1, 1), "one": int64(1, 1), "minus": int64(-1, -1), "axes": int64(2, 3)},
        verdict="padded",
        nodes=("Pad 'a'",),
        alike="the crop takes away exactly the padded cells",
    ),
    "Slice crops the border": Case(
        "map = Slice (x, starts, ends, axes)", {"starts": int64(1, 2), "ends": int64(-2, -1), "axes": int64(2, 3)}
    ),
    "Slice crops the front": Case(
        "map = Slice (x, starts, ends, axes)", {"starts": int64(3), "ends": int64(INT_MAX), "axes": int64(-1)}
    ),
    "Slice to the end in int32": Case(
        "map = Slice (x, starts, ends, axes)",
        {n: np.array([v], np.int32) for n, v in {"starts": 1, "ends": 2**31 - 1, "axes": 2}.items()},
    ),
    "Slice without axes": Case(
        "map = Slice (x, starts, ends)",
        {"starts": int64(0, 1, 1, 0), "ends": int64(INT_MAX, 2, INT_MAX, -1)},
    ),
    "Slice channels": Case(
        "map = Slice (x, starts, ends, axes, steps)",
        {"starts": int64(-1), "ends": int64(-INT_MAX), "axes": int64(1), "steps": int64(-1)},
    ),
    "Slice attributes": Case("map = Slice <starts = [1, 1], ends = [-1, -1], axes = [2, 3]> (x)", opset=9),
    # -- axes
    "Transpose to NHWC and back": Case(
        """a = Transpose <perm = [0, 2, 3, 1]> (x)
        b = Relu (a)
        map = Transpose <perm = [0, 3, 1, 2]> (b)"""
    ),
    "Transpose swaps height and width": Case(  # the axes are counted in the order in which the Conv slides over them
        """a = Transpose <perm = [0, 1, 3, 2]> (x)
        map = Conv <strides = [3, 2]> (a, w)""",
        W3,
        stride=(3, 2),
        spatial=(3, 2),
        map_spatial=(2, 3),
    ),
    "Transpose behind the Conv": Case(
        """a = Conv <strides = [3, 2]> (x, w)
        map = Transpose <perm = [0, 1, 3, 2]> (a)""",
        W3,
        stride=(3, 2),
        map_spatial=(3, 2),
    ),
    "Transpose to NHWC": Case(
        """a = Conv <strides = [2, 1]> (x, w)
        map = Transpose <perm = [0, 2, 3, 1]> (a)""",
        W3,
        stride=(2, 1),
        map_spatial=(1, 2),
    ),
    "NHWC image": Case(
        """a = Transpose <perm = [0, 3, 1, 2]> (x)
        map = Conv <strides = [2, 1]> (a, w)""",
        W3,
        stride=(2, 1),
        image=(10, 8, 2),
        spatial=(1, 2),
    ),
    "NHWC image, uint8, scaled": Case(
        """f = Cast <to = 1> (x)
        g = Mul (f, half)
        a = Transpose <perm = [0, 3, 1, 2]> (g)
        b = Conv <strides = [2, 1]> (a, w)
        map = Transpose <perm = [0, 2, 3, 1]> (b)""",
        {**W3, "half": floats(0.5, 2)},
        stride=(2, 1),
        image=(10, 8, 2),
        spatial=(1, 2),
        map_spatial=(1, 2),
        dtype=np.uint8,
    ),
    "Unsqueeze and Squeeze of a unit axis": Case(
        """a = Unsqueeze (x, one)
        b = Squeeze (a, one)
        map = Conv (b, w)""",
        {**W3, "one": int64(1)},
    ),
    # -- branches
    "Concat": Case(
        """a = Conv (x, w)
        b = MaxPool <kernel_shape = [3, 3]> (x)
        map = Concat <axis = 1> (a, b, a)""",
        W3,
    ),
    "Concat axis=-3, one branch pads": Case(
        f"""a = Conv <{PADS}> (x, w)
        map = Concat <axis = -3> (a, x)""",
        W3,
        "padded",
        ("Conv 'a'",),
    ),
    "Split": Case(
        """a, b = Split <axis = 1> (x)
        c = Conv (b, w)
        d = Conv (a, w)
        map = Sub (c, d)""",
        {"w": (3, 1, 2, 3)},
    ),
    "Gather of channels": Case("map = Gather <axis = 1> (x, i)", {"i": int64(1, 0, 1)}),
    "Residual with a crop": Case(
        """a = Conv (x, w)
        b = Relu (a)
        c = Slice (x, one, minus, axes)
        map = Add (b, c)""",
        {"w": (2, 2, 3, 3), "one": int64(1, 1), "minus": int64(-1, -1), "axes": int64(2, 3)},
    ),
    "Residual with pads": Case(
        f"""a = Conv <{PADS}> (x, w)
        b = Relu (a)
        map = Add (b, x)""",
        {"w": (2, 2, 3, 3)},
        "padded",
        ("Conv 'a'",),
    ),
    "Residual with a strided 1x1 branch": Case(
        """a = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (x, w)
        b = Conv <strides = [2, 2]> (x, v)
        map = Add (a, b)""",
        {"w": (3, 2, 3, 3), "v": (3, 2, 1, 1)},
        "padded",
        ("Conv 'a'",),
        stride=(2, 2),
    ),
    "Branches that agree at the trained size only": Case(
        """a = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)
        b = Conv <strides = [2, 2]> (x, w)
        map = Add (a, b)""",
        {"w": (2, 2, 1, 1)},
        stride=(2, 2),
        phase=("Add 'map'",),
        any_size=False,
    ),
    "Max and Min of branches": Case(
        """a = Conv (x, w)
        b = Conv (x, v)
        c = Max (a, b, zero)
        map = Min (c, b)""",
        {**W3, "v": (3, 2, 3, 3), "zero": floats(0)},
    ),
    # -- blocks and resizing
    "SpaceToDepth": Case(
        "map = SpaceToDepth <blocksize = 2> (x)", stride=(2, 2), phase=("SpaceToDepth 'map'",), any_size=False
    ),
    "DepthToSpace": Case(
        """a = Conv <strides = [4, 4]> (x, w)
        map = DepthToSpace <blocksize = 2> (a)""",
        {"w": (8, 2, 2, 2)},
        "global context",
        ("DepthToSpace 'map'",),
        stride=(2, 2),
        image=(2, 12, 8),
    ),
    "Resize nearest x2": Case(
        """a = Conv <strides = [4, 4]> (x, u)
        map = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric"> (a, , scales)""",
        {**SHRINK, "scales": floats(1, 1, 2, 2)},
        "global context",
        ("Resize 'map'",),
        stride=(2, 2),
        image=(2, 12, 8),
    ),
    "Resize linear x2, x4": Case(
        """a = Conv <strides = [4, 4]> (x, u)
        map = Resize <mode = "linear"> (a, , scales)""",
        {**SHRINK, "scales": floats(1, 1, 2, 4)},
        "global context",
        ("Resize 'map'",),
        stride=(2, 1),
        image=(2, 12, 8),
    ),
    "Resize axes": Case(
        """a = Conv <strides = [4, 4]> (x, u)
        map = Resize <mode = "linear", axes = [3]> (a, , scales)""",
        {**SHRINK, "scales": floats(2)},
        "global context",
        ("Resize 'map'",),
        stride=(4, 2),
        image=(2, 12, 8),
        opset=18,
    ),
    "Resize x1/2": Case(
        """map = Resize <mode = "linear"> (x, , scales)""",
        {"scales": floats(1, 1, 0.5, 0.5)},
        "global context",
        ("Resize 'map'",),
        stride=(2, 2),
        alike="halving an even number of cells averages pairs, which is a window of two",
    ),
    "Resize x1/2 cubic": Case(
        """map = Resize <mode = "cubic"> (x, , scales)""",
        {"scales": floats(1, 1, 0.5, 0.5)},
        "global context",
        ("Resize 'map'",),
        stride=(2, 2),
        terms=16,
    ),
    "Resize opset 10": Case(
        """a = Conv <strides = [4, 4]> (x, u)
        map = Resize <mode = "nearest"> (a, scales)""",
        {**SHRINK, "scales": floats(1, 1, 2, 2)},
        "global context",
        ("Resize 'map'",),
        stride=(2, 2),
        image=(2, 12, 8),
        opset=10,
    ),
    "Upsample": Case(
        """a = Conv <strides = [4, 4]> (x, u)
        map = Upsample <mode = "nearest"> (a, scales)""",
        {**SHRINK, "scales": floats(1, 1, 2, 2)},
        "global context",
        ("Upsample 'map'",),
        stride=(2, 2),
        image=(2, 12, 8),
        opset=9,
    ),
    "Upsample attribute": Case(
        """a = Conv <strides = [4, 4]> (x, u)
        map = Upsample <mode = "nearest", scales = [1.0, 1.0, 2.0, 2.0]> (a)""",
        {**SHRINK},
        "global context",
        ("Upsample 'map'",),
        stride=(2, 2),
        image=(2, 12, 8),
        opset=8,
    ),
    "Resize x3 of a floored map, pooled": Case(
        """a = MaxPool <kernel_shape = [3, 3], strides = [3, 3]> (x)
        b = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric"> (a, , scales)
        map = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (b)""",
        {"scales": floats(1, 1, 2, 2)},
        "global context",
        ("Resize 'b'",),
        stride=(3, 3),
        image=(2, 10, 11),
        alike="the pool takes the two cells back together that the resize made of one",
    ),
    "ConvTranspose stride 2": Case(
        """a = Conv <strides = [4, 4]> (x, u)
        map = ConvTranspose <strides = [2, 2]> (a, v)""",
        {**SHRINK, "v": (2, 3, 3, 2)},
        "global context",
        ("ConvTranspose 'map'",),
        stride=(2, 2),
        image=(2, 12, 8),
    ),
    "ConvTranspose pads, output_padding, dilations, group": Case(
        """a = Conv <strides = [4, 4]> (x, u)
        map = ConvTranspose <strides = [2, 2], pads = [1, 0, 0, 1], output_padding = [1, 1], dilations = [2, 1],
              group = 2> (a, v)""",
        {**SHRINK, "v": (2, 2, 3, 2)},
        "global context",
        ("ConvTranspose 'map'",),
        stride=(2, 2),
        image=(2, 12, 8),
    ),
    # -- normalisations and channel operators
    "BatchNormalization": Case("map = BatchNormalization (x, s, b, m, v)", BN, terms=2),
    "LRN": Case("map = LRN <size = 3> (x)", terms=3),
    "InstanceNormalization": Case(
        "map = InstanceNormalization (x, s, b)",
        {"s": floats(2, 3), "b": floats(1, -1)},
        "global context",
        ("InstanceNormalization 'map'",),
        terms=80,
    ),
    "MeanVarianceNormalization": Case(
        "map = MeanVarianceNormalization <axes = [0, 2, 3]> (x)",
        verdict="global context",
        nodes=("MeanVarianceNormalization 'map'",),
        terms=80,
    ),
    "LayerNormalization of all": Case(
        "map = LayerNormalization <axis = 1> (x, s)",
        {"s": floats(2)},
        "global context",
        ("LayerNormalization 'map'",),
        terms=160,
    ),
    "LayerNormalization of channels": Case(
        """a = Transpose <perm = [0, 2, 3, 1]> (x)
        b = LayerNormalization (a, s, t)
        map = Transpose <perm = [0, 3, 1, 2]> (b)""",
        {"s": floats(2, 3), "t": floats(1, -1)},
        terms=2,
    ),
    "Softmax over channels": Case("map = Softmax <axis = 1> (x)", terms=2),
    "LogSoftmax over channels": Case("map = LogSoftmax <axis = -3> (x)", terms=2),
    "Softmax over the width": Case("map = Softmax (x)", verdict="global context", nodes=("Softmax 'map'",), terms=8),
    "Softmax before opset 13 takes all axes": Case(
        "map = Softmax (x)", verdict="global context", nodes=("Softmax 'map'",), terms=160, opset=12
    ),
    "Softmax over channels on, before opset 13": Case(
        "map = Softmax <axis = 1> (x)",
        verdict="global context",
        nodes=("Softmax 'map'",),
        terms=160,
        opset=12,
    ),
    "LpNormalization over channels": Case("map = LpNormalization <axis = 1> (x)", terms=2),
    "LpNormalization over the width": Case(
        "map = LpNormalization (x)", verdict="global context", nodes=("LpNormalization 'map'",), terms=8
    ),
    "ReduceMean over channels": Case("map = ReduceMean <axes = [1]> (x)"),
    "ReduceMax over channels, opset 18": Case("map = ReduceMax (x, axes)", {"axes": int64(-3)}, opset=18),
    "ReduceSum of nothing": Case("map = ReduceSum <noop_with_empty_axes = 1> (x)"),
    "ArgMax over channels": Case(
        """a = ArgMax <axis = 1> (x)
        map = Cast <to = 1> (a)"""
    ),
    # -- elementwise
    "Activations": Case(
        """a = LeakyRelu (x)
        b = Clip (a, low, high)
        c = Neg (b)
        d = PRelu (c, slope)
        e = Identity (d)
        map = Dropout (e)""",
        {"low": np.float32(-1), "high": np.float32(2), "slope": np.array([[[2.0]], [[3.0]]], np.float32)},
    ),
    "Constants": Case(
        """a = Sub (x, mean)
        b = Div (a, std)
        map = Where (c, b, mean)""",
        {
            "mean": np.array([[[[1.0]], [[2.0]]]], np.float32),
            "std": np.array([[[2.0]], [[4.0]]], np.float32),
            "c": np.array([[[True]], [[False]]]),
        },
    ),
    "A constant that makes more channels": Case("map = Mul (x, k)", {"k": (3, 1, 1)}, image=(1, 10, 8)),
    "uint8 image": Case(
        """a = Cast <to = 1> (x)
        map = Conv (a, w)""",
        W3,
        dtype=np.uint8,
    ),
    "Quantised": Case(
        """a = QuantizeLinear (x, s, z)
        b = DequantizeLinear (a, s, z)
        map = Conv (b, w)""",
        {**W3, "s": np.float32(0.5), "z": np.uint8(128)},
    ),
    "Quantised per channel": Case(
        """a = QuantizeLinear <axis = 1> (x, s, z)
        map = DequantizeLinear <axis = 1> (a, s, z)""",
        {"s": floats(0.5, 2), "z": np.array([128, 7], np.uint8)},
    ),
    "Quantised by onnxruntime": Case(
        """a = com.microsoft.QuantizeLinear (x, s, z)
        b = com.microsoft.DequantizeLinear (a, s, z)
        map = Conv (b, w)""",
        {**W3, "s": np.float32(0.5), "z": np.uint8(128)},
    ),
    "Quantised residual": Case(
        """a = QuantizeLinear (x, s, z)
        b = com.microsoft.QLinearLeakyRelu <alpha = 0.5> (a, s, z, s, z)
        c = com.microsoft.QLinearMul (a, s, z, k, t, z, s, z)
        d = com.microsoft.QLinearAdd (b, s, z, c, s, z, s, z)
        map = DequantizeLinear (d, s, z)""",
        {**STEPS, "k": np.array([130, 124], np.uint8).reshape(1, 2, 1, 1), "t": np.float32(0.25)},
    ),
    "Quantised branches, joined": Case(
        """a = QuantizeLinear (x, s, z)
        b = com.microsoft.QLinearSigmoid (a, s, z, t, z)
        c = com.microsoft.QLinearConcat <axis = 1> (s, z, a, s, z, b, t, z)
        map = DequantizeLinear (c, s, z)""",
        {**STEPS, "t": np.float32(1 / 128)},
    ),
    "Quantised AveragePool": Case(
        """a = QuantizeLinear (x, s, z)
        b = com.microsoft.QLinearAveragePool <kernel_shape = [2, 2], strides = [2, 2]> (a, s, z, t, z)
        map = DequantizeLinear (b, t, z)""",
        {**STEPS, "t": np.float32(0.125)},
        stride=(2, 2),
    ),
    "Quantised AveragePool with pads": Case(
        """a = QuantizeLinear (x, s, z)
        b = com.microsoft.QLinearAveragePool <kernel_shape = [2, 2], pads = [1, 0, 0, 0], count_include_pad = 1>
            (a, s, z, t, z)
        map = DequantizeLinear (b, t, z)""".replace("\n            (a", " (a"),
        {**STEPS, "t": np.float32(0.125)},
        "padded",
        ("com.microsoft.QLinearAveragePool 'b'",),
    ),
    "Gelu of onnxruntime": Case(
        """a = Conv (x, w)
        b = com.microsoft.Gelu (a)
        map = com.microsoft.QuickGelu <alpha = 0.5> (b)""",
        W3,
        terms=20,
    ),
    "Quantised gate": Case(
        """a = QuantizeLinear (x, s, z)
        p = com.microsoft.QLinearGlobalAveragePool <channels_last = 0> (a, s, z, t, z)
        b = com.microsoft.QLinearAdd (a, s, z, p, t, z, s, z)
        map = DequantizeLinear (b, s, z)""",
        {**STEPS, "t": np.float32(1 / 128)},
        "global context",
        ("com.microsoft.QLinearGlobalAveragePool 'p'",),
    ),
    # -- gates
    "Squeeze and excitation": Case(
        """a = Conv <strides = [2, 2]> (x, w)
        p = GlobalAveragePool (a)
        q = Conv (p, v)
        g = Sigmoid (q)
        map = Mul (a, g)""",
        {"w": (2, 2, 2, 2), "v": (2, 2, 1, 1)},
        "global context",
        ("GlobalAveragePool 'p'",),
        stride=(2, 2),
        terms=40,
    ),
    "Gate by ReduceMax": Case(
        """a = Conv (x, w)
        p = ReduceMax <axes = [2, 3]> (a)
        map = Sub (a, p)""",
        W3,
        verdict="global context",
        nodes=("ReduceMax 'p'",),
    ),
    "Gate along one axis": Case(
        """a = Conv (x, w)
        p = ReduceMax <axes = [3]> (a)
        map = Sub (a, p)""",
        W3,
        verdict="global context",
        nodes=("ReduceMax 'p'",),
    ),
    "A decomposed normalisation": Case(
        """p = ReduceMean <axes = [2, 3]> (x)
        map = Sub (x, p)""",
        verdict="global context",
        nodes=("ReduceMean 'p'",),
        terms=80,
    ),
    # -- products, and gates with FC nodes
    "MatMul over channels": Case(
        """t = Transpose <perm = [0, 2, 3, 1]> (x)
        a = MatMul (t, w)
        b = Relu (a)
        map = MatMul (b, v)""",
        {"w": (2, 3), "v": (3, 2)},
        map_spatial=(1, 2),
    ),
    "ConvNeXt's block": Case(
        """s = Conv <strides = [2, 2]> (x, stem)
        c = Conv <group = 4> (s, depth)
        t = Transpose <perm = [0, 2, 3, 1]> (c)
        a = MatMul (t, w)
        b = Add (ba, a)
        r = Relu (b)
        d = MatMul (r, v)
        e = Mul (d, scale)
        o = Transpose <perm = [0, 3, 1, 2]> (e)
        i = Slice (s, one, minus, axes)
        map = Add (i, o)""",
        {
            "stem": (4, 2, 2, 2),
            "depth": (4, 1, 3, 3),
            "w": (4, 6),
            "ba": (6,),
            "v": (6, 4),
            "scale": floats(0.5, 0.25, 1, 2),
            "one": int64(1, 1),
            "minus": int64(-1, -1),
            "axes": int64(2, 3),
        },
        stride=(2, 2),
        image=(2, 12, 10),
    ),
    "MatMul over channels behind pads": Case(
        f"""c = Conv <{PADS}> (x, w)
        t = Transpose <perm = [0, 2, 3, 1]> (c)
        a = MatMul (t, v)
        map = Transpose <perm = [0, 3, 1, 2]> (a)""",
        {**W3, "v": (3, 4)},
        "padded",
        ("Conv 'c'",),
    ),
    "MatMul over channels, 1-D": Case(
        """c = Conv <strides = [2]> (x, v)
        t = Transpose <perm = [0, 2, 1]> (c)
        a = MatMul (t, w)
        map = Transpose <perm = [0, 2, 1]> (a)""",
        {"w": (3, 4), "v": (3, 2, 3)},
        stride=(2,),
        image=(2, 20),
        spatial=(2,),
    ),
    "MatMul over channels, opset 7": Case(
        """t = Transpose <perm = [0, 2, 3, 1]> (x)
        a = MatMul (t, w)
        map = Transpose <perm = [0, 3, 1, 2]> (a)""",
        {"w": (2, 3)},
        opset=7,
    ),
    "Gate of FC nodes, Flatten and Reshape": Case(
        """a = Conv <strides = [2, 2]> (x, w)
        p = GlobalMaxPool (a)
        f = Flatten (p)
        g = Gemm <transB = 1> (f, v, b)
        r = Relu (g)
        h = Gemm (r, u)
        e = Reshape (h, shape)
        map = Mul (a, e)""",
        {"w": (2, 2, 2, 2), "v": (3, 2), "b": (3,), "u": (3, 2), "shape": int64(-1, 2, 1, 1)},
        "global context",
        ("GlobalMaxPool 'p'",),
        stride=(2, 2),
    ),
    "Gate of FC nodes, Squeeze and Unsqueeze": Case(
        """p = GlobalAveragePool (x)
        f = Squeeze (p, axes)
        g = MatMul (f, v)
        h = Add (g, b)
        r = Relu (h)
        k = MatMul (r, u)
        q = Sigmoid (k)
        e = Unsqueeze (q, axes)
        map = Mul (e, x)""",
        {"v": (2, 3), "b": (3,), "u": (3, 2), "axes": int64(2, 3)},
        "global context",
        ("GlobalAveragePool 'p'",),
        terms=80,
    ),
    "Gate of FC nodes, Squeeze and Unsqueeze, opset 11": Case(
        """a = Conv (x, w)
        p = GlobalMaxPool (a)
        f = Squeeze <axes = [2, 3]> (p)
        g = Gemm <alpha = 0.5> (f, v)
        e = Unsqueeze <axes = [2, 3]> (g)
        map = Add (a, e)""",
        {**W3, "v": (3, 3)},
        "global context",
        ("GlobalMaxPool 'p'",),
        opset=11,
    ),
    "Gate of FC nodes, Reshape and ReduceMax": Case(
        """a = Conv (x, w)
        p = ReduceMax <axes = [2, 3], keepdims = 0> (a)
        g = Gemm (p, v)
        e = Reshape (g, shape)
        map = Add (a, e)""",
        {**W3, "v": (3, 3), "shape": int64(0, 3, 1, 1)},
        "global context",
        ("ReduceMax 'p'",),
    ),
    "Gate of FC nodes, Reshape there and back": Case(
        """a = Conv (x, w)
        p = ReduceMax <axes = [2, 3]> (a)
        f = Reshape (p, row)
        g = Gemm (f, v)
        e = Reshape (g, shape)
        b = Sub (a, e)
        map = Conv (b, u)""",
        {**W3, "v": (3, 3), "u": (2, 3, 2, 2), "row": int64(-1, 3), "shape": int64(-1, 3, 1, 1)},
        "global context",
        ("ReduceMax 'p'",),
    ),
    "Gate of FC nodes behind pads": Case(
        f"""c = Conv <{PADS}> (x, w)
        p = GlobalMaxPool (c)
        f = Flatten (p)
        g = Gemm (f, v)
        e = Unsqueeze (g, axes)
        map = Sub (c, e)""",
        {**W3, "v": (3, 3), "axes": int64(2, 3)},
        "global context",
        ("Conv 'c'", "GlobalMaxPool 'p'"),
    ),
    "Gate of FC nodes, N, H, W, C": Case(
        """c = Conv (x, w)
        t = Transpose <perm = [0, 2, 3, 1]> (c)
        p = ReduceMax <axes = [1, 2], keepdims = 0> (t)
        g = MatMul (p, v)
        e = Reshape (g, shape)
        m = Add (t, e)
        map = Transpose <perm = [0, 3, 1, 2]> (m)""",
        {**W3, "v": (3, 3), "shape": int64(-1, 1, 1, 3)},
        "global context",
        ("ReduceMax 'p'",),
    ),
    "Two gates of FC nodes": Case(
        """a = GlobalMaxPool (x)
        b = Flatten (a)
        c = Gemm (b, v)
        d = Unsqueeze (c, axes)
        e = Add (x, d)
        f = Conv <strides = [2, 1]> (e, w)
        p = GlobalMaxPool (f)
        q = Flatten (p)
        r = Gemm (q, u)
        s = Unsqueeze (r, axes)
        map = Mul (f, s)""",
        {**W3, "v": (2, 2), "u": (3, 3), "axes": int64(2, 3)},
        "global context",
        ("GlobalMaxPool 'a'", "GlobalMaxPool 'p'"),
        stride=(2, 1),
    ),
    "Gate of FC nodes, 1-D": Case(
        """a = Conv <strides = [2]> (x, w)
        p = GlobalMaxPool (a)
        f = Flatten (p)
        g = Gemm (f, v)
        e = Unsqueeze (g, axes)
        map = Add (a, e)""",
        {"w": (3, 2, 3), "v": (3, 3), "axes": int64(2)},
        "global context",
        ("GlobalMaxPool 'p'",),
        stride=(2,),
        **IMAGE_1D,
    ),
    # -- every second cell
    "Slice with steps": Case(
        "map = Slice (x, starts, ends, axes, steps)",
        {"starts": int64(0, 1), "ends": int64(INT_MAX, INT_MAX), "axes": int64(2, 3), "steps": int64(3, 2)},
        stride=(3, 2),
    ),
    "Slice with steps and a cropped border": Case(
        "map = Slice (x, starts, ends, axes, steps)",
        {"starts": int64(2, 1), "ends": int64(-1, -3), "axes": int64(-2, -1), "steps": int64(2, 3)},
        stride=(2, 3),
    ),
    "Slice with steps, without axes, int32, opset 10": Case(
        """a = Slice (x, starts, ends, , steps)
        map = Conv (a, w)""",
        {
            **{n: np.array(v, np.int32) for n, v in {"starts": (0, 0, 1, 0), "steps": (1, 1, 2, 2)}.items()},
            "ends": np.array([2**31 - 1] * 4, np.int32),
            "w": (3, 2, 2, 2),
        },
        stride=(2, 2),
        opset=10,
    ),
    "Slice with steps of a Slice with steps": Case(
        """a = Slice (x, starts, ends, axes, steps)
        map = Slice (a, starts, ends, axes, steps)""",
        {"starts": int64(1), "ends": int64(INT_MAX), "axes": int64(2), "steps": int64(2)},
        stride=(4, 1),
    ),
    "Focus": Case(
        """a = Slice (x, even_even, ends, axes, steps)
        b = Slice (x, odd_even, ends, axes, steps)
        c = Slice (x, even_odd, ends, axes, steps)
        d = Slice (x, odd_odd, ends, axes, steps)
        e = Concat <axis = 1> (a, b, c, d)
        map = Conv (e, w)""",
        {
            "even_even": int64(0, 0),
            "odd_even": int64(1, 0),
            "even_odd": int64(0, 1),
            "odd_odd": int64(1, 1),
            "ends": int64(INT_MAX, INT_MAX),
            "axes": int64(2, 3),
            "steps": int64(2, 2),
            "w": (3, 8, 3, 2),
        },
        stride=(2, 2),
        phase=("Concat 'e'",),
        any_size=False,
    ),
    "Focus in two steps": Case(
        """a = Slice (x, zero, end, two, two)
        b = Slice (x, one, end, two, two)
        c = Slice (a, zero, end, three, two)
        d = Slice (b, zero, end, three, two)
        e = Slice (a, one, end, three, two)
        f = Slice (b, one, end, three, two)
        map = Concat <axis = 1> (c, d, e, f)""",
        {"zero": int64(0), "one": int64(1), "two": int64(2), "three": int64(3), "end": int64(INT_MAX)},
        stride=(2, 2),
        phase=("Concat 'map'",),
        any_size=False,
    ),
    # -- operators of onnxruntime
    "com.microsoft quantised chain": Case(
        """a = com.microsoft.QuantizeLinear (x, half, z)
        b = com.microsoft.QLinearLeakyRelu <alpha = 0.5> (a, half, z, quarter, z)
        c = com.microsoft.QLinearMul (k, two, z, b, quarter, z, half, z)
        d = com.microsoft.QLinearAdd (c, half, z, a, half, z, one, z)
        e = com.microsoft.DequantizeLinear (d, one, z)
        map = Cast <to = 1> (e)""",
        {
            "quarter": np.float32(0.25),
            "half": np.float32(0.5),
            "one": np.float32(1),
            "two": np.float32(2),
            "z": np.int8(3),
            "k": np.array([4, 2], np.int8).reshape(1, 2, 1, 1),
        },
    ),
    "com.microsoft quantised branches": Case(
        """a = com.microsoft.QuantizeLinear (x, half, z)
        b = com.microsoft.QLinearSigmoid (a, half, z, small, zero)
        c = com.microsoft.QLinearAveragePool <kernel_shape = [2, 2], strides = [2, 2]> (a, half, z, eighth, z)
        d = com.microsoft.QLinearAveragePool <kernel_shape = [1, 1], strides = [2, 2]> (b, small, zero, small, zero)
        e = com.microsoft.QLinearConcat <axis = 1> (half, z, c, eighth, z, d, small, zero)
        map = DequantizeLinear (e, half, z)""",
        {
            "half": np.float32(0.5),
            "eighth": np.float32(0.125),
            "small": np.float32(1 / 256),
            "z": np.uint8(100),
            "zero": np.uint8(0),
        },
        stride=(2, 2),
        phase=("com.microsoft.QLinearConcat 'e'",),
        any_size=False,
    ),
    "com.microsoft QLinearAveragePool pads": Case(
        """a = QuantizeLinear (x, one, z)
        b = com.microsoft.QLinearAveragePool <kernel_shape = [2, 2], pads = [1, 1, 0, 0], count_include_pad = 1> (
            a, one, z, quarter, z)
        map = DequantizeLinear (b, quarter, z)""",
        {"one": np.float32(1), "quarter": np.float32(0.25), "z": np.uint8(128)},
        "padded",
        ("com.microsoft.QLinearAveragePool 'b'",),
    ),
    "com.microsoft QLinearGlobalAveragePool as a gate": Case(
        """a = QuantizeLinear (x, one, z)
        p = com.microsoft.QLinearGlobalAveragePool <channels_last = 0> (a, one, z, small, z)
        b = com.microsoft.QLinearAdd (a, one, z, p, small, z, small, z)
        map = DequantizeLinear (b, small, z)""",
        {"one": np.float32(1), "small": np.float32(1 / 16), "z": np.uint8(128)},
        "global context",
        ("com.microsoft.QLinearGlobalAveragePool 'p'",),
    ),
    "com.microsoft Gelu and QuickGelu": Case(
        """a = com.microsoft.Gelu (x)
        b = com.microsoft.QuickGelu <alpha = 1.5> (a)
        map = Conv (b, w)""",
        W3,
        terms=18,
    ),
    # -- 1-D and 3-D
    "1-D Conv": Case("map = Conv <strides = [2]> (x, w)", {"w": (3, 2, 3)}, stride=(2,), **IMAGE_1D),
    "1-D pads": Case(
        "map = Conv <pads = [1, 1]> (x, w)", {"w": (3, 2, 3)}, "padded", ("Conv 'map'",), stride=(1,), **IMAGE_1D
    ),
    "1-D MaxPool ceil_mode": Case(
        "map = MaxPool <kernel_shape = [3], strides = [2], ceil_mode = 1> (x)",
        verdict="padded",
        nodes=("MaxPool 'map'",),
        stride=(2,),
        **IMAGE_1D,
    ),
    "1-D sequence with features last": Case(
        """a = Transpose <perm = [0, 2, 1]> (x)
        map = Conv <strides = [3]> (a, w)""",
        {"w": (3, 2, 3)},
        stride=(3,),
        image=(20, 2),
        spatial=(1,),
    ),
    "3-D Conv": Case("map = Conv <strides = [2, 1, 1]> (x, w)", {"w": (2, 1, 2, 3, 2)}, stride=(2, 1, 1), **IMAGE_3D),
    "3-D pool with pads": Case(
        "map = MaxPool <kernel_shape = [2, 2, 2], pads = [0, 1, 0, 0, 0, 0]> (x)",
        verdict="padded",
        nodes=("MaxPool 'map'",),
        stride=(1, 1, 1),
        **IMAGE_3D,
    ),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
