"""Random heads over random backbones against the loop over windows; where sums are exact, every bit must be right.

More of them: ``ONNX_FC2CONV_EXAMPLES=2000 ONNX_FC2CONV_SEED=7 pytest tests/lift/test_random_heads.py``.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from hypothesis import HealthCheck, assume, given, seed, settings
from hypothesis import strategies as st
from onnx import ModelProto, helper, numpy_helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv import model_io, pipeline
from onnx_fc2conv.dtypes import tolerance

from ..networks import MAP, Head, answers_over, assert_close, cut, integers, network, session
from ..test_random_backbones import PIXEL, Network, networks, run_map
from .drafts import FAMILIES, WIDEST, Draft, Value, start, write

EXAMPLES = int(os.environ.get("ONNX_FC2CONV_EXAMPLES", "250"))
SEED = int(os.environ.get("ONNX_FC2CONV_SEED", "0"))
WINDOWS = [(3, 2), (1, 3), (4, 2), (2, 2), (1, 1), (5,), (2,), (2, 1, 3)]

properties = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=not SEED, database=None, suppress_health_check=list(HealthCheck)
)


@dataclass(frozen=True)
class Case:
    """A network and what judges it.

    Attributes:
        model: the network; its input ``x`` comes first.
        head: its head.
        size: its trained size in pixels.
        result: its first output as it was drafted.
        terms: products in all sums of the head.
        kinds: what its head is made of.
        grow, rest: grid cells, and pixels, that the image is larger, per axis.
        verified: whether the package's own checks must accept it too.
    """

    model: ModelProto
    head: Head
    size: tuple[int, ...]
    result: Value
    terms: int
    kinds: tuple[str, ...]
    grow: tuple[int, ...]
    rest: tuple[int, ...]
    verified: bool

    def __repr__(self) -> str:
        return f"{self.head}, size {self.size}, grow {self.grow}, rest {self.rest}, {self.result}"


@st.composite
def cases(draw: Any) -> Case:
    """A head of two to eight nodes over one map, or over one and a coarser one made of it."""
    net: Network | None = draw(networks()) if draw(st.integers(0, 3)) == 0 else None
    if net is None:
        window, channels, ratio = _plain_map(draw)
        bound, parts, batch = float(2 ** len(window) * PIXEL), 1, draw(st.sampled_from(["N", 1, 1, 3]))
    else:
        window, channels, ratio = _map_of(draw, net)
        bound, parts, batch = net.largest / net.parts, net.parts, net.batch if isinstance(net.batch, int) else "N"
    d = Draft(draw, draw(st.sampled_from([12, 13, 17, 18])), batch, len(window))
    d.values.append(start(d, MAP, channels, window, bound, parts))
    if max(ratio) > 1:
        kernel = f"kernel_shape = {list(ratio)}, strides = {list(ratio)}"
        d.lines.insert(0, f"coarse = MaxPool <{kernel}> ({MAP})")
        coarser = tuple((n - r) // r + 1 for n, r in zip(window, ratio, strict=True))
        d.values.insert(draw(st.integers(0, 1)), start(d, "coarse", channels, coarser, bound, parts))
    result = write(d, 8)
    assume(d.fcs)
    ratios = {name: (1,) * len(window) if name == "coarse" or len(result.maps) == 1 else ratio for name in result.maps}
    d.lines.append(f"y = Identity({result.name})")
    also = [v for v in d.values if v.maps == result.maps and v.plain]
    outputs = ["y", *([draw(st.sampled_from(also)).name] if draw(st.integers(0, 3)) == 0 else [])]
    made = Head(
        "\n".join(d.lines), d.weights, window, channels, d.opset, tuple(outputs), batch, ratios=ratios, sides=d.sides
    )
    return Case(
        network(made) if net is None else behind(net, made),
        made,
        tuple(2 * n for n in window) if net is None else net.size,
        result,
        d.terms,
        tuple(d.kinds),
        tuple(draw(st.integers(0, 3)) for _ in window),
        tuple(draw(st.integers(0, 3)) for _ in window),
        draw(st.integers(0, 9)) == 9,
    )


def _plain_map(draw: Any) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
    """Window, channels, and the stride of the coarser map (ones: there is none)."""
    window = draw(st.sampled_from(WINDOWS))
    if draw(st.booleans()):
        return window, draw(st.integers(1, 3)), (1,) * len(window)
    ratio = tuple(draw(st.integers(1, 3)) for _ in window)
    window = tuple(r * draw(st.integers(1, 2)) + draw(st.integers(0, r - 1)) for r in ratio)
    assume(math.prod(window) <= 18)
    assume(any(n // r > 1 for n, r in zip(window, ratio, strict=True)))  # else the pool is the head's own
    return window, draw(st.integers(1, 2)), ratio


def _map_of(draw: Any, net: Network) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
    trained = integers((net.batch if isinstance(net.batch, int) else 1, 2, *net.size), 5)
    _, channels, *window = run_map(net, net.value, trained).shape
    assume(channels * math.prod(window) <= 2 * WIDEST)
    ratio = tuple(min(n, draw(st.integers(1, 2))) for n in window)
    if not any(n // r > 1 for n, r in zip(window, ratio, strict=True)):
        ratio = (1,) * len(window)
    return tuple(window), channels, ratio


def behind(net: Network, head: Head) -> ModelProto:
    """The head's own nodes behind another backbone."""
    model = network(head)
    del model.graph.node[0], model.graph.input[0]
    nodes = [*net.nodes, helper.make_node("Identity", [net.value], [MAP])]
    for i, node in enumerate(nodes):
        model.graph.node.insert(i, node)
    dims = [net.batch or head.batch, 2, *net.size]
    model.graph.input.insert(0, helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, dims))
    arrays = {f"net_{name}": value for name, value in net.arrays.items()}
    for node in model.graph.node[: len(nodes)]:
        node.input[:] = [f"net_{name}" if name in net.arrays else name for name in node.input]
        node.output[:] = [f"net_{name}" if name != MAP else name for name in node.output]
        node.input[:] = [f"net_{name}" if name.startswith("v") else name for name in node.input]
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in arrays.items())
    return model


