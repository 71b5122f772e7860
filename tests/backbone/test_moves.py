"""How each operator moves along the axes of its map: against onnxruntime, and against image crops.

Every case is a few nodes from the image ``x`` to the feature map ``map`` in front of a Flatten and a Gemm. The traced
size law must give the sizes that come out of onnxruntime, and the verdict must be the truth: where it is *exact*, every
window of an enlarged map is the map of the image crop; where it is not, some window differs and the named node is why.
The second table holds what must be refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

import onnx_fc2conv as fc2conv
from onnx_fc2conv import model_io, pipeline
from onnx_fc2conv.backbone import FAMILIES
from onnx_fc2conv.backbone.registry import MOVES
from onnx_fc2conv.conversion import Conversion
from onnx_fc2conv.dtypes import tolerance
from onnx_fc2conv.errors import NothingToConvert, Unliftable, UnreadableModel

from ..networks import MAP, assert_close, cut, integers, session

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


@every_case
def test_the_size_law_gives_the_sizes_of_onnxruntime(case: Case) -> None:
    traced = prepared(case).plan.maps[MAP]
    run = free_session(case)
    assert len(GROWTHS) == len(set(GROWTHS)) == 12
    for growth in GROWTHS:
        steps = (1,) * len(case.spatial) if case.any_size else case.stride
        size = [t + g * s for t, g, s in zip(case.trained, growth, steps, strict=False)]
        (found,) = run.run(None, {"x": case.pixels(size)})
        assert [axis.law(n) for axis, n in zip(traced.axes, size, strict=True)] == [
            found.shape[a] for a in case.window_axes
        ], size
        assert tuple(traced.spatial) == case.window_axes


@every_case
def test_the_effective_stride_and_the_verdict(case: Case) -> None:
    conversion = prepared(case)
    assert conversion.geometry.grid.stride == case.stride
    assert conversion.trained == case.trained
    assert conversion.verdict == case.verdict
    assert sorted({c.node for c in conversion.inexact}) == sorted(case.nodes)
    assert sorted({c.node for c in conversion.phases}) == sorted(case.phase)


EFFECTIVE = [  # receptive field and effective padding, in pixels
    ("Conv", (3, 3), (0, 0)),
    ("Conv dilations", (5, 7), (0, 0)),
    ("Conv pads", (3, 3), (1, 1)),
    ("Conv pads before", (3, 3), (1, 0)),
    ("Conv pads after", (3, 3), (0, 0)),
    ("Conv SAME_UPPER", (3, 3), (1, 1)),
    ("Conv SAME even kernel", (2, 2), (1, 1)),
    ("Conv SAME stride 2", (3, 3), (0, 0)),
    ("Conv chain", (5, 4), (0, 0)),
    ("Conv chain, the second pads", (6, 6), (2, 2)),
    ("MaxPool overlapping", (3, 2), (0, 0)),
    ("Pad", (1, 1), (1, 0)),
    ("Slice crops the border", (1, 1), (-1, -2)),
    ("Residual with pads", (3, 3), (1, 1)),
    ("SpaceToDepth", (2, 2), (0, 0)),
    ("NHWC image", (3, 3), (0, 0)),
]


@pytest.mark.parametrize(("name", "receptive_field", "padding"), EFFECTIVE, ids=[row[0] for row in EFFECTIVE])
def test_receptive_field_and_padding(name: str, receptive_field: tuple[int, ...], padding: tuple[int, ...]) -> None:
    grid = prepared(CASES[name]).geometry.grid
    assert (grid.field, grid.padding) == (receptive_field, padding)


def crops(case: Case, steps: int, more: Sequence[int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Windows of an enlarged map, and the map of the image crop in the box of each window.

    Args:
        case: the backbone.
        steps: strides added to the trained size on every axis; that many windows and one are compared along it.
        more: pixels added to that, which the windows with a whole box in the image leave over.
    """
    run = free_session(case)
    image = case.pixels([t + steps * s + m for t, s, m in zip(case.trained, case.stride, more, strict=True)])
    (big,) = run.run(None, {"x": image})
    windows, maps = [], []
    for cell in itertools.product(range(steps + 1), repeat=len(case.spatial)):
        box = [slice(None)] * image.ndim
        for axis, i, s, t in zip(case.spatial, cell, case.stride, case.trained, strict=True):
            box[axis] = slice(i * s, i * s + t)
        (small,) = run.run(None, {"x": np.ascontiguousarray(image[tuple(box)])})
        here = [slice(None)] * big.ndim
        for axis, i in zip(case.window_axes, cell, strict=True):
            here[axis] = slice(i, i + small.shape[axis])
            assert (
                big.shape[axis] - small.shape[axis] == steps
                if not any(more)
                else big.shape[axis] >= small.shape[axis] + steps
            )
        windows.append(big[tuple(here)])
        maps.append(small)
    assert len(windows) == (steps + 1) ** len(case.spatial)
    assert np.ptp(np.concatenate([m.ravel() for m in maps])) > 0
    return windows, maps


