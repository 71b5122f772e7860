"""Features side by side: an FC over them is a sum of Convs; and values that are the same for every window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, helper, numpy_helper

import onnx_fc2conv as fc2conv

from ..networks import Head, network
from .several import FLAT, Several, beside, count, one_hot, two
from .tables import Refuses, every, head, node_of, powers, some, table

Mutation = Callable[[ModelProto], None]

# -- parts -------------------------------------------------------------------------------------------------------------

FC = "y = Gemm(c, M, D)"
OF_VU = {"W": (12, 4), "B": (4,), "M": (16, 5), "D": (5,)}
NHWC = "n = Transpose <perm = [0, 2, 3, 1]> (map)\nl = Flatten(n)\n"
QUANTISED = {
    "q": some(16, 5, low=-9, high=9, dtype=np.int8),
    "scale": np.float32(0.5),
    "zero": np.int8(3),
    "scales": powers(5),
    "zeros": some(5, dtype=np.int8),
}


def parts(text: str, opset: int = 17, **rest: Any) -> Head:
    """A head whose text joins ``v`` [N, 12], the unread vector, and ``u`` [N, 4], which a first FC has made of it."""
    made = head(f"v = Flatten(map)\nu = Gemm(v, W, B)\n{text}", opset, **{**OF_VU, **rest})
    return replace(made, weights={name: value for name, value in made.weights.items() if name in made.text})


VU = "c = Concat <axis = 1> (v, u)\n"

#: no flattening Conv and no Concat is left of these: how many Convs there are, the backbone's among them
PARTS: dict[str, tuple[Head, int]] = {
    "an unread and a spent part": (parts(VU + FC), 4),
    "the spent part first": (parts("c = Concat <axis = 1> (u, v)\n" + FC), 4),
    "axis -1": (parts("c = Concat <axis = -1> (v, u)\n" + FC), 4),
    "MatMul": (parts(VU + "y = MatMul(c, M)"), 4),
    "MatMul, Add": (parts(VU + "m = MatMul(c, M)\ny = Add(m, D)"), 4),
    "transB": (parts(VU + "y = Gemm <transB = 1> (c, M, D)", M=(5, 16)), 4),
    "alpha, beta": (parts(VU + "y = Gemm <alpha = 0.5, beta = 2.0> (c, M, D)"), 4),
    "alpha 0": (parts(VU + "y = Gemm <alpha = 0.0> (c, M, D)"), 4),
    "beta 0": (parts(VU + "y = Gemm <beta = 0.0> (c, M, D)"), 4),
    "no C": (parts(VU + "y = Gemm(c, M)"), 4),
    "a scalar C": (parts(VU + FC, D=()), 4),
    "a C of one row": (parts(VU + FC, D=(1, 5)), 4),
    "three parts": (
        parts("w = Relu(u)\nc = Concat <axis = 1> (u, v, w)\n" + FC, M=(20, 5)),
        5,
    ),
    "one part twice": (parts("c = Concat <axis = 1> (u, v, u)\n" + FC, M=(20, 5)), 5),
    "the map in two orders": (
        head(f"v = Flatten(map)\n{NHWC}c = Concat <axis = 1> (v, l)\n{FC}", M=(24, 5), D=(5,)),
        2,
    ),
    "the map in two orders, and a spent part": (
        parts(f"{NHWC}c = Concat <axis = 1> (v, u, l)\n{FC}", M=(28, 5)),
        5,
    ),
    "a part of the map": (
        parts(
            "p = Slice(v, three, ten, one)\nc = Concat <axis = 1> (p, u)\n" + FC,
            M=(11, 5),
            three=[3],
            ten=[10],
            one=[1],
        ),
        4,
    ),
    "features picked twice": (
        parts("p = Gather <axis = 1> (v, i)\nc = Concat <axis = 1> (p, u)\n" + FC, M=(9, 5), i=[3, 3, 0, 11, 3]),
        4,
    ),
    "nested": (
        parts("w = Neg(u)\na = Concat <axis = 1> (v, u)\nc = Concat <axis = 1> (w, a)\n" + FC, M=(20, 5)),
        5,
    ),
    "two nested ones": (
        parts(
            "w = Neg(v)\na = Concat <axis = 1> (v, u)\nb = Concat <axis = 1> (u, w)\nc = Concat <axis = 1> (a, b)\n"
            + FC,
            M=(32, 5),
        ),
        6,
    ),
    "Relu between": (parts("j = Concat <axis = 1> (v, u)\nc = Relu(j)\n" + FC), 4),
    "Relu, Neg, Abs between": (parts("j = Concat <axis = 1> (v, u)\nr = Neg(j)\na = Abs(r)\nc = Relu(a)\n" + FC), 4),
    "Cast there and back": (
        parts("j = Concat <axis = 1> (v, u)\ni = Cast <to = 6> (j)\nc = Cast <to = 1> (i)\n" + FC),
        4,
    ),
    "LeakyRelu between": (parts("j = Concat <axis = 1> (v, u)\nc = LeakyRelu <alpha = 0.5> (j)\n" + FC), 4),
    "Identity between": (parts("j = Concat <axis = 1> (v, u)\nc = Identity(j)\n" + FC), 4),
    "two FCs over one Concat": (
        parts(VU + "p = Gemm(c, M, D)\nq = MatMul(c, L)\ny = Add(p, q)", L=(16, 5)),
        6,
    ),
    "an FC behind the FC": (parts(VU + "h = Gemm(c, M, D)\nr = Relu(h)\ny = MatMul(r, L)", L=(5, 3)), 5),
    "opset 7": (parts(VU + FC, 7), 4),
    "opset 13": (parts(VU + FC, 13), 4),
    "1-D": (parts(VU + FC, window=(6,)), 4),
    "3-D": (parts(VU + FC, window=(3, 1, 2)), 4),
    "batch 1": (parts(VU + FC, batch=1), 4),
    "batch 3": (parts(VU + FC, batch=3), 4),
    "a window of one cell": (parts(VU + FC, window=(1, 1), W=(2, 4), M=(6, 5)), 4),
    "a dequantised weight": (
        parts(VU + "d = DequantizeLinear(q, scale, zero)\ny = MatMul(c, d)", **QUANTISED),
        4,
    ),
    "a weight dequantised by unit": (
        parts(VU + "d = DequantizeLinear <axis = 1> (q, scales, zeros)\ny = MatMul(c, d)", **QUANTISED),
        4,
    ),
    "a transposed dequantised weight": (
        parts(
            VU + "d = DequantizeLinear <axis = 0> (q, scales, zeros)\ny = Gemm <transB = 1> (c, d, D)",
            **{**QUANTISED, "q": some(5, 16, dtype=np.int8)},
        ),
        4,
    ),
    "a weight dequantised by feature": (
        parts(
            VU + "d = DequantizeLinear <axis = 0> (q, scales, zeros)\ny = MatMul(c, d)",
            **{**QUANTISED, "scales": powers(16), "zeros": some(16, dtype=np.int8)},
        ),
        4,
    ),
    "two maps": (two(FLAT + "c = Concat <axis = 1> (a, b)\n" + FC, M=(20, 5), D=(5,)), 3),
    "two maps, the coarse one first, Relu between": (
        two(FLAT + "j = Concat <axis = 1> (b, a)\nc = Relu(j)\n" + FC, M=(20, 5), D=(5,)),
        3,
    ),
    "two maps and a spent part": (
        two(FLAT + "u = MatMul(a, U)\nc = Concat <axis = 1> (b, a, u)\n" + FC, M=(26, 5), D=(5,)),
        5,
    ),
}


@every(PARTS)
def test_an_fc_over_parts_is_a_sum_of_convs(row: tuple[Head, int]) -> None:
    made, convs = row
    model = Several(made, steady="y" if "alpha = 0.0" in made.text else "").check().model
    assert (count(model, "Conv"), count(model, "Concat", "Gather", "Reshape"), one_hot(model)) == (convs, 0, [])


def test_the_weight_stays_quantised() -> None:
    for name in ("a dequantised weight", "a weight dequantised by unit", "a transposed dequantised weight"):
        model = fc2conv.convert(network(PARTS[name][0]), verify=False).model
        kernels = [t for t in model.graph.initializer if t.data_type == 3 and len(t.dims) == 4]
        assert count(model, "DequantizeLinear") == len(kernels) == 2, name


#: the features themselves are needed: how many Concats there are
WHOLE: dict[str, tuple[Several, int]] = {
    "the Concat is an output": (Several(parts(VU + FC, outputs="c y")), 1),
    "the Concat alone is an output beside another head": (Several(parts(VU + "y = Neg(u)", outputs="c y")), 1),
    "a Relu of it is an output": (Several(parts("j = Concat <axis = 1> (v, u)\nc = Relu(j)\n" + FC, outputs="c y")), 1),
    "an FC and a reduction": (
        Several(parts(VU + "g = Gemm(c, M, D)\nr = ReduceSum <axes = [1]> (c)\ny = Add(g, r)", 11)),
        1,
    ),
    "an FC and another operator": (
        Several(parts(VU + "g = MatMul(c, M)\nt = Add(c, k)\ny = Concat <axis = 1> (g, t)", k=(16,))),
        2,
    ),
    "two nodes that join the same": (
        Several(
            parts(
                "a = Concat <axis = 1> (v, u)\nb = Concat <axis = 1> (v, u)\ny = Sub(b, k)\nz = Mul(a, k)",
                outputs="y z",
                k=(16,),
            )
        ),
        1,
    ),
    "two readers of one Concat": (Several(parts(VU + "y = Add(c, k)\nz = Mul(c, k)", outputs="y z", k=(16,))), 1),
    "two orders are not the same": (
        Several(
            parts(
                f"{NHWC}a = Concat <axis = 1> (v, u)\nb = Concat <axis = 1> (l, u)\ny = Sub(b, k)\nz = Sub(a, k)",
                outputs="y z",
                k=(16,),
            )
        ),
        2,
    ),
    "ReduceMax": (Several(parts(VU + "y = ReduceMax <axes = [1]> (c)")), 1),
    "Slice": (Several(parts(VU + "y = Slice(c, ten, far, one)", ten=[10], far=[15], one=[1])), 1),
    "Split": (Several(parts(VU + "y, z = Split <axis = 1> (c, n)", outputs="y z", n=[10, 6])), 1),
    "Reshape, FC for each row": (Several(parts(VU + "r = Reshape(c, s)\ny = MatMul(r, L)", s=[0, 4, 4], L=(4, 3))), 1),
    "Einsum": (Several(parts(VU + 'y = Einsum <equation = "nk,km->nm"> (c, M)')), 1),
    "Einsum, transposed": (Several(parts(VU + 'y = Einsum <equation = "nk,mk->nm"> (c, M)', M=(5, 16))), 1),
    "a vector as weight": (Several(parts(VU + "y = MatMul(c, M)", M=(16,))), 0),
    "Clip": (Several(parts(VU + "y = Clip(c, lo, hi)", lo=-3.0, hi=5.0)), 1),
    "BatchNormalization, FC": (
        Several(
            parts(VU + "n = BatchNormalization(c, k, k, k, p)\ny = MatMul(n, M)", k=(16,), p=powers(16)),
            terms=40,
            nodes=4,
        ),
        1,
    ),
    "Softmax, FC": (Several(parts(VU + "s = Softmax(c)\ny = MatMul(s, M)"), terms=20, nodes=6), 1),
    "two maps, an output": (
        Several(two(FLAT + "c = Concat <axis = 1> (a, b)\n" + FC, M=(20, 5), D=(5,), outputs="c y")),
        1,
    ),
    "two maps, Clip, FC": (
        Several(
            two(FLAT + "j = Concat <axis = 1> (a, b)\nc = Clip(j, lo, hi)\n" + FC, M=(20, 5), D=(5,), lo=-3.0, hi=5.0)
        ),
        1,
    ),
}


@every(WHOLE)
def test_what_reads_the_features_themselves_gets_them_joined_once(row: tuple[Several, int]) -> None:
    case, concats = row
    made = case.check().model.graph.node
    assert sum(n.op_type == "Concat" and helper.get_node_attr_value(n, "axis") > 0 for n in made) == concats


def test_sigmoid_acts_on_the_parts() -> None:
    made = parts("j = Concat <axis = 1> (v, u)\nc = Sigmoid(j)\n" + FC)
    model = Several(made, terms=16, nodes=6).check().model
    assert (count(model, "Sigmoid"), count(model, "Concat"), one_hot(model)) == (2, 0, [])


# -- values of other inputs --------------------------------------------------------------------------------------------

JOIN = "c = Concat <axis = 1> (u, s)\n"
OF_US = {"M": (7, 5), "D": (5,)}
MLP = "h = Gemm(s, P, Q)\nt = Relu(h)\n"
OF_MLP = {"P": (3, 4), "Q": (4,)}
TOKENS = """
    r = Reshape(map, rows)
    p = Transpose <perm = [0, 2, 1]> (r)
    dims = Shape({of})
    n = Gather(dims, zero)
    first = Unsqueeze(n, zero_axis)
    shape = Concat <axis = 0> (first, one_by_two)
    k = Expand(token, shape)
    t = Concat <axis = 1> (k, p)
    e = Add(t, positions)
