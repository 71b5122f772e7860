"""Heads over maps of different effective strides: of the finer grid every r-th cell meets the coarser one's."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv import cli, model_io, pipeline
from onnx_fc2conv.geometry import Grid, SizeLaw
from onnx_fc2conv.lift.grids import common
from onnx_fc2conv.rewrite import Windowed

from ..networks import Head, network
from .several import FCS, FLAT, POOL, Several, compare_at, count, two
from .tables import Refuses, every, head, table

JOIN = "c = Concat <axis = 1> (a, b)\n"  #: [N, 20]
FC = "y = Gemm(c, W, B)"
OF_20 = {"W": (20, 4), "B": (4,)}
TO_RANK_3 = "p = Reshape(u, s)\nq = Reshape(w, s)\n"
RANK_3 = {"s": [0, 2, 3]}


def scaled(ratio: int, **rest: Any) -> Head:
    """A coarse map of so many times the stride, which is one cell where the fine one is a window."""
    pool = f"coarse = MaxPool <kernel_shape = [{ratio}, {ratio}], strides = [{ratio}, {ratio}]> (map)\n"
    window = (2 * ratio, ratio)
    return two(
        FLAT + JOIN + FC, coarse=pool, ratio=(ratio, ratio), window=window, W=(2 * 2 * ratio**2 + 4, 4), B=(4,), **rest
    )


THREE = replace(
    head(
        f"{POOL}coarsest = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (coarse)\n"
        "a = Flatten(map)\nb = Flatten(coarse)\nd = Flatten(coarsest)\nc = Concat <axis = 1> (b, a, d)\n" + FC,
        window=(8, 4),
        W=(84, 4),
        B=(4,),
    ),
    ratios={"map": (4, 4), "coarse": (2, 2), "coarsest": (1, 1)},
)
THREE_SUMS = replace(
    THREE,
    text=THREE.text.split("c = ")[0] + "u = MatMul(a, U)\nw = MatMul(b, V)\nz = MatMul(d, Z)\ny = Sum(u, w, z)",
    weights={"U": (64, 3), "V": (16, 3), "Z": (4, 3)},
)
SIBLINGS = replace(
    head(
        "fine = Conv <kernel_shape = [2, 1]> (map, k)\n"
        "coarse = Conv <kernel_shape = [2, 2], strides = [2, 2]> (map, l)\n"
        "a = Flatten(fine)\nb = Flatten(coarse)\nu = MatMul(a, U)\nw = MatMul(b, V)\ny = Sub(w, u)",
        window=(4, 2),
        k=(1, 2, 2, 1),
        l=(3, 2, 2, 2),
        U=(6, 5),
        V=(6, 5),
    ),
    ratios={"fine": (2, 2), "coarse": (1, 1)},
)
CROSSED = replace(
    head(
        "tall = MaxPool <kernel_shape = [2, 1], strides = [2, 1]> (map)\n"
        "wide = MaxPool <kernel_shape = [1, 2], strides = [1, 2]> (map)\n"
        "a = Flatten(tall)\nb = Flatten(wide)\nu = MatMul(a, U)\nw = MatMul(b, V)\ny = Sub(w, u)",
        window=(4, 4),
        U=(16, 5),
        V=(16, 5),
    ),
    ratios={"tall": (1, 2), "wide": (2, 1)},
)
PFLD = two(
    "p = GlobalAveragePool(map)\na = Flatten(p)\nb = Flatten(coarse)\n" + JOIN + FC,
    W=(6, 4),
    B=(4,),
)
PFLD_3 = replace(
    head(
        f"{POOL}coarsest = Conv <kernel_shape = [2, 2], strides = [2, 2]> (coarse, k)\n"
        "p = GlobalAveragePool(map)\na = Flatten(p)\nq = AveragePool <kernel_shape = [2, 2]> (coarse)\n"
        "b = Flatten(q)\nd = Flatten(coarsest)\nc = Concat <axis = 1> (a, b, d)\n" + FC,
        window=(4, 4),
        k=(3, 2, 2, 2),
        W=(7, 4),
        B=(4,),
    ),
    ratios={"map": (4, 4), "coarse": (2, 2), "coarsest": (1, 1)},
)

#: what makes one value of u [N, 6], of the fine map, and w [N, 6], of the coarse one
MEETINGS: dict[str, str] = {
    **{op: f"y = {op}(u, w)" for op in ("Add", "Sub", "Mul", "Max", "Min", "Sum", "PRelu", "Greater", "Equal")},
    "Sub, the coarse one first": "y = Sub(w, u)",
    "Where": "g = Less(w, u)\ny = Where(g, w, u)",
    "Concat, Relu": "c = Concat <axis = 1> (u, w)\ny = Relu(c)",
    "Concat, the coarse one first, ReduceSum": "c = Concat <axis = -1> (w, u)\ny = ReduceSum(c, one)",
    "Concat, ReduceMax": "c = Concat <axis = 1> (u, w)\ny = ReduceMax <axes = [1], keepdims = 0> (c)",
    "Concat, ArgMax": "c = Concat <axis = 1> (u, w)\ny = ArgMax <axis = 1> (c)",
    "Concat, Slice": "c = Concat <axis = 1> (u, w)\ny = Slice(c, one, nine, one)",
    "Concat, Gather": "c = Concat <axis = 1> (u, w)\ny = Gather <axis = 1> (c, nine)",
    "Concat, Reshape to rank 3": "c = Concat <axis = 1> (u, w)\ny = Reshape(c, s)",
    "Concat, Reshape to rank 3, Transpose": "c = Concat <axis = 1> (u, w)\nr = Reshape(c, s)\n"
    "y = Transpose <perm = [0, 2, 1]> (r)",
    "Concat along the second axis of rank 3": TO_RANK_3 + "y = Concat <axis = 2> (p, q)",
    "Add of rank 3": TO_RANK_3 + "y = Add(p, q)",
    "MatMul between": TO_RANK_3 + "t = Transpose <perm = [0, 2, 1]> (q)\ny = MatMul(p, t)",
    "Einsum between": TO_RANK_3 + 'y = Einsum <equation = "nij,nkj->nik"> (p, q)',
    "Einsum of rank 2": 'y = Einsum <equation = "ni,ni->n"> (u, w)',
    "a third FC": "c = Concat <axis = 1> (u, w)\ny = MatMul(c, W)",
}
MEETING_WEIGHTS: dict[str, Any] = {"one": [1], "nine": [9], "s": [0, 2, 3], "W": (12, 3)}


def meeting(text: str, opset: int = 17, **rest: Any) -> Head:
    weights = MEETING_WEIGHTS | {"s": [0, 2, 6] if "Reshape(c" in text else [0, 2, 3]}
    return two(FLAT + FCS + text, opset, **weights, **rest)


ADD = MEETINGS["Add"]
RANK_3_ADD = MEETINGS["Add of rank 3"]
LIFTS = table(
    {name: Several(meeting(text), fcs=name == "MatMul between") for name, text in MEETINGS.items()},
    {f"FCs added, opset {o}": Several(meeting(ADD, o)) for o in (7, 9, 10, 13, 21)},
    {f"rank 3 added, opset {o}": Several(meeting(RANK_3_ADD, o)) for o in (7, 9, 10, 13)},
    {f"FC of a Concat, opset {o}": Several(two(FLAT + JOIN + FC, o, **OF_20)) for o in (7, 9, 10, 13, 21)},
    {f"ratio {r}": Several(scaled(r)) for r in (2, 3, 4)},
    {f"batch {n}": Several(two(FLAT + JOIN + FC, batch=n, **OF_20)) for n in (1, 3, "N", "frames")},
    {f"FCs added, batch {n}": Several(meeting(ADD, batch=n)) for n in (1, 3)},
    {
        f"float16, {name}, opset {o}": Several(made(o), terms=20, nodes=4)
        for o in (9, 17)
        for name, made in {
            "FC of a Concat": lambda o: two(FLAT + JOIN + FC, o, dtype=np.float16, **OF_20),
            "FCs added": lambda o: meeting(ADD, o, dtype=np.float16),
        }.items()
    },
    {
        "height by 2, width by 1": Several(
            two(
                FLAT + JOIN + FC,
                coarse="coarse = MaxPool <kernel_shape = [2, 1], strides = [2, 1]> (map)\n",
                ratio=(2, 1),
                W=(24, 4),
                B=(4,),
            )
        ),
        "height by 1, width by 3": Several(
            two(
                FLAT + FCS + "y = Add(w, u)",
                coarse="coarse = MaxPool <kernel_shape = [1, 3], strides = [1, 3]> (map)\n",
                ratio=(1, 3),
                window=(2, 3),
                U=(12, 6),
            )
        ),
        "each is coarser along another axis": Several(CROSSED),
        "1-D": Several(
            two(
                FLAT + JOIN + FC,
                coarse="coarse = MaxPool <kernel_shape = [2], strides = [2]> (map)\n",
                ratio=(2,),
                window=(6,),
                W=(18, 4),
                B=(4,),
            )
        ),
        "1-D, FCs added": Several(
            meeting(
                ADD,
                coarse="coarse = MaxPool <kernel_shape = [2], strides = [2]> (map)\n",
                ratio=(2,),
                window=(4,),
                U=(8, 6),
            )
        ),
        "3-D": Several(
            two(
                FLAT + JOIN + FC,
                coarse="coarse = MaxPool <kernel_shape = [2, 2, 2], strides = [2, 2, 2]> (map)\n",
                ratio=(2, 2, 2),
                window=(2, 4, 2),
                W=(36, 4),
                B=(4,),
            )
        ),
        "3-D, FCs added, opset 9": Several(
            meeting(
                ADD,
                9,
                coarse="coarse = MaxPool <kernel_shape = [2, 2, 1], strides = [2, 2, 1]> (map)\n",
                ratio=(2, 2, 1),
                window=(2, 4, 1),
            )
        ),
        "three maps": Several(THREE),
        "three maps, FCs summed": Several(THREE_SUMS),
        "maps that are siblings": Several(SIBLINGS),
        "a pooled fine map and a flattened coarse one": Several(PFLD),
        "two pooled maps and a flattened one": Several(PFLD_3),
        "Concat, Softmax": Several(
            meeting("c = Concat <axis = 1> (u, w)\ny = Softmax <axis = -1> (c)"), terms=20, nodes=5
        ),
        "Concat, Softmax, opset 9": Several(
            meeting("c = Concat <axis = 1> (u, w)\ny = Softmax <axis = 1> (c)", 9), terms=20, nodes=5
        ),
        "Concat of maps, L2 normalised, FC": Several(
            two(
                f"{FLAT}{JOIN}n = ReduceL2 <axes = [1]> (c)\nm = Max(n, e)\nd = Div(c, m)\ny = Gemm(d, W, B)",
                e=0.5,
                **OF_20,
            ),
            terms=20,
            nodes=5,
        ),
        "Concat of maps, LpNormalization, FC": Several(
            two(f"{FLAT}{JOIN}d = LpNormalization <axis = 1> (c)\ny = Gemm(d, W, B)", **OF_20), terms=20, nodes=5
        ),
        "Concat of maps, an unread Softmax, FC": Several(
            two(f"{FLAT}{JOIN}d = Softmax <axis = 1> (c)\ny = Gemm(d, W, B)", **OF_20), terms=20, nodes=5
        ),
        "the classes of both, compared": Several(
            meeting("i = ArgMax <axis = 1> (u)\nj = ArgMax <axis = 1> (w)\ny = Equal(i, j)"),
        ),
        "integers of both": Several(meeting("i = Cast <to = 6> (u)\nj = Cast <to = 6> (w)\ny = Add(i, j)")),
        "flags of both": Several(meeting("i = Greater(u, z0)\nj = Greater(w, z0)\ny = And(i, j)", z0=0.0)),
        "unread integers of both": Several(
            two(
                "i = Cast <to = 6> (a)\nj = Cast <to = 6> (b)\nk = Concat <axis = 1> (i, j)\nc = Cast <to = 1> (k)\n"
                + FC,
                coarse=POOL + FLAT,
                **OF_20,
            )
        ),
        "unread flags of both": Several(
            two(
                "i = Greater(a, z0)\nj = Greater(b, z0)\nk = Concat <axis = 1> (i, j)\nc = Cast <to = 1> (k)\n" + FC,
                coarse=POOL + FLAT,
                z0=0.0,
                **OF_20,
            )
        ),
    },
)


OLD = "which before opset 10 only floating-point types can"
REFUSES = {
    "the classes of both, compared, opset 9": Refuses(
        meeting("i = ArgMax <axis = 1> (u)\nj = ArgMax <axis = 1> (w)\ny = Equal(i, j)", 9), "Equal 'y'", OLD
    ),
    "flags of both, opset 9": Refuses(
        meeting("i = Greater(u, z0)\nj = Greater(w, z0)\ny = And(i, j)", 9, z0=0.0), "And 'y'", OLD
    ),
    "strides 2 and 3": Refuses(
        two(
            "third = MaxPool <kernel_shape = [3, 3], strides = [3, 3]> (map)\n"
            "a = Flatten(third)\nb = Flatten(coarse)\n" + JOIN + FC,
            window=(12, 6),
            W=(64, 4),
            B=(4,),
        ),
        "Concat 'c'",
        "different grids (effective stride (6, 6), window (4, 2); effective stride (4, 4), window (6, 3))",
    ),
    "strides 2 and 3, added": Refuses(
        two(
            "third = MaxPool <kernel_shape = [3, 3], strides = [3, 3]> (map)\n"
            "a = Flatten(third)\nb = Flatten(coarse)\n" + FCS + ADD,
            window=(6, 6),
            U=(8, 6),
            V=(18, 6),
        ),
        "Add 'y'",
        "different grids (effective stride (6, 6), window (2, 2); effective stride (4, 4), window (3, 3))",
    ),
    "strides that divide along one axis only": Refuses(
        two(
            "third = MaxPool <kernel_shape = [2, 3], strides = [2, 3]> (map)\n"
            "a = Flatten(third)\nb = Flatten(coarse)\nu = MatMul(a, U)\nw = MatMul(b, V)\ny = Mul(u, w)",
            window=(4, 6),
            U=(8, 6),
            V=(12, 6),
        ),
        "Mul 'y'",
        "effective stride (4, 6), window (2, 2); effective stride (4, 4), window (2, 3)",
    ),
    "a map that grows by twos and one that grows by ones": Refuses(
        two(
            "up = Upsample <scales = [1.0, 1.0, 2.0, 2.0]> (coarse)\na = Flatten(map)\nb = Flatten(up)\n" + FCS + ADD,
            8,
            V=(16, 6),
        ),
        "Add 'y'",
        "combines heads on different grids (effective stride (2, 2), window (4, 2))",
    ),
    "three maps of which two do not fit": Refuses(
        two(
            "third = MaxPool <kernel_shape = [3, 3], strides = [3, 3]> (map)\n"
            "a = Flatten(map)\nb = Flatten(third)\nd = Flatten(coarse)\nc = Concat <axis = 1> (a, b, d)\n" + FC,
            window=(6, 6),
            W=(98, 4),
            B=(4,),
        ),
        "Concat 'c'",
        "(effective stride (2, 2), window (6, 6); effective stride (6, 6), window (2, 2); effective stride (4, 4)",
    ),
}


@every(LIFTS)
def test_lifts(row: Several) -> None:
    row.check()


@every(REFUSES)
def test_refuses(row: Refuses) -> None:
    row.check()


# -- what cannot be built out of one image is asked of the function itself ---------------------------------------------


class Asked:
    """What ``common`` needs of a rewriter."""

    def __init__(self) -> None:
        self.phases: list[str] = []

    def refuse_if(self, condition: object, reason: str) -> None:
        if condition:
            raise fc2conv.Unliftable(reason, "Add 'y'")

    def blame_phase(self, detail: str) -> None:
        self.phases.append(detail)


def on_grid(stride: int, law: tuple[int, int, int], source: str = "x") -> Windowed:
    grid = Grid(source, (16,), (2,), (stride,), (SizeLaw().then(*law),), (stride,), (0,), (0,), (1,))
    return Windowed("t", (3,), 1, grid)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([on_grid(4, (1, -12, 4)), on_grid(4, (1, -12, 4), "z")], "effective stride (4,), window (2,))"),
        (
            [on_grid(2, (1, -14, 2)), on_grid(4, (1, -8, 4))],
            "effective stride (2,), window (2,); effective stride (4,)",
        ),
        ([on_grid(2, (1, -14, 2)), on_grid(2, (2, -30, 2))], "effective stride (2,), window (2,))"),
    ],
    ids=["another input", "one cell more", "twice the cells"],
)
def test_grids_without_common_cells_are_refused(values: list[Windowed], reason: str) -> None:
    with pytest.raises(fc2conv.Unliftable, match=re.escape(f"combines heads on different grids ({'effective'}")) as e:
        common(Asked(), values)  # type: ignore[arg-type]
    assert reason in e.value.reason


@pytest.mark.parametrize("flip", [False, True])
def test_the_coarser_grid_is_shared_whichever_comes_first(flip: bool) -> None:
    fine, coarse = on_grid(2, (1, -14, 2)), on_grid(4, (1, -12, 4))
    asked = Asked()
    shared = common(asked, [coarse, fine] if flip else [fine, coarse])  # type: ignore[arg-type]
    assert shared.aligns_with(coarse.grid)
    assert not asked.phases


# -- sizes in between --------------------------------------------------------------------------------------------------

ODD = two(FLAT + FCS + ADD, window=(5, 3), U=(30, 6), V=(4, 6))
BORDERED = two(
    FLAT + JOIN + FC,
    coarse="coarse = Conv <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (map, k)\n",
    k=(2, 2, 3, 3),
    **OF_20,
)
CEIL = two(
    FLAT + FCS + ADD,
    coarse="coarse = MaxPool <kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1> (map)\n",
)
SAME = two(
    FLAT + FCS + ADD,
    coarse='coarse = MaxPool <kernel_shape = [2, 2], strides = [2, 2], auto_pad = "SAME_UPPER"> (map)\n',
)
OUT_OF_PHASE = {
    "a window that the stride does not divide": ODD,
    "pads": BORDERED,
    "ceil_mode": CEIL,
    "SAME_UPPER": SAME,
}


@every(OUT_OF_PHASE)
def test_grids_that_agree_at_aligned_sizes_only(row: Head, tmp_path: Any, capsys: Any) -> None:
    conversion = pipeline.prepare(*model_io.load(network(row)))
    met = [c for c in conversion.phases if "equal only at trained + n * stride" in c.detail]
    assert [c.node.split(" ")[0] for c in met] == ["Concat" if "Concat" in row.text else "Add"]
    height, width = (2 * w for w in row.window)
    assert conversion.valid_sizes("x") == f"{height} + n*4 x {width} + n*4"
    for aligned in ((0, 0), (2, 4), (6, 2)):
        assert compare_at(row, conversion.proto, aligned) == tuple(1 + g // 2 for g in aligned)
    fc2conv.convert(network(row), sizes=[(height + 8, width + 4)])
    with pytest.raises(fc2conv.UsageError, match="is not of the form"):
        fc2conv.convert(network(row), sizes=[(height + 8, width + 2)])
    (tmp_path / "in.onnx").write_bytes(network(row).SerializeToString())
    size = f"{height + 2}x{width}"
    code = cli.main([str(tmp_path / "in.onnx"), str(tmp_path / "out.onnx"), "--size", size])
    words = capsys.readouterr().err
    assert (code, (tmp_path / "out.onnx").exists()) == (2, False)
    assert f"size {size} is not of the form {height} + n*4 x {width} + n*4" in words


IN_PHASE = {
    "FC of a Concat": two(FLAT + JOIN + FC, **OF_20),
    "FCs added": meeting(ADD),
    "three maps": THREE,
    "siblings": SIBLINGS,
    "a pooled fine map": PFLD,
}


@every(IN_PHASE)
@pytest.mark.parametrize("grow", [(1, 0), (0, 1), (3, 5), (5, 2), (7, 3)], ids=str)
def test_every_size_is_valid_where_the_laws_are_equal(row: Head, grow: tuple[int, int]) -> None:
    conversion = pipeline.prepare(*model_io.load(network(row)))
    assert not conversion.phases
    assert conversion.valid_sizes("x").startswith("any from")
    compare_at(row, conversion.proto, grow)


def test_a_phase_is_noted_once_for_each_node() -> None:
    text = "c = Concat <axis = 1> (u, w)\nd = Relu(c)\nh = Sub(u, w)\ny = Sum(h, u, w)"
    conversion = pipeline.prepare(*model_io.load(network(two(FLAT + FCS + text, window=(5, 3), U=(30, 6), V=(4, 6)))))
    assert [c.node for c in conversion.phases] == ["Concat 'c'", "Sub 'h'", "Sum 'y'"]


def test_outputs_keep_their_own_grids_beside_the_shared_one() -> None:
    made = replace(meeting(ADD), outputs=("u", "w", "y"))
    result = fc2conv.convert(network(made))
    assert [result.geometry[name].stride for name in ("u", "w", "y")] == [(2, 2), (4, 4), (4, 4)]
    assert [result.geometry[name].grid_size((16, 12)) for name in ("u", "w", "y")] == [(5, 5), (3, 3), (3, 3)]
    for outputs, ratios in ((("u",), {"map": (1, 1)}), (("w", "y"), {"map": (2, 2), "coarse": (1, 1)})):
        compare_at(replace(made, outputs=outputs, ratios=ratios), result.model, (4, 6))


# -- how it is done ----------------------------------------------------------------------------------------------------


def test_an_fc_over_the_maps_strides_by_its_own_conv() -> None:
    model = fc2conv.convert(network(two(FLAT + JOIN + FC, **OF_20)), verify=False).model
    assert count(model, "Slice", "Concat", "MaxPool") == 1  # the backbone's
    strides = [list(a.ints) for n in model.graph.node for a in n.attribute if a.name == "strides"]
    assert strides == [[2, 2], [2, 2], [2, 2], [1, 1]]


@pytest.mark.parametrize(("opset", "op_type"), [(9, "MaxPool"), (10, "Slice"), (17, "Slice")])
def test_cells_in_between_are_left_out_by(opset: int, op_type: str) -> None:
    model = fc2conv.convert(network(meeting(ADD, opset)), verify=False).model
    assert count(model, op_type) == 1 + (op_type == "MaxPool")  # the backbone has one
    assert count(model, "Slice", "MaxPool") == 2


# -- sabotage ----------------------------------------------------------------------------------------------------------


def cropped(model: ModelProto, value: str, like: str) -> None:
    """Crop a value to the grid of another, from the first cell on."""
    for node in model.graph.node:
        node.input[:] = [f"{value}_cropped" if name == value else name for name in node.input]
    arrays = {"from_0": [0, 0], "from_2": [2], "to_4": [4], "grid": [2, 3]}
    model.graph.initializer.extend(numpy_helper.from_array(np.array(v, np.int64), k) for k, v in arrays.items())
    made = [
        helper.make_node("Shape", [like], ["like_shape"]),
        helper.make_node("Slice", ["like_shape", "from_2", "to_4"], ["like_grid"]),
        helper.make_node("Slice", [value, "from_0", "like_grid", "grid"], [f"{value}_cropped"]),
    ]
    at = max(i for i, n in enumerate(model.graph.node) if {value, like} & {*n.output}) + 1
    rest = list(model.graph.node[at:])
    del model.graph.node[at:]
    model.graph.node.extend([*made, *rest])


def strided(model: ModelProto) -> SimpleNamespace:
    """The node that leaves cells out, and what it is combined with."""
    steps = {t.name for t in model.graph.initializer if t.name.startswith("steps")}
    for node in model.graph.node:
        strides = [list(a.ints) for a in node.attribute if a.name == "strides"]
        if steps & {*node.input} or (node.output[0] not in ("map", "coarse") and [2, 2] in strides):
            (meets,) = (n for n in model.graph.node if node.output[0] in n.input)
            (other,) = (i for i in meets.input if i != node.output[0])
            return SimpleNamespace(node=node, other=other)
    raise AssertionError("nothing leaves cells out")


def stride_ignored(model: ModelProto) -> None:
    found = strided(model)
    if found.node.op_type == "Slice":
        ones = np.array([1, 1], np.int64)
        model.graph.initializer.append(numpy_helper.from_array(ones, "ones"))
        found.node.input[4] = "ones"
    else:
        strides = next(a for a in found.node.attribute if a.name == "strides")
        strides.ints[:] = [1, 1]
    cropped(model, found.node.output[0], found.other)


def one_fine_cell_on(model: ModelProto) -> None:
    """The finer grid from its second row on, its last row repeated."""
    node = strided(model).node
    arrays = {"one_more": [0, 0, 0, 0, 0, 0, 1, 0], "second": [1], "last": [2**31 - 1], "rows": [2]}
    model.graph.initializer.extend(numpy_helper.from_array(np.array(v, np.int64), k) for k, v in arrays.items())
    at = next(i for i, n in enumerate(model.graph.node) if n.output == node.output)
    model.graph.node.insert(at, helper.make_node("Pad", [node.input[0], "one_more"], ["longer"], mode="edge"))
    model.graph.node.insert(at + 1, helper.make_node("Slice", ["longer", "second", "last", "rows"], ["shifted"]))
    model.graph.node[at + 2].input[0] = "shifted"


SABOTAGED = {"FC of a Concat": two(FLAT + JOIN + FC, **OF_20), "FCs added": meeting(ADD)}


@pytest.mark.parametrize("name", ["FC of a Concat", "FCs added"])
@pytest.mark.parametrize(
    ("mutate", "check"),
    [(stride_ignored, "windows"), (one_fine_cell_on, "same size|windows")],
    ids=["stride ignored", "shifted"],
)
def test_verify_rejects(name: str, mutate: Callable[[ModelProto], None], check: str) -> None:
    original = network(SABOTAGED[name])
    converted = ModelProto()
    converted.CopyFrom(fc2conv.convert(original, verify=False).model)
    fc2conv.verify(original, converted)
    mutate(converted)
    with pytest.raises(fc2conv.VerificationFailed, match=check):
        fc2conv.verify(original, converted)
