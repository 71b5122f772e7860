"""Normalisations over features, on the flattened vector and behind an FC, with the old and the new meaning of axis."""

from __future__ import annotations

import numpy as np

from .tables import LeavesAlone, Lifts, Refuses, every, powers, some, spent, table, unread

SCALED = "s = Mul({x}, tiny)"  #: integers of up to 200 made so small that no softmax saturates
TINY = {"tiny": 2.0**-6}
ROUNDS = {"terms": 12, "nodes": 6}


def softmax_rows(op_type: str) -> dict[str, Lifts]:
    exact = op_type == "Hardmax"
    rounds = {} if exact else ROUNDS
    axes = [(opset, "<axis = 1>") for opset in (7, 9, 11, 12, 13, 18, 21, 26)]
    axes += [(opset, axis) for opset in (11, 12, 13, 26) for axis in ("", "<axis = -1>")]
    rows = {}
    for opset, axis in axes:
        name = f"{op_type} {axis or 'default axis'}, opset {opset}"
        line = f"{op_type} {axis} (s)"
        rows[f"{name}, behind an FC"] = Lifts(spent(f"{SCALED.format(x='u')}\ny = {line}", opset, **TINY), **rounds)
        rows[f"{name}, in front"] = Lifts(unread(f"{SCALED.format(x='v')}\nt = {line}", opset, **TINY), **rounds)
    for opset in (11, 13, 26):
        for axis in (1, 2, -1, -2):
            line = f"{op_type} <axis = {axis}>"
            name = f"{op_type}, rank 3, axis {axis}, opset {opset}"
            rows[f"{name}, behind an FC"] = Lifts(
                spent(f"{SCALED.format(x='u')}\nr = Reshape(s, d)\ny = {line}(r)", opset, units=6, d=[0, 2, 3], **TINY),
                **rounds,
            )
            rows[f"{name}, in front"] = Lifts(
                unread(
                    f"r = Reshape(map, d)\n{SCALED.format(x='r')}\na = {line}(s)\nt = Flatten(a)",
                    opset,
                    d=[0, 2, 6],
                    **TINY,
                ),
                **rounds,
            )
    rows[f"{op_type}, 1-D"] = Lifts(
        spent(f"{SCALED.format(x='u')}\ny = {op_type}(s)", 11, window=(6,), **TINY), **rounds
    )
    rows[f"{op_type}, 3-D"] = Lifts(
        spent(f"{SCALED.format(x='u')}\ny = {op_type}(s)", 11, window=(2, 1, 3), **TINY), **rounds
    )
    rows[f"{op_type}, batch 3"] = Lifts(
        spent(f"{SCALED.format(x='u')}\ny = {op_type}(s)", 11, batch=3, **TINY), **rounds
    )
    rows[f"{op_type} of a middle value that is an output"] = Lifts(
        spent(f"{SCALED.format(x='u')}\ny = {op_type}(s)\nz = Neg(y)", 11, outputs="s y z", **TINY), **rounds
    )
    return rows


def statistics(channels: int) -> dict[str, np.ndarray]:
    """Scale, bias, mean and variance; the latter in powers of two."""
    return {
        "scale": powers(channels),
        "shift": some(channels),
        "mean": some(channels, low=-3, high=4),
        "var": powers(channels)[::-1].copy(),
    }


NORM = "BatchNormalization"
STATISTICS = "scale, shift, mean, var"


RANK3 = "r = Reshape(u, d)\n"

