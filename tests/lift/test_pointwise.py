"""1x1 Convs behind a pool over the whole map, and wherever else one position is left: they are FC nodes."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

import onnx_fc2conv as fc2conv

from ..networks import Head, network
from .tables import Lifts, Refuses, every, head, spent, table, unread, with_input

POOL = "p = GlobalMaxPool(map)\n"
ENDS = {
    "Flatten": ("t = Flatten(c)", {}),
    "Reshape": ("t = Reshape(c, d)", {"d": [-1, 4]}),
    "Squeeze": ("t = Squeeze(c, e)", {"e": [2, 3]}),
}
ROUNDS = {"terms": 24, "nodes": 6}


def pooled(text: str, opset: int = 17, *, units: int = 4, **rest: object) -> Head:
    """A head whose text makes ``t`` [N, units] of ``p`` [N, 2, 1, 1], the maximum of each channel; then an FC."""
    weights = {"K": (4, 2, 1, 1), "b": (4,), "M": (units, 3), "C": (3,), **rest}
    return head(f"{POOL}{text}\ny = Gemm(t, M, C)", opset, **weights)


SPELLINGS = {
    "bias": "Conv(p, K, b)",
    "no bias": "Conv(p, K)",
    "all attributes": "Conv <kernel_shape = [1, 1], strides = [1, 1], pads = [0, 0, 0, 0], group = 1> (p, K, b)",
    "strides": "Conv <strides = [2, 3]> (p, K, b)",
    "VALID": 'Conv <auto_pad = "VALID"> (p, K, b)',
    "SAME_UPPER": 'Conv <auto_pad = "SAME_UPPER", strides = [2, 2]> (p, K, b)',
}
BETWEEN = {
    "Relu": "a = Relu(c)",
    "HardSwish": "a = HardSwish(c)",
    "hard swish in pieces": "e = Add(c, three)\nf = Clip(e, zero, six)\ng = Mul(c, f)\na = Div(g, six)",
    "PRelu": "a = PRelu(c, slope)",
    "BatchNormalization": "a = BatchNormalization(c, one, b, b, one)",
    "Dropout": "a = Dropout(c)",
    "Softmax over channels": "a = Softmax <axis = 1> (c)",
}
CONSTANTS = {"three": 3.0, "zero": 0.0, "six": 6.0, "slope": (4, 1, 1), "one": np.ones(4, np.float32)}

LIFTS = table(
    {
        f"{name}, {view}": Lifts(pooled(f"c = {line}\n{text}", **weights))
        for name, line in SPELLINGS.items()
        for view, (text, weights) in ENDS.items()
    },
    {
        f"opset {opset}": Lifts(pooled("c = Conv(p, K, b)\nt = Flatten(c)", opset))
        for opset in (7, 9, 11, 13, 18, 21, 26)
    },
    {
        f"{name} behind it": Lifts(pooled(f"c = Conv(p, K, b)\n{text}\nt = Flatten(a)", **CONSTANTS), **ROUNDS)
        for name, text in BETWEEN.items()
    },
    {
        f"window {window}, map of rank {len(window)}": Lifts(
            pooled(
                "a = Relu(p)\nc = Conv(a, K, b)\nr = Relu(c)\nt = Flatten(r)",
                window=window,
                K=(4, 2, *[1] * len(window)),
            )
        )
        for window in ((1, 3), (4, 2), (1, 1), (5,), (2, 1, 3))
    },
    {f"batch {batch}": Lifts(pooled("c = Conv(p, K, b)\nt = Flatten(c)", batch=batch)) for batch in (1, 3)},
    {
        f"group {group}": Lifts(
            head(
                f"p = GlobalMaxPool(map)\nc = Conv <group = {group}> (p, K, b)\nt = Flatten(c)\ny = Gemm(t, M)",
                channels=4,
                K=(8, 4 // group, 1, 1),
                b=(8,),
                M=(8, 3),
            )
        )
        for group in (1, 2, 4)
    },
    {
        "two in a row, as at the end of MobileNetV3": Lifts(
            pooled(
                "c = Conv(p, K, b)\na = HardSwish(c)\nt = Flatten(a)\nf = Gemm(t, F)\ng = Relu(f)\ny2 = Neg(g)",
                F=(4, 5),
            ),
            **ROUNDS,
        ),
        "two Convs in a row": Lifts(
            pooled("c = Conv(p, K, b)\na = Relu(c)\ne = Conv(a, L)\nt = Flatten(e)", L=(5, 4, 1, 1), units=5)
        ),
        "no FC behind the second Conv of the same head": Lifts(
            pooled("c = Conv(p, K, b)\nt = Flatten(c)\nz = Conv(c, L)", L=(5, 4, 1, 1), outputs="y z")
        ),
        "its result is an output": Lifts(pooled("c = Conv(p, K, b)\nt = Flatten(c)", outputs="c y")),
        "its rectified result is an output": Lifts(
            pooled("c = Conv(p, K, b)\nr = Relu(c)\nf = Flatten(r)\nt = Relu(f)", outputs="f y t r")
        ),
        "its flattened result is an output": Lifts(
            pooled("c = Conv(p, K, b)\nf = Flatten(c)\nt = Relu(f)\ns = Softmax(f)", outputs="t y s"), **ROUNDS
        ),
        "two of them side by side": Lifts(
            pooled(
                "c = Conv(p, K, b)\ne = Conv(p, L)\nj = Concat <axis = 1> (c, e)\nt = Flatten(j)",
                L=(2, 2, 1, 1),
                units=6,
            )
        ),
        "a gate on the pooled channels": Lifts(
            pooled(
                "c = Conv(p, K)\ns = Sigmoid(c)\ne = Conv(s, L)\nm = Mul(p, e)\nt = Flatten(m)", L=(2, 4, 1, 1), units=2
            ),
            **ROUNDS,
        ),
        "behind an average": Lifts(
            head(
                "p = GlobalAveragePool(map)\nc = Conv(p, K, b)\nt = Flatten(c)\ny = Gemm(t, M)",
                K=(4, 2, 1, 1),
                b=(4,),
                M=(4, 3),
            ),
            **ROUNDS,
        ),
        "behind ReduceMax": Lifts(
            head(
                "p = ReduceMax <axes = [2, 3]> (map)\nc = Conv(p, K)\nt = Flatten(c)\ny = Gemm(t, M)",
                K=(4, 2, 1, 1),
                M=(4, 3),
            ),
        ),
        "behind a covering pool": Lifts(
            head(
                "p = MaxPool <kernel_shape = [3, 2]> (map)\nc = Conv(p, K)\nt = Flatten(c)\ny = Gemm(t, M)",
                K=(4, 2, 1, 1),
                M=(4, 3),
            ),
        ),
        "behind an FC": Lifts(
            spent("r = Reshape(u, d)\nc = Conv(r, K)\ny = Flatten(c)", d=[0, 4, 1, 1], K=(3, 4, 1, 1))
        ),
        "on positions behind an FC": Lifts(
            spent("r = Reshape(u, d)\nc = Conv(r, K)\ny = Flatten(c)", d=[0, 2, 2, 1], K=(3, 2, 1, 1))
        ),
        "pads around a single position behind an FC": Lifts(
            spent(
                "r = Reshape(u, d)\nc = Conv <pads = [1, 1, 1, 1]> (r, K)\ny = Flatten(c)",
                d=[0, 4, 1, 1],
                K=(3, 4, 3, 3),
            )
        ),
        "of the flattened window": Lifts(
            unread(
                "r = Reshape(v, d)\nc = Conv(r, K, b)\nt = Flatten(c)",
                d=[0, 12, 1, 1],
                K=(5, 12, 1, 1),
                b=(5,),
                features=5,
            )
        ),
        "of the flattened window, in groups": Lifts(
            unread(
                "r = Reshape(v, d)\nc = Conv <group = 3> (r, K)\nt = Flatten(c)",
                d=[0, 12, 1, 1],
                K=(6, 4, 1, 1),
                features=6,
            )
        ),
        "of the flattened window in another order": Lifts(
            unread(
                "g = Gather <axis = 1> (v, i)\nr = Reshape(g, d)\nc = Conv(r, K)\nt = Flatten(c)",
                i=[11, 3, 5, 0],
                d=[0, 4, 1, 1],
                K=(5, 4, 1, 1),
                features=5,
            )
        ),
        "1-D Conv in a 2-D head": Lifts(
            unread("r = Reshape(v, d)\nc = Conv(r, K)\nt = Flatten(c)", d=[0, 12, 1], K=(5, 12, 1), features=5)
        ),
        "float16": Lifts(pooled("c = Conv(p, K, b)\nr = Relu(c)\nt = Flatten(r)", dtype=np.float16)),
        "a kernel shared with the FC": Lifts(
            pooled("c = Conv(p, K, b)\nt = Flatten(c)\nw = Reshape(K, e)\nx2 = Gemm(t, w)", e=[4, 2], outputs="y x2")
        ),
    },
)

REFUSES = {
    "pads around a single position of the flattened window": Refuses(
        unread(
            "r = Reshape(v, d)\nc = Conv <pads = [0, 0, 0, 1]> (r, K)\nt = Flatten(c)",
            d=[0, 12, 1, 1],
            K=(3, 12, 1, 1),
            features=6,
        ),
        "Conv 'c'",
        "its channels are 2*(height//2)*(width//2), which are others at another size",
    ),
    "a bias that is an input": Refuses(
        pooled("c = Conv(p, K, b)\nt = Flatten(c)"),
        "Conv 'c'",
        "its input 'b' is neither a constant nor computed from the image",
        with_input("b"),
    ),
    "a kernel computed from the image": Refuses(
        spent("r = Reshape(u, d)\nk = Reshape(u, e)\n[it] y = Conv(r, k)", d=[0, 4, 1, 1], e=[1, 4, 1, 1], batch=1),
        "Conv 'it'",
        "its weight or bias depends on the image",
    ),
    "a bias computed from the image": Refuses(
        spent(
            "r = Reshape(u, d)\nb = Reshape(u, e)\n[it] y = Conv(r, K, b)",
            d=[0, 4, 1, 1],
            e=[4],
            K=(4, 4, 1, 1),
            batch=1,
        ),
        "Conv 'it'",
        "its weight or bias depends on the image",
    ),
    "one pooled axis of two": Refuses(
        head(
            "p = ReduceMax <axes = [3]> (map)\nc = Conv(p, K)\nt = Flatten(c)\ny = MatMul(t, M)",
            K=(4, 2, 1, 1),
            M=(12, 3),
        ),
        "Flatten 't'",
        "whose size does not follow the input's",
    ),
}


@every(LIFTS)
def test_lifts(row: Lifts) -> None:
    row.check()


@every(REFUSES)
def test_refuses(row: Refuses) -> None:
    row.check()


def test_a_kernel_that_reaches_over_a_pooled_map_leaves_no_head() -> None:
    """The pool belongs to the backbone then, and with it all that stands behind: it runs at any size as it is."""
    made = network(pooled("c = Conv <pads = [1, 1, 1, 1]> (p, K)\nt = Flatten(c)", K=(4, 2, 3, 3)))
    result = fc2conv.convert(made)
    assert result.report.headline().endswith("no head; spatial dims freed, verified")
    assert result.model.graph.node == made.graph.node


def test_the_kernel_keeps_its_bytes_and_nothing_is_reshaped() -> None:
    made = pooled("c = Conv(p, K, b)\na = HardSwish(c)\nt = Flatten(a)")
    model = fc2conv.convert(network(made), verify=False).model
    assert [n.op_type for n in model.graph.node] == ["Conv", "MaxPool", "Conv", "HardSwish", "Conv"]
    assert "K" in {t.name for t in model.graph.initializer}


@pytest.mark.parametrize("gate", ["Mul", "Add"])
def test_a_pooled_conv_that_meets_the_map_again_stays_as_it_is(gate: str) -> None:
    text = f"p = GlobalMaxPool(map)\nc = Conv(p, K)\ns = Relu(c)\ng = {gate}(map, s)\nv = Flatten(g)\ny = Gemm(v, M)"
    model = fc2conv.convert(network(head(text, K=(2, 2, 1, 1), M=(12, 3))), verify=False).model
    assert [n.op_type for n in model.graph.node] == ["Conv", "GlobalMaxPool", "Conv", "Relu", gate, "Conv"]


def test_a_window_of_one_cell_is_its_own_flattened_vector() -> None:
    row = head("v = Flatten(map)\nz = Softmax(v)\ny = MatMul(v, M)", window=(1, 1), M=(2, 3), outputs="y z")
    model = fc2conv.convert(network(row), verify=False).model
    assert [n.op_type for n in model.graph.node] == ["Conv", "Softmax", "Conv"]
    Lifts(row, **ROUNDS).check()


def test_the_checks_accept_it_and_catch_swapped_channels() -> None:
    made = network(pooled("c = Conv(p, K, b)\na = HardSwish(c)\nt = Flatten(a)"))
    converted = fc2conv.convert(made).model
    (kernel,) = (t for t in converted.graph.initializer if t.name == "K")
    kernel.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(kernel)[:, ::-1].copy(), "K"))
    with pytest.raises(fc2conv.VerificationFailed, match="same size"):
        fc2conv.verify(made, converted)
