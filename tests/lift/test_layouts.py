"""Every kind of operator on values of which the original keeps the batch elsewhere: moved, merged with rows, or gone.

A place says how a vector of 12 features becomes ``r``. Each operator is tried along every axis of it: along features
it is lifted, along the axis that holds the batch it is refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import onnx_fc2conv as fc2conv

from ..networks import Head, integers, network, session
from .tables import Lifts, Refuses, every, powers, some, spent, table

BATCH = "works along the batch axis, so it mixes the windows of different images"
ROUNDS: dict[str, Any] = {"terms": 12, "nodes": 6}
TINY: dict[str, Any] = {"tiny": 2.0**-6}


@dataclass(frozen=True)
class Place:
    """One way to keep the batch.

    Attributes:
        text: nodes from ``{x}`` [N, 12] to ``r``.
        shape: of ``r``; the axis that holds the batch is a string.
        weights: operands of the nodes.
        batch: as declared.
    """

    text: str
    shape: tuple[int | str, ...]
    weights: dict[str, Any] = field(default_factory=dict)
    batch: int | str = "N"

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def batch_axis(self) -> int | None:
        return next((axis for axis, n in enumerate(self.shape) if isinstance(n, str)), None)

    def features(self) -> Iterator[tuple[int, int]]:
        """Axis and size of all axes but that of the batch."""
        yield from ((axis, n) for axis, n in enumerate(self.shape) if isinstance(n, int))

    def head(self, text: str, front: bool, opset: int = 17, **rest: Any) -> Head:
        """A head in which ``text`` reads ``r``, made of the flattened vector itself or of what an FC made of it."""
        outputs = rest.pop("outputs", "y")
        lines = f"{self.text.format(x='v' if front else 'u')}\n{text}"
        weights = {"units": 12, "batch": self.batch, **self.weights, **rest}
        return spent(lines, opset, outputs=f"{outputs} u" if front else outputs, **weights)


ROW, TURN = "r = Reshape({x}, d)", "q = Reshape({x}, d)\nr = Transpose"
PLACES = {
    "first": Place(ROW, ("N", 3, 4), {"d": [0, 3, 4]}),
    "second, by Unsqueeze": Place("r = Reshape({x}, d)", (1, "N", 12), {"d": [1, -1, 12]}),
    "second": Place(f"{TURN} <perm = [1, 0, 2]> (q)", (3, "N", 4), {"d": [0, 3, 4]}),
    "last of two": Place("r = Transpose({x})", (12, "N")),
    "last": Place(f"{TURN} <perm = [2, 1, 0]> (q)", (4, 3, "N"), {"d": [0, 3, 4]}),
    "merged": Place(ROW, ("N*3", 4), {"d": [-1, 4]}),
    "merged, rank 3": Place(f"{TURN} <perm = [0, 2, 1]> (q)", ("N*2", 2, 3), {"d": [-1, 3, 2]}),
    "merged to one axis": Place(ROW, ("N*12",), {"d": [-1]}),
    "second, batch 3": Place(f"{TURN} <perm = [1, 0, 2]> (q)", (3, "N", 4), {"d": [0, 3, 4]}, 3),
    "merged, batch 3": Place(ROW, ("N*3", 4), {"d": [-1, 4]}, 3),
    "gone": Place(ROW, (12,), {"d": [12]}, 1),
    "gone, rank 2": Place(ROW, (3, 4), {"d": [3, 4]}, 1),
    "gone, rank 3": Place(f"{TURN}(q)", (2, 3, 2), {"d": [2, 3, 2]}, 1),
}


@dataclass(frozen=True)
class Along:
    """An operator that works along an axis.

    Attributes:
        text: nodes from ``r`` to ``y``; ``{a}`` is the axis.
        weights: operands, from the axis and the sizes of all axes.
        rounds: compared with a tolerance.
        wide: steady, or of no use, on an axis of size 1.
        all_behind: works on all axes behind it too.
        refused: where the axis is that of the batch.
    """

    text: str
    weights: Callable[[int, tuple[Any, ...]], dict[str, Any]] = lambda axis, shape: {}
    rounds: bool = False
    wide: bool = False
    all_behind: bool = False
    opset: int = 17
    outputs: str = "y"
    refused: str = BATCH


SCALED = "s = Mul(r, tiny)\n"
ALONG = {
    "Softmax": Along(f"{SCALED}y = Softmax <axis = {{a}}> (s)", lambda a, s: TINY, True, True, opset=13),
    "Softmax, opset 11": Along(
        f"{SCALED}y = Softmax <axis = {{a}}> (s)", lambda a, s: TINY, True, True, True, opset=11
    ),
    "LogSoftmax, opset 9": Along(
        f"{SCALED}y = LogSoftmax <axis = {{a}}> (s)", lambda a, s: TINY, True, True, True, opset=9
    ),
    "Hardmax": Along("y = Hardmax <axis = {a}> (r)", wide=True),
    "LpNormalization": Along(
        "a = Abs(r)\nb = Add(a, one)\ny = LpNormalization <axis = {a}> (b)", lambda a, s: {"one": 1.0}, True, True
    ),
    "LayerNormalization": Along(
        "y = LayerNormalization <axis = {a}, epsilon = 1.0> (r, c, b)",
        lambda a, s: {"c": powers(*_sizes(s[a:])), "b": _sizes(s[a:])},
        True,
        True,
        True,
    ),
    "ReduceMax": Along("y = ReduceMax <axes = [{a}]> (r)"),
    "ReduceMin without the axis": Along("y = ReduceMin <axes = [{a}], keepdims = 0> (r)", opset=13),
    "ReduceSum": Along("y = ReduceSum(r, axes)", lambda a, s: {"axes": [a]}),
    "ReduceSum without the axis": Along("y = ReduceSum <keepdims = 0> (r, axes)", lambda a, s: {"axes": [a - len(s)]}),
    "ReduceMean, opset 18": Along("y = ReduceMean(r, axes)", lambda a, s: {"axes": [a]}, True, opset=18),
    "ArgMax": Along("y = ArgMax <axis = {a}> (r)", wide=True),
    "ArgMin without the axis": Along("y = ArgMin <axis = {a}, keepdims = 0> (r)", wide=True),
    "TopK": Along("y, z = TopK <axis = {a}> (r, k)", lambda a, s: {"k": [2]}, wide=True, outputs="y z"),
    "CumSum": Along("y = CumSum(r, axis)", lambda a, s: {"axis": np.array(a)}),
    "Gather": Along("y = Gather <axis = {a}> (r, i)", lambda a, s: {"i": [-1, 0, 0]}),
    "Gather that drops the axis": Along("y = Gather <axis = {a}> (r, i)", lambda a, s: {"i": np.array(-1)}),
    "Slice": Along(
        "y = Slice(r, s, e, x1, p)",
        lambda a, s: {"s": [-1], "e": [-99], "x1": [a], "p": [-1]},
        refused="slices the batch axis",
    ),
    "Slice, opset 9": Along(
        "y = Slice <starts = [-1], ends = [99], axes = [{a}]> (r)", opset=9, refused="slices the batch axis"
    ),
    "Split": Along(
        "y, z = Split <axis = {a}> (r, sizes)",
        lambda a, s: {"sizes": [1, s[a] - 1] if isinstance(s[a], int) else [1, 1]},
        wide=True,
        outputs="y z",
    ),
}


def _sizes(shape: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(n if isinstance(n, int) else 1 for n in shape)


def along_rows() -> tuple[dict[str, Lifts], dict[str, Refuses]]:
    """Each operator along each axis of each place, the axis counted from the front or from the back."""
    lifted, refused = {}, {}
    for (where, place), (name, op) in itertools.product(PLACES.items(), ALONG.items()):
        for axis, n in enumerate(place.shape):
            for front in (False, True):
                written = axis - place.rank if front and op.opset > 11 else axis
                weights = op.weights(axis, place.shape)
                made = place.head(op.text.format(a=written), front, op.opset, outputs=op.outputs, **weights)
                behind = op.all_behind and place.batch_axis is not None and place.batch_axis > axis
                row = f"{name} along axis {axis} of {list(place.shape)}, batch {where}{', in front' * front}"
                node = f"{_operator(op.text)} 'y'"
                if isinstance(n, str) or behind:
                    refused[row] = Refuses(made, node, "normalises over the batch" if behind else op.refused)
                elif n > 1 or not op.wide:
                    lifted[row] = Lifts(made, **(ROUNDS if op.rounds else {}))
    return lifted, refused


def _operator(text: str) -> str:
    return text.splitlines()[-1].split(" = ")[1].split("(")[0].split(" ")[0]


def constant_rows() -> dict[str, Lifts]:
    """Constants of every rank and shape that has one row for all images."""
    rows = {}
    for where, place in PLACES.items():
        options = [(1, n) if isinstance(n, int) and n > 1 else (1,) for n in place.shape]
        for rank in range(place.rank + 1):
            for dims in itertools.product(*options[place.rank - rank :]):
                name = f"a constant of shape {dims} and {list(place.shape)}, batch {where}"
                rows[name] = Lifts(place.head("a = Add(r, c)\ny = Mul(c, a)", False, c=some(*dims, low=1)))
                rows[f"{name}, in front"] = Lifts(place.head("a = Sub(c, r)\ny = Max(a, r)", True, c=dims))
    return rows


NORM = "y = BatchNormalization <epsilon = 1.0> (r, c, b, m, w)"


def norm_rows() -> tuple[dict[str, Lifts], dict[str, Refuses]]:
    lifted, refused = {}, {}
    for where, place in PLACES.items():
        for front in (False, True):
            n = place.shape[1] if place.rank > 1 else None
            size = n if isinstance(n, int) else 1
            weights: dict[str, Any] = {"c": (size,), "b": (size,), "m": (size,), "w": powers(size)}
            made = place.head(NORM, front, **weights)
            row = f"BatchNormalization of {list(place.shape)}, batch {where}{', in front' * front}"
            if isinstance(n, int):
                lifted[row] = Lifts(made, **ROUNDS)
            else:
                reason = "has no channel axis" if n is None else BATCH
                refused[row] = Refuses(made, "BatchNormalization 'y'", reason)
    return lifted, refused


ANYWHERE: dict[str, str] = {
    "Relu": "y = Relu(r)",
    "Cast": "y = Cast <to = 7> (r)",
    "Clip": "y = Clip(r, lo, hi)",
    "Greater, Where": "g = Greater(r, lo)\ny = Where(g, r, hi)",
    "residual": "a = Relu(r)\nb = Neg(r)\ny = Add(a, b)",
    "Identity": "y = Identity(r)",
    "Dropout": "y = Dropout(r)",
    "Slice of everything": "y = Slice(r, s, e)",
    "and its middle": "y = Relu(r)\nz = Neg(y)",
}
OPERANDS: dict[str, Any] = {"lo": -3.0, "hi": 5.0, "s": [0], "e": [2**63 - 1]}

ALONG_LIFTS, ALONG_REFUSES = along_rows()
NORM_LIFTS, NORM_REFUSES = norm_rows()

LIFTS = table(
    ALONG_LIFTS,
    constant_rows(),
    NORM_LIFTS,
    {
        f"{name} of {list(place.shape)}, batch {where}{', in front' * front}": Lifts(
            place.head(text, front, outputs="y z r" if "z =" in text else "y", **OPERANDS)
        )
        for where, place in PLACES.items()
        for name, text in ANYWHERE.items()
        for front in (False, True)
    },
    {
        f"values of shape {first} and {second}, batch gone": Lifts(
            spent(
                "r = Reshape(u, d)\nm = Slice(u, zero, size, one)\nq = Reshape(m, e)\ny = Add(r, q)",
                batch=1,
                units=6,
                d=first,
                e=second,
                zero=[0],
                one=[1],
                size=[int(np.prod(second))],
            )
        )
        for first, second in (([6], [6]), ([3, 2], [2]), ([3, 2], [3, 1]), ([2, 3, 1], [3, 2]))
    },
    {
        "a value without its batch axis, reduced to a scalar": Lifts(
            spent("r = Reshape(u, d)\na = ReduceMax <keepdims = 0> (r)\ny = Add(a, c)", batch=1, d=[4], c=2.0)
        ),
        "a value without its batch axis, reduced over all axes": Lifts(
            spent("r = Reshape(u, d)\ny = ReduceMax(r)", batch=1, d=[2, 2])
        ),
        "the largest of a value without its batch axis": Lifts(
            spent("r = Reshape(u, d)\ny = ArgMax <keepdims = 0> (r)", batch=1, d=[4])
        ),
        "Gather along the default axis, batch gone": Lifts(
            spent("r = Reshape(u, d)\ny = Gather(r, i)", batch=1, d=[4], i=[2, 0])
        ),
        "Gather that adds axes, batch first": Lifts(
            spent("y = Gather <axis = 1> (u, i)", i=np.array([[0, 1], [3, 3]]))
        ),
    },
)


def two_places(first: str, second: str, batch: int = 3) -> Head:
    """The sum of one value in two places."""
    a, b = PLACES[first], PLACES[second]
    lines = [
        a.text.format(x="u"),
        b.text.format(x="u").replace("r =", "z =").replace("q", "w").replace(", d)", ", d2)"),
    ]
    weights = {**a.weights, **{f"{k}2": v for k, v in b.weights.items()}}
    return spent("\n".join([*lines, "y = Add(r, z)"]), batch=batch, units=12, **weights)


MEET = {
    ("last of two", "merged"): "combines values of shape [12, N] and [N*3, 4]: the batch would meet features",
    ("second", "first"): "combines values of shape [3, N, 4] and [N, 3, 4]: the batch would meet features",
    ("second, by Unsqueeze", "last of two"): "combines values of shape [1, N, 12] and [12, N]",
    ("merged", "merged, rank 3"): "combines values of shape [N*3, 4] and [N*2, 2, 3]",
    ("last", "second"): "combines values of shape [4, 3, N] and [3, N, 4]",
}

REFUSES = table(
    ALONG_REFUSES,
    NORM_REFUSES,
    {f"{a} and {b}": Refuses(two_places(a, b), "Add 'y'", reason) for (a, b), reason in MEET.items()},
    {
        f"a constant of shape {dims} and {list(PLACES[where].shape)}, batch {where}": Refuses(
            PLACES[where].head("y = Add(r, c)", False, c=dims),
            "Add 'y'",
            f"its constant 'c' has {rows} rows and would repeat the image"
            if where in ("first", "merged", "last")
            else "its constant 'c' has a row for each of several images",
        )
        for where, dims, rows in (
            ("first", (5, 3, 4), 5),
            ("merged", (3, 4), 3),
            ("last", (2,), 2),
            ("second, batch 3", (3, 1), 3),
            ("second, batch 3", (3, 3, 4), 3),
            ("merged, batch 3", (9, 4), 9),
        )
    },
    {
        f"a constant with more axes than {list(PLACES[where].shape)}, batch {where}": Refuses(
            PLACES[where].head("y = Add(r, c)", False, c=(1, 1, 1, 1)), "Add 'y'", "has more axes than the value"
        )
        for where in ("second", "merged", "gone", "gone, rank 2")
    },
    {
        f"Concat of {list(place.shape)}, batch {where}": Refuses(
            place.head("y = Concat <axis = -1> (r, r)", False),
            "Concat 'y'",
            "joins values of which the batch axis is not the first",
        )
        for where, place in PLACES.items()
        if where != "first"
    },
    {
        f"Gather of {list(place.shape)} that adds axes, batch {where}": Refuses(
            place.head(f"y = Gather <axis = {axis}> (r, i)", False, i=np.array([[0, 0]])),
            "Gather 'y'",
            "adds axes in front of the batch axis",
        )
        for where, place in PLACES.items()
        for axis, _ in place.features()
        if where != "first"
    },
    {
        "ReduceMax over all axes, batch second": Refuses(
            PLACES["second"].head("y = ReduceMax(r)", False), "ReduceMax 'y'", "reduces over all axes"
        ),
        "a pool over a map whose batch is second": Refuses(
            spent(
                "m = Reshape(v, d)\np = Transpose <perm = [1, 0, 2, 3]> (m)\ny = GlobalMaxPool(p)",
                batch=2,
                d=[0, 2, 3, 2],
                outputs="y u",
            ),
            "GlobalMaxPool 'y'",
            "pools values that are no longer laid out as a feature map",
        ),
    },
)


@every(LIFTS)
def test_lifts(row: Lifts) -> None:
    row.check()


@every(REFUSES)
def test_refuses(row: Refuses) -> None:
    row.check()


every_place = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())


@every_place
@pytest.mark.parametrize("front", [False, True], ids=["behind", "in front"])
def test_the_declared_shape_is_what_comes_out_and_every_check_passes(place: Place, front: bool) -> None:
    made = place.head("y = Relu(r)", front, outputs="y u" if not front else "y")
    result = fc2conv.convert(network(made), verify=True)
    declared = {o.name: list(o.type.tensor_type.shape.dim) for o in result.model.graph.output}
    grid = [d.dim_param for d in declared["u"][-2:]]
    assert all(grid)
    assert [d.dim_param for d in declared["y"][-2:]] == grid
    images = place.batch if isinstance(place.batch, int) else 2
    (found,) = session(result.model).run(["y"], {"x": integers((images, 1, 12, 8))})
    assert found.shape[-2:] == (4, 3)
    assert len(declared["y"]) == found.ndim == place.rank + 2
    for axis, (dim, n) in enumerate(zip(declared["y"][:-2], place.shape, strict=True)):
        if isinstance(n, int):
            assert (dim.dim_value, found.shape[axis]) == (n, n)
        elif isinstance(place.batch, int):
            assert dim.dim_value == found.shape[axis]
        else:
            assert dim.dim_param == "N" if n == "N" else not dim.dim_value