LIFTS = table(
    {
        "LayerNormalization behind an FC": Lifts(spent("y = LayerNormalization(u, c)", c=(4,)), 4, 3),
        "LayerNormalization with a bias, opset 21": Lifts(
            spent("y = LayerNormalization <epsilon = 0.5> (u, c, e)", 21, c=(4,), e=(4,)), 4, 3
        ),
        "LayerNormalization in front": Lifts(unread("t = LayerNormalization <axis = 1> (v, c)", c=(12,)), 12, 6),
        "LayerNormalization of each row": Lifts(
            spent(f"{RANK3}y = LayerNormalization <axis = -1> (r, c)", d=[0, 2, 3], units=6, c=(3,)), 3, 3
        ),
        "LayerNormalization of all rows": Lifts(
            spent(f"{RANK3}y = LayerNormalization <axis = 1> (r, c)", d=[0, 2, 3], units=6, c=(2, 3)), 6, 3
        ),
    },
    *(softmax_rows(op_type) for op_type in ("Softmax", "LogSoftmax", "Hardmax")),
    {
        f"{NORM} behind an FC, opset {o}": Lifts(spent(f"y = {NORM}(u, {STATISTICS})", o, **statistics(4)), nodes=4)
        for o in (7, 9, 11, 13, 14, 15, 18, 26)
    },
    {
        f"{NORM} in front, opset {o}": Lifts(unread(f"t = {NORM}(v, {STATISTICS})", o, **statistics(12)), **ROUNDS)
        for o in (7, 9, 13, 14, 15, 26)
    },
    {
        f"{NORM} with epsilon": Lifts(spent(f"y = {NORM} <epsilon = 0.5> (u, {STATISTICS})", **statistics(4)), nodes=4),
        f"{NORM} with spatial 1 at opset 7": Lifts(
            spent(f"y = {NORM} <spatial = 1> (u, {STATISTICS})", 7, **statistics(4)), nodes=4
        ),
        f"{NORM} on rank 3": Lifts(
            spent(f"r = Reshape(u, d)\ny = {NORM}(r, {STATISTICS})", units=6, d=[0, 2, 3], **statistics(2)), nodes=4
        ),
        f"{NORM} on the unread map": Lifts(
            unread(f"r = Reshape(v, d)\na = {NORM}(r, {STATISTICS})\nt = Flatten(a)", d=[0, 2, 3, 2], **statistics(2)),
            **ROUNDS,
        ),
        f"{NORM} between FCs": Lifts(
            unread(
                f"a = MatMul(v, M)\nb = {NORM}(a, {STATISTICS})\nt = Relu(b)", features=4, M=(12, 4), **statistics(4)
            ),
            **ROUNDS,
        ),
        f"{NORM} twice with the same statistics": Lifts(
            spent(f"a = {NORM}(u, {STATISTICS})\ny = {NORM}(a, {STATISTICS})", **statistics(4)), nodes=8
        ),
        f"{NORM} with statistics by Identity": Lifts(
            spent(
                f"i = Identity(scale)\nc = Constant <value = float[4] {{1.0, 2.0, 3.0, 4.0}}> ()\n"
                f"y = {NORM}(u, i, c, mean, var)",
                **statistics(4),
            ),
            nodes=4,
        ),
        f"{NORM} is an output in front": Lifts(
            unread(f"t = {NORM}(v, {STATISTICS})", outputs="t y", **statistics(12)), **ROUNDS
        ),
        f"{NORM}, 1-D": Lifts(unread(f"t = {NORM}(v, {STATISTICS})", window=(6,), **statistics(12)), **ROUNDS),
        f"{NORM}, float16": Lifts(
            spent(
                f"y = {NORM}(u, {STATISTICS})",
                dtype=np.float16,
                **{k: v.astype(np.float16) for k, v in statistics(4).items()},
            ),
            nodes=4,
        ),
    },
    {
        f"LpNormalization p {p}, axis {axis}, opset {o}": Lifts(
            spent(f"y = LpNormalization <p = {p}, axis = {axis}> (u)", o), **ROUNDS
        )
        for p in (1, 2)
        for axis in (1, -1)
        for o in (7, 22, 26)
    },
    {
        "LpNormalization by default": Lifts(spent("y = LpNormalization(u)"), **ROUNDS),
        "LpNormalization in front": Lifts(unread("t = LpNormalization(v)"), **ROUNDS),
        "LpNormalization on rank 3": Lifts(
            spent("r = Reshape(u, d)\ny = LpNormalization <axis = -2> (r)", units=6, d=[0, 3, 2]), **ROUNDS
        ),
        "LpNormalization spelled out, in front": Lifts(
            unread("n = ReduceL2 <axes = [1]> (v)\nm = Max(n, eps)\nt = Div(v, m)", eps=2.0**-10), **ROUNDS
        ),
    },
)

