"""Operators that pick, join or divide features, on the flattened vector and behind an FC."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

import onnx_fc2conv as fc2conv

from ..networks import network
from .tables import LeavesAlone, Lifts, Refuses, every, head, spent, table, unread, with_input

FAR = 2**63 - 1
NEAR_FAR = 2**31 - 1


def slice_rows() -> dict[str, Lifts]:
    """Starts, ends, axes, steps of a value [N, 12]; ``None`` leaves an operand out."""
    tried: dict[str, tuple[list[int], list[int], list[int] | None, list[int] | None, int]] = {
        "the middle": ([2], [7], [1], None, 5),
        "from the end": ([-5], [-1], [-1], None, 4),
        "to the end": ([4], [FAR], [1], None, 8),
        "to the end, int32": ([4], [NEAR_FAR], [1], None, 8),
        "past the end": ([4], [100], [1], None, 8),
        "before the start": ([-100], [3], [1], None, 3),
        "every third": ([1], [12], [1], [3], 4),
        "every third from the end": ([-1], [-13], [1], [-3], 4),
        "reversed": ([-1], [-FAR], [1], [-1], 12),
        "reversed, to position 2": ([FAR], [2], [1], [-1], 9),
        "reversed, ends before the last": ([-2], [-6], [1], [-2], 2),
        "all axes written out": ([0, 3], [NEAR_FAR, 6], [0, 1], [1, 1], 3),
        "axes left out": ([0, 3], [FAR, 6], None, None, 3),
        "axes left out, steps given": ([0, 3], [FAR, 9], None, [1, 2], 3),
        "everything": ([0], [FAR], [1], None, 12),
    }
    rows = {}
    for name, (starts, ends, axes, steps, size) in tried.items():
        given = {"s": starts, "e": ends, "ax": axes, "p": steps}
        operands = ", ".join("" if v is None else k for k, v in given.items()).rstrip(", ")
        weights = {k: v for k, v in given.items() if v is not None}
        for opset in (10, 13, 26):
            rows[f"Slice {name}, opset {opset}, behind an FC"] = Lifts(
                spent(f"y = Slice(u, {operands})", opset, units=12, **weights)
            )
            rows[f"Slice {name}, opset {opset}, in front"] = Lifts(
                unread(f"t = Slice(v, {operands})", opset, features=size, **weights)
            )
        if steps is None and max(map(abs, ends)) < FAR:
            written = f"starts = {starts}, ends = {ends}" + (
                "" if axes is None else f", axes = {[abs(a) for a in axes]}"
            )
            for opset in (7, 9):
                rows[f"Slice {name}, opset {opset}, behind an FC"] = Lifts(
                    spent(f"y = Slice <{written}> (u)", opset, units=12)
                )
                rows[f"Slice {name}, opset {opset}, in front"] = Lifts(
                    unread(f"t = Slice <{written}> (v)", opset, features=size)
                )
    return rows


SPLITS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "split attribute, opset 7": ("Split <axis = 1, split = [1, 4, 7]> ({x})", 7, {}),
    "equal parts, opset 7": ("Split <axis = 1> ({x})", 7, {}),
    "split attribute, axis -1, opset 11": ("Split <axis = -1, split = [4, 4, 4]> ({x})", 11, {}),
    "sizes, opset 13": ("Split <axis = 1> ({x}, sizes)", 13, {"sizes": [5, 1, 6]}),
    "equal parts, opset 13": ("Split <axis = -1> ({x})", 13, {}),
    "sizes, opset 26": ("Split <axis = -1> ({x}, sizes)", 26, {"sizes": [2, 3, 7]}),
    "num_outputs, opset 18": ("Split <axis = 1, num_outputs = 3> ({x})", 18, {}),
    "num_outputs, opset 26": ("Split <axis = 1, num_outputs = 3> ({x})", 26, {}),
}


def split_rows() -> dict[str, Lifts]:
    rows = {}
    for name, (line, opset, weights) in SPLITS.items():
        behind = spent(f"y, z, w = {line.format(x='u')}", opset, units=12, outputs="y z w", **weights)
        rows[f"Split {name}, behind an FC"] = Lifts(behind)
        in_front = unread(
            f"a, b, c = {line.format(x='v')}\nd = Relu(b)\nt = Concat <axis = 1> (c, d, a)", opset, **weights
        )
        rows[f"Split {name}, in front"] = Lifts(in_front)
    rows["Split with parts that nobody reads"] = Lifts(unread("a, t, c = Split <axis = 1> (v)", 11, features=4))
    rows["Split with uneven num_outputs"] = Lifts(
        spent("y, z = Split <axis = 1, num_outputs = 2> (u)", 18, units=5, outputs="y z")
    )
    rows["Split into outputs, in front"] = Lifts(
        unread("a, t, c = Split <axis = 1> (v)", 11, features=4, outputs="a c y t")
    )
    rows["Split of rank 3"] = Lifts(
        spent(
            "r = Reshape(u, d)\ny, z = Split <axis = 1> (r, sizes)", units=6, d=[0, 3, 2], sizes=[1, 2], outputs="y z"
        )
    )
    return rows


INDICES = {
    "a scalar": np.array(3),
    "a negative scalar": np.array(-1),
    "one index": [2],
    "a vector": [3, 0, 2],
    "repeated and negative": [-1, 1, 1, -2],
    "a matrix": np.array([[0, 1, 2], [3, 2, 0]]),
    "int32": np.array([1, 2], np.int32),
}


def gather_rows() -> dict[str, Lifts]:
    rows = {}
    for name, indices in INDICES.items():
        for opset in (7, 11, 13, 26):
            if opset < 11 and np.min(indices) < 0:
                continue
            for axis in (1,) if opset < 11 else (1, -1):
                line = f"Gather <axis = {axis}>"
                rows[f"Gather {name}, axis {axis}, opset {opset}, behind an FC"] = Lifts(
                    spent(f"y = {line}(u, i)", opset, i=indices)
                )
                count = int(np.size(indices))
                rows[f"Gather {name}, axis {axis}, opset {opset}, in front"] = Lifts(
                    unread(f"g = {line}(v, i)\nt = Reshape(g, d)", opset, features=count, i=indices, d=[-1, count])
                )
    return rows


CAT = "Concat <axis = 1>"
ORDERS = "n = Transpose <perm = [0, 2, 3, 1]> (map)\nw = Flatten(n)"

LIFTS = table(
    slice_rows(),
    split_rows(),
    gather_rows(),
    {
        f"Concat of two heads, axis {axis}, opset {o}": Lifts(
            spent(f"w = Gemm(v, M, C)\ny = Concat <axis = {axis}> (u, w)", o, M=(12, 3), C=(3,))
        )
        for o in (7, 9, 11, 13, 26)
        for axis in ((1,) if o < 11 else (1, -1))
    },
    {
        "Concat of one": Lifts(spent(f"y = {CAT}(u)")),
        "Concat of one in front": Lifts(unread(f"t = {CAT}(v)")),
        "Concat of the vector with itself": Lifts(unread(f"t = {CAT}(v, v)", features=24)),
        "Concat of a value with itself": Lifts(spent(f"y = {CAT}(u, u, u)")),
        "Concat of the vector and its Relu": Lifts(unread(f"r = Relu(v)\nt = {CAT}(v, r)", features=24)),
        "Concat of the vector and its Neg, a concatenated Relu": Lifts(
            unread(f"n = Neg(v)\nc = {CAT}(v, n)\nt = Relu(c)", features=24)
        ),
        "Concat of the vector and an FC": Lifts(unread(f"w = MatMul(v, M)\nt = {CAT}(w, v)", features=15, M=(12, 3))),
        "Concat of the vector in two orders": Lifts(unread(f"{ORDERS}\nt = {CAT}(v, w)", features=24)),
        "Concat of two maps' vectors": Lifts(
            unread(f"p = MaxPool <kernel_shape = [2, 1]> (map)\nw = Flatten(p)\nt = {CAT}(v, w)", features=20)
        ),
        "Concat of rank 3, axis 2": Lifts(
            spent(
                "w = Gemm(v, M, C)\na = Reshape(u, d)\nb = Reshape(w, e)\ny = Concat <axis = 2> (a, b)",
                d=[0, 2, 2],
                e=[0, 2, 3],
                M=(12, 6),
                C=(6,),
            )
        ),
        "Concat of rank 3 in front, axis -2": Lifts(
            unread("r = Reshape(map, d)\nc = Concat <axis = -2> (r, r)\nt = Flatten(c)", features=24, d=[0, 2, 6])
        ),
        "Concat, then a constant per feature": Lifts(unread(f"c = {CAT}(v, v)\nt = Mul(c, k)", features=24, k=(24,))),
        "Concat, then one constant for all": Lifts(unread(f"c = {CAT}(v, v)\nt = Mul(c, k)", features=24, k=3.0)),
        "Concat is an output": Lifts(unread(f"t = {CAT}(v, v)", features=24, outputs="t y v")),
        "Concat of a value and its middle": Lifts(
            spent(f"s = Slice(u, a, b, ax)\ny = {CAT}(s, u)\nz = Relu(s)", a=[1], b=[3], ax=[1], outputs="s y z")
        ),
        "Concat with a constant": Lifts(spent(f"y = {CAT}(u, c)", batch=1, c=(1, 2))),
        "Concat of integers of the unread vector and others": Lifts(
            unread(f"i = Cast <to = 6> (v)\nj = Neg(i)\nc = {CAT}(i, j)\nt = Cast <to = 1> (c)", features=24)
        ),
        "Concat, 1-D": Lifts(unread(f"t = {CAT}(v, v)", window=(6,), features=24)),
        "Slice of Slice in front": Lifts(
            unread(
                "a = Slice(v, two, ten, one)\nt = Slice(a, two, five, one)",
                features=3,
                one=[1],
                two=[2],
                five=[5],
                ten=[10],
            )
        ),
        "Slice of two feature axes": Lifts(
            spent("r = Reshape(u, d)\ny = Slice(r, s, e, ax)", units=12, d=[0, 3, 4], s=[1, -3], e=[3, FAR], ax=[1, 2])
        ),
        "Slice of two feature axes in front": Lifts(
            unread(
                "r = Reshape(map, d)\na = Slice(r, s, e, ax, p)\nt = Flatten(a)",
                features=6,
                d=[0, 2, 6],
                s=[-1, 0],
                e=[-9, 5],
                ax=[1, 2],
                p=[-1, 2],
            )
        ),
        "Slice of the whole batch only": Lifts(spent("y = Slice(u, s, e)", s=[0], e=[FAR])),
        "Slice by computed constants": Lifts(
            spent("q = Shape(u)\nn = Gather(q, one)\nh = Div(n, two)\ny = Slice(u, h, n, one)", one=[1], two=[2])
        ),
        "Slice in int32": Lifts(
            spent("y = Slice(u, s, e, ax)", **{k: np.array([v], np.int32) for k, v in (("s", 1), ("e", 3), ("ax", 1))})
        ),
        "Slice, in front, is an output": Lifts(
            unread("t = Slice(v, s, e, ax)", features=3, s=[4], e=[7], ax=[1], outputs="t y")
        ),
        "Gather of rank 3": Lifts(
            spent("r = Reshape(u, d)\ny = Gather <axis = 2> (r, i)", units=6, d=[0, 2, 3], i=[2, 0])
        ),
        "Gather that drops a middle axis": Lifts(
            spent("r = Reshape(u, d)\ny = Gather <axis = 1> (r, i)", units=6, d=[0, 2, 3], i=np.array(1))
        ),
        "Gather that drops the only axis": Lifts(
            spent("y = Gather <axis = 1> (u, i)\nz = Neg(y)", i=np.array(1), outputs="y z")
        ),
        "Gather by Constant node": Lifts(spent("i = Constant <value_ints = [3, 1]> ()\ny = Gather <axis = 1> (u, i)")),
        "Gather, then Slice, then Concat, in front": Lifts(
            unread(
                f"g = Gather <axis = 1> (v, i)\ns = Slice(g, a, b, ax)\nt = {CAT}(s, v)",
                features=14,
                i=[11, 0, 5, 6],
                a=[1],
                b=[3],
                ax=[1],
            )
        ),
        "Gather in front with a constant per channel behind it": Lifts(
            unread("g = Gather <axis = 1> (v, i)\nt = Mul(g, k)", features=3, i=[11, 0, 5], k=(3,))
        ),
        "float16": Lifts(spent(f"s = Slice(u, a, b, ax)\ny = {CAT}(s, u)", dtype=np.float16, a=[1], b=[3], ax=[1])),
    },
)

REFUSES = {
    "Concat along the batch": Refuses(
        spent("w = Relu(u)\ny = Concat <axis = 0> (u, w)"), "Concat 'y'", "works along the batch axis"
    ),
    "Concat along axis -2": Refuses(
        spent("w = Relu(u)\ny = Concat <axis = -2> (u, w)"), "Concat 'y'", "works along the batch axis"
    ),
    "Concat on different grids": Refuses(
        spent(
            "p = MaxPool <kernel_shape = [1, 1], strides = [2, 2]> (map)\nw = Flatten(p)\na = MatMul(w, M)\n"
            "q = MaxPool <kernel_shape = [1, 1], strides = [3, 3]> (map)\nx1 = Flatten(q)\nb = MatMul(x1, L)\n"
            "y = Concat <axis = 1> (a, b)",
            M=(4, 4),
            L=(2, 4),
        ),
        "Concat 'y'",
        "combines heads on different grids",
    ),
    "Split along the batch": Refuses(
        spent("y, z = Split <axis = 0> (u)", 13, batch=2, outputs="y z"), "Split 'y'", "works along the batch axis"
    ),
    "Split along the default axis": Refuses(
        spent("y, z = Split(u)", 13, batch=2, outputs="y z"), "Split 'y'", "works along the batch axis"
    ),
    "Slice of the batch": Refuses(
        spent("y = Slice(u, s, e, ax)", s=[0], e=[1], ax=[0]), "Slice 'y'", "slices the batch axis"
    ),
    "Slice that reverses the batch": Refuses(
        spent("y = Slice(u, s, e, ax, p)", s=[-1], e=[-FAR], ax=[0], p=[-1]), "Slice 'y'", "slices the batch axis"
    ),
    "Slice of nothing": Refuses(spent("y = Slice(u, s, e, ax)", s=[3], e=[3], ax=[1]), "Slice 'y'", "keeps no feature"),
    "Slice with ends that are a graph input": Refuses(
        spent("y = Slice(u, s, e, ax)", s=[0], e=[3], ax=[1]),
        "Slice 'y'",
        "its input 'e' is neither a constant nor computed from the image",
        with_input("e"),
    ),
    "Gather of images": Refuses(
        spent("y = Gather <axis = 0> (u, i)", i=[0]), "Gather 'y'", "works along the batch axis"
    ),
    "Gather along the default axis": Refuses(
        spent("y = Gather(u, i)", i=[0]), "Gather 'y'", "works along the batch axis"
    ),
    "Gather by the head's own indices": Refuses(
        spent("a = ArgMax <axis = 1> (u)\ny = Gather(embedding, a)", embedding=(4, 3)),
        "Gather 'y'",
        "its indices depend on the image",
    ),
    "GatherElements": Refuses(
        spent("y = GatherElements <axis = 1> (u, i)", batch=1, i=np.array([[0, 1]])),
        "GatherElements 'y'",
        "no rule lifts this operator",
    ),
}

LEAVES_ALONE = {
    "Concat, axis 1": LeavesAlone(
        spent("w = Gemm(v, M, C)\n[it] y = Concat <axis = 1> (u, w)", M=(12, 3), C=(3,)), "y"
    ),
    "Gather, axis 1": LeavesAlone(spent("[it] y = Gather <axis = 1> (u, i)", i=[1, 0]), "y"),
    "Split, axis 1": LeavesAlone(spent("[it] y, z = Split <axis = 1> (u, s)", s=[1, 3], outputs="y z"), "y z"),
}


@every(LIFTS)
def test_lifts(row: Lifts) -> None:
    row.check()


@every(REFUSES)
def test_refuses(row: Refuses) -> None:
    row.check()


@every(LEAVES_ALONE)
def test_leaves_alone(row: LeavesAlone) -> None:
    row.check()


@pytest.mark.parametrize(
    "text", ["g = Gather <axis = 1> (v, i)\ny = MatMul(g, M)", "u = MatMul(v, K)\ny = Gather <axis = 1> (u, i)"]
)
def test_an_index_out_of_range_is_no_traceback(text: str) -> None:
    model = network(head(f"v = Flatten(map)\n{text}", i=[99], M=(1, 3), K=(12, 3)))
    with pytest.raises(fc2conv.Fc2ConvError):
        fc2conv.convert(model, verify=False)


def test_features_picked_in_front_of_an_fc_cost_no_node() -> None:
    original = network(unread("t = Slice(v, s, e, ax)", features=3, s=[4], e=[7], ax=[1]))
    model = fc2conv.convert(original, verify=False).model
    assert [n.op_type for n in model.graph.node] == ["Conv", "Conv"]
    (kernel,) = (numpy_helper.to_array(t) for t in model.graph.initializer if t.name == model.graph.node[1].input[1])
    assert [int(i) for i in np.flatnonzero(kernel.reshape(4, 12).any(axis=0))] == [4, 5, 6]
