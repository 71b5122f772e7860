"""Heads that begin at a node which fits one size of its map only, such as a constant with a value per position.

On windows of that size the node is right, so nothing has to be flattened in front of it. Every cell is compared with
the original's own nodes in a loop over windows of the map, and, since the backbone pads nothing, with the whole
original on image crops.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv import model_io, pipeline
from onnx_fc2conv.dtypes import tolerance
from onnx_fc2conv.errors import PositionDependent

from .lift.tables import FC, Refuses, head, some
from .networks import Head, answers, assert_close, integers, network, session

STRIDE = 2  #: of the networks' backbone, whose kernel is as large
GREW = 3  #: windows added on each axis


@dataclass(frozen=True)
class Starts:
    """A head on ``map`` [N, 2, 3, 2].

    Attributes:
        text: nodes from ``map`` to ``t``.
        begins: the nodes that begin the head, as the package names them.
        weights: as in ``tables.head``.
        features: of ``t``, all together.
        terms, nodes: of ``dtypes.tolerance``; both 0 compares bit for bit.
        last: how ``t`` is read.
        rest: further arguments of ``tables.head``.
    """

    text: str
    begins: str
    weights: Mapping[str, Any] = field(default_factory=dict)
    features: int = 12
    terms: int = 0
    nodes: int = 0
    last: str = "v = Flatten(t)\ny = Gemm(v, W, B)"
    rest: Mapping[str, Any] = field(default_factory=dict)

    @property
    def head(self) -> Head:
        weights = {"W": (self.features, 4), "B": (4,), **self.weights}
        return head(f"{self.text}\n{self.last}", **{**self.rest, **weights})

    @property
    def bound(self) -> float:
        return tolerance(1, self.terms, self.nodes) if self.terms else 0.0


def constant(op_type: str, shape: tuple[int, ...], left: bool = False) -> Starts:
    """An operator on the map and a constant that has values per position."""
    text = f"t = {op_type}({'k, map' if left else 'map, k'})"
    return Starts(text, f"{op_type} 't'", {"k": some(*shape)})


NHWC = "n = Transpose <perm = [0, 2, 3, 1]> (map)\n"
NCHW = (2, 3, 2)  #: of one window
ROUNDS = {"terms": 16, "nodes": 6}

STARTS: dict[str, Starts] = {
    **{
        f"{op_type} of {list(shape)}{', on the left' * left}": constant(op_type, shape, left)
        for op_type in ("Add", "Sub", "Mul", "Max")
        for shape in ((1, 2, 3, 2), (2, 3, 2), (3, 2), (2,), (3, 1), (1, 3, 2), (1, 1, 1, 2))
        for left in (False, True)
    },
    **{
        f"PRelu with slopes of {list(shape)}": constant("PRelu", shape)
        for shape in ((1, 2, 3, 2), (2, 3, 2), (3, 2), (2,))
    },
    "Greater than a threshold by position": Starts(
        "g = Greater(map, k)\nt = Cast <to = 1> (g)", "Greater 'g'", {"k": some(3, 2)}
    ),
    "Where by position": Starts("t = Where(c, map, k)", "Where 't'", {"c": some(3, 2) > 0, "k": 5.0}),
    "Where with values by position": Starts(
        "t = Where(c, k, map)", "Where 't'", {"c": np.array([[[True]], [[False]]]), "k": (3, 2)}
    ),
    "Sum of three": Starts("t = Sum(k, map, c)", "Sum 't'", {"k": (3, 2), "c": (2, 1, 1)}),
    "Clip between maps of bounds": Starts("l = Max(map, k)\nt = Min(l, c)", "Max 'l'", {"k": some(3, 2), "c": 3.0}),
    "QuantizeLinear behind a positional factor": Starts(
        "a = Mul(map, k)\nq = QuantizeLinear(a, s, z)\nt = DequantizeLinear(q, s, z)",
        "Mul 'a'",
        {"k": (3, 2), "s": 0.5, "z": np.uint8(128)},
    ),
    "LayerNormalization of all": Starts(
        "t = LayerNormalization <axis = 1> (map, s, b)",
        "LayerNormalization 't'",
        {"s": some(*NCHW, low=1), "b": some(*NCHW)},
        **ROUNDS,
    ),
    "LayerNormalization over height and width": Starts(
        "t = LayerNormalization <axis = 2> (map, s, b)",
        "LayerNormalization 't'",
        {"s": some(3, 2, low=1), "b": some(3, 2)},
        **ROUNDS,
    ),
    "LayerNormalization over the width": Starts(
        "t = LayerNormalization (map, s, b)", "LayerNormalization 't'", {"s": some(2, low=1), "b": some(2)}, **ROUNDS
    ),
    "LayerNormalization, only the shift is positional": Starts(
        "t = LayerNormalization <axis = 1> (map, s, b)", "LayerNormalization 't'", {"s": (1,), "b": (2, 3, 2)}, **ROUNDS
    ),
    "LayerNormalization of N, H, W, C": Starts(
        f"{NHWC}t = LayerNormalization <axis = 1> (n, s, b)",
        "LayerNormalization 't'",
        {"s": some(3, 2, 2, low=1), "b": some(3, 2, 2)},
        **ROUNDS,
    ),
    "Slice of the first rows": Starts(
        "t = Slice(map, i, j, a)", "Slice 't'", {"i": [0], "j": [2], "a": [2]}, features=8
    ),
    "Slice of the middle": Starts("t = Slice(map, i, j, a)", "Slice 't'", {"i": [1], "j": [2], "a": [2]}, features=4),
    "Slice from the end": Starts("t = Slice(map, i, j, a)", "Slice 't'", {"i": [-2], "j": [9], "a": [2]}, features=8),
    "Slice of one corner": Starts(
        "t = Slice(map, i, j, a)", "Slice 't'", {"i": [1, 1], "j": [3, 2], "a": [2, 3]}, features=4
    ),
    "Slice with steps": Starts(
        "t = Slice(map, i, j, a, s)", "Slice 't'", {"i": [0], "j": [3], "a": [2], "s": [2]}, features=8
    ),
    "Slice that flips": Starts(
        "t = Slice(map, i, j, a, s)", "Slice 't'", {"i": [-1, -1], "j": [-9, -9], "a": [2, 3], "s": [-1, -1]}
    ),
    "Slice backwards by twos": Starts(
        "t = Slice(map, i, j, a, s)", "Slice 't'", {"i": [9], "j": [-9], "a": [2], "s": [-2]}, features=8
    ),
    "Slice by attributes": Starts(
        "t = Slice <starts = [1], ends = [3], axes = [2]> (map)", "Slice 't'", features=8, rest={"opset": 9}
    ),
    "Slice of N, H, W, C": Starts(
        f"{NHWC}t = Slice(n, i, j, a)", "Slice 't'", {"i": [0], "j": [2], "a": [1]}, features=8
    ),
    "two Slices of one map": Starts(
        "a = Slice(map, zero, one, axis)\nb = Slice(map, one, two, axis)\nt = Concat <axis = 1> (a, b)",
        "Slice 'a', Slice 'b'",
        {"zero": [0], "one": [1], "two": [2], "axis": [2]},
        features=8,
    ),
    "Einsum over channels and positions": Starts(
        't = Einsum <equation = "bchw,mchw->bm"> (map, M)', "Einsum 't'", {"M": (5, *NCHW)}, features=5
    ),
    "Einsum with the constant on the left": Starts(
        't = Einsum <equation = "mwhc,bchw->bm"> (M, map)', "Einsum 't'", {"M": (5, 2, 3, 2)}, features=5
    ),
    "Einsum over positions, channel by channel": Starts(
        't = Einsum <equation = "bchw,chwm->bcm"> (map, M)', "Einsum 't'", {"M": (*NCHW, 3)}, features=6
    ),
    "Einsum over the height": Starts(
        't = Einsum <equation = "bchw,hk->bckw"> (map, M)', "Einsum 't'", {"M": (3, 4)}, features=16
    ),
    "Einsum over channels": Starts(
        't = Einsum <equation = "bchw,cm->bmhw"> (map, M)', "Einsum 't'", {"M": (2, 3)}, features=18
    ),
    "MatMul over the width": Starts("t = MatMul(map, M)", "MatMul 't'", {"M": (2, 5)}, features=30),
    "MatMul over the width, a matrix per channel": Starts(
        "t = MatMul(map, M)", "MatMul 't'", {"M": (2, 2, 5)}, features=30
    ),
    "MatMul over the height": Starts(
        "n = Transpose <perm = [0, 1, 3, 2]> (map)\nt = MatMul(n, M)", "MatMul 't'", {"M": (3, 5)}, features=20
    ),
    "MatMul of N, H, W, C, a matrix per column": Starts(
        f"{NHWC}t = MatMul(n, M)", "MatMul 't'", {"M": (3, 2, 4)}, features=24
    ),
    "a positional constant on N, H, W, C": Starts(f"{NHWC}t = Add(n, k)", "Add 't'", {"k": (3, 2, 2)}),
    "a positional constant on N, H, W, C without channels": Starts(f"{NHWC}t = Mul(k, n)", "Mul 't'", {"k": (3, 2, 1)}),
    "two in a row": Starts("a = Add(map, k)\nt = Mul(l, a)", "Add 'a'", {"k": (1, *NCHW), "l": (3, 2)}),
    "two in a row, with a Relu between": Starts(
        "a = Add(map, k)\nr = Relu(a)\nt = Slice(r, i, j, s)",
        "Add 'a'",
        {"k": (3, 2), "i": [1], "j": [3], "s": [2]},
        features=8,
    ),
    "channel operators in between": Starts(
        "a = Add(map, k)\nb = BatchNormalization(a, one, l, l, one)\nc = Softmax <axis = 1> (b)\nt = Sub(c, k)",
        "Add 'a'",
        {"k": (3, 2), "l": (2,), "one": np.ones(2, np.float32)},
        **ROUNDS,
    ),
    "a constant, then a maximum over positions": Starts(
        "a = Add(map, k)\nt = ReduceMax <axes = [2, 3]> (a)", "Add 'a'", {"k": (3, 2)}, features=2
    ),
    "a constant, then a mean over positions": Starts(
        "a = Mul(map, k)\nt = ReduceMean <axes = [2, 3]> (a)", "Mul 'a'", {"k": (3, 2)}, features=2, **ROUNDS
    ),
    "a weighted sum of positions": Starts(
        "a = Mul(map, k)\nt = ReduceSum <keepdims = 0> (a, d)", "Mul 'a'", {"k": (3, 2), "d": [2, 3]}, features=2
    ),
    "a constant, then a Transpose": Starts(
        "a = Add(map, k)\nt = Transpose <perm = [0, 2, 3, 1]> (a)", "Add 'a'", {"k": (3, 2)}
    ),
    "two heads on one map": Starts(
        "a = Add(map, k)\nf = Flatten(map)\ng = Flatten(a)\nt = Concat <axis = 1> (f, g)",
        "Add 'a', Flatten 'f'",
        {"k": (3, 2)},
        features=24,
    ),
    "an output of its own": Starts("t = Add(map, k)", "Add 't'", {"k": (3, 2)}, rest={"outputs": "t y"}),
    "an output behind another node": Starts(
        "a = Mul(map, k)\nt = Relu(a)", "Mul 'a'", {"k": (3, 2)}, rest={"outputs": "y a t"}
    ),
    "a Slice as an output": Starts(
        "t = Slice(map, i, j, a)",
        "Slice 't'",
        {"i": [0], "j": [2], "a": [2]},
        features=8,
        rest={"outputs": "t y"},
    ),
    "a product as an output": Starts(
        "t = MatMul(map, M)", "MatMul 't'", {"M": (2, 5)}, features=30, rest={"outputs": "t y"}
    ),
    "an Einsum as an output": Starts(
        't = Einsum <equation = "bchw,mchw->bm"> (map, M)',
        "Einsum 't'",
        {"M": (5, *NCHW)},
        features=5,
        rest={"outputs": "t y"},
    ),
    "behind a per-channel constant": Starts(
        "a = Mul(map, c)\nb = Relu(a)\nt = Add(b, k)", "Add 't'", {"c": (2, 1, 1), "k": (3, 2)}
    ),
    "1-D": Starts("t = Add(map, k)", "Add 't'", {"k": (5,)}, features=10, rest={"window": (5,)}),
    "1-D Slice": Starts(
        "t = Slice(map, i, j, a)",
        "Slice 't'",
        {"i": [1], "j": [4], "a": [2]},
        features=6,
        rest={"window": (5,)},
    ),
    "3-D": Starts("t = Mul(k, map)", "Mul 't'", {"k": (2, 1, 3)}, rest={"window": (2, 1, 3)}),
    "3-D Einsum": Starts(
        't = Einsum <equation = "bcdhw,mdhw->bcm"> (map, M)',
        "Einsum 't'",
        {"M": (5, 2, 1, 3)},
        features=10,
        rest={"window": (2, 1, 3)},
    ),
    "batch 1": Starts("t = Add(map, k)", "Add 't'", {"k": (1, *NCHW)}, rest={"batch": 1}),
    "a row for each of three images": Starts("t = Add(map, k)", "Add 't'", {"k": (3, *NCHW)}, rest={"batch": 3}),
    "batch 3": Starts("t = Add(map, k)", "Add 't'", {"k": (1, *NCHW)}, rest={"batch": 3}),
    **{
        f"opset {opset}": Starts("t = Add(map, k)", "Add 't'", {"k": (1, *NCHW)}, rest={"opset": opset})
        for opset in (7, 9, 11, 13, 21)
    },
}
every_start = pytest.mark.parametrize("row", STARTS.values(), ids=STARTS.keys())


@pytest.fixture(scope="module")
def converted() -> dict[str, fc2conv.Result]:
    """Every row's network, converted with all of the package's own checks."""
    return {}


def conversion(row: Starts, converted: dict[str, fc2conv.Result]) -> fc2conv.Result:
    key = next(name for name, other in STARTS.items() if other is row)
    if key not in converted:
        converted[key] = fc2conv.convert(network(row.head), verify=True)
    return converted[key]


def image_of(row: Starts) -> np.ndarray:
    images = row.head.batch if isinstance(row.head.batch, int) else 2
    return integers((images, 1, *(STRIDE * (w + GREW) for w in row.head.window)), seed=3)


def cells(row: Starts) -> Iterator[tuple[int, ...]]:
    return itertools.product(range(GREW + 1), repeat=len(row.head.window))


def varies(values: np.ndarray, axes: int) -> bool:
    """True if not all cells of the grid hold the same."""
    flat = values.reshape(-1, int(np.prod(values.shape[-axes:])))
    return bool((flat != flat[:, :1]).any())


@every_start
def test_every_cell_is_the_head_on_its_window(row: Starts, converted: dict[str, fc2conv.Result]) -> None:
    result = conversion(row, converted)
    assert not [n.op_type for n in result.model.graph.node if n.op_type in FC]
    expected = answers(network(row.head), image_of(row), row.head.window)
    found = dict(zip(expected, session(result.model).run(list(expected), {"x": image_of(row)}), strict=True))
    for name, reference in expected.items():
        assert found[name].shape == reference.shape
        assert_close(found[name], reference, row.bound)
        assert varies(reference, len(row.head.window))


@every_start
def test_every_cell_is_the_original_on_its_image_crop(row: Starts, converted: dict[str, fc2conv.Result]) -> None:
    original, result, image = network(row.head), conversion(row, converted), image_of(row)
    names = [o.name for o in original.graph.output]
    found = session(result.model).run(names, {"x": image})
    run = session(original)
    for cell in cells(row):
        box = tuple(slice(STRIDE * i, STRIDE * (i + w)) for i, w in zip(cell, row.head.window, strict=True))
        crop = np.ascontiguousarray(image[(slice(None), slice(None), *box)])
        for value, reference in zip(found, run.run(names, {"x": crop}), strict=True):
            assert_close(value[(Ellipsis, *cell)], reference, row.bound)


@every_start
def test_the_verdict_is_exact(row: Starts, converted: dict[str, fc2conv.Result]) -> None:
    report = conversion(row, converted).report
    assert report.verified
    assert report.verdict == "exact"
    assert report.causes == []
    assert "image crops" in {c.name for c in report.checks if c.passed}


@every_start
def test_the_head_begins_at_that_node(row: Starts) -> None:
    plan, _ = pipeline._analyse(model_io.load(network(row.head))[0])
    inside = {name for op in plan.head for name in op.outputs}
    first = [str(op) for op in plan.head if not inside & set(op.reads())]
    assert ", ".join(sorted(first)) == row.begins


def test_a_padded_backbone_is_still_blamed() -> None:
    text = "c = Conv <pads = [1, 1, 1, 1]> (map, K)\nt = Add(c, k)\nv = Flatten(t)\ny = Gemm(v, W)"
    report = fc2conv.convert(network(head(text, K=(2, 2, 3, 3), k=(2, 3, 2), W=(12, 4)))).report
    assert report.verdict == "padded"
    assert report.verified


BEGINS = {
    "Add": ("a = Add(map, k)", {"k": (3, 2)}, "its constant 'k' has one value per position ([3, 2])"),
    "Mul, on the left": ("a = Mul(k, map)", {"k": (1, 2, 3, 2)}, "its constant 'k' has one value per position"),
    "Where": ("a = Where(k, map, map)", {"k": np.eye(3, 2) > 0}, "its constant 'k' has one value per position"),
    "PRelu": ("a = PRelu(map, k)", {"k": (2, 3, 2)}, "its constant 'k' has one value per position"),
    "LayerNormalization": (
        "a = LayerNormalization <axis = 1> (map, k)",
        {"k": (2, 3, 2)},
        "scales every position on its own, so it fits the trained size only",
    ),
    "Slice": (
        "a = Slice(map, i, j, s)",
        {"i": [-3], "j": [3], "s": [2]},
        "crops to fixed positions [-3:3:1] of the trained size",
    ),
    "Slice with steps": (
        "a = Slice(map, i, j, s, t)",
        {"i": [-1], "j": [-9], "s": [2], "t": [-1]},
        "crops to fixed positions [-1:-9:-1] of the trained size",
    ),
    "MatMul": ("a = MatMul(map, k)", {"k": (2, 2)}, "multiplies positions, so it fits the trained size only"),
    "Einsum": (
        'a = Einsum <equation = "bchw,hk->bckw"> (map, k)',
        {"k": (3, 3)},
        "is not known on a feature map in front of the head",
    ),
}
SLIDES = {
    "Conv": "m = Conv(a, one)",
    "Conv behind a Relu": "r = Relu(a)\nm = Conv(r, one)",
    "ConvTranspose": "m = ConvTranspose(a, one)",
    "MaxPool": "m = MaxPool <kernel_shape = [1, 1]> (a)",
    "AveragePool": "m = AveragePool <kernel_shape = [1, 1]> (a)",
    "LpPool": "m = LpPool <kernel_shape = [1, 1]> (a)",
    "a gate": "p = GlobalMaxPool(a)\nq = Conv(p, one)\ng = Mul(a, q)\nm = Conv(g, one)",
    "the map": "m = Add(a, map)",
    "two branches": "f = Flatten(a)\nz = Gemm(f, W)\nm = Conv(a, one)",
}


@pytest.mark.parametrize("slides", SLIDES.values(), ids=SLIDES.keys())
@pytest.mark.parametrize("begins", BEGINS.values(), ids=BEGINS.keys())
def test_in_front_of_one_that_slides_it_is_refused_for_its_own_reason(
    begins: tuple[str, dict[str, Any], str], slides: str
) -> None:
    text, weights, reason = begins
    outputs = "y z" if "z =" in slides else "y"
    made = head(
        f"{text}\n{slides}\nv = Flatten(m)\ny = Gemm(v, W)", outputs=outputs, one=(2, 2, 1, 1), W=(12, 4), **weights
    )
    with pytest.raises(PositionDependent) as caught:
        fc2conv.convert(network(made), verify=False)
    assert caught.value.node == f"{text.split()[2].split('(')[0]} 'a'"
    assert reason in caught.value.reason


REFUSED = {
    "a mask by position of the map itself": Refuses(
        head(
            "g = Greater(map, k)\nc = Cast <to = 1> (g)\nt = Mul(map, c)\nv = Flatten(t)\ny = Gemm(v, W)",
            k=(3, 2),
            W=(12, 4),
        ),
        "Greater 'g'",
        "so it fits the trained size only",
    ),
    "a pool over the whole map": Refuses(
        head("a = Add(map, k)\np = GlobalMaxPool(a)\nv = Flatten(p)\ny = Gemm(v, W)", k=(3, 2), W=(2, 4)),
        "GlobalMaxPool 'p'",
        "pools values that are no longer laid out as a feature map",
    ),
    "Resize": Refuses(
        head(
            "a = Add(map, k)\nr = Resize(a, , c)\nv = Flatten(r)\ny = Gemm(v, W)",
            k=(3, 2),
            c=np.float32([1, 1, 2, 1]),
            W=(24, 4),
        ),
        "Add 'a'",
        "its constant 'k' has one value per position ([3, 2]), so it fits the trained size only",
    ),
    "Pad": Refuses(
        head(
            "a = Slice(map, i, j, s)\nr = Pad(a, p)\nv = Flatten(r)\ny = Gemm(v, W)",
            i=[0],
            j=[2],
            s=[2],
            p=[0] * 7 + [1],
            W=(12, 4),
        ),
        "Slice 'a'",
        "its constant 2 may be height//2 - 1 or a fixed number, and nothing tells which",
    ),
    "InstanceNormalization": Refuses(
        head(
            "a = Mul(map, k)\nr = InstanceNormalization(a, s, s)\nv = Flatten(r)\ny = Gemm(v, W)",
            k=(3, 2),
            s=(2,),
            W=(12, 4),
        ),
        "Mul 'a'",
        "its constant 'k' has one value per position ([3, 2]), so it fits the trained size only",
    ),
    "an Einsum over the batch": Refuses(
        head(
            'a = Einsum <equation = "bchw,bm->chwm"> (map, k)\nv = Flatten(a)\ny = Gemm(v, W)',
            k=(3, 2),
            W=(12, 4),
            batch=3,
        ),
        "Einsum 'a'",
        "sums over the batch axis, so it mixes the windows of different images",
    ),
}


@pytest.mark.parametrize("row", REFUSED.values(), ids=REFUSED.keys())
def test_what_else_is_refused_behind_such_a_node(row: Refuses) -> None:
    row.check()


@pytest.mark.parametrize("row", [STARTS["two in a row"], STARTS["Slice of one corner"]], ids=["Add", "Slice"])
def test_pools_that_stay_global_do_not_let_a_head_begin_there(row: Starts) -> None:
    """With ``--global-pool keep`` only vectors begin heads."""
    with pytest.raises(PositionDependent) as caught:
        fc2conv.convert(network(row.head), global_pool="keep", verify=False)
    assert caught.value.node == row.begins


GATE = """p = GlobalMaxPool(map)
f = Flatten(p)
c = Gemm(f, M, N)
r = Relu(c)
d = Gemm(r, O)
e = Reshape(d, shape)
g = Mul(map, e)"""
GATES = {"M": (2, 3), "N": (3,), "O": (3, 2), "shape": [-1, 2, 1, 1]}
BEHIND_GATE = {
    "Flatten": ("v = Flatten(g)\ny = Gemm(v, W)", 12),
    "a pool": ("q = GlobalMaxPool(g)\nv = Flatten(q)\ny = Gemm(v, W)", 2),
    "a Conv and Flatten": ("m = Conv(g, K)\nv = Flatten(m)\ny = Gemm(v, W)", 12),
    "a positional constant": ("t = Add(g, k)\nv = Flatten(t)\ny = Gemm(v, W)", 12),
    "a Slice": ("t = Slice(g, i, j, s)\nv = Flatten(t)\ny = Gemm(v, W)", 8),
}


@pytest.mark.parametrize(("text", "features"), BEHIND_GATE.values(), ids=BEHIND_GATE.keys())
def test_fc_nodes_of_a_gate_stay_and_the_head_behind_is_lifted(text: str, features: int) -> None:
    more = {"W": (features, 4), "K": (2, 2, 1, 1), "k": (3, 2), "i": [1], "j": [3], "s": [2]}
    made = head(f"{GATE}\n{text}", **GATES, **more)
    result = fc2conv.convert(network(made))
    assert [n.op_type for n in result.model.graph.node if n.op_type in FC] == ["Gemm", "Gemm"]
    assert result.report.verdict == "global context"
    assert result.report.verified
    assert [c.node for c in result.report.causes] == ["GlobalMaxPool 'p'"]
    image = integers((2, 1, 12, 10), seed=3)
    expected = answers(network(made), image, (3, 2), map_name="g")["y"]
    np.testing.assert_array_equal(session(result.model).run(["y"], {"x": image})[0], expected)
    assert varies(expected, 2)


def test_a_gate_is_no_gate_if_the_map_is_not_read_again() -> None:
    """The same FC nodes, and no product with the map: then they are the head."""
    made = head(GATE.replace("g = Mul(map, e)", "y = Flatten(e)"), **GATES)
    result = fc2conv.convert(network(made))
    assert not [n.op_type for n in result.model.graph.node if n.op_type in FC]
    assert result.report.verdict == "exact"
    image = integers((2, 1, 12, 10), seed=3)
    expected = answers(network(made), image, (3, 2))["y"]
    np.testing.assert_array_equal(session(result.model).run(["y"], {"x": image})[0], expected)


@pytest.mark.parametrize("name", ["Add of [2, 3, 2]", "Slice of one corner", "MatMul over the width"])
def test_the_checks_catch_a_constant_that_is_moved(name: str, converted: dict[str, fc2conv.Result]) -> None:
    """Sabotage: the FC node's weight is listed in another order."""
    row = STARTS[name]
    result = conversion(row, converted)
    broken = result.model.__class__()
    broken.CopyFrom(result.model)
    (last,) = (n for n in broken.graph.node if "y" in n.output)
    (kernel,) = (t for t in broken.graph.initializer if t.name == last.input[1])
    values = numpy_helper.to_array(kernel)
    kernel.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values[:, ::-1]), kernel.name))
    with pytest.raises(fc2conv.VerificationFailed, match="same size"):
        fc2conv.verify(network(row.head), broken)


def test_a_product_without_weights_is_named() -> None:
    """A Gram matrix is no FC, so a model that has nothing else is refused by that node."""
    gram = network(head("r = Reshape(map, d)\nt = Transpose <perm = [0, 2, 1]> (r)\ny = MatMul(r, t)", d=[0, 2, 6]))
    with pytest.raises(fc2conv.NothingToConvert, match="a Gram matrix") as caught:
        fc2conv.convert(gram)
    assert caught.value.node == "MatMul 'y'"
