"""Sizes that were written into the backbone follow the image's: against twins that have none. A case is a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv.dtypes import tolerance

from ..networks import integers, session
from .baked import Baked

SHUFFLE = """[a] r = Reshape (x, five)
t = Transpose <perm = [0, 2, 1, 3, 4]> (r)
[b] map = Reshape (t, four)"""
GATHERED = "map = Gather <axis = 1> (x, order)"
HALVES = "half = Conv <strides = [2, 2]> (x, k)\n"
THIRD = "c = Conv (x, w)\nhalf = Conv <strides = [2, 2]> (c, k)\n"
K22 = (4, 2, 2, 2)
SKIP = '[up] u = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">'
DYNAMIC = """s = Shape (x)
n = Gather (s, zero)
h = Gather (s, two)
w = Gather (s, three)
"""
POSITIONS = {"zero": [0], "two": [2], "three": [3]}


def shuffled(channels: int, groups: int) -> dict[str, Any]:
    """Order of the channels behind a shuffle."""
    return {"order": np.arange(channels).reshape(groups, -1).T.ravel().tolist()}


CASES: dict[str, Baked] = {
    # -- Reshapes that keep the axes
    "channel shuffle": Baked(
        SHUFFLE,
        GATHERED,
        {"five": [1, 2, 3, 8, 12], "four": [1, 6, 8, 12], **shuffled(6, 2)},
        (1, 6, 8, 12),
        ["Reshape 'a'", "Reshape 'b'"],
    ),
    "channel shuffle, any batch": Baked(
        SHUFFLE,
        GATHERED,
        {"five": [-1, 2, 3, 8, 12], "four": [-1, 6, 8, 12], **shuffled(6, 2)},
        ("N", 6, 8, 12),
        ["Reshape 'a'", "Reshape 'b'"],
    ),
    "as many channels as rows and columns": Baked(
        SHUFFLE,
        GATHERED,
        {"five": [1, 2, 4, 8, 8], "four": [1, 8, 8, 8], **shuffled(8, 2)},
        (1, 8, 8, 8),
        ["Reshape 'a'", "Reshape 'b'"],
        (12, 10),
    ),
    "the batch copied, the size not": Baked(
        SHUFFLE,
        GATHERED,
        {"five": [0, 2, 3, 8, 12], "four": [0, 6, 8, 12], **shuffled(6, 2)},
        ("N", 6, 8, 12),
        ["Reshape 'a'", "Reshape 'b'"],
    ),
    "only one size written down": Baked(
        SHUFFLE,
        GATHERED,
        {"five": [0, 2, 2, -1, 12], "four": [0, 4, -1, 12], **shuffled(4, 2)},
        ("N", 4, 8, 12),
        ["Reshape 'a'", "Reshape 'b'"],
    ),
    "opset 7": Baked(
        SHUFFLE,
        GATHERED,
        {"five": [1, 2, 3, 8, 12], "four": [1, 6, 8, 12], **shuffled(6, 2)},
        (1, 6, 8, 12),
        opset=7,
    ),
    "opset 21": Baked(
        SHUFFLE,
        GATHERED,
        {"five": [1, 2, 3, 8, 12], "four": [1, 6, 8, 12], **shuffled(6, 2)},
        (1, 6, 8, 12),
        opset=21,
    ),
    "allowzero": Baked(
        SHUFFLE.replace("Reshape", "Reshape <allowzero = 1>"),
        GATHERED,
        {"five": [1, 2, 3, 8, 12], "four": [1, 6, 8, 12], **shuffled(6, 2)},
        (1, 6, 8, 12),
        opset=17,
    ),
    "float16": Baked(
        SHUFFLE,
        GATHERED,
        {"five": [1, 2, 3, 8, 12], "four": [1, 6, 8, 12], **shuffled(6, 2)},
        (1, 6, 8, 12),
        elem_type=TensorProto.FLOAT16,
    ),
    "1-D shuffle": Baked(
        "c = Conv (x, k)\n[a] r = Reshape (c, a4)\nt = Transpose <perm = [0, 2, 1, 3]> (r)\n[b] map = Reshape (t, a3)",
        "c = Conv (x, k)\nmap = Gather <axis = 1> (c, order)",
        {"a4": [1, 2, 2, 9], "a3": [1, 4, 9], "k": (4, 2, 3), **shuffled(4, 2)},
        (1, 2, 11),
        ["Reshape 'a'", "Reshape 'b'"],
        (14,),
    ),
    "3-D shuffle": Baked(
        "[a] r = Reshape (x, a6)\nt = Transpose <perm = [0, 2, 1, 3, 4, 5]> (r)\n[b] map = Reshape (t, a5)",
        GATHERED,
        {"a6": [1, 2, 2, 3, 4, 5], "a5": [1, 4, 3, 4, 5], **shuffled(4, 2)},
        (1, 4, 3, 4, 5),
        ["Reshape 'a'", "Reshape 'b'"],
        (4, 6, 5),
    ),
    "a shuffle with the channels last": Baked(
        "n = Transpose <perm = [0, 2, 3, 1]> (x)\n[a] r = Reshape (n, five)\n"
        "t = Transpose <perm = [0, 1, 2, 4, 3]> (r)\n"
        "[b] l = Reshape (t, four)\nmap = Transpose <perm = [0, 3, 1, 2]> (l)",
        GATHERED,
        {"five": [1, 8, 12, 2, 3], "four": [1, 8, 12, 6], **shuffled(6, 2)},
        (1, 6, 8, 12),
        ["Reshape 'a'", "Reshape 'b'"],
    ),
    "the channels in groups of their own": Baked(
        "[a] r = Reshape (x, five)\nm = ReduceMax <axes = [1], keepdims = 0> (r)\nmap = Relu (m)",
        "a, b = Split <axis = 1> (x, halves)\nm = Max (a, b)\nmap = Relu (m)",
        {"five": [1, 2, 2, 8, 12], "halves": [2, 2]},
        (1, 4, 8, 12),
        ["Reshape 'a'"],
    ),
    # -- blocks
    "space to depth": Baked(
        "[a] r = Reshape (x, six)\nt = Transpose <perm = [0, 3, 5, 1, 2, 4]> (r)\n"
        "[b] d = Reshape (t, four)\nmap = Conv (d, w)",
        "d = SpaceToDepth <blocksize = 2> (x)\nmap = Conv (d, w)",
        {"six": [1, 2, 4, 2, 6, 2], "four": [1, 8, 4, 6], "w": (3, 8, 1, 1)},
        rewritten=["Reshape 'a'", "Reshape 'b'"],
    ),
    "depth to space": Baked(
        HALVES
        + "[a] r = Reshape (half, six)\nt = Transpose <perm = [0, 1, 4, 2, 5, 3]> (r)\n[b] map = Reshape (t, four)",
        HALVES + 'map = DepthToSpace <blocksize = 2, mode = "CRD"> (half)',
        {"k": (8, 2, 2, 2), "six": [1, 2, 2, 2, 4, 6], "four": [1, 2, 8, 12]},
        rewritten=["Reshape 'a'", "Reshape 'b'"],
    ),
    "windows that see themselves only": Baked(
        "[a] r = Reshape (x, six)\nt = Transpose <perm = [0, 2, 4, 3, 5, 1]> (r)\n[b] q = Reshape (t, counted)\n"
        "u = Transpose <perm = [0, 2, 1]> (q)\np = MatMul (q, u)\nz = Mul (p, bias)\no = MatMul (z, q)\n"
        "[c] v = Reshape (o, back)\ny1 = Transpose <perm = [0, 5, 1, 3, 2, 4]> (v)\n"
        "[d] y2 = Reshape (y1, four)\nmap = Add (y2, x)",
        DYNAMIC + "hb = Div (h, two)\nwb = Div (w, two)\nsix_ = Concat <axis = 0> (n, two, hb, two, wb, two)\n"
        "r = Reshape (x, six_)\nt = Transpose <perm = [0, 2, 4, 3, 5, 1]> (r)\nq = Reshape (t, rows)\n"
        "u = Transpose <perm = [0, 2, 1]> (q)\np = MatMul (q, u)\nz = Mul (p, bias)\no = MatMul (z, q)\n"
        "back_ = Concat <axis = 0> (n, hb, wb, two, two, two)\nv = Reshape (o, back_)\n"
        "y1 = Transpose <perm = [0, 5, 1, 3, 2, 4]> (v)\ny2 = Reshape (y1, s)\nmap = Add (y2, x)",
        {
            "six": [1, 2, 4, 2, 6, 2],
            "counted": [24, 4, 2],
            "rows": [-1, 4, 2],
            "back": [1, 4, 6, 2, 2, 2],
            "four": [1, 2, 8, 12],
            "bias": (1, 4, 4),
            **POSITIONS,
        },
        rewritten=["Reshape 'a'", "Reshape 'b'", "Reshape 'c'", "Reshape 'd'"],
    ),
    # -- tokens
    "tokens and back": Baked(
        "[a] r = Reshape (x, rows)\nt = Transpose <perm = [0, 2, 1]> (r)\nm = MatMul (t, w)\n"
        "u = Transpose <perm = [0, 2, 1]> (m)\n[b] l = Reshape (u, four)\nmap = Conv (l, k)",
        "l = Conv (x, w4)\nmap = Conv (l, k)",
        {"rows": [1, 2, 96], "w": np.float32([[1, 2, 0], [-1, 1, 2]]), "four": [1, 3, 8, 12], "k": (2, 3, 3, 3)}
        | {"w4": np.float32([[1, -1], [2, 1], [0, 2]]).reshape(3, 2, 1, 1)},
        rewritten=["Reshape 'a'", "Reshape 'b'"],
    ),
    "every position with every other": Baked(
        "[a] q = Reshape (x, rows)\nu = Transpose <perm = [0, 2, 1]> (q)\np = MatMul (u, q)\no = MatMul (q, p)\n"
        "[b] l = Reshape (o, four)\nmap = MaxPool <kernel_shape = [2, 2]> (l)",
        "q = Reshape (x, open)\nu = Transpose <perm = [0, 2, 1]> (q)\np = MatMul (u, q)\no = MatMul (q, p)\n"
        "s = Shape (x)\nl = Reshape (o, s)\nmap = MaxPool <kernel_shape = [2, 2]> (l)",
        {"rows": [1, 2, 24], "open": [0, 0, -1], "four": [1, 2, 4, 6]},
        (1, 2, 4, 6),
        ["Reshape 'a'", "Reshape 'b'"],
        (6, 7),
    ),
    # -- upsampling
    "upsampled to the size of another map": Baked(
        HALVES + SKIP + " (half, , , sizes)\nc = Conv (x, w)\nmap = Add (u, c)",
        HALVES + SKIP + " (half, , scales)\nc = Conv (x, w)\nmap = Add (u, c)",
        {"k": K22, "w": (4, 2, 1, 1), "sizes": [1, 4, 8, 12], "scales": np.float32([1, 1, 2, 2])},
        rewritten=["Resize 'up'"],
    ),
    "upsampled along some axes": Baked(
        HALVES + SKIP.replace(">", ", axes = [2, 3]>") + " (half, , , sizes)\nc = Conv (x, w)\nmap = Add (u, c)",
        HALVES + SKIP + " (half, , scales)\nc = Conv (x, w)\nmap = Add (u, c)",
        {"k": K22, "w": (4, 2, 1, 1), "sizes": [8, 12], "scales": np.float32([1, 1, 2, 2])},
        rewritten=["Resize 'up'"],
        opset=18,
    ),
    "upsampled by no whole factor": Baked(
        "c = Conv (x, w)\nhalf = Conv <strides = [2, 2]> (c, k)\n"
        + SKIP
        + " (half, , , sizes)\nmap = Concat <axis = 1> (c, u)",
        "c = Conv (x, w)\nhalf = Conv <strides = [2, 2]> (c, k)\ns = Shape (c)\n"
        "b = Slice (s, zero, two)\nd = Slice (s, two, four)\n"
        "e = Concat <axis = 0> (b, d)\n" + SKIP + " (half, , , e)\nmap = Concat <axis = 1> (c, u)",
        {"w": (4, 2, 2, 2), "k": (4, 4, 3, 3), "sizes": [1, 4, 7, 11], "zero": [0], "two": [2], "four": [4]},
        rewritten=["Resize 'up'"],
    ),
    "opset 11": Baked(
        HALVES + SKIP + " (half, roi, roi, sizes)\nc = Conv (x, w)\nmap = Add (u, c)",
        HALVES + SKIP + " (half, roi, scales)\nc = Conv (x, w)\nmap = Add (u, c)",
        {"k": K22, "w": (4, 2, 1, 1), "sizes": [1, 4, 8, 12], "scales": np.float32([1, 1, 2, 2])}
        | {"roi": np.zeros(0, np.float32)},
        opset=11,
    ),
    # -- repeated
    "a pooled map, expanded": Baked(
        "p = GlobalMaxPool (x)\n[e] e = Expand (p, shape)\nc = Concat <axis = 1> (x, e)\nmap = Conv (c, w)",
        "p = GlobalMaxPool (x)\ns = Shape (x)\ne = Expand (p, s)\nc = Concat <axis = 1> (x, e)\nmap = Conv (c, w)",
        {"shape": [1, 2, 8, 12], "w": (3, 4, 2, 2)},
        rewritten=["Expand 'e'"],
    ),
    "a pooled map, tiled": Baked(
        "p = GlobalMaxPool (x)\n[e] e = Tile (p, times)\nc = Concat <axis = 1> (x, e)\nmap = Conv (c, w)",
        "p = GlobalMaxPool (x)\ns = Shape (x)\ne = Expand (p, s)\nc = Concat <axis = 1> (x, e)\nmap = Conv (c, w)",
        {"times": [1, 1, 8, 12], "w": (3, 4, 2, 2)},
        rewritten=["Tile 'e'"],
    ),
    "a map expanded to its own size": Baked(
        "c = Conv (x, w)\n[e] e = Expand (c, shape)\nmap = Conv (e, v)",
        "c = Conv (x, w)\nmap = Conv (c, v)",
        {"shape": [1, 3, 7, 11], "w": (3, 2, 2, 2), "v": (2, 3, 2, 2)},
        rewritten=["Expand 'e'"],
    ),
    # -- crops
    "a border cropped away beside a Conv": Baked(
        "c = Conv (x, w)\n[s] s = Slice (x, starts, ends, axes)\nmap = Concat <axis = 1> (c, s)",
        "c = Conv (x, w)\ns = Slice (x, starts, minus, axes)\nmap = Concat <axis = 1> (c, s)",
        {"w": (3, 2, 3, 3), "starts": [1, 1], "ends": [7, 11], "minus": [-1, -1], "axes": [2, 3]},
        rewritten=["Slice 's'"],
    ),
    "a crop to the end beside a pool, opset 9": Baked(
        "c = MaxPool <kernel_shape = [2, 2]> (x)\n[s] s = Slice <starts = [1, 1], ends = [8, 12], axes = [2, 3]> (x)\n"
        "map = Add (c, s)",
        "c = MaxPool <kernel_shape = [2, 2]> (x)\ns = Slice <starts = [1, 1], ends = [99, 99], axes = [2, 3]> (x)\n"
        "map = Add (c, s)",
        rewritten=["Slice 's'"],
        opset=9,
    ),
    "int32 indices": Baked(
        "c = Conv (x, w)\n[s] s = Slice (x, starts, ends, axes)\nmap = Concat <axis = 1> (c, s)",
        "c = Conv (x, w)\ns = Slice (x, starts, minus, axes)\nmap = Concat <axis = 1> (c, s)",
        {"w": (3, 2, 3, 3)}
        | {k: np.int32(v) for k, v in {"starts": [1, 1], "ends": [7, 11], "minus": [-1, -1], "axes": [2, 3]}.items()},
        rewritten=["Slice 's'"],
    ),
    # -- constants
    "a constant that is computed to be the same everywhere": Baked(
        "ones = ConstantOfShape <value = float[1] {1.0}> (whole)\n[c] c = Add (x, ones)\nmap = Conv (c, w)",
        "c = Add (x, one)\nmap = Conv (c, w)",
        {"whole": [1, 2, 8, 12], "one": np.float32(1), "w": (3, 2, 2, 2)},
        rewritten=["Add 'c'"],
    ),
    "a constant for each channel, expanded over the map": Baked(
        "many = Expand (few, whole)\n[c] c = Mul (many, x)\nmap = Conv (c, w)",
        "c = Mul (x, few)\nmap = Conv (c, w)",
        {"whole": [1, 2, 8, 12], "few": np.float32([[[2]], [[3]]]), "w": (3, 2, 2, 2)},
        rewritten=["Mul 'c'"],
    ),
    # -- nothing to rewrite
    "a target that follows": Baked(
        DYNAMIC + "five = Concat <axis = 0> (n, a, b, h, w)\nr = Reshape (x, five)\n"
        "t = Transpose <perm = [0, 2, 1, 3, 4]> (r)\n"
        "map = Reshape (t, s)",
        GATHERED,
        {**POSITIONS, "a": [2], "b": [3], **shuffled(6, 2)},
        ("N", 6, 8, 12),
        [],
    ),
    "a mean over blocks, as many as there are": Baked(
        DYNAMIC + "hb = Div (h, two)\nwb = Div (w, two)\nsix = Concat <axis = 0> (n, two, hb, two, wb, two)\n"
        "r = Reshape (x, six)\nm = ReduceMax <axes = [3, 5], keepdims = 0> (r)\nmap = Conv (m, k)",
        "m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)\nmap = Conv (m, k)",
        {**POSITIONS, "k": (3, 2, 2, 2)},
        ("N", 2, 8, 12),
        [],
    ),
    "pairs, as many as are left": Baked(
        "c = Conv (x, k)\nr = Reshape (c, pairs)\nm = ReduceMax <axes = [3], keepdims = 0> (r)\nmap = Conv (m, l)",
        "c = Conv (x, k)\nm = MaxPool <kernel_shape = [2], strides = [2]> (c)\nmap = Conv (m, l)",
        {"k": (4, 2, 3), "l": (3, 4, 2), "pairs": [0, 4, -1, 2]},
        (1, 2, 10),
        [],
        (16,),
    ),
    "half of a target follows": Baked(
        DYNAMIC + "five = Concat <axis = 0> (n, a, b, h, c)\n[r] r = Reshape (x, five)\n"
        "t = Transpose <perm = [0, 2, 1, 3, 4]> (r)\n"
        "map = Reshape (t, s)",
        GATHERED,
        {**POSITIONS, "a": [2], "b": [3], "c": [12], **shuffled(6, 2)},
        ("N", 6, 8, 12),
        ["Reshape 'r'"],
    ),
    "a target that follows the batch, and has the size in it": Baked(
        "s = Shape (x)\nn = Gather (s, zero)\nq = Concat <axis = 0> (n, rest)\n[a] r = Reshape (x, q)\n"
        "map = MaxPool <kernel_shape = [2, 2]> (r)",
        "map = MaxPool <kernel_shape = [2, 2]> (x)",
        {"zero": [0], "rest": [2, 8, 12]},
        ("N", 2, 8, 12),
        ["Reshape 'a' -> Identity"],
    ),
    "copied and left over": Baked(
        "r = Reshape (x, rows)\nu = Relu (r)\n[b] l = Reshape (u, four)\nmap = MaxPool <kernel_shape = [2, 2]> (l)",
        "u = Relu (x)\nmap = MaxPool <kernel_shape = [2, 2]> (u)",
        {"rows": [0, 0, -1], "four": [0, 0, 8, 12]},
        ("N", 2, 8, 12),
        ["Reshape 'b'"],
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_follows_the_size(case: Baked) -> None:
    case.check()


REFUSED: dict[str, tuple[Baked, str, str]] = {
    "a mean over blocks: a pool by two, or to a fixed size": (
        Baked(
            "[a] r = Reshape (x, six)\nm = ReduceMean <axes = [3, 5], keepdims = 0> (r)\nmap = Conv (m, w)",
            "",
            {"six": [1, 2, 4, 2, 6, 2], "w": (3, 2, 2, 2)},
        ),
        "Reshape 'a'",
        "splits 8 as 4 x 2: its constant 4 may be height//2 or a fixed number, and nothing tells which",
    ),
    "blocks that are put together again: of two rows, or of a quarter of them": (
        Baked(
            "[a] r = Reshape (x, five)\nm = ReduceMax <axes = [3]> (r)\nd = Sub (r, m)\nb = Reshape (d, four)\n"
            "s = Add (b, x)\nmap = Conv (s, w)",
            "",
            {"five": [1, 2, 4, 2, 12], "four": [1, 2, 8, 12], "w": (3, 2, 2, 2)},
        ),
        "Reshape 'a'",
        "splits 8 as 4 x 2: its constant 4 may be height//2 or a fixed number, and nothing tells which",
    ),
    "channels made of blocks that nothing has weights for": (
        Baked(
            "[a] r = Reshape (x, six)\nt = Transpose <perm = [0, 3, 5, 1, 2, 4]> (r)\nd = Reshape (t, four)\n"
            "p = MaxPool <kernel_shape = [2, 2]> (d)\nm = ReduceMax <axes = [1]> (p)\nmap = Conv (m, w)",
            "",
            {"six": [1, 2, 4, 2, 6, 2], "four": [1, 8, 4, 6], "w": (3, 1, 2, 2)},
        ),
        "Reshape 'a'",
        "splits 8 as 4 x 2: its constant 4 may be height//2 or a fixed number, and nothing tells which",
    ),
    "a size that nothing else has": (
        Baked(
            SKIP + " (x, , , sizes)\nmap = Conv <strides = [2, 2]> (u, w)",
            "",
            {"sizes": [1, 2, 16, 24], "w": (3, 2, 2, 2)},
        ),
        "Resize 'up'",
        "its constant 16 may be 2*height or a fixed number such as a channel count, and nothing tells which",
    ),
    "a size that is no multiple": (
        Baked(SKIP + " (x, , , sizes)\nmap = Conv (u, w)", "", {"sizes": [1, 2, 11, 17], "w": (3, 2, 2, 2)}),
        "Resize 'up'",
        "resizes 8x12 to 11x17 at every size of the image, so no window slides behind it",
    ),
    "repeated to a size that nothing else has": (
        Baked(
            "p = GlobalMaxPool (x)\n[e] e = Expand (p, shape)\nmap = Conv (e, w)",
            "",
            {"shape": [1, 2, 8, 12], "w": (3, 2, 2, 2)},
        ),
        "Expand 'e'",
        "its constant 8 may be height or a fixed number such as a channel count, and nothing tells which",
    ),
    "a crop that may be one of the border or of the corner": (
        Baked(
            "[s] s = Slice (x, starts, ends, axes)\nmap = Conv (s, w)",
            "",
            {"starts": [0], "ends": [6], "axes": [2], "w": (3, 2, 2, 2)},
        ),
        "Slice 's'",
        "its constant 6 may be height - 2 or a fixed number, and nothing tells which",
    ),
    "a value for each position": (
        Baked("[p] p = Add (x, pos)\nmap = Conv (p, w)", "", {"pos": (1, 2, 8, 12), "w": (3, 2, 2, 2)}),
        "Add 'p'",
        "is position-dependent: its constant 'pos' has one value per position ([1, 2, 8, 12])",
    ),
    "a value for each position, all of which are 1": (
        Baked(
            "[p] p = Mul (x, pos)\nmap = Conv (p, w)",
            "",
            {"pos": np.ones((1, 2, 8, 12), np.float32), "w": (3, 2, 2, 2)},
        ),
        "Mul 'p'",
        "is position-dependent: its constant 'pos' has one value per position ([1, 2, 8, 12])",
    ),
    "LayerNormalization over channels, height and width": (
        Baked(
            "[n] n, , = LayerNormalization <axis = 1> (x, scale)\nmap = Conv (n, w)",
            "",
            {"scale": (2, 8, 12), "w": (3, 2, 2, 2)},
        ),
        "LayerNormalization 'n'",
        "is position-dependent: scales every position on its own",
    ),
    "axes that are mixed": (
        Baked("[a] r = Reshape (x, mixed)\nmap = Conv (r, w)", "", {"mixed": [1, 3, 8, 8], "w": (3, 3, 2, 2)}),
        "Reshape 'a'",
        "reshapes the feature map in a way that is not understood",
    ),
    "two maps that never have one size": (
        Baked(
            "a = Conv <strides = [2, 1]> (x, w)\nb = Slice (x, zero, four, two)\n[s] s = Add (a, b)\nmap = Conv (s, v)",
            "",
            {"w": (2, 2, 2, 1), "v": (3, 2, 2, 2), "zero": [4], "four": [2**31], "two": [2]},
        ),
        "Add 's'",
        "combines maps with effective strides 2 and 1",
    ),
}


@pytest.mark.parametrize(("case", "node", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_refuses_what_is_not_proven(case: Baked, node: str, reason: str) -> None:
    with pytest.raises(fc2conv.Unliftable) as caught:
        fc2conv.convert(case.model)
    if node == "Add 's'":  # the crop in front of it is a head's, but for the Add
        assert "Slice" in str(caught.value) or caught.value.node == node
        return
    assert caught.value.node == node
    assert reason in caught.value.reason
    assert type(caught.value) is not fc2conv.errors.Contradiction


def test_a_group_normalisation_right_in_front_of_the_flattening() -> None:
    """Its views list positions, so the head begins behind them."""
    case = Baked(
        "[a] r = Reshape (x, groups)\ni = InstanceNormalization (r, one, none)\n[b] map = Reshape (i, four)",
        "",
        {"groups": [0, 2, -1], "four": [1, 4, 8, 12], "one": np.float32([1, 1]), "none": np.float32([0, 0])},
        (1, 4, 8, 12),
    )
    result = fc2conv.convert(case.model, sizes=[case.grown])
    assert result.report.verdict == "global context"
    image = case.pixels(case.grown).astype(np.float64)
    grouped = image.reshape(1, 2, -1)
    scaled = (grouped - grouped.mean(2, keepdims=True)) / np.sqrt(grouped.var(2, keepdims=True) + 1e-5)
    enlarged = scaled.reshape(image.shape)
    (found,) = session(result.model).run(None, {"x": image.astype(np.float32)})
    for i, j in np.ndindex(9, 9):
        expected = enlarged[:, :, i : i + 8, j : j + 12].reshape(1, -1) @ case.fc.T
        bound = tolerance(TensorProto.FLOAT, case.fc.shape[1], 4) * np.abs(case.fc).sum()
        assert np.abs(found[:, :, i, j] - expected).max() <= bound


def edited(model: ModelProto, name: str, change: dict[int, int]) -> ModelProto:
    """The model with some numbers of an initializer changed."""
    copy = ModelProto()
    copy.CopyFrom(model)
    tensor = next(t for t in copy.graph.initializer if t.name == name)
    values = numpy_helper.to_array(tensor).copy()
    for place, value in change.items():
        values[place] = value
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    return copy


def test_a_shape_that_is_wrong_at_another_size_is_rejected() -> None:
    """The two entries of a target that follow, swapped: right at a square trained size, wrong at any other."""
    case = CASES["as many channels as rows and columns"]
    converted = fc2conv.convert(case.model).model
    gathers = [n for n in converted.graph.node if n.op_type == "Gather" and "r_gather" in n.output[0]]
    assert gathers
    indices = [t for t in converted.graph.initializer if t.name == gathers[0].input[1]]
    wrong = edited(converted, indices[0].name, {0: 3})
    with pytest.raises(fc2conv.VerificationFailed):
        fc2conv.verify(case.model, wrong, sizes=[(12, 10)])


def test_what_only_the_old_shape_needed_is_gone() -> None:
    case = CASES["half of a target follows"]
    model = case.check().model
    assert "c" not in {t.name for t in model.graph.initializer}
    assert not any("five" in n.output for n in model.graph.node)


def test_external_weights_and_unused_values_stay(tmp_path: Any) -> None:
    case = CASES["channel shuffle"]
    model = case.model
    model.graph.initializer.append(numpy_helper.from_array(integers((3,), 1), "unused"))
    path = tmp_path / "in.onnx"
    onnx.save(model, path, save_as_external_data=True, location="in.data", size_threshold=200)
    result = fc2conv.convert(path)
    result.save(tmp_path / "out.onnx")
    written = onnx.load(tmp_path / "out.onnx")
    assert "unused" in {t.name for t in written.graph.initializer}
    image = case.pixels(case.grown)
    (found,) = session(written).run(None, {"x": image})
    np.testing.assert_array_equal(found, case.expected(image, [1, 1]))


def test_ir_3_lists_the_new_shapes_as_inputs() -> None:
    case = CASES["opset 7"]
    model = case.model
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    result = fc2conv.convert(model)
    listed = {i.name for i in result.model.graph.input}
    assert {t.name for t in result.model.graph.initializer} <= listed
