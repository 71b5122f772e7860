"""Exact or not: the verdict against the truth, which is the original model on every image crop.

Small integers, so that equal means equal bits. Where the verdict is *exact*, every answer at every valid size must be
that of the crop; where it is not, some crop must differ, or the row says why the verdict is more careful than it had to
be. A verdict may be too careful; it must never promise too much.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

import onnx_fc2conv as fc2conv
from onnx_fc2conv import model_io, pipeline
from onnx_fc2conv.backbone import sliding
from onnx_fc2conv.conversion import Conversion

from .networks import cut, integers, session

PIXELS = 60  #: pixels are multiples of it, so that means of up to six are whole
UNITS = 3
IMAGES = 12  #: of each size; a maximum is not often just where it makes a difference


def classifier(
    nodes: Sequence[onnx.NodeProto], arrays: Mapping[str, np.ndarray], size: Sequence[int], opset: int = 19
) -> ModelProto | None:
    """Nodes from ``x`` [N, 2, *size] to ``map``, then Flatten and Gemm; ``None`` if the runtime does not run them."""

    def model(more: Sequence[onnx.NodeProto], output: str, weights: Mapping[str, np.ndarray]) -> ModelProto:
        graph = helper.make_graph(
            [*nodes, *more],
            "verdict",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, *size])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            [numpy_helper.from_array(value, name) for name, value in {**arrays, **weights}.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)

    try:
        run = session(cut(model([], "map", {}), ["x"], ["map"]))
        found = run.run(None, {"x": np.zeros((1, 2, *size), np.float32)})[0]
    except (Fail, InvalidArgument, RuntimeException):
        return None
    if not found.size:
        return None
    head = [helper.make_node("Flatten", ["map"], ["flat"]), helper.make_node("Gemm", ["flat", "fc"], ["y"], transB=1)]
    return model(head, "y", {"fc": integers((UNITS, int(np.prod(found.shape[1:]))), 9, -1, 2)})


def sizes_to_try(conversion: Conversion) -> Iterator[tuple[int, ...]]:
    """Sizes of the form trained + n * stride, and if any size is valid, all that lie between two of them."""
    (trained,), (step,) = conversion.trained.values(), conversion.steps.values()
    yield tuple(t + 3 * s for t, s in zip(trained, step, strict=True))
    yield tuple(t + (1 + k % 2) * s for k, (t, s) in enumerate(zip(trained, step, strict=True)))
    if not conversion.phases:
        for more in range(1, max(step)):
            yield tuple(t + 2 * s + min(more, s - 1) for t, s in zip(trained, step, strict=True))


def differing(model: ModelProto, conversion: Conversion, of: Counter[str] | None = None) -> list[tuple[Any, ...]]:
    """The crops on which the original does not say what the converted model says at their cell: size and cell."""
    original, converted, grid = session(model), session(conversion.proto), conversion.geometry.grid
    found = []
    for size in sizes_to_try(conversion):
        image = PIXELS * integers((IMAGES, 2, *size), sum(size), -9, 10)
        (answers,) = converted.run(None, {"x": image})
        assert answers.shape[2:] == grid.grid_size(size)
        for cell in itertools.product(*map(range, answers.shape[2:])):
            box = grid.box(*cell)
            starts, ends = box[: len(size)], box[len(size) :]
            if any(end > n for end, n in zip(ends, size, strict=True)):
                continue  # the trained size leaves pixels over, which the last box has and the image has not
            crop = image[(slice(None), slice(None), *(slice(a, b) for a, b in zip(starts, ends, strict=True)))]
            (expected,) = original.run(None, {"x": np.ascontiguousarray(crop)})
            if of is not None:
                of["crops"] += 1
            if not np.array_equal(answers[(..., *cell)], expected):
                found.append((size, cell))
    return found


# -- one node that slides, in every way --------------------------------------------------------------------------------

WAYS = [
    *({"pads": [before, after]} for before in range(3) for after in range(3)),
    *({"auto_pad": mode} for mode in ("SAME_UPPER", "SAME_LOWER", "VALID")),
]


def slides() -> Iterator[tuple[str, dict[str, Any]]]:
    """All that a 1-D Conv, MaxPool or AveragePool can be told, within reason."""
    for op_type, kernel, stride, dilation, way in itertools.product(
        ("Conv", "MaxPool", "AveragePool"), (1, 2, 3), (1, 2, 3), (1, 2), WAYS
    ):
        attrs = {"kernel_shape": [kernel], "strides": [stride], "dilations": [dilation], **way}
        if (dilation > 1 and kernel == 1) or max(way.get("pads", [0])) >= kernel + (op_type == "Conv"):
            continue
        if op_type != "Conv" and dilation > 1 and way.get("auto_pad", "VALID") != "VALID":
            continue  # onnxruntime pads as if there were no dilation, and has other sizes than ONNX says
        for ceil_mode in (0, 1) if op_type != "Conv" else (0,):
            counted = (0, 1) if op_type == "AveragePool" and ("pads" in way or ceil_mode) else (0,)
            for count_include_pad in counted:
                more = {"ceil_mode": ceil_mode} if ceil_mode else {}
                more |= {"count_include_pad": 1} if count_include_pad else {}
                yield op_type, attrs | more


def one_slide(op_type: str, attrs: dict[str, Any], size: int) -> ModelProto | None:
    arrays = {"w": integers((2, 2, *attrs["kernel_shape"]), 4, 1, 4)} if op_type == "Conv" else {}
    node = helper.make_node(op_type, ["x", *arrays], ["map"], name="slide", **attrs)
    return classifier([node], arrays, [size])


def careful(op_type: str, attrs: dict[str, Any], conversion: Conversion) -> bool:
    """Why *padded* although no crop differs: behind the map lies a pad that no window reaches at any size tried.

    The pads are declared, so this is not looked into further.
    """
    return attrs.get("pads", [0, 0])[0] == 0 < attrs.get("pads", [0, 0])[1]


@pytest.mark.parametrize("op_type", ["Conv", "MaxPool", "AveragePool"])
def test_one_node_that_slides(op_type: str) -> None:
    """All combinations, at one of three trained sizes each: exact if and only if no crop differs."""
    seen: Counter[str] = Counter()
    rng = np.random.default_rng(7)
    for kind, attrs in slides():
        size = int(rng.integers(9, 12))
        model = one_slide(kind, attrs, size) if kind == op_type else None
        if model is None:
            continue
        try:
            conversion = pipeline.prepare(*model_io.load(model))
        except fc2conv.Unliftable as e:  # ONNX counts a window that starts in the pad behind the map, no runtime does
            if "ceil_mode" in attrs and "by its size law" in e.reason:
                continue
            raise
        different = differing(model, conversion, seen)
        if conversion.verdict == "exact":
            assert not different, (attrs, size, different[:3])
        elif not different:
            assert careful(kind, attrs, conversion), (attrs, size)
            seen["careful"] += 1
        else:
            assert {c.node for c in conversion.inexact} == {f"{op_type} 'slide'"}
        seen[conversion.verdict] += 1
        seen["phase"] += bool(conversion.phases)
    assert set(seen) >= {"exact", "padded", "phase"}
    assert min(seen["exact"], seen["padded"]) > 25
    assert seen["careful"] < seen["padded"] / 8
    assert seen["crops"] > 1000
    print(seen)


# -- several nodes -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A backbone as ONNX text, from ``x`` to ``map``, and what must be said of it.

    Attributes:
        nodes: those because of which it is not exact, no more and no fewer.
        phase: those because of which only sizes of the form trained + n * stride are valid.
        because: why it is not called exact although no crop differs.
    """

    text: str
    verdict: str = "exact"
    nodes: tuple[str, ...] = ()
    phase: tuple[str, ...] = ()
    size: tuple[int, ...] = (12, 10)
    arrays: Mapping[str, Any] = field(default_factory=dict)
    because: str = ""

    def model(self) -> ModelProto:
        """With the head behind it; a name ``w3x2`` is a weight with that kernel."""
        nodes = parser.parse_graph("g (float x) => (float y) {\n" + self.text + "\n}").node
        names = {name for node in nodes for name in node.input if name.startswith("w")}
        kernels = {name: tuple(map(int, name[1:].split("x"))) for name in names}
        weights = {name: integers((2, 2, *kernel), 3, -2, 3) for name, kernel in kernels.items()}
        found = classifier(nodes, weights | {k: np.array(v, np.int64) for k, v in self.arrays.items()}, self.size)
        assert found is not None, "onnxruntime does not run it"
        return found


