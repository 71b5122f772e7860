"""Operators on positions that an FC has made (decoders), window by window; in front of an FC they are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto

import onnx_fc2conv as fc2conv

from ..networks import Head, integers, network, session
from .tables import Lifts, Refuses, every, head, some, spent, table, unread

PLACES = "it works on positions, and behind "
ROUNDS = {"terms": 24, "nodes": 8}
OLD_AND_NEW = (7, 9, 11, 13, 17, 18, 21)


def made(text: str, dims: tuple[int, ...] = (2, 3, 2), opset: int = 17, **rest: Any) -> Head:
    """A head whose text makes ``y`` of ``r`` [N, *dims], which an FC has made."""
    return spent(f"r = Reshape(u, d)\n{text}", opset, units=int(np.prod(dims)), d=[0, *dims], **rest)


def decoded(text: str, features: int, dims: tuple[int, ...] = (2, 3, 2), opset: int = 17, **rest: Any) -> Head:
    """The same; the text makes ``e``, which is flattened for another FC."""
    text = f"{text}\nf = Flatten(e)\ny = Gemm(f, L, P)"
    return made(text, dims, opset, L=(features, 3), P=(3,), **rest)


TRANSPOSED = {
    "plain": ("", (2, 3, 2, 2)),
    "kernel_shape": ("kernel_shape = [3, 2]", (2, 3, 3, 2)),
    "strides": ("strides = [2, 2]", (2, 3, 2, 2)),
    "strides and pads": ("strides = [2, 1], pads = [1, 0, 0, 1]", (2, 3, 3, 2)),
    "output_padding": ("strides = [2, 3], output_padding = [1, 2]", (2, 3, 2, 3)),
    "dilations": ("dilations = [2, 3]", (2, 3, 2, 2)),
    "group": ("group = 2", (2, 3, 2, 2)),
    "everything": (
        "strides = [2, 2], pads = [1, 1, 0, 0], output_padding = [1, 0], dilations = [2, 1], group = 2",
        (2, 2, 2, 3),
    ),
    "output_shape": ("strides = [2, 2], output_shape = [6, 5]", (2, 3, 2, 2)),
    "SAME_UPPER": ('strides = [2, 2], auto_pad = "SAME_UPPER"', (2, 3, 3, 3)),
}
CONVS = {
    "1x1": ("", (3, 2, 1, 1)),
    "3x2": ("", (3, 2, 3, 2)),
    "pads": ("pads = [1, 1, 1, 1]", (3, 2, 3, 3)),
    "strides": ("strides = [2, 1]", (3, 2, 2, 1)),
    "dilations": ("dilations = [2, 1], pads = [0, 0, 0, 1]", (3, 2, 2, 2)),
    "group": ("group = 2, pads = [0, 1, 0, 0]", (4, 1, 2, 2)),
    "SAME_UPPER": ('auto_pad = "SAME_UPPER"', (3, 2, 3, 3)),
}
POOLS = {
    "MaxPool": "MaxPool <kernel_shape = [2, 2]> (r)",
    "MaxPool, pads and strides": "MaxPool <kernel_shape = [2, 2], strides = [2, 1], pads = [1, 1, 0, 0]> (r)",
    "MaxPool, ceil_mode": "MaxPool <kernel_shape = [2, 1], strides = [2, 1], ceil_mode = 1> (r)",
    "MaxPool that covers": "MaxPool <kernel_shape = [3, 2]> (r)",
    "AveragePool": "AveragePool <kernel_shape = [2, 2]> (r)",
    "AveragePool that counts pads": (
        "AveragePool <kernel_shape = [2, 2], pads = [1, 1, 0, 0], count_include_pad = 1> (r)"
    ),
    "LpPool": "LpPool <kernel_shape = [2, 2], p = 1> (r)",
    "GlobalAveragePool": "GlobalAveragePool(r)",
    "GlobalMaxPool": "GlobalMaxPool(r)",
    "GlobalLpPool": "GlobalLpPool <p = 1> (r)",
}
NORMS = {
    "InstanceNormalization": "InstanceNormalization(r, s, b)",
    "InstanceNormalization, epsilon": "InstanceNormalization <epsilon = 0.5> (r, s, b)",
    "LRN": "LRN <size = 3, alpha = 0.5, beta = 0.75, bias = 2.0> (r)",
}
BLOCKS = {
    "DepthToSpace": ("DepthToSpace <blocksize = 2> (r)", (8, 1, 2), 17),
    "DepthToSpace, CRD": ('DepthToSpace <blocksize = 2, mode = "CRD"> (r)', (8, 1, 2), 17),
    "DepthToSpace, opset 7": ("DepthToSpace <blocksize = 2> (r)", (4, 2, 3), 7),
    "SpaceToDepth": ("SpaceToDepth <blocksize = 2> (r)", (1, 4, 2), 17),
    "SpaceToDepth, opset 7": ("SpaceToDepth <blocksize = 2> (r)", (2, 2, 4), 7),
}
NEAREST = 'mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"'
RESIZES: dict[str, tuple[str, int, dict[str, Any], dict[str, float]]] = {
    "Upsample, attribute": ('Upsample <mode = "nearest", scales = [1.0, 1.0, 2.0, 3.0]> (r)', 7, {}, {}),
    "Upsample, input": ("Upsample(r, c)", 9, {}, {}),
    "Upsample, linear": ('Upsample <mode = "linear"> (r, c)', 9, {}, ROUNDS),
    "Resize, opset 10": ("Resize(r, c)", 10, {}, {}),
    "Resize, opset 11": (f"Resize <{NEAREST}> (r, roi, c)", 11, {"roi": np.zeros(0, np.float32)}, {}),
    "Resize, opset 13": (f"Resize <{NEAREST}> (r, , c)", 13, {}, {}),
    "Resize, linear": ('Resize <mode = "linear"> (r, , c)', 17, {}, ROUNDS),
    "Resize, cubic": ('Resize <mode = "cubic"> (r, , c)', 17, {}, ROUNDS),
    "Resize, axes": (
        f"Resize <{NEAREST}, axes = [2]> (r, , c)",
        18,
        {"c": np.array([2], np.float32)},
        {},
    ),
    "Resize, opset 21": (f"Resize <{NEAREST}> (r, , c)", 21, {}, {}),
}
PADS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "attribute": ("Pad <pads = [0, 0, 1, 2, 0, 0, 0, 1]> (r)", 7, {}),
    "input": ("Pad(r, p)", 11, {"p": [0, 0, 1, 2, 0, 0, 0, 1]}),
    "value": ("Pad(r, p, c)", 13, {"p": [0, 0, 1, 2, 0, 0, 0, 1], "c": 7.0}),
    "channels": ("Pad(r, p)", 17, {"p": [0, 1, 0, 0, 0, 2, 0, 0]}),
    "crop": ("Pad(r, p)", 17, {"p": [0, 0, -1, 0, 0, 0, 0, -1]}),
    "reflect": ('Pad <mode = "reflect"> (r, p)', 17, {"p": [0, 0, 2, 1, 0, 0, 1, 0]}),
    "edge": ('Pad <mode = "edge"> (r, p)', 17, {"p": [0, 0, 0, 1, 0, 0, 3, 0]}),
    "axes": ("Pad(r, p, , a)", 18, {"p": [1, 2], "a": [-1]}),
    "axes and value": ("Pad(r, p, c, a)", 21, {"p": [1, 0, 0, 2], "a": [3, 2], "c": 7.0}),
    "wrap": ('Pad <mode = "wrap"> (r, p)', 19, {"p": [0, 0, 1, 0, 0, 0, 0, 1]}),
}

LIFTS = table(
    {
        f"ConvTranspose, {name}": Lifts(made(f"y = ConvTranspose <{attrs}> (r, K)", K=kernel))
        for name, (attrs, kernel) in TRANSPOSED.items()
        if attrs
    },
    {
        f"ConvTranspose, opset {opset}": Lifts(
            made("y = ConvTranspose <strides = [2, 2]> (r, K, b)", opset=opset, K=(2, 3, 3, 2), b=(3,))
        )
        for opset in OLD_AND_NEW
    },
    {
        f"ConvTranspose, dims {dims} made of a window {window}": Lifts(
            made(
                f"y = ConvTranspose <strides = {[2] * (len(dims) - 1)}> (r, K)",
                dims,
                window=window,
                K=(dims[0], 3, *[2] * (len(dims) - 1)),
                W=(2 * int(np.prod(window)), int(np.prod(dims))),
            )
        )
        for dims in ((2, 5), (2, 3, 2), (1, 2, 1, 3))
        for window in ((5,), (3, 2), (2, 1, 3))
    },
    {
        f"Conv, {name}": Lifts(made(f"y = Conv <{attrs}> (r, K)" if attrs else "y = Conv(r, K)", K=kernel))
        for name, (attrs, kernel) in CONVS.items()
    },
    {
        f"Conv with a bias, opset {opset}": Lifts(
            made("y = Conv <pads = [1, 1, 1, 1]> (r, K, b)", opset=opset, K=(3, 2, 3, 3), b=(3,))
        )
        for opset in OLD_AND_NEW
    },
    {
        "Conv on one position with pads": Lifts(
            made("y = Conv <pads = [1, 1, 1, 1]> (r, K)", (4, 1, 1), K=(3, 4, 3, 3))
        ),
        "Conv on one position with more pads behind": Lifts(
            made("y = Conv <pads = [0, 0, 0, 1]> (r, K)", (4, 1, 1), K=(3, 4, 1, 1))
        ),
    },
    {name: Lifts(made(f"y = {line}"), **({} if "Max" in name else ROUNDS)) for name, line in POOLS.items()},
    {
        f"{line.split()[0].split('(')[0]}, opset {opset}": Lifts(
            made(f"y = {line}", opset=opset), **({} if "Max" in line else ROUNDS)
        )
        for line in ("MaxPool <kernel_shape = [2, 2]> (r)", "GlobalMaxPool(r)", "GlobalAveragePool(r)")
        for opset in (7, 11, 21)
    },
    {
        f"{name}, opset {opset}": Lifts(made(f"y = {line}", (4, 3, 2), opset, s=some(4, low=1), b=(4,)), **ROUNDS)
        for name, line in NORMS.items()
        for opset in (7, 13, 17, 21)
    },
    {name: Lifts(made(f"y = {line}", dims, opset)) for name, (line, dims, opset) in BLOCKS.items()},
    {
        name: Lifts(made(f"y = {line}", opset=opset, **{"c": np.array([1, 1, 2, 3], np.float32), **more}), **rounds)
        for name, (line, opset, more, rounds) in RESIZES.items()
    },
    {f"Pad, {name}": Lifts(made(f"y = {line}", opset=opset, **more)) for name, (line, opset, more) in PADS.items()},
    {
        f"float16, {name}": Lifts(made(f"y = {line}", dtype=np.float16, **more))
        for name, line, more in (
            ("ConvTranspose", "ConvTranspose <strides = [2, 2]> (r, K)", {"K": (2, 1, 2, 2)}),
            ("Conv", "Conv <pads = [0, 0, 1, 1]> (r, K)", {"K": (2, 2, 2, 2)}),
            ("MaxPool", "MaxPool <kernel_shape = [2, 1]> (r)", {}),
            ("Pad", "Pad(r, p)", {"p": [0, 0, 1, 0, 0, 0, 0, 1]}),
        )
    },
    {
        f"batch {batch}": Lifts(made("y = ConvTranspose <strides = [2, 2]> (r, K)", batch=batch, K=(2, 3, 2, 2)))
        for batch in (1, 3)
    },
    {
        "a decoder of several": Lifts(
            made(
                "a = ConvTranspose <strides = [2, 2]> (r, K, b)\nc = Relu(a)\ne = Resize(c, , s)\n"
                "g = Conv <pads = [1, 1, 1, 1]> (e, L)\ny = Clip(g, low, high)",
                K=(2, 3, 2, 2),
                b=(3,),
                s=np.array([1, 1, 2, 1], np.float32),
                L=(1, 3, 3, 3),
                low=-9.0,
                high=9.0,
            )
        ),
        "a variational autoencoder's": Lifts(
            head(
                "v = Flatten(map)\nm = Gemm(v, M)\ns = Gemm(v, S)\nz = Add(m, s)\nu = Gemm(z, W)\nq = Relu(u)\n"
                "r = Reshape(q, d)\ny = ConvTranspose <strides = [2, 2]> (r, K)",
                M=(12, 3),
                S=(12, 3),
                W=(3, 12),
                d=[-1, 2, 3, 2],
                K=(2, 1, 2, 2),
                outputs="m s y",
            )
        ),
        "every stage is an output": Lifts(
            made(
                "a = ConvTranspose <strides = [2, 2]> (r, K)\nc = Relu(a)\ny = MaxPool <kernel_shape = [2, 2]> (c)",
                K=(2, 3, 2, 2),
                outputs="r a c y u",
            )
        ),
        "a skip inside the decoder": Lifts(
            made("a = Conv <pads = [1, 1, 1, 1]> (r, K)\nc = Relu(a)\ny = Add(r, c)", K=(2, 2, 3, 3))
        ),
        "two decoders of one code": Lifts(
            made(
                "a = ConvTranspose(r, K)\nc = ConvTranspose(r, L)\ny = Concat <axis = 1> (a, c)",
                K=(2, 3, 2, 2),
                L=(2, 1, 2, 2),
                outputs="y a",
            )
        ),
        "a constant for each position": Lifts(
            made("a = ConvTranspose <strides = [2, 2]> (r, K)\ny = Add(a, k)", K=(2, 3, 2, 2), k=(1, 3, 6, 4))
        ),
        "another FC behind it": Lifts(
            decoded("a = ConvTranspose <strides = [2, 2]> (r, K)\ne = Relu(a)", 72, K=(2, 3, 2, 2))
        ),
        "another FC behind a Conv": Lifts(decoded("e = Conv <pads = [1, 1, 1, 1]> (r, K)", 18, K=(3, 2, 3, 3))),
        "another FC behind a pool": Lifts(decoded("e = MaxPool <kernel_shape = [2, 1], strides = [2, 1]> (r)", 4)),
        "another decoder behind that": Lifts(
            made(
                "a = ConvTranspose <strides = [2, 2]> (r, K)\nf = Flatten(a)\ng = Gemm(f, L)\nh = Reshape(g, e)\n"
                "y = ConvTranspose(h, Q)",
                K=(2, 3, 2, 2),
                L=(72, 8),
                e=[0, 2, 2, 2],
                Q=(2, 1, 3, 3),
            )
        ),
        "a pool over all that an FC has made, then an FC": Lifts(
            decoded("a = Relu(r)\ne = GlobalAveragePool(a)", 2), **ROUNDS
        ),
        "positions put last and back": Lifts(
            made(
                "t = Transpose <perm = [0, 2, 3, 1]> (r)\nw = Transpose <perm = [0, 3, 1, 2]> (t)\ny = Conv(w, K)",
                K=(3, 2, 2, 2),
            )
        ),
        "positions in another order": Lifts(
            made("t = Transpose <perm = [0, 1, 3, 2]> (r)\ny = ConvTranspose(t, K)", K=(2, 3, 3, 2))
        ),
        "Pad of a vector": Lifts(spent("y = Pad(u, p)", p=[0, 1, 0, 2])),
        "Pad of a vector, then another FC": Lifts(spent("q = Pad(u, p)\ny = Gemm(q, M)", p=[0, 1, 0, 2], M=(7, 3))),
        "Pad of booleans": Lifts(made("q = Greater(r, z)\ny = Pad(q, p)", z=0.0, p=[0, 0, 1, 0, 0, 0, 0, 0])),
        "Pad of integers": Lifts(made("q = Cast <to = 7> (r)\ny = Pad(q, p)", p=[0, 0, 1, 0, 0, 0, 0, 0])),
        "Resize of a part": Lifts(
            made(
                'y = Resize <mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize"> (r, roi, c)',
                roi=np.array([0, 0, 0, 0, 1, 1, 0.5, 1], np.float32),
                c=np.array([1, 1, 2, 2], np.float32),
            ),
            **ROUNDS,
        ),
        "Resize of the channels": Lifts(made(f"y = Resize <{NEAREST}> (r, , c)", c=np.array([1, 2, 1, 1], np.float32))),
        "a target shape computed from the code's own": Lifts(
            spent(
                "s = Shape(u)\nn = Gather <axis = 0> (s, zero)\nq = Concat <axis = 0> (n, rest)\nr = Reshape(u, q)\n"
                "y = ConvTranspose(r, K)",
                zero=[0],
                rest=[1, 2, 2],
                K=(1, 2, 2, 2),
            )
        ),
        "what a decoder makes, beside the flattened map": Lifts(
            made(
                "q = ConvTranspose(r, K)\nf = Flatten(q)\ng = Concat <axis = 1> (f, v)\ny = Gemm(g, M)",
                K=(2, 2, 2, 2),
                M=(36, 3),
            )
        ),
        "a window of one cell": Lifts(made("y = ConvTranspose(r, K)", window=(1, 1), W=(2, 12), K=(2, 3, 2, 2))),
    },
)

IN_FRONT: dict[str, tuple[str, int, dict[str, Any]]] = {  # on m [N, 2, 3, 2], the map's layout again
    "ConvTranspose": ("ConvTranspose(m, K)", 17, {"K": (2, 3, 2, 2)}),
    "Conv": ("Conv(m, K)", 17, {"K": (3, 2, 2, 2)}),
    "Conv 1x1": ("Conv(m, K)", 17, {"K": (3, 2, 1, 1)}),
    "InstanceNormalization": ("InstanceNormalization(m, s, s)", 17, {"s": (2,)}),
    "GroupNormalization": ("GroupNormalization <num_groups = 2> (m, s, s)", 21, {"s": (2,)}),
    "DepthToSpace": ("DepthToSpace <blocksize = 2> (m)", 17, {"d": [0, 4, 3, 1]}),
    "SpaceToDepth": ("SpaceToDepth <blocksize = 2> (m)", 17, {"d": [0, 3, 2, 2]}),
    "LRN": ("LRN <size = 3> (m)", 17, {}),
    "Pad": ("Pad(m, p)", 17, {"p": [0, 0, 1, 0, 0, 0, 0, 0]}),
    "Resize": ("Resize(m, , c)", 17, {"c": np.array([1, 1, 2, 2], np.float32)}),
    "Upsample": ("Upsample(m, c)", 9, {"c": np.array([1, 1, 2, 2], np.float32)}),
}


def in_front(line: str, opset: int, weights: dict[str, Any]) -> Head:
    """The operator on the flattened map in its own layout again, and an FC behind it."""
    known = {"d": [0, 2, 3, 2], **weights}
    text = f"v = Flatten(map)\nm = Reshape(v, d)\n[it] a = {line}\nt = Flatten(a)\ny = MatMul(t, M)"
    size = (
        session(network(head(text.split("\ny =")[0], opset, outputs="t", **known)))
        .run(None, {"x": integers((1, 1, 6, 4))})[0]
        .shape[1]
    )
    return head(text, opset, M=(size, 3), **known)


@pytest.mark.parametrize("name", [n for n in IN_FRONT if n not in ("DepthToSpace", "SpaceToDepth")])
def test_a_view_and_back_leaves_a_map(name: str) -> None:
    """What stands behind it works on the whole map: the twin without the view gives the same, bit for bit."""
    line, opset, weights = IN_FRONT[name]
    model = network(in_front(line, opset, weights))
    twin = in_front(line.replace("(m", "(map"), opset, weights)
    twin = replace(twin, text=twin.text.replace("v = Flatten(map)\nm = Reshape(v, d)\n", ""))
    result = fc2conv.convert(model)
    assert result.report.verified
    assert [change.split(":")[0] for change in result.report.unbaked] == ["Reshape 'm'"]
    image = {"x": integers((2, 1, 10, 14), 4)}
    expected = session(fc2conv.convert(network(twin)).model).run(None, image)
    np.testing.assert_array_equal(session(result.model).run(None, image)[0], expected[0])


REFUSES = table(
    {
        "an FC on every position, then a Conv over the positions": Refuses(
            head(
                "t = Transpose <perm = [0, 2, 3, 1]> (map)\nr = Reshape(t, d)\nm = MatMul(r, M)\n"
                "q = Transpose <perm = [0, 2, 1]> (m)\nc = Conv <pads = [1, 1]> (q, K)\nf = Flatten(c)\ny = Gemm(f, L)",
                d=[0, 6, 2],
                M=(2, 3),
                K=(2, 3, 3),
                L=(12, 3),
            ),
            "Conv 'c'",
            "its axis 2 is (height//2)*(width//2) in one, which this operator is not known on",
        )
    },
    {
        f"{name} in front of an FC, the window in another layout": Refuses(
            in_front(line, opset, {"d": [0, 2, 2, 3], **weights}), "Reshape 'm'", "in a way that is not understood"
        )
        for name, (line, opset, weights) in IN_FRONT.items()
        if name != "LRN"
    },
    {
        "Resize by sizes": Refuses(
            made("[it] y = Resize(r, , , z)", batch=1, z=[1, 2, 6, 4]),
            "Resize 'it'",
            "resizes to sizes instead of by factors",
        ),
        "Resize by sizes of some axes": Refuses(
            made("[it] y = Resize <axes = [2, 3]> (r, , , z)", opset=18, z=[6, 4]),
            "Resize 'it'",
            "resizes to sizes instead of by factors",
        ),
        "Resize by sizes computed from the head": Refuses(
            made("s = Shape(r)\nz = Mul(s, two)\n[it] y = Resize(r, , , z)", two=[1, 1, 2, 2]),
            "Resize 'it'",
            "its input 'z' is computed at run time, not a constant",
        ),
        "Pad of the flattened vector": Refuses(
            unread("[it] t = Pad(v, p)", p=[0, 1, 0, 2], features=15),
            "Pad 'it'",
            "its channels are 2*(height//2)*(width//2), which are others at another size",
        ),
        "Pad of the batch": Refuses(
            made("[it] y = Pad(r, p)", batch=1, p=[0, 0, 0, 0, 1, 0, 0, 0]), "Pad 'it'", "pads the batch"
        ),
        "Pad of the batch by an attribute": Refuses(
            made("[it] y = Pad <pads = [1, 0, 0, 0, 0, 0, 0, 0]> (r)", opset=7, batch=1), "Pad 'it'", "pads the batch"
        ),
        "Pad of the batch by axes": Refuses(
            made("[it] y = Pad(r, p, , a)", opset=18, batch=1, p=[0, 1, 0, 0], a=[2, -4]), "Pad 'it'", "pads the batch"
        ),
        "MaxPool with positions": Refuses(
            made("[it] y, i = MaxPool <kernel_shape = [2, 2]> (r)", outputs="y i"),
            "MaxPool 'it'",
            "has a second output",
        ),
        "MaxPool with positions that nothing reads": Refuses(
            made("[it] y, i = MaxPool <kernel_shape = [2, 2]> (r)"), "MaxPool 'it'", "has a second output"
        ),
        "a kernel computed from the image": Refuses(
            made("k = Reshape(u, e)\n[it] y = ConvTranspose(r, k)", e=[2, 1, 3, 2], batch=1),
            "ConvTranspose 'it'",
            "has operands that are no constants",
        ),
        "a kernel of a Conv computed from the image": Refuses(
            made("k = Reshape(u, e)\n[it] y = Conv(r, k)", e=[1, 2, 3, 2], batch=1),
            "Conv 'it'",
            "its weight or bias depends on the image",
        ),
        "a scale computed from the image": Refuses(
            made(
                "q = Reshape(u, e)\ns = ReduceMax <axes = [1], keepdims = 0> (q)\n"
                "[it] y = InstanceNormalization(r, s, s)",
                e=[2, 6],
                batch=1,
            ),
            "InstanceNormalization 'it'",
            "has operands that are no constants",
        ),
        "the batch is the last axis": Refuses(
            made("t = Transpose <perm = [1, 2, 3, 0]> (r)\n[it] y = MaxPool <kernel_shape = [2, 1]> (t)", batch=2),
            "MaxPool 'it'",
            "reads a value of which the batch axis is not the first",
        ),
        "the batch counts as channels": Refuses(
            made("t = Transpose <perm = [1, 0, 2, 3]> (r)\n[it] y = Conv(t, K)", batch=2, K=(3, 2, 1, 1)),
            "Conv 'it'",
            "reads a value of which the batch axis is not the first",
        ),
        "images times channels": Refuses(
            made("t = Reshape(r, e)\n[it] y = LRN <size = 1> (t)", e=[-1, 1, 3, 2]),
            "LRN 'it'",
            "reads a value of which the batch axis is not the first",
        ),
        "the batch axis is gone": Refuses(
            made("t = Reshape(r, e)\n[it] y = InstanceNormalization(t, s, s)", batch=1, e=[2, 3, 2], s=(3,)),
            "InstanceNormalization 'it'",
            "reads a value of which the batch axis is not the first",
        ),
    },
)


@every(LIFTS)
def test_lifts(row: Lifts) -> None:
    row.check()


@every(REFUSES)
def test_refuses(row: Refuses) -> None:
    row.check()


DECODER = made("a = ConvTranspose <strides = [2, 2]> (r, K, b)\ny = Relu(a)", K=(2, 3, 2, 2), b=(3,), outputs="y u")


def test_the_output_has_the_grid_behind_its_own_axes() -> None:
    result = fc2conv.convert(network(DECODER))
    assert result.report.verified
    assert result.report.verdict == "exact"
    dims = [d.dim_param or d.dim_value for d in result.model.graph.output[0].type.tensor_type.shape.dim]
    assert dims[:4] == ["N", 3, 6, 4]
    assert len(dims) == 6
    assert result.geometry.grid_size((14, 10)) == (5, 4)
    image = integers((2, 1, 14, 10), seed=3)
    found = session(result.model).run(["y"], {"x": image})[0]
    assert found.shape == (2, 3, 6, 4, 5, 4)
    run = session(network(DECODER))
    for i, j in np.ndindex(5, 4):
        crop = np.ascontiguousarray(image[:, :, 2 * i : 2 * i + 6, 2 * j : 2 * j + 4])
        np.testing.assert_array_equal(found[..., i, j], run.run(["y"], {"x": crop})[0])


@pytest.mark.parametrize("name", ["a decoder of several", "another decoder behind that", "ConvTranspose, everything"])
def test_the_checks_accept_it(name: str) -> None:
    assert fc2conv.convert(network(LIFTS[name].head)).report.verified


def _swapped_grid(model: ModelProto) -> None:
    (last,) = (n for n in model.graph.node if "a" in n.output)
    (perm,) = (a for a in last.attribute if a.name == "perm")
    assert list(perm.ints) == [0, 3, 4, 5, 1, 2]
    perm.ints[:] = [0, 3, 4, 5, 2, 1]


def _swapped_positions(model: ModelProto) -> None:
    (first,) = (n for n in model.graph.node if n.op_type == "ConvTranspose")
    (attr,) = (a for a in first.attribute if a.name == "strides")
    kernel = next(t for t in model.graph.initializer if t.name == first.input[1])
    values = onnx.numpy_helper.to_array(kernel)
    kernel.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(values[..., ::-1]), kernel.name))
    assert list(attr.ints) == [2, 2]


def _lost_bias(model: ModelProto) -> None:
    (node,) = (n for n in model.graph.node if n.op_type == "ConvTranspose")
    del node.input[2:]


@pytest.mark.parametrize(
    ("damage", "check"),
    [(_swapped_grid, "windows|grid"), (_swapped_positions, "same size"), (_lost_bias, "same size")],
    ids=["grid axes swapped", "kernel mirrored", "bias lost"],
)
def test_the_checks_catch_sabotage(damage: Any, check: str) -> None:
    original = network(DECODER)
    broken = ModelProto()
    broken.CopyFrom(fc2conv.convert(original, verify=False).model)
    damage(broken)
    with pytest.raises(fc2conv.VerificationFailed, match=check):
        fc2conv.verify(original, broken, sizes=[(12, 12)])


def test_one_decoder_s_windows_do_not_reach_into_each_other() -> None:
    """A cell depends on its own window only: a pixel changes the cells whose windows hold it, and no others."""
    result = fc2conv.convert(network(DECODER), verify=False)
    image = integers((1, 1, 14, 10), seed=3)
    other = image.copy()
    other[0, 0, 7, 5] += 50
    before, after = (session(result.model).run(["u"], {"x": x})[0] for x in (image, other))
    changed = {tuple(c) for c in np.argwhere((before != after).any(axis=(0, 1)))}
    decoded_before, decoded_after = (session(result.model).run(["y"], {"x": x})[0] for x in (image, other))
    touched = {tuple(c) for c in np.argwhere((decoded_before != decoded_after).any(axis=(0, 1, 2, 3)))}
    assert touched
    assert touched <= changed < set(np.ndindex(5, 4))