"""
OF_TOKENS = {
    "rows": [0, 2, 6],
    "zero": np.array(0),
    "zero_axis": [0],
    "one_by_two": [1, 2],
    "token": (1, 1, 2),
    "positions": (1, 7, 2),
}


def tokens(text: str, of: str = "x", **rest: Any) -> Head:
    """A head whose text reads ``e`` [N, 7, 2]: a class token for each image of ``of``, and the map's cells."""
    return head(TOKENS.replace("{of}", of) + text, **{**OF_TOKENS, **rest})


LIFTS = table(
    {
        "Concat before an FC": Several(beside(JOIN + FC, **OF_US)),
        "Concat, the side first": Several(beside("c = Concat <axis = 1> (s, u)\n" + FC, **OF_US)),
        "Concat with the unread vector": Several(beside("c = Concat <axis = 1> (v, s)\n" + FC, M=(15, 5), D=(5,))),
        "Concat with both, Relu between": Several(
            beside("j = Concat <axis = 1> (v, s, u)\nc = Relu(j)\n" + FC, M=(19, 5), D=(5,))
        ),
        "Concat, an output": Several(beside(JOIN + FC, **OF_US, outputs="y c")),
        "Concat, Softmax": Several(beside(JOIN + "y = Softmax(c)"), nodes=6, terms=12),
        "Concat, ReduceSum": Several(beside(JOIN + "y = ReduceSum <axes = [1]> (c)", 11)),
        "Concat of the side twice": Several(beside("c = Concat <axis = 1> (s, u, s)\n" + FC, M=(10, 5), D=(5,))),
        "two sides": Several(
            beside("c = Concat <axis = 1> (s, u, r)\n" + FC, sides={"s": ("N", 3), "r": ("N", 2)}, M=(9, 5), D=(5,))
        ),
        "a computed side": Several(beside("t = Neg(s)\nc = Concat <axis = 1> (u, t)\n" + FC, **OF_US)),
        "an MLP on the side": Several(
            beside(MLP + "c = Concat <axis = 1> (u, t)\n" + FC, **OF_MLP, M=(8, 5), D=(5,)), fcs=1
        ),
        "an MLP on the side, added": Several(beside(MLP + "y = Add(t, u)", **OF_MLP), fcs=1),
        "Gemm's C": Several(beside("y = Gemm(v, M, h)", sides={"h": ("N", 5)}, M=(12, 5))),
        "Gemm's C, beta": Several(
            beside("y = Gemm <alpha = 2.0, beta = 0.5> (u, M, h)", sides={"h": ("N", 5)}, M=(4, 5))
        ),
        "Gemm's C, beta 0": Several(beside("y = Gemm <beta = 0.0> (u, M, h)", sides={"h": ("N", 5)}, M=(4, 5))),
        "Gemm's C of parts": Several(beside(VU + "y = Gemm(c, M, h)", sides={"h": ("N", 5)}, M=(16, 5))),
        "Gemm's C of parts with a side": Several(
            beside("c = Concat <axis = 1> (u, h)\ny = Gemm(c, M, h)", sides={"h": ("N", 5)}, M=(9, 5))
        ),
        "Gemm's C with one column": Several(beside("y = Gemm(v, M, h)", sides={"h": ("N", 1)}, M=(12, 5))),
        "FiLM": Several(
            beside(
                "g = Gemm(s, P, Q)\nh = MatMul(s, P)\none = Constant <value_float = 1.0> ()\nf = Add(g, one)\n"
                "m = Mul(u, f)\nk = Add(m, h)\ny = MatMul(k, M)",
                **OF_MLP,
                M=(4, 5),
            ),
            fcs=2,
        ),
        "FiLM of the unread vector": Several(
            beside("f = Mul(v, g)\nk = Add(f, h)\ny = MatMul(k, M)", sides={"g": ("N", 12), "h": ("N", 12)}, M=(12, 5))
        ),
        "a gate with one column": Several(beside("m = Mul(v, g)\ny = MatMul(m, M)", sides={"g": ("N", 1)}, M=(12, 5))),
        "rank 3": Several(beside("r = Reshape(u, s3)\ny = Add(r, s)", sides={"s": ("N", 2, 2)}, s3=[0, 2, 2])),
        "rank 3, broadcast": Several(
            beside("r = Reshape(u, s3)\ny = Mul(s, r)", sides={"s": ("N", 2, 1)}, s3=[0, 2, 2])
        ),
        "rank 3, Concat": Several(
            beside("r = Reshape(u, s3)\ny = Concat <axis = 1> (r, s)", sides={"s": ("N", 5, 2)}, s3=[0, 2, 2])
        ),
        "rank 3, Concat along the last axis, FC": Several(
            beside(
                "r = Reshape(u, s3)\nc = Concat <axis = 2> (s, r)\ny = MatMul(c, M)",
                sides={"s": ("N", 2, 3)},
                s3=[0, 2, 2],
                M=(5, 3),
            )
        ),
        "a side that is reshaped on its own": Several(
            beside("t = Reshape(s, s3)\nr = Reshape(u, s3)\ny = Sub(r, t)", sides={"s": ("N", 4)}, s3=[0, 2, 2])
        ),
        "chosen by the side": Several(beside("g = Greater(s, u)\ny = Where(g, s, u)", sides={"s": ("N", 4)})),
        "flags of the side": Several(
            beside("f = Greater(s, z0)\ny = Where(f, u, k)", sides={"s": ("N", 4)}, z0=0.0, k=(4,))
        ),
        "the largest of three": Several(beside("w = Neg(u)\ny = Max(u, s, w)", sides={"s": ("N", 4)})),
        "another symbol": Several(beside(JOIN + FC, **OF_US, sides={"s": ("rows", 3)})),
        "two maps": Several(
            replace(two(FLAT + "c = Concat <axis = 1> (b, s, a)\n" + FC, M=(23, 5), D=(5,)), sides={"s": ("N", 3)})
        ),
        "two maps, an output": Several(
            replace(
                two(FLAT + "y = Concat <axis = 1> (a, s, b)\nz = Gemm(y, M, D)", M=(23, 5), D=(5,), outputs="y z"),
                sides={"s": ("N", 3)},
            )
        ),
        "two maps, the side is added to the fine one": Several(
            replace(
                two(FLAT + "u = Gemm(a, U, Y)\nw = MatMul(b, V)\nt = Add(u, s)\ny = Mul(t, w)"), sides={"s": ("N", 6)}
            )
        ),
        "two maps, the side between": Several(
            replace(two(FLAT + "u = Gemm(a, U, Y)\nw = MatMul(b, V)\ny = Sum(s, u, w)"), sides={"s": ("N", 6)})
        ),
    },
    {f"batch {n}": Several(beside(JOIN + FC, **OF_US, batch=n, sides={"s": (n, 3)})) for n in (1, 3)},
    {f"added, batch {n}": Several(beside("y = Add(u, s)", batch=n, sides={"s": (n, 4)})) for n in (1, 3)},
    {f"Concat, opset {o}": Several(beside(JOIN + FC, o, **OF_US)) for o in (7, 9, 12, 13, 21)},
    {f"joined, opset {o}": Several(beside(JOIN + "y = Sub(c, k)", o, k=(7,))) for o in (8, 9, 12, 13, 21)},
    {
        f"{op}": Several(beside(f"y = {op}(u, s)", sides={"s": ("N", 4)}))
        for op in "Add Sub Mul Max Min PRelu Equal Less".split()
    },
    {
        f"{w}-D": Several(beside(JOIN + FC, window=window, **OF_US, W=(12, 4)))
        for w, window in ((1, (6,)), (3, (3, 1, 2)))
    },
    {
        f"{w}-D, joined": Several(beside(JOIN + "y = Clip(c, lo)", window=window, lo=-3.0))
        for w, window in ((1, (6,)), (3, (3, 1, 2)))
    },
    {
        f"float16, {name}": Several(
            beside(text, dtype=np.float16, sides={"s": ("N", 4)}, M=(8, 5), D=(5,)), terms=20, nodes=4
        )
        for name, text in {"Concat": JOIN + FC, "Add": "y = Add(u, s)", "joined": JOIN + "y = Neg(c)"}.items()
    },
    {
        f"a constant row at batch 1, {name}": Several(beside(text, batch=1, sides={}, k=(1, 3), **OF_US))
        for name, text in {
            "FC": "c = Concat <axis = 1> (u, k)\n" + FC,
            "the constant first": "c = Concat <axis = 1> (k, u)\n" + FC,
            "joined": "c = Concat <axis = 1> (u, k)\ny = Neg(c)",
        }.items()
    },
    {
        "constant rows at batch 2": Several(
            beside("c = Concat <axis = 1> (u, k)\n" + FC, batch=2, sides={}, k=(2, 3), **OF_US)
        ),
        "a class token, MatMul, the token picked": Several(
            tokens("f = MatMul(e, A)\ny = Gather <axis = 1> (f, zero)", A=(2, 3)), steady="y"
        ),
        "a class token, FC of all tokens": Several(tokens("f = Flatten(e)\ny = Gemm(f, A, D)", A=(14, 3), D=(3,))),
        "a class token, MatMul for each token, mean": Several(
            tokens("f = MatMul(e, A)\ng = Relu(f)\ny = ReduceSum(g, one)", A=(2, 3), one=[1])
        ),
        "a class token, fixed batch": Several(tokens("f = Flatten(e)\ny = Gemm(f, A, D)", A=(14, 3), D=(3,), batch=3)),
        "a class token, attention": Several(
            tokens(
                "q = MatMul(e, A)\nk2 = MatMul(e, C)\nkt = Transpose <perm = [0, 2, 1]> (k2)\nw = MatMul(q, kt)\n"
                "o = MatMul(w, e)\ny = Gather <axis = 1> (o, zero)",
                A=(2, 3),
                C=(2, 3),
            ),
            fcs=2,
        ),
        "a vector expanded to the batch": Several(
            beside(
                "d = Shape(u)\nn = Gather(d, i0)\nsh = Concat <axis = 0> (n, i3)\nk = Expand(row, sh)\n"
                "c = Concat <axis = 1> (u, k)\n" + FC,
                sides={},
                i0=[0],
                i3=[3],
                row=(1, 3),
                **OF_US,
            )
        ),
        "a class token, repeated by the map's shape": Several(
            tokens("f = Flatten(e)\ny = Gemm(f, A, D)", of="map", A=(14, 3), D=(3,))
        ),
        "a class token, repeated by the tokens' shape": Several(
            tokens("f = Flatten(e)\ny = Gemm(f, A, D)", of="p", A=(14, 3), D=(3,))
        ),
        "a vector expanded to the shape of a value of the head": Several(
            beside("d = Shape(u)\nk = Expand(row, d)\ny = Add(u, k)", sides={}, row=(1, 4))
        ),
        "a scalar": Several(beside("y = Mul(u, s)", sides={"s": ()})),
        "one number": Several(beside("y = Mul(u, s)", sides={"s": (1,)})),
        "one number at batch 1": Several(beside("y = Mul(u, s)", sides={"s": (1,)}, batch=1)),
    },
)