ROWS = {
    "strided 1x1": Row("map = Conv <strides = [2, 3]> (x, w1x1)"),
    "strided 1x1, SAME_UPPER": Row('map = Conv <strides = [2, 3], auto_pad = "SAME_UPPER"> (x, w1x1)'),
    "strided 1x1, SAME_LOWER": Row('map = Conv <strides = [3, 2], auto_pad = "SAME_LOWER"> (x, w1x1)'),
    "a pool of single cells, ceil_mode": Row(
        "map = MaxPool <kernel_shape = [1, 1], strides = [2, 3], ceil_mode = 1> (x)",
        phase=("MaxPool 'map'",),
        size=(13, 10),
    ),
    "strided 1x1 behind pads": Row(
        """a = Conv <pads = [1, 0, 0, 0]> (x, w3x3)
        map = Conv <strides = [2, 2]> (a, w1x1)""",
        "padded",
        ("Conv 'a'",),
    ),
    "SAME, along one axis only": Row(
        'map = Conv <auto_pad = "SAME_UPPER", strides = [1, 2]> (x, w1x3)', "padded", ("Conv 'map'",), ("Conv 'map'",)
    ),
    "SAME that needs no pad at the trained size": Row(
        'map = Conv <auto_pad = "SAME_LOWER", strides = [3, 2]> (x, w3x2)', phase=("Conv 'map'",)
    ),
    "SAME in the second place, no pad": Row(
        """a = Conv <strides = [2, 1]> (x, w2x3)
        map = MaxPool <auto_pad = "SAME_UPPER", kernel_shape = [2, 2], strides = [2, 2]> (a)""",
        phase=("MaxPool 'map'",),
    ),
    "VALID": Row('map = Conv <auto_pad = "VALID", strides = [2, 2]> (x, w3x3)'),
    "pixels left over": Row("map = Conv <strides = [3, 3]> (x, w2x2)", size=(13, 10)),
    "dilations": Row("map = Conv <dilations = [3, 2], strides = [1, 2]> (x, w3x2)"),
    "dilations, pads reached": Row(
        "map = Conv <dilations = [3, 2], pads = [0, 0, 3, 0]> (x, w3x2)", "padded", ("Conv 'map'",)
    ),
    "pads on one side of one axis": Row("map = Conv <pads = [0, 0, 0, 1]> (x, w3x3)", "padded", ("Conv 'map'",)),
    "asymmetric pads": Row("map = Conv <pads = [2, 0, 1, 1], strides = [2, 2]> (x, w4x3)", "padded", ("Conv 'map'",)),
    "a pad that no window reaches": Row(
        "map = Conv <pads = [0, 0, 1, 1], strides = [2, 2]> (x, w2x2)",
        "padded",
        ("Conv 'map'",),
        because="only between the sizes trained + n * stride does a window reach it, and the image has no crop there",
    ),
    "ceil_mode, windows full": Row(
        "map = MaxPool <kernel_shape = [3, 2], strides = [3, 2], ceil_mode = 1> (x)", phase=("MaxPool 'map'",)
    ),
    "ceil_mode, windows hang over": Row(
        "map = MaxPool <kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1> (x)", "padded", ("MaxPool 'map'",)
    ),
    "ceil_mode in the second place, windows full": Row(
        """a = Conv <strides = [2, 2]> (x, w2x2)
        map = MaxPool <kernel_shape = [2, 3], strides = [2, 2], ceil_mode = 1> (a)""",
        phase=("MaxPool 'map'",),
    ),
    "ceil_mode in the second place, windows hang over": Row(
        """a = Conv <strides = [2, 2]> (x, w2x2)
        map = MaxPool <kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1> (a)""",
        "padded",
        ("MaxPool 'map'",),
        ("MaxPool 'map'",),
    ),
    "a mean over pads": Row(
        "map = AveragePool <kernel_shape = [2, 2], pads = [1, 0, 0, 1], count_include_pad = 1> (x)",
        "padded",
        ("AveragePool 'map'",),
    ),
    "a mean that leaves pads out": Row(
        "map = AveragePool <kernel_shape = [2, 2], pads = [1, 0, 0, 1], count_include_pad = 0> (x)",
        "padded",
        ("AveragePool 'map'",),
    ),
    "a mean that would count pads, and has none": Row(
        "map = AveragePool <kernel_shape = [3, 2], strides = [2, 1], count_include_pad = 1> (x)"
    ),
    "residual, unequal padding": Row(
        """a = Conv <pads = [1, 1, 1, 1]> (x, w3x3)
        b = Conv <pads = [3, 2, 1, 2]> (x, w5x5)
        map = Add (a, b)""",
        "padded",
        ("Conv 'a'", "Conv 'b'"),
    ),
    "residual, one branch pads": Row(
        """a = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w3x3)
        b = Conv <strides = [2, 2]> (x, w1x1)
        map = Add (a, b)""",
        "padded",
        ("Conv 'a'",),
    ),
    "residual, unequal crops": Row(
        """a = Conv (x, w3x3)
        b = Slice (x, two, end, axes)
        c = Pad (x, crop)
        d = Add (a, b)
        map = Add (c, d)""",
        arrays={"two": [2, 2], "end": [2**31 - 1] * 2, "axes": [2, 3], "crop": [0, 0, 0, -1, 0, 0, -2, -1]},
    ),
    "residual, a branch of fewer sizes": Row(
        """a = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)
        b = Conv <strides = [2, 2]> (x, w1x1)
        map = Add (a, b)""",
        phase=("Add 'map'",),
    ),
    "a padded branch beside the head": Row(
        """a = Conv <pads = [1, 1, 1, 1]> (x, w3x3)
        map = Conv (x, w2x2)"""
    ),
    "negative pads": Row("map = Pad (x, p)", arrays={"p": [0, 0, -1, -2, 0, 0, -3, 0]}),
    "negative pads in front of a Conv": Row(
        """a = Pad (x, p)
        map = Conv <strides = [2, 2]> (a, w3x2)""",
        arrays={"p": [0, 0, -1, -2, 0, 0, -2, 0]},
    ),
    "pads in front, negative ones behind": Row(
        "map = Pad (x, p)", "padded", ("Pad 'map'",), arrays={"p": [0, 0, 2, 0, 0, 0, -2, 0]}
    ),
    "a pad that is cropped again": Row(
        """a = Pad (x, p)
        map = Pad (a, q)""",
        "padded",
        ("Pad 'a'",),
        arrays={"p": [0, 0, 1, 1, 0, 0, 1, 1], "q": [0, 0, -1, -1, 0, 0, -1, -1]},
        because="nodes are judged one by one, and Pad 'a' does pad",
    ),
    "a crop that is padded again": Row(
        """a = Pad (x, p)
        map = Conv <pads = [1, 1, 1, 1]> (a, w3x3)""",
        "padded",
        ("Conv 'map'",),
        arrays={"p": [0, 0, -1, -1, 0, 0, -1, -1]},
    ),
    "every second pixel": Row(
        """a = Slice (x, start, end, axes, steps)
        map = Conv (a, w2x2)""",
        arrays={"start": [1, 0], "end": [2**31 - 1] * 2, "axes": [2, 3], "steps": [2, 3]},
    ),
    "1-D": Row("map = Conv <strides = [3], dilations = [2]> (x, w3)", size=(20,)),
    "1-D, padded": Row("map = Conv <strides = [3], pads = [0, 2]> (x, w3)", "padded", ("Conv 'map'",), size=(19,)),
    "3-D": Row("map = Conv <strides = [2, 1, 1]> (x, w2x2x1)", size=(6, 5, 4)),
    "3-D, padded along the depth": Row(
        "map = Conv <pads = [1, 0, 0, 0, 0, 0]> (x, w2x2x1)", "padded", ("Conv 'map'",), size=(6, 5, 4)
    ),
    "a gate over the whole map": Row(
        """a = Conv <pads = [1, 1, 1, 1]> (x, w3x3)
        p = GlobalMaxPool (a)
        map = Add (a, p)""",
        "global context",
        ("Conv 'a'", "GlobalMaxPool 'p'"),
    ),
}
every_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())