SEEN: Counter[str] = Counter()


@properties
@seed(SEED) if SEED else (lambda test: test)
@given(cases())
def check(case: Case) -> None:
    onnx.checker.check_model(case.model, full_check=True)
    try:
        conversion = pipeline.prepare(*model_io.load(case.model))
    except fc2conv.Unliftable as e:
        SEEN[f"refused: {e.node.split(' ')[0]}: {e.reason}"] += 1
        assume(False)
    except fc2conv.NothingToConvert:
        assume(False)  # its FCs have come to nothing
    onnx.checker.check_model(conversion.proto, full_check=True)
    assume(set(conversion.plan.cuts) <= {*case.head.ratios})  # a pool over the whole map belongs to the head
    sizes = [
        tuple(t + g * s for t, g, s in zip(case.size, case.grow, next(iter(conversion.steps.values())), strict=True))
    ]
    if not conversion.phases:
        sizes.append(tuple(n + r for n, r in zip(sizes[0], case.rest, strict=True)))
    allowed = 0.0
    if not case.result.exact or len(case.head.outputs) > 1:
        allowed = tolerance(onnx.TensorProto.FLOAT, case.terms, len(case.head.text.splitlines()))
    for size in sizes:
        feeds = feeds_at(case, size)
        expected = answers_over(case.model, feeds, places(case))
        found = dict(zip(expected, session(conversion.proto).run(list(expected), feeds), strict=True))
        for name, reference in expected.items():
            assert (found[name].dtype, found[name].shape) == (reference.dtype, reference.shape), name
            assert_close(found[name], reference, 0.0 if name == "y" and case.result.exact else allowed)
        SEEN["cells"] += math.prod(expected["y"].shape[-len(size) :])
    if case.verified:
        fc2conv.convert(case.model)
    SEEN.update({*case.kinds, *(f"map {m}" for m in case.result.maps), "exact" if case.result.exact else "rounded"})
    SEEN.update(
        {
            "both maps": len(case.result.maps) == 2,
            "sides": bool(case.head.sides),
            "two outputs": len(case.head.outputs) == 2,
            "random backbone": case.model.graph.node[0].output[0] != MAP,
            "verified": case.verified,
            "phases": bool(conversion.phases),
        }
    )


def feeds_at(case: Case, size: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Small integers for all inputs."""
    batch = case.head.batch if isinstance(case.head.batch, int) else 2
    channels = case.model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    feeds = {"x": integers((batch, channels, *size), sum(size), -PIXEL, PIXEL + 1)}
    for i, (name, dims) in enumerate(case.head.sides.items()):
        feeds[name] = integers((batch, *dims[1:]), 30 + i)
    return feeds


def places(case: Case) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Window and ratio of each map, the windows as the original's backbone gives them at the trained size."""
    names = list(case.head.ratios)
    maps = session(cut(case.model, ["x"], names)).run(names, {"x": feeds_at(case, case.size)["x"]})
    return {n: (m.shape[2:], tuple(case.head.ratios[n])) for n, m in zip(names, maps, strict=True)}


def test_random_heads() -> None:
    """Afterwards: every family was drawn, over every kind of network, and hardly anything was refused."""
    SEEN.clear()
    check()
    refusals = {what: n for what, n in SEEN.items() if what.startswith("refused")}
    kinds = {
        *FAMILIES,
        "map map",
        "map coarse",
        "both maps",
        "exact",
        "rounded",
        "sides",
        "random backbone",
        "phases",
    } | {"verified", "two outputs"}
    assert not {kind for kind in kinds if not SEEN[kind]}, SEEN
    assert sum(refusals.values()) <= EXAMPLES // 10, refusals
    assert SEEN["cells"] >= 4 * EXAMPLES