@every(LIFTS)
def test_lifts(row: Several) -> None:
    row.check()


@pytest.mark.parametrize("name", ["an MLP on the side", "an MLP on the side, added", "FiLM"])
def test_what_does_not_depend_on_the_image_comes_out_as_it_went_in(name: str) -> None:
    original = network(LIFTS[name].head)
    converted = fc2conv.convert(original, verify=False).model
    for value in ("g", "h") if name == "FiLM" else ("h", "t"):
        assert node_of(converted, value) == node_of(original, value)
    assert list(converted.graph.input)[1:] == list(original.graph.input)[1:]


@pytest.mark.parametrize(
    "name", ["Concat before an FC", "an MLP on the side", "two maps", "Concat with both, Relu between"]
)
def test_an_fc_over_a_side_repeats_it_nowhere(name: str) -> None:
    model = fc2conv.convert(network(LIFTS[name].head), verify=False).model
    assert (count(model, "Concat", "Expand"), one_hot(model)) == (0, [])


NO_ROWS = "has no row for each image"
REFUSES = {
    "the first dim is not the batch": Refuses(
        beside("y = Add(u, s)", sides={"s": (1, 4)}), "Add 'y'", f"its input 's' of shape [1, 4] {NO_ROWS}"
    ),
    "the batch is the second dim": Refuses(
        beside(JOIN + FC, sides={"s": (3, "N")}, **OF_US), "Concat 'c'", "of shape [3, "
    ),
    "features without a batch": Refuses(
        beside("y = Mul(u, s)", sides={"s": (4,)}), "Mul 'y'", f"its input 's' of shape [4] {NO_ROWS}"
    ),
    "another batch": Refuses(
        beside("y = Add(u, s)", sides={"s": (3, 4)}, batch=1), "Add 'y'", f"its input 's' of shape [3, 4] {NO_ROWS}"
    ),
    "a C that is no row for each image": Refuses(
        beside("y = Gemm(u, M, s)", sides={"s": (5,)}, M=(4, 5)), "Gemm 'y'", f"its input 's' of shape [5] {NO_ROWS}"
    ),
    "a C with one row": Refuses(
        beside("y = Gemm(u, M, s)", sides={"s": (1, 5)}, M=(4, 5)),
        "Gemm 'y'",
        f"its input 's' of shape [1, 5] {NO_ROWS}",
    ),
    "another rank": Refuses(
        beside("r = Reshape(u, s3)\ny = Add(r, s)", sides={"s": ("N", 4)}, s3=[0, 2, 2]),
        "Add 'y'",
        "the batch would meet features",
    ),
    "a weight": Refuses(beside("y = MatMul(u, s)", sides={"s": (4, 5)}), "MatMul 'y'", "its weight is not a constant"),
    "a Gemm's weight": Refuses(
        beside("y = Gemm(u, s, B)", sides={"s": (4, 4)}), "Gemm 'y'", "its weight is not a constant"
    ),
    "a side where none may be": Refuses(
        beside("y = Expand(u, s)", sides={"s": (2,)}),
        "Expand 'y'",
        "its input 's' is neither a constant nor computed from the image",
    ),
    "a constant row at a symbolic batch": Refuses(
        beside("c = Concat <axis = 1> (u, k)\n" + FC, sides={}, k=(1, 3), **OF_US),
        "Concat 'c'",
        "its input 'k' of shape [1, 3] has no row for each image",
    ),
    "transA over parts": Refuses(
        parts(VU + "y = Gemm <transA = 1> (c, M)", batch=2, M=(2, 5)), "Gemm 'y'", "sums over the batch axis"
    ),
    "transA over a side": Refuses(
        beside(JOIN + "y = Gemm <transA = 1> (c, M)", batch=2, sides={"s": (2, 3)}, M=(2, 5)),
        "Gemm 'y'",
        "sums over the batch axis",
    ),
    "a weight for fewer features": Refuses(
        parts(VU + FC, M=(15, 5)), "Gemm 'y'", "its weight takes 15 features, and it is fed 16"
    ),
    "Concat of images": Refuses(
        parts("w = Neg(u)\nc = Concat <axis = 0> (u, w)\ny = MatMul(c, M)", M=(4, 5)),
        "Concat 'c'",
        "works along the batch axis",
    ),
    "Concat of a side along the batch": Refuses(
        beside("c = Concat <axis = 0> (u, s)\ny = MatMul(c, M)", sides={"s": ("N", 4)}, M=(4, 5)),
        "Concat 'c'",
        "works along the batch axis",
    ),
}