def bound(case: Case) -> float:
    """0 where integers stay integers, else what rounding may do."""
    return tolerance(TensorProto.FLOAT, case.terms, len(case.text.splitlines())) if case.terms else 0.0


@every_case
def test_the_verdict_is_the_truth(case: Case) -> None:
    windows, maps = crops(case, 4, (0,) * len(case.spatial))
    if case.verdict == "exact" or case.alike:
        for window, small in zip(windows, maps, strict=True):
            assert_close(window, small, bound(case))
    else:
        scale = max(float(np.abs(small).max()) for small in maps)
        worst = max(float(np.abs(window - small).max()) for window, small in zip(windows, maps, strict=True))
        assert worst > bound(case) * scale


STRIDED = {n: c for n, c in CASES.items() if c.verdict == "exact" and not c.phase and max(c.stride) > 1}


@pytest.mark.parametrize("case", STRIDED.values(), ids=STRIDED.keys())
def test_exact_windows_at_sizes_that_leave_pixels_over(case: Case) -> None:
    """Where any size is valid and the verdict is exact, windows are those of the crops at any size."""
    for window, small in zip(*crops(case, 2, [s - 1 for s in case.stride]), strict=True):
        assert_close(window, small, bound(case))


@every_case
def test_the_converted_model_runs_and_checks(case: Case) -> None:
    """The whole pipeline accepts every case, its own checks included."""
    result = fc2conv.convert(classifier(case), verify=True)
    onnx.checker.check_model(result.model, full_check=True)
    assert result.report.verified


@pytest.mark.parametrize("case", STRIDED.values(), ids=STRIDED.keys())
def test_the_checks_accept_sizes_that_leave_pixels_over(case: Case) -> None:
    size = [t + 2 * s + s - 1 for t, s in zip(case.trained, case.stride, strict=True)]
    assert fc2conv.convert(classifier(case), sizes=[size], verify=True).report.verified


def test_every_operator_with_a_move_has_a_case() -> None:
    """Elementwise operators share one move: some of them stand for all. The rest has a case each."""
    used = {node.op_type for case in CASES.values() for node in backbone(case).graph.node}
    own_move = {op_type for op_type, move in MOVES.items() if move.__name__ not in ("move_elementwise", "move_reduce")}
    covered_elsewhere = {"Reshape", "GlobalMaxPool", "GlobalLpPool", "GroupNormalization", "Hardmax"}
    assert FAMILIES
    assert own_move - used == covered_elsewhere