@every_row
def test_the_verdict_is_the_truth(row: Row) -> None:
    model = row.model()
    conversion = pipeline.prepare(*model_io.load(model))
    assert conversion.verdict == row.verdict
    assert {c.node for c in conversion.inexact} == set(row.nodes)
    assert {c.node for c in conversion.phases} == set(row.phase)
    different = differing(model, conversion)
    assert bool(different) is (row.verdict != "exact" and not row.because)


@every_row
def test_exactness_is_required_or_refused_by_all_nodes(row: Row) -> None:
    if row.verdict == "exact":
        assert fc2conv.convert(row.model(), require_exact=True, verify=False).report.verdict == "exact"
        return
    with pytest.raises(fc2conv.Unliftable, match=f"exactness was required, and .* but {row.verdict}: ") as caught:
        fc2conv.convert(row.model(), require_exact=True)
    assert caught.value.node in row.nodes
    assert all(node in caught.value.reason for node in row.nodes)


def test_a_refusal_names_some_of_many_nodes() -> None:
    row = Row(
        "\n".join(f"v{i} = Conv <pads = [1, 1, 1, 1]> ({f'v{i - 1}' if i else 'x'}, w3x3)" for i in range(6))
        + "\nmap = Relu (v5)"
    )
    with pytest.raises(fc2conv.Unliftable) as caught:
        fc2conv.convert(row.model(), require_exact=True)
    names = ", ".join(f"Conv 'v{i}' (pads)" for i in range(4))
    assert str(caught.value) == (
        f"Conv 'v0': exactness was required, and the model is not exact but padded: {names} and 2 more"
    )


# -- a verdict that promises too much is found out ---------------------------------------------------------------------

TOO_MUCH: dict[str, tuple[Any, str, Any]] = {
    "pads are not seen": (sliding.Slide, "overhang", lambda self, n: 0),
    "windows of two cells count as single ones": (sliding, "_single_cells", lambda op, slide: slide.kernel <= 2),
}


@pytest.mark.parametrize(("owner", "name", "wrong"), TOO_MUCH.values(), ids=TOO_MUCH.keys())
def test_a_verdict_that_promises_too_much_is_noticed(
    owner: Any, name: str, wrong: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, wrong)
    promised = 0
    for op_type, attrs in slides():
        model = one_slide(op_type, attrs, 10) if op_type == "Conv" and not promised else None
        if model is not None:
            conversion = pipeline.prepare(*model_io.load(model))
            promised += conversion.verdict == "exact" and bool(differing(model, conversion))
    assert promised