@every(REFUSES)
def test_refuses(row: Refuses) -> None:
    row.check()


@pytest.mark.parametrize(
    "outputs",
    [("y", "t"), ("y", "t", "s")],
    ids=" ".join,
)
def test_an_output_that_does_not_depend_on_the_image_keeps_its_shape(outputs: tuple[str, ...]) -> None:
    made = beside("t = Neg(s)\nc = Concat <axis = 1> (u, t)\n" + FC, **OF_US, outputs=" ".join(outputs))
    result = fc2conv.convert(network(made))
    assert list(result.geometry.outputs) == ["y"]
    assert [len(o.type.tensor_type.shape.dim) for o in result.model.graph.output] == [4, 2, 2][: len(outputs)]


# -- sabotage ----------------------------------------------------------------------------------------------------------


def of_side(model: ModelProto) -> Iterator[tuple[NodeProto, str]]:
    """The nodes of the head that multiply the side, and their weights."""
    for node in model.graph.node:
        made = next((n for n in model.graph.node if node.input[0] in n.output), None)
        if node.op_type == "Conv" and made is not None and made.op_type == "Unsqueeze":
            yield node, node.input[1]


def side_is_forgotten(model: ModelProto) -> None:
    ((_, kernel),) = of_side(model)
    tensor = next(t for t in model.graph.initializer if t.name == kernel)
    tensor.CopyFrom(numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(tensor)), kernel))


