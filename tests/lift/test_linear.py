"""Fully connected nodes: every way to write the product, its weight and its bias."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

import onnx_fc2conv as fc2conv

from ..networks import MAP, Head, network
from .tables import OPSETS, LeavesAlone, Lifts, Refuses, every, head, node_of, some, spent, table, unread, with_input

HALF = np.array(0.5, np.float32)
FACTORS = ((1.0, 1.0), (0.5, 2.0), (-1.0, -3.0), (2.0, 0.0))
BIASES = {"none": None, "()": (), "(1,)": (1,), "(M,)": (3,), "(1,1)": (1, 1), "(1,M)": (1, 3)}
ROW_BIASES = {"(N,M)": (3, 3), "(N,1)": (3, 1)}
WINDOWS = ((3, 2), (1, 3), (4, 2), (1, 1), (5,), (1,), (2, 1, 3))


def gemm(alpha: float, beta: float, trans_b: int, bias: tuple[int, ...] | None, first: bool, batch: str | int) -> Head:
    """One Gemm with these attributes, behind the flatten or behind another FC."""
    attrs = f"<transB = {trans_b}, alpha = {alpha}, beta = {beta}>"
    inputs = 12 if first else 4
    weights = {"M": (3, inputs) if trans_b else (inputs, 3), "C": bias or ()}
    line = f"y = Gemm{attrs}({'v' if first else 'u'}, M{'' if bias is None else ', C'})"
    return (head(f"v = Flatten(map)\n{line}", batch=batch, **weights)) if first else spent(line, batch=batch, **weights)


def attribute_rows() -> dict[str, Lifts]:
    rows = {}
    for biases, batch in ((BIASES, "N"), (ROW_BIASES, 3), ({"(N,M)=(1,M)": (1, 3)}, 1)):
        for name, shape in biases.items():
            for alpha, beta in FACTORS:
                for trans_b in (0, 1):
                    for first in (True, False):
                        where = "first" if first else "second"
                        row = Lifts(gemm(alpha, beta, trans_b, shape, first, batch))
                        rows[f"C {name}, alpha {alpha}, beta {beta}, transB {trans_b}, {where}"] = row
    return rows


def two_fcs(window: tuple[int, ...], channels: int = 2, opset: int = 17, batch: str | int = "N") -> Head:
    inputs = channels * int(np.prod(window))
    text = "v = Flatten(map)\na = Gemm<transB = 1>(v, W, B)\nr = Relu(a)\ny = Gemm(r, W2, B2)"
    weights = {"W": (4, inputs), "B": (4,), "W2": (4, 3), "B2": (3,)}
    return head(text, opset, window=window, channels=channels, batch=batch, **weights)


def chain(length: int) -> Head:
    lines, weights = ["a0 = Flatten(map)"], {}
    for i in range(length):
        weights |= {f"W{i}": (12 if i == 0 else 4, 4), f"B{i}": (4,)}
        lines += [f"g{i} = Gemm(a{i}, W{i}, B{i})", f"a{i + 1} = Relu(g{i})"]
    return head("\n".join([*lines, f"y = Identity(g{length - 1})"]), **weights)


def constant(name: str, values: np.ndarray) -> str:
    """A Constant node."""
    dims, items = ", ".join(map(str, values.shape)), ", ".join(str(float(v)) for v in values.ravel())
    return f"{name} = Constant <value = float[{dims}] {{{items}}}> ()"


# How a weight M [inputs, 3] can be reached, from the constants of each row.
WEIGHT_SPELLINGS = {
    "Constant node": lambda n: (constant("M", some(n, 3)), {}),
    "Identity": lambda n: ("M = Identity(m)", {"m": (n, 3)}),
    "two Identities": lambda n: ("o = Identity(m)\nM = Identity(o)", {"m": (n, 3)}),
    "Reshape": lambda n: ("M = Reshape(m, s)", {"m": (3 * n,), "s": [n, 3]}),
    "Transpose": lambda n: ("M = Transpose <perm = [1, 0]> (m)", {"m": (3, n)}),
    "Transpose without perm": lambda n: ("M = Transpose(m)", {"m": (3, n)}),
    "Cast of float16": lambda n: ("M = Cast <to = 1> (m)", {"m": some(n, 3, dtype=np.float16)}),
    "Cast of int8": lambda n: ("M = Cast <to = 1> (m)", {"m": some(n, 3, dtype=np.int8)}),
    "Squeeze": lambda n: ("M = Squeeze(m, axes)", {"m": (1, n, 3, 1), "axes": [0, -1]}),
    "Squeeze, then Unsqueeze": lambda n: (
        "o = Squeeze(m, axes)\np = Unsqueeze(o, axes)\nM = Reshape(p, s)",
        {"m": (1, n, 3), "axes": [0], "s": [n, 3]},
    ),
    "ConstantOfShape": lambda n: ("M = ConstantOfShape <value = float[1] {2.0}> (s)", {"s": [n, 3]}),
    "Expand, then Tile": lambda n: (
        "o = Expand(m, s)\nM = Tile(o, r)",
        {"m": some(n // 2, 1), "s": [n // 2, 3], "r": [2, 1]},
    ),
    "Concat": lambda n: ("M = Concat <axis = 1> (m, o)", {"m": (n, 2), "o": (n, 1)}),
    "Slice": lambda n: ("M = Slice(m, s, e, axes)", {"m": (n, 5), "s": [1], "e": [4], "axes": [1]}),
    "Gather": lambda n: ("M = Gather <axis = 1> (m, i)", {"m": (n, 5), "i": [4, 0, 2]}),
    "Mul": lambda n: ("M = Mul(m, half)", {"m": (n, 3), "half": HALF}),
}


def weight_rows() -> dict[str, Lifts]:
    rows = {}
    for name, spell in WEIGHT_SPELLINGS.items():
        text, weights = spell(12)
        rows[f"weight by {name}, first"] = Lifts(head(f"{text}\nv = Flatten(map)\ny = MatMul(v, M)", **weights))
        text, weights = spell(4)
        rows[f"weight by {name}, second"] = Lifts(spent(f"{text}\ny = Gemm(u, M, D)", D=(3,), **weights))
    text, weights = WEIGHT_SPELLINGS["Identity"](12)
    rows["bias by Identity"] = Lifts(head("v = Flatten(map)\nC = Identity(c)\ny = Gemm(v, M, C)", M=(12, 3), c=(3,)))
    rows["bias by Constant node"] = Lifts(
        head(f"v = Flatten(map)\n{constant('C', some(3))}\ny = Gemm(v, M, C)", M=(12, 3))
    )
    rows["bias by Reshape, scaled"] = Lifts(
        head("v = Flatten(map)\nC = Reshape(c, s)\ny = Gemm <beta = 2.0> (v, M, C)", M=(12, 3), c=(3, 1), s=[1, 3])
    )
    return rows


LIFTS = table(
    attribute_rows(),
    {f"Gemm at opset {o}": Lifts(two_fcs((3, 2), opset=o)) for o in (*OPSETS, 27)},
    {
        f"MatMul and Add at opset {o}": Lifts(
            unread("m = MatMul(v, M)\nt = Add(m, A)", o, features=5, M=(12, 5), A=5.0)
        )
        for o in (*OPSETS, 27)
    },
    {f"window {w}": Lifts(two_fcs(w)) for w in WINDOWS},
    {f"window {w}, {c} channels": Lifts(two_fcs(w, c)) for w in ((3, 2), (5,)) for c in (1, 3)},
    {f"batch {b}": Lifts(two_fcs((3, 2), batch=b)) for b in ("N", 1, 3)},
    {"batch N, one image": Lifts(two_fcs((3, 2)), images=1)},
    {f"chain of {n}": Lifts(chain(n)) for n in range(1, 7)},
    weight_rows(),
    {
        "alpha 0": Lifts(head("v = Flatten(map)\ny = Gemm <alpha = 0.0> (v, M, C)", M=(12, 3), C=(3,)), steady="y"),
        "alpha 0 and beta 0": Lifts(
            head("v = Flatten(map)\ny = Gemm <alpha = 0.0, beta = 0.0> (v, M, C)", M=(12, 3), C=(3,)), steady="y"
        ),
        "alpha 0, C of the head": Lifts(
            spent("y = Gemm <alpha = 0.0, beta = 2.0> (v, M, u)", M=(12, 4)),
        ),
        "alpha 0.1": Lifts(
            head("v = Flatten(map)\ny = Gemm <alpha = 0.1, beta = 0.3> (v, M, C)", M=(12, 3), C=(3,)), 12, 3
        ),
        "transA 0 written out": Lifts(head("v = Flatten(map)\ny = Gemm <transA = 0> (v, M, C)", M=(12, 3), C=(3,))),
        "C is an FC": Lifts(spent("y = Gemm(v, M, u)", M=(12, 4))),
        "C is an FC, scaled": Lifts(spent("y = Gemm <beta = -2.0, alpha = 0.5> (v, M, u)", M=(12, 4))),
        "C is an FC, beta 0": Lifts(spent("y = Gemm <beta = 0.0> (v, M, u)", M=(12, 4))),
        "C is the flattened vector": Lifts(head("v = Flatten(map)\ny = Gemm <beta = -2.0> (v, M, v)", M=(12, 12))),
        "C is its own input": Lifts(spent("y = Gemm(u, M, u)", M=(4, 4))),
        "C is one column of the head": Lifts(
            spent("s = ReduceMax <axes = [1]> (u)\ny = Gemm(v, M, s)", M=(12, 3)),
        ),
        "two Cs of the head, in two element types, with one beta": Lifts(
            spent(
                "a = Gemm <beta = 2.0> (u, M, u)\nh = Cast <to = 10> (u)\nk = Gemm <beta = 2.0> (h, H, h)\n"
                "f = Cast <to = 1> (k)\ny = Add(a, f)",
                M=(4, 4),
                H=some(4, 4, dtype=np.float16),
            )
        ),
        "one weight twice, same flatten": Lifts(
            head(
                "v = Flatten(map)\ny = Gemm(v, M, C)\nz = Gemm <alpha = 2.0> (v, M, D)",
                outputs="y z",
                M=(12, 3),
                C=(3,),
                D=(3,),
            )
        ),
        "one weight twice, chained": Lifts(head("v = Flatten(map)\na = MatMul(v, M)\ny = MatMul(a, M)", M=(12, 12))),
        "one weight twice, chained, transB once": Lifts(
            head("v = Flatten(map)\na = MatMul(v, M)\ny = Gemm <transB = 1> (a, M, C)", M=(12, 12), C=(12,))
        ),
        "one weight twice, transB at the flatten": Lifts(
            head("v = Flatten(map)\na = Gemm <transB = 1> (v, M, C)\ny = MatMul(a, M)", M=(12, 12), C=(12,))
        ),
        "one weight, two feature orders": Lifts(
            head(
                "v = Flatten(map)\nn = Transpose <perm = [0, 2, 3, 1]> (map)\nw = Flatten(n)\n"
                "y = MatMul(v, M)\nz = MatMul(w, M)",
                outputs="y z",
                M=(12, 3),
            )
        ),
        "one weight, two maps of other windows": Lifts(
            head(
                "p = MaxPool <kernel_shape = [2, 1]> (map)\nv = Flatten(map)\nw = Flatten(p)\n"
                "a = MatMul(v, L)\ny = MatMul(a, M)\nz = MatMul(w, M)",
                outputs="y z",
                L=(12, 8),
                M=(8, 3),
            )
        ),
        "one bias, two betas": Lifts(
            head(
                "v = Flatten(map)\na = Gemm <beta = 2.0> (v, M, C)\ny = Gemm <beta = 3.0> (a, D, C)",
                M=(12, 3),
                C=(3,),
                D=(3, 3),
            )
        ),
        "the product is read twice": Lifts(
            head("v = Flatten(map)\ny = Gemm(v, M, C)\nz = Mul(y, y)", outputs="y z", M=(12, 3), C=(3,))
        ),
        "three heads of one flatten": Lifts(
            head(
                "v = Flatten(map)\ny = Gemm(v, M, C)\nr = Relu(v)\nz = MatMul(r, L)\nw = MatMul(v, L)",
                outputs="y z w",
                M=(12, 3),
                C=(3,),
                L=(12, 2),
            )
        ),
        "two flattens of one map": Lifts(
            head(
                "v = Flatten(map)\nw = Reshape(map, s)\ny = Gemm(v, M, C)\nz = MatMul(w, L)",
                outputs="y z",
                M=(12, 3),
                C=(3,),
                L=(12, 2),
                s=[0, -1],
            )
        ),
        "two maps on one grid": Lifts(
            head(
                "p = MaxPool <kernel_shape = [2, 1]> (map)\nv = Flatten(map)\nw = Flatten(p)\na = MatMul(v, M)\n"
                "b = MatMul(w, L)\ny = Add(a, b)",
                M=(12, 3),
                L=(8, 3),
            )
        ),
        "extra outputs everywhere": Lifts(
            head(
                "v = Flatten(map)\na = Gemm(v, M, C)\nr = Relu(a)\ny = MatMul(r, L)",
                outputs="v a r y",
                M=(12, 3),
                C=(3,),
                L=(3, 2),
            )
        ),
        "the flatten of an NHWC map is an output": Lifts(
            head(
                "n = Transpose <perm = [0, 2, 3, 1]> (map)\nv = Flatten(n)\nr = Relu(v)\ny = MatMul(r, M)",
                outputs="y v r",
                M=(12, 3),
            )
        ),
        "gate on the map's window": Lifts(
            spent(
                "e = Unsqueeze(u, axes)\nm = Mul(map, e)\nf = Flatten(m)\ny = MatMul(f, M)",
                units=2,
                axes=[2, 3],
                M=(12, 3),
            )
        ),
        "a weight that is dequantised": Lifts(
            head(
                "v = Flatten(map)\nM = DequantizeLinear(m, s, z)\ny = MatMul(v, M)",
                m=some(12, 3, dtype=np.int8),
                s=0.5,
                z=np.array(0, np.int8),
            )
        ),
        "values named like what is emitted": Lifts(
            head(
                "y_Conv = Flatten(map)\ny = Gemm(y_Conv, M_lifted, C)\nM = Relu(y)",
                outputs="y M",
                M_lifted=(12, 3),
                C=(3,),
            )
        ),
    },
    {
        f"float16: {name}": Lifts(half)
        for name, half in {
            "Gemm": head("v = Flatten(map)\ny = Gemm(v, M, C)", dtype=np.float16, M=(12, 3), C=(3,)),
            "MatMul, Relu, Gemm": head(
                "v = Flatten(map)\na = MatMul(v, M)\nr = Relu(a)\ny = Gemm <transB = 1> (r, L, C)",
                dtype=np.float16,
                M=(12, 3),
                L=(2, 3),
                C=(2,),
            ),
            "alpha and beta": head(
                "v = Flatten(map)\ny = Gemm <alpha = 0.5, beta = 2.0> (v, M, C)", dtype=np.float16, M=(12, 3), C=(3,)
            ),
            "per-feature constant in front": unread("t = Mul(v, c)", dtype=np.float16, c=(12,)),
            "fixed batch": spent("y = Add(u, c)", dtype=np.float16, batch=3, c=(3, 4)),
            "NHWC": head(
                "n = Transpose <perm = [0, 2, 3, 1]> (map)\nv = Flatten(n)\ny = Gemm(v, M, C)",
                dtype=np.float16,
                M=(12, 3),
                C=(3,),
            ),
        }.items()
    },
    {
        "from float16 to float32": Lifts(
            head("v = Flatten(map)\nf = Cast <to = 1> (v)\ny = MatMul(f, M)", dtype=np.float16, M=some(12, 3)),
        ),
        "from float32 to float16": Lifts(
            unread(
                "h = Cast <to = 10> (v)\na = MatMul(h, M)\nt = Cast <to = 1> (a)",
                features=3,
                M=some(12, 3, dtype=np.float16),
            )
        ),
    },
)

REFUSES = {
    "transA": Refuses(
        head("v = Flatten(map)\ny = Gemm <transA = 1> (v, M, C)", batch=12, M=(12, 3), C=(3,)),
        "Gemm 'y'",
        "sums over the batch axis",
    ),
    "weight on the left, MatMul": Refuses(
        spent("y = MatMul(M, u)", batch=3, M=(5, 3)), "MatMul 'y'", "sums over the batch axis"
    ),
    "weight on the left, Gemm": Refuses(
        spent("y = Gemm(M, u, C)", batch=3, M=(5, 3), C=(4,)), "Gemm 'y'", "sums over the batch axis"
    ),
    "weight on the left of the flattened vector": Refuses(
        head("v = Flatten(map)\ny = MatMul(M, v)", batch=3, M=(5, 3)), "MatMul 'y'", "sums over the batch axis"
    ),
    "weight is a graph input": Refuses(
        spent("y = MatMul(u, M)", M=(4, 3)),
        "MatMul 'y'",
        "its weight is not a constant",
        with_input("M"),
    ),
    "bias is a graph input": Refuses(
        head("v = Flatten(map)\ny = Gemm(v, M, C)", M=(12, 3), C=(3,)),
        "Gemm 'y'",
        "its input 'C' of shape [3] has no row for each image",
        with_input("C"),
    ),
    "weight depends on the batch": Refuses(
        spent("s = Shape(u)\nq = Concat <axis = 0> (s, k)\nM = ConstantOfShape(s)\ny = MatMul(u, M)", k=[1]),
        "MatMul 'y'",
        "its input 'M' is computed at run time, not a constant",
    ),
    "a stack of weights": Refuses(
        spent("y = MatMul(u, M)", M=(5, 4, 3)), "MatMul 'y'", "its weight 'M' has more axes ([5, 4, 3])"
    ),
    "too many rows in the weight": Refuses(
        spent("y = MatMul(u, M)", M=(5, 3)), "MatMul 'y'", "its weight takes 5 features, and it is fed 4"
    ),
    "bias that does not fit": Refuses(
        spent("y = Gemm(u, M, C)", M=(4, 3), C=(2,)), "Gemm 'y'", "its operands do not broadcast"
    ),
    "bias of other rank of the head": Refuses(
        spent("s = ReduceMax <axes = [1], keepdims = 0> (u)\ny = Gemm(v, M, s)", batch=3, M=(12, 3)),
        "Gemm 'y'",
        "combines values of shape [N, 3] and [N]",
    ),
    "bias with more rows than images": Refuses(
        spent("y = Gemm(u, M, C)", batch=1, M=(4, 3), C=(2, 3)), "Gemm 'y'", "its constant 'C' has 2 rows"
    ),
    "float64": Refuses(
        head("v = Flatten(map)\ny = Gemm(v, M, C)", dtype=np.float64, M=(12, 3), C=(3,)),
        "Gemm 'y'",
        "no float64 Conv",
    ),
    "float64 behind a Cast": Refuses(
        spent("d = Cast <to = 11> (u)\ny = MatMul(d, M)", M=some(4, 3, dtype=np.float64)),
        "MatMul 'y'",
        "no float64 Conv",
    ),
    "int32": Refuses(
        spent("i = Cast <to = 6> (u)\ny = MatMul(i, M)", M=some(4, 3, dtype=np.int32)),
        "MatMul 'y'",
        "not for int32",
    ),
}

LEAVES_ALONE = {
    "the backbone": LeavesAlone(two_fcs((3, 2)), "map"),
    "a branch that is no head": LeavesAlone(
        head(
            "v = Flatten(map)\ny = Gemm(v, M, C)\n[side] z = MaxPool <kernel_shape = [2, 2]> (map)\n[n] w = Neg(z)",
            outputs="y w",
            M=(12, 3),
            C=(3,),
        ),
        "z w",
    ),
}

HEADLESS = {
    "no FC at all": head("v = Flatten(map)\ny = Relu(v)"),
    "only Convs": head("p = GlobalAveragePool(map)\ny = Conv(p, K)", K=(3, 2, 1, 1)),
    "an FC of constants only": head(
        "p = GlobalMaxPool(map)\nv = Flatten(p)\nc = MatMul(a, b)\ny = Add(v, c)", a=(1, 4), b=(4, 2)
    ),
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


@every(HEADLESS)
def test_without_an_fc_there_is_no_head(row: Head) -> None:
    report = fc2conv.convert(network(row)).report
    assert (report.heads, list(report.maps)) == ([], ["y"])


@pytest.mark.parametrize("second", [False, True], ids=["first", "second"])
def test_a_transposed_weight_in_map_order_only_gets_other_dims(second: bool) -> None:
    original = network(two_fcs((3, 2)) if not second else spent("y = Gemm <transB = 1> (u, M, C)", M=(3, 4), C=(3,)))
    name = "M" if second else "W"
    before = {t.name: t for t in original.graph.initializer}[name]
    after = {t.name: t for t in fc2conv.convert(original, verify=False).model.graph.initializer}[name]
    assert after.raw_data == before.raw_data
    assert list(after.dims) == ([3, 4, 1, 1] if second else [4, 2, 3, 2])


def test_one_fc_is_one_conv_on_the_map() -> None:
    result = fc2conv.convert(network(head("v = Flatten(map)\ny = Gemm(v, M, C)", M=(12, 3), C=(3,))), verify=False)
    assert [n.op_type for n in result.model.graph.node] == ["Conv", "Conv"]
    node = node_of(result.model, "y")
    attrs = {a.name: list(a.ints) or a.i for a in node.attribute}
    assert node.input[0] == MAP
    assert attrs == {"kernel_shape": [3, 2], "strides": [1, 1], "pads": [0, 0, 0, 0], "dilations": [1, 1], "group": 1}


def test_equal_weights_are_stored_once() -> None:
    model = fc2conv.convert(network(LIFTS["one weight twice, chained, transB once"].head), verify=False).model
    sizes = [numpy_helper.to_array(t).size for t in model.graph.initializer]
    assert sizes.count(144) == 2, "one kernel over the window, one 1x1 kernel"