# -- refusals --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Refusal:
    """A model that must not be converted.

    Attributes:
        text: nodes from the inputs to ``map``; ``Flatten`` and ``Gemm`` are put behind it.
        features: of the flattened map.
        node: the node that is named.
        reason: part of the reason.
        inputs: dims of the inputs.
    """

    text: str
    features: int
    node: str | None
    reason: str
    weights: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, tuple[Any, ...]] = field(default_factory=lambda: {"x": ("N", 2, 8, 6)})
    opset: int = 17
    error: type[Exception] = Unliftable
    types: Mapping[str, int] = field(default_factory=dict)

    @property
    def model(self) -> ModelProto:
        lines = [line.strip() for line in self.text.strip().splitlines()]
        lines += ["flat = Flatten (map)", "y = Gemm <transB = 1> (flat, fc, bias)"]
        nodes = parser.parse_graph("g (float x) => (float y) {\n" + "\n".join(lines) + "\n}").node
        arrays = {"fc": (3, self.features), "bias": (3,), **self.weights}
        graph = helper.make_graph(
            nodes,
            "refused",
            [
                helper.make_tensor_value_info(name, self.types.get(name, TensorProto.FLOAT), dims)
                for name, dims in self.inputs.items()
            ],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
            [
                numpy_helper.from_array(integers(v, 11) if isinstance(v, tuple) else np.asarray(v), name)
                for name, v in arrays.items()
            ],
        )
        domains = {node.domain for node in nodes} - {""}
        opsets = [helper.make_opsetid("", self.opset), *(helper.make_opsetid(d, 1) for d in domains)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def positional(text: str, shape: tuple[int, ...], **changes: Any) -> Refusal:
    """A constant with a value per position."""
    return Refusal(text, 96, f"{text.split()[2]} 'map'", "so it fits the trained size only", {"k": shape}, **changes)


UNKNOWN = "this operator is not known on a feature map in front of the head"
FIXED = "resizes to a size that is fixed at, or computed from, the trained size"
SHAPE_OF_X = """shape = Shape (x)
h = Gather (shape, two)
"""

REFUSALS: dict[str, Refusal] = {
    # -- operators
    "an unknown operator": Refusal("map = CumSum (x, two)", 96, "CumSum 'map'", UNKNOWN, {"two": np.int64(2)}),
    "Trilu": Refusal("map = Trilu (x)", 96, "Trilu 'map'", UNKNOWN),
    "a custom operator": Refusal("map = my.domain.Warp (x)", 96, "my.domain.Warp 'map'", UNKNOWN),
    "a standard name in a custom domain": Refusal("map = my.domain.Relu (x)", 96, "my.domain.Relu 'map'", UNKNOWN),
    "the map as a shape": Refusal(
        "map = Expand (one, x)",
        96,
        "Expand 'map'",
        UNKNOWN,
        {"one": np.float32(1)},
    ),
    "the map as a weight": Refusal(
        "map = Conv (z, x)",
        4,
        "Conv 'map'",
        "reads the feature map as something other than its data input",
        {"z": (1, 2, 8, 6)},
    ),
    # -- sizes that are fixed
    "Resize to sizes": Refusal(
        "map = Resize (x, , , sizes)", 384, "Resize 'map'", FIXED, {"sizes": int64(1, 2, 16, 12)}, {"x": (1, 2, 8, 6)}
    ),
    "Resize to sizes computed from the trained size": Refusal(
        """shape = Shape (x)
        sizes = Mul (shape, factors)
        map = Resize (x, , , sizes)""",
        384,
        "Resize 'map'",
        FIXED,
        {"factors": int64(1, 1, 2, 2)},
    ),
    "Resize by one and a half": Refusal(
        "map = Resize (x, , scales)",
        216,
        "Resize 'map'",
        "resizes by 1.5, not a whole factor",
        {"scales": floats(1, 1, 1.5, 1.5)},
    ),
    "Resize the channels": Refusal(
        "map = Resize (x, , scales)",
        192,
        "Resize 'map'",
        "resizes the batch or the channels",
        {"scales": floats(1, 2, 1, 1)},
    ),
    "crop to fixed positions": Refusal(
        "map = Slice (x, starts, ends, axes)",
        48,
        "Slice 'map'",
        "crops to fixed positions [0:4:1] of the trained size",
        {"starts": int64(0), "ends": int64(4), "axes": int64(2)},
    ),
    "crop from the end": Refusal(
        "map = Slice (x, starts, ends, axes)",
        48,
        "Slice 'map'",
        "crops to fixed positions [-4:",
        {"starts": int64(-4), "ends": int64(INT_MAX), "axes": int64(2)},
    ),
    "every second pixel": Refusal(
        "map = Slice (x, starts, ends, axes, steps)",
        48,
        "Slice 'map'",
        "crops to fixed positions [0:",
        {"starts": int64(0), "ends": int64(INT_MAX), "axes": int64(2), "steps": int64(2)},
    ),
    "flip": Refusal(
        "map = Slice (x, starts, ends, axes, steps)",
        96,
        "Slice 'map'",
        "crops to fixed positions [-1:",
        {"starts": int64(-1), "ends": int64(-INT_MAX), "axes": int64(3), "steps": int64(-1)},
    ),
    "a crop that starts where the trained size says": Refusal(
        SHAPE_OF_X + "start = Div (h, two)\nmap = Slice (x, start, end, two)",
        48,
        "Slice 'map'",
        "size",
        {"two": int64(2), "end": int64(INT_MAX)},
    ),
    "pads computed from the trained size": Refusal(
        SHAPE_OF_X + "p = Mod (h, three)\npads = Concat <axis = 0> (zeros, p, zero)\nmap = Pad (x, pads)",
        120,
        "Pad 'map'",
        "size",
        {"two": int64(2), "three": int64(3), "zeros": int64(*[0] * 6), "zero": int64(0)},
    ),
    "pads at run time": Refusal(
        "map = Pad (x, p)",
        96,
        "Pad 'map'",
        "its input 'p' is neither a constant nor a feature map",
        inputs={"x": ("N", 2, 8, 6), "p": (8,)},
        types={"p": TensorProto.INT64},
    ),
    "ConvTranspose to an output_shape": Refusal(
        "map = ConvTranspose <strides = [2, 2], output_shape = [16, 12]> (x, w)",
        384,
        "ConvTranspose 'map'",
        "its output_shape is fixed to the trained size",
        {"w": (2, 2, 2, 2)},
    ),
    "ConvTranspose SAME": Refusal(
        'map = ConvTranspose <strides = [2, 2], auto_pad = "SAME_UPPER"> (x, w)',
        384,
        "ConvTranspose 'map'",
        "auto_pad is not supported here",
        {"w": (2, 2, 3, 3)},
    ),
    **{
        f"{op_type}, where ONNX counts a window behind the map and onnxruntime does not": Refusal(
            f"map = {op_type} <kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1, pads = [0, 0, 1, 1]> (x)",
            40,
            f"{op_type} 'map'",
            "by its size law",
        )
        for op_type in ("MaxPool", "AveragePool")
    },
    # -- one value per position
    "a positional addend": positional("map = Add (x, k)", (1, 2, 8, 6)),
    "a factor per column": positional("map = Mul (x, k)", (6,)),
    "a factor per row": positional("map = Mul (k, x)", (8, 1)),
    "a slope per position": positional("map = PRelu (x, k)", (1, 8, 6)),
    "LayerNormalization over height and width": Refusal(
        "map = LayerNormalization <axis = 2> (x, k)",
        96,
        "LayerNormalization 'map'",
        "scales every position on its own, so it fits the trained size only",
        {"k": (8, 6)},
    ),
    "LayerNormalization over the width": Refusal(
        "map = LayerNormalization <axis = 3> (x, k)",
        96,
        "LayerNormalization 'map'",
        "fits the trained size only",
        {"k": (6,)},
    ),
    "a scale per row": Refusal(
        "q = QuantizeLinear <axis = 2> (x, s, z)\nmap = DequantizeLinear <axis = 2> (q, s, z)",
        96,
        "QuantizeLinear 'q'",
        "fits the trained size only",
        {"s": np.ones(8, np.float32), "z": np.zeros(8, np.uint8)},
    ),
    "a constant with more axes": Refusal(
        "map = Add (x, k)", 96, "Add 'map'", "has more axes than the map", {"k": (1, 1, 1, 1, 1)}
    ),
    "a factor that is the trained height": Refusal(
        SHAPE_OF_X + "f = Cast <to = 1> (h)\nmap = Mul (x, f)", 96, "Mul 'map'", "size", {"two": int64(2)}
    ),
    # -- branches
    "Concat along the height": Refusal(
        "map = Concat <axis = 2> (x, x)", 192, "Concat 'map'", "concatenates along a spatial axis or the batch"
    ),
    "Concat along the batch": Refusal(
        "map = Concat <axis = 0> (x, x)", 96, "Concat 'map'", "concatenates along a spatial axis or the batch"
    ),
    "Concat with coordinates": Refusal(
        "map = Concat <axis = 1> (x, k)",
        144,
        "Concat 'map'",
        "concatenates a map with a constant of fixed size",
        {"k": (1, 1, 8, 6)},
        {"x": (1, 2, 8, 6)},
    ),
    "maps of different strides": Refusal(
        """a = Conv <strides = [2, 2]> (x, w)
        b = Conv (x, v)
        map = Add (a, b)""",
        36,
        "Add 'map'",
        "combines maps with effective strides 2 and 1, sizes 4 and 4",
        {"w": (3, 2, 2, 2), "v": (3, 2, 5, 4)},
    ),
    "height meets width": Refusal(
        """t = Transpose <perm = [0, 1, 3, 2]> (x)
        map = Add (x, t)""",
        72,
        "Add 'map'",
        "combines maps of different inputs or swapped spatial axes",
        inputs={"x": ("N", 2, 6, 6)},
    ),
    "channels meet the width": Refusal(
        """t = Transpose <perm = [0, 3, 2, 1]> (x)
        map = Add (x, t)""",
        72,
        "Add 'map'",
        "combines values whose axes do not correspond",
        inputs={"x": ("N", 6, 2, 6)},
    ),
    "Split along the width": Refusal(
        "map, rest = Split <axis = 3> (x)", 48, "Split 'map'", "picks along a spatial axis or the batch", opset=13
    ),
    "Gather along the height": Refusal(
        "map = Gather <axis = 2> (x, two)",
        12,
        "Gather 'map'",
        "picks along a spatial axis or the batch",
        {"two": np.int64(2)},
    ),
    # -- the batch
    "Softmax over the batch": Refusal("map = Softmax <axis = 0> (x)", 96, "Softmax 'map'", "normalises over the batch"),
    "ReduceMax over the batch": Refusal(
        "map = ReduceMax <axes = [0]> (x)", 96, "ReduceMax 'map'", "reduces over the batch"
    ),
    "Pad the batch": Refusal("map = Pad (x, p)", 96, "Pad 'map'", "pads the batch", {"p": int64(1, *[0] * 7)}),
    "Slice the batch": Refusal(
        "map = Slice (x, zero, one)", 96, "Slice 'map'", "slices the batch", {"zero": int64(0), "one": int64(1)}
    ),
    "BatchNormalization in training": Refusal(
        "map = BatchNormalization <training_mode = 1> (x, s, s, s, s)",
        96,
        "BatchNormalization 'map'",
        "is in training mode, so its result depends on the whole batch",
        {"s": floats(1, 1)},
    ),
    "Dropout in training": Refusal(
        "map = Dropout (x, half, yes)",
        96,
        "Dropout 'map'",
        "training mode",
        {"half": np.float32(0.5), "yes": np.array(True)},
    ),
    "Conv over channels as an axis": Refusal(
        """t = Transpose <perm = [1, 0, 2, 3]> (x)
        map = Conv (t, w)""",
        18,
        "Conv 'map'",
        "its input is not laid out as N, C, spatial axes",
        {"w": (3, 2, 3, 3)},
        {"x": (2, 2, 8, 6)},
    ),
    # -- windows that are lost
    "the whole map pooled in the backbone": Refusal(
        """p = GlobalAveragePool (x)
        map = Conv (p, w)""",
        4,
        "Flatten 'flat'",
        "reads 'map', whose size does not follow the input's; the whole map was pooled by GlobalAveragePool 'p'",
        {"w": (4, 2, 1, 1)},
    ),
    "the index of the widest column": Refusal(
        """a = ArgMax <axis = 3, keepdims = 0> (x)
        map = Cast <to = 1> (a)""",
        16,
        "Flatten 'flat'",
        "reads 'map', which has lost 1 spatial axes; the whole map was pooled by ArgMax 'a'",
    ),
    "cells smaller than a pixel": Refusal(
        "map = Resize (x, , scales)",
        384,
        "Flatten 'flat'",
        "reads 'map', whose effective stride 1/2 is not whole",
        {"scales": floats(1, 1, 2, 2)},
    ),
    # -- inputs
    "two images": Refusal(
        "map = Add (x, z)",
        96,
        "Add 'map'",
        "the model has 2 image inputs ('x', 'z'); one is supported so far",
        inputs={"x": ("N", 2, 8, 6), "z": ("N", 2, 8, 6)},
    ),
    "a factor that is an input": Refusal(
        "map = Mul (x, z)",
        96,
        "Mul 'map'",
        "its input 'z' is neither a constant nor a feature map",
        inputs={"x": ("N", 2, 8, 6), "z": ("N", 1)},
    ),
    "a size with a name": Refusal(
        "map = Relu (x)",
        96,
        None,
        "input 'x' axis 2 is 'H'; give it the trained size first",
        inputs={"x": ("N", 2, "H", 6)},
        error=UnreadableModel,
    ),
    "a size without a name": Refusal(
        "map = Relu (x)",
        96,
        None,
        "input 'x' axis 3 has no size; give it the trained size first",
        inputs={"x": ("N", 2, 8, None)},
        error=UnreadableModel,
    ),
    "size 0": Refusal(
        "map = Relu (x)",
        0,
        None,
        "input 'x' axis 2 has size 0; give it the trained size first",
        inputs={"x": ("N", 2, 0, 6)},
        error=UnreadableModel,
    ),
    "channels without a size": Refusal(
        "map = Relu (x)",
        96,
        None,
        "input 'x' axis 1 is 'C'",
        inputs={"x": ("N", "C", 8, 6)},
        error=UnreadableModel,
    ),
    "an absurd size": Refusal(
        "map = Relu (x)",
        96,
        None,
        f"input 'x' would hold {2 * 2**40} numbers per image",
        inputs={"x": ("N", 2, 2**20, 2**20)},
        error=UnreadableModel,
    ),
    "no image": Refusal(
        "map = Relu (x)",
        96,
        None,
        "no input has height and width (three or more axes of pixels), so there is no size to free",
        inputs={"x": ("N", 96)},
        error=NothingToConvert,
    ),
    "token numbers": Refusal(
        "map = Cast <to = 1> (x)",
        96,
        None,
        "no input has height and width",
        inputs={"x": ("N", 2, 8, 6)},
        types={"x": TensorProto.INT64},
        error=NothingToConvert,
    ),
}


@pytest.mark.parametrize("case", REFUSALS.values(), ids=REFUSALS.keys())
def test_refuses_by_node_and_reason(case: Refusal) -> None:
    model = case.model
    with pytest.raises(case.error) as caught:
        fc2conv.convert(model, verify=False)
    assert type(caught.value) is case.error
    assert caught.value.node == case.node
    assert case.reason in caught.value.reason
    assert "\n" not in str(caught.value)


ACCEPTED = {
    "Softmax over channels": "map = Softmax <axis = 1> (x)",
    "a factor per channel": "map = Mul (x, per_channel)",
    "an input of features beside the image that nothing reads": "map = Relu (x)",
}


@pytest.mark.parametrize("text", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_what_differs_from_a_refusal_in_one_detail_is_accepted(text: str) -> None:
    inputs = {"x": ("N", 2, 8, 6), "z": ("N", 1)}
    case = Refusal(text, 96, None, "", {"per_channel": (2, 1, 1)}, inputs)
    assert list(fc2conv.convert(case.model, verify=False).geometry.outputs) == ["y"]


def test_an_image_that_nothing_reads_makes_no_second_image() -> None:
    """Two image inputs are refused by the node that reads the second; with no reader there still is a node to name."""
    case = Refusal("map = Relu (x)", 96, None, "", inputs={"x": ("N", 2, 8, 6), "z": ("N", 2, 8, 6)})
    with pytest.raises(Unliftable, match="the model has 2 image inputs"):
        fc2conv.convert(case.model, verify=False)