def one_weight_of_the_side_is_off(model: ModelProto) -> None:
    ((_, kernel),) = of_side(model)
    tensor = next(t for t in model.graph.initializer if t.name == kernel)
    values = numpy_helper.to_array(tensor).copy()
    values.flat[-1] += 0.01
    tensor.CopyFrom(numpy_helper.from_array(values, kernel))


def rows_are_shifted(model: ModelProto) -> None:
    """Each image gets the next image's row, the last one the first's; at batch 1 nothing changes."""
    node = next(n for n in model.graph.node if "s" in n.input)
    node.input[list(node.input).index("s")] = "shifted"
    arrays = {"from_0": [0], "from_1": [1], "to_end": [2**31 - 1], "rows": [0]}
    model.graph.initializer.extend(numpy_helper.from_array(np.array(v, np.int64), k) for k, v in arrays.items())
    made = [
        helper.make_node("Slice", ["s", "from_1", "to_end", "rows"], ["others"]),
        helper.make_node("Slice", ["s", "from_0", "from_1", "rows"], ["first_row"]),
        helper.make_node("Concat", ["others", "first_row"], ["shifted"], axis=0),
    ]
    for i, new in enumerate(made):
        model.graph.node.insert(i, new)


def first_row_for_all(model: ModelProto) -> None:
    node = next(n for n in model.graph.node if "s" in n.input)
    node.input[list(node.input).index("s")] = "shifted"
    arrays = {"from_0": [0], "to_1": [1], "rows": [0]}
    model.graph.initializer.extend(numpy_helper.from_array(np.array(v, np.int64), k) for k, v in arrays.items())
    model.graph.node.insert(0, helper.make_node("Slice", ["s", "from_0", "to_1", "rows"], ["shifted"]))


CONCAT, MIXED = LIFTS["Concat before an FC"].head, LIFTS["Concat with both, Relu between"].head
ADDED = LIFTS["Add"].head
SABOTAGE: dict[str, tuple[Head, Mutation]] = {
    "zeroed": (CONCAT, side_is_forgotten),
    "one weight off": (CONCAT, one_weight_of_the_side_is_off),
    "shifted, Concat": (CONCAT, rows_are_shifted),
    "shifted, several parts": (MIXED, rows_are_shifted),
    "shifted, added": (ADDED, rows_are_shifted),
    "first row for all, Concat": (CONCAT, first_row_for_all),
    "first row for all, added": (ADDED, first_row_for_all),
    "shifted, fixed batch": (LIFTS["batch 3"].head, rows_are_shifted),
}


@every(SABOTAGE)
def test_verify_rejects(row: tuple[Head, Mutation]) -> None:
    made, mutate = row
    original = network(made)
    converted = ModelProto()
    converted.CopyFrom(fc2conv.convert(original, verify=False).model)
    fc2conv.verify(original, converted)
    mutate(converted)
    with pytest.raises(fc2conv.VerificationFailed, match="same size"):
        fc2conv.verify(original, converted)