REFUSES = table(
    {
        f"{op_type}, axis {axis}, opset {opset}": Refuses(
            spent(f"y = {op_type} <axis = {axis}> (u)", opset), f"{op_type} 'y'", "works along the batch axis"
        )
        for op_type in ("Softmax", "LogSoftmax", "Hardmax", "LpNormalization")
        for axis in (0, -2)
        for opset in (11, 13)
    },
    {
        "training_mode": Refuses(
            spent(f"y = {NORM} <training_mode = 1> (u, {STATISTICS})", **statistics(4)), f"{NORM} 'y'", "training mode"
        ),
        "running statistics as outputs": Refuses(
            spent(f"y, m, w = {NORM} <training_mode = 1> (u, {STATISTICS})", **statistics(4)),
            f"{NORM} 'y'",
            "training mode",
        ),
        "five outputs at opset 9": Refuses(
            spent(f"y, m, w, a, b = {NORM}(u, {STATISTICS})", 9, **statistics(4)), f"{NORM} 'y'", "training mode"
        ),
        "a mean of the head": Refuses(
            spent(
                f"m = ReduceMean <axes = [0], keepdims = 0> (u)\ny = {NORM}(u, scale, shift, m, var)", **statistics(4)
            ),
            "ReduceMean 'm'",
            "works along the batch axis",
        ),
        "a scale of the head": Refuses(
            spent(f"m = Reshape(u, d)\ny = {NORM}(u, m, shift, mean, var)", batch=1, d=[-1], **statistics(4)),
            f"{NORM} 'y'",
            "its scale, bias, mean or variance is not a constant",
        ),
        "a column of the head as scale": Refuses(
            spent(
                f"m = ReduceMax <axes = [1], keepdims = 0> (u)\ny = {NORM}(u, m, shift, mean, var)",
                batch=4,
                **statistics(4),
            ),
            f"{NORM} 'y'",
            "its scale, bias, mean or variance is not a constant",
        ),
        "rank 1": Refuses(
            spent(
                f"m = ReduceMax <axes = [1], keepdims = 0> (u)\ny = {NORM}(m, {STATISTICS})", batch=4, **statistics(4)
            ),
            f"{NORM} 'y'",
            "has no channel axis",
        ),
        "statistics per position": Refuses(
            spent(f"r = Reshape(u, d)\ny = {NORM} <spatial = 0> (r, {STATISTICS})", 7, d=[0, 2, 2], **statistics(2)),
            f"{NORM} 'y'",
            "spatial=0 keeps statistics per position",
        ),
        "LayerNormalization with its statistics": Refuses(
            spent("y, m, d = LayerNormalization(u, c)", outputs="y m d", c=(4,)),
            "LayerNormalization 'y'",
            "gives its statistics too",
        ),
        "LayerNormalization over the batch": Refuses(
            spent("y = LayerNormalization <axis = 0> (u, c)", batch=1, c=(4,)),
            "LayerNormalization 'y'",
            "works along the batch axis",
        ),
        "LayerNormalization with a scale of the head": Refuses(
            spent("m = ReduceMax <axes = [1], keepdims = 0> (u)\ny = LayerNormalization(u, m)", batch=4),
            "LayerNormalization 'y'",
            "its scale or bias is not a constant",
        ),
    },
)

LEAVES_ALONE = {
    f"{NORM} behind an FC": LeavesAlone(
        spent(f"[it] y = {NORM} <epsilon = 0.5> (u, {STATISTICS})", **statistics(4)), "y"
    ),
    "Softmax, axis 1, opset 13": LeavesAlone(spent("[it] y = Softmax <axis = 1> (u)", 13), "y"),
    "LpNormalization, axis 1": LeavesAlone(spent("[it] y = LpNormalization <p = 1, axis = 1> (u)"), "y"),
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
