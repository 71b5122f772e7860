"""What the geometry says a cell can depend on, against brute force: change pixels, see which answers of the converted
model move.

All weights and pixels are positive, so a pixel of infinity makes every sum, maximum and mean infinite that it has a
part in, through any number of nodes. One image of a batch has one row (column, slice) of such pixels; which cells are
infinite then is which cells depend on that row.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

import onnx_fc2conv as fc2conv
from onnx_fc2conv.geometry import Axis

from .networks import cut, session

CHANNELS = 2
NETWORKS = {1: 80, 2: 80, 3: 40}  #: random backbones by number of axes: 200
SIZES = {1: (16, 40), 2: (12, 22), 3: (8, 12)}


@dataclass
class Network:
    """A backbone from ``x`` to ``value``, under construction.

    Attributes:
        holes: nodes leave out pixels between those that they read, or branches do.
        crops: how many cells nodes take away at one side. What is padded behind them stands where pixels are that
            nobody reads, so that boxes are tight only so far away from the border.
    """

    rng: np.random.Generator
    rank: int
    size: tuple[int, ...]
    value: str = "x"
    holes: bool = False
    crops: int = 0
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    kinds: list[str] = field(default_factory=list)

    def draw(self, low: int, high: int) -> list[int]:
        """One number per axis, both ends included."""
        return [int(n) for n in self.rng.integers(low, high + 1, self.rank)]

    def put(self, op_type: str, *inputs: str, **attrs: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [name], name=f"{op_type} {name}", **attrs))
        return name

    def constant(self, value: np.ndarray) -> str:
        name = f"c{len(self.arrays)}"
        self.arrays[name] = value
        return name

    def positive(self, *shape: int) -> str:
        return self.constant(self.rng.uniform(0.5, 1, shape).astype(np.float32))

    def conv(self, value: str, kernel: list[int], **attrs: Any) -> str:
        return self.put("Conv", value, self.positive(CHANNELS, CHANNELS, *kernel), **attrs)

    def model(self, nodes: list[onnx.NodeProto], output: str, dims: list[Any] | None) -> ModelProto:
        graph = helper.make_graph(
            [*self.nodes, *nodes],
            "random",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", CHANNELS, *self.size])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, dims)],
            [numpy_helper.from_array(value, name) for name, value in self.arrays.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=8)

    def backbone(self) -> ModelProto:
        """The network up to its last value, for any input size."""
        return cut(self.model([], self.value, None), ["x"], [self.value])

    def classifier(self, features: int) -> ModelProto:
        """The network with the head Flatten, Gemm, Relu, Gemm."""
        fc = [self.positive(features, 3), self.positive(3, 2)]
        head = [
            helper.make_node("Flatten", [self.value], ["flat"]),
            helper.make_node("Gemm", ["flat", fc[0]], ["hidden"], name="fc1"),
            helper.make_node("Relu", ["hidden"], ["active"]),
            helper.make_node("Gemm", ["active", fc[1]], ["y"], name="fc2"),
        ]
        return self.model(head, "y", ["N", 2])


def add_conv(net: Network) -> str:
    kernel, strides, dilations = net.draw(1, 3), net.draw(1, 2), [1] * net.rank
    attrs: dict[str, Any] = {"strides": strides}
    mode = net.rng.choice(["plain", "pads", "dilations", "padded dilations", "SAME_UPPER", "SAME_LOWER", "VALID"])
    if "dilations" in mode:
        attrs["dilations"] = dilations = net.draw(1, 3)
    reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    if mode in ("pads", "padded dilations"):
        attrs["pads"] = [int(net.rng.integers(0, r + 1)) for r in (*reach, *reach)]
    elif mode in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        attrs["auto_pad"] = str(mode)
    net.holes |= any(d > 1 for d in dilations) or any(k < s for k, s in zip(kernel, strides, strict=True))
    net.value = net.conv(net.value, kernel, **attrs)
    return f"conv {mode}"


def add_pool(net: Network) -> str:
    op_type = str(net.rng.choice(["MaxPool", "AveragePool"]))
    kernel = net.draw(2, 3)
    strides = [int(net.rng.integers(1, k + 1)) for k in kernel]
    attrs: dict[str, Any] = {"kernel_shape": kernel, "strides": strides, "ceil_mode": int(net.rng.integers(2))}
    if op_type == "AveragePool":
        attrs["count_include_pad"] = int(net.rng.integers(2))
    if op_type == "MaxPool" and net.rng.integers(2):
        attrs |= {"dilations": net.draw(1, 2), "ceil_mode": 0}
        net.holes = True
        net.value = net.put(op_type, net.value, **attrs)
        return "dilated MaxPool"
    before = [int(net.rng.integers(0, k)) for k in kernel]
    after = [0 if attrs["ceil_mode"] else int(net.rng.integers(0, k)) for k in kernel]
    attrs["pads"] = before + after
    net.value = net.put(op_type, net.value, **attrs)
    return op_type


def add_residual(net: Network) -> str:
    """Two branches whose cells are the same in number, but read pixels that lie differently around them."""
    outer, inner = net.draw(1, 3), net.draw(1, 3)
    pads = [int(net.rng.integers(0, k)) for k in (*outer, *outer)]
    whole = [b + a - (k - 1) for b, a, k in zip(pads[: net.rank], pads[net.rank :], outer, strict=True)]
    missing = [w + k - 1 for w, k in zip(whole, inner, strict=True)]  # what the other branch has to pad, or crop
    before = [int(net.rng.integers(min(m, 0), max(m, 0) + 1)) for m in missing]
    after = [m - b for m, b in zip(missing, before, strict=True)]
    left = net.conv(net.value, outer, pads=pads)
    padded = net.put("Pad", net.value, net.constant(np.array([0, 0, *before, 0, 0, *after], np.int64)))
    right = net.conv(padded, inner)
    net.holes = True  # the branches may lie apart
    net.crops += -min(*before, *after, 0)
    net.value = net.put(str(net.rng.choice(["Add", "Max"])), left, right)
    return "residual"


def add_skip(net: Network) -> str:
    """A padded branch beside the map itself."""
    branch = net.conv(net.value, [3] * net.rank, pads=[1] * (2 * net.rank))
    net.value = net.put("Add", branch, net.value)
    return "skip"


def add_crop(net: Network) -> str:
    before, after = net.draw(0, 2), net.draw(0, 2)
    if net.rng.integers(2):
        pads = [0, 0, *(-n for n in before), 0, 0, *(-n for n in after)]
        net.value = net.put("Pad", net.value, net.constant(np.array(pads, np.int64)))
    else:
        ends = [-n or 2**31 - 1 for n in after]
        rows = (before, ends, range(2, 2 + net.rank))
        net.value = net.put("Slice", net.value, *(net.constant(np.array(list(row), np.int64)) for row in rows))
    net.crops += max(before + after)
    return "crop"


def add_pad(net: Network) -> str:
    pads = [0, 0, *net.draw(0, 2), 0, 0, *net.draw(0, 2)]
    net.value = net.put("Pad", net.value, net.constant(np.array(pads, np.int64)))
    return "pad"


ADD = [add_conv, add_conv, add_conv, add_pool, add_pool, add_residual, add_skip, add_crop, add_pad]


def random_network(seed: int, rank: int) -> tuple[Network, int]:
    """A network, and how many features its head reads."""
    rng = np.random.default_rng([seed, rank])
    low, high = SIZES[rank]
    net = Network(rng, rank, tuple(int(n) for n in rng.integers(low, high + 1, rank)))
    count, features = int(rng.integers(1, 5)), 0
    while len(net.kinds) < count:
        kept = (net.value, net.holes, net.crops, len(net.nodes))
        kind = add_conv(net) if not net.kinds else ADD[int(rng.integers(len(ADD)))](net)
        shape = map_shape(net)
        if shape is None or min(shape[2:]) < 2:
            net.value, net.holes, net.crops = kept[:3]
            del net.nodes[kept[3] :]
            continue
        net.kinds.append(kind)
        features = int(np.prod(shape[1:]))
    return net, features


def map_shape(net: Network) -> tuple[int, ...] | None:
    """The map's shape at the trained size, or ``None`` where its windows do not fit."""
    try:
        found = session(net.backbone()).run(None, {"x": np.ones((1, CHANNELS, *net.size), np.float32)})[0]
    except (Fail, InvalidArgument, RuntimeException):
        return None
    return found.shape if np.isfinite(found).all() and found.size else None


def moved(model: ModelProto, size: tuple[int, ...], name: str = "x") -> list[np.ndarray]:
    """For each axis, which cells depend on which row of pixels: bool, [rows, *cells]."""
    base = np.random.default_rng(0).uniform(1, 2, (1, CHANNELS, *size)).astype(np.float32)
    images = np.repeat(base, sum(size), 0)
    rows = [(axis, row) for axis, n in enumerate(size) for row in range(n)]
    for image, (axis, row) in zip(images, rows, strict=True):
        image[(slice(None), *[slice(None)] * axis, row)] = np.inf
    run = session(model)
    assert np.isfinite(run.run(None, {name: base})[0]).all()
    found = ~np.isfinite(run.run(None, {name: images})[0]).all(1)
    return np.split(found, np.cumsum(size)[:-1])


def compare(
    masks: list[np.ndarray], size: tuple[int, ...], box_of: Any, holes: bool, margin: list[int], seen: Counter[str]
) -> None:
    """Each cell's rows, along each axis, against its box.

    Args:
        masks: what ``moved`` gives.
        size: the input's.
        box_of: the box of a cell, starts and ends.
        holes: pixels inside of the box need not be read, only those at its ends.
        margin: boxes this far away from the border are held to be tight, per axis.
        seen: counts what was compared.
    """
    rank = len(size)
    for cell in itertools.product(*map(range, masks[0].shape[1:])):
        box = box_of(*cell)
        inside = all(a >= m and b <= n - m for a, b, n, m in zip(box[:rank], box[rank:], size, margin, strict=True))
        for axis, mask in enumerate(masks):
            rows = np.flatnonzero(mask[(slice(None), *cell)])
            expected = range(max(box[axis], 0), min(box[rank + axis], size[axis]))
            assert set(rows) <= set(expected), (cell, axis, rows, expected)
            if inside and holes:
                assert {expected[0], expected[-1]} <= set(rows), (cell, axis, rows, expected)
            elif inside:
                assert list(rows) == list(expected), (cell, axis, rows, expected)
            seen["inside" if inside else "border"] += 1
            seen["equal"] += inside and not holes


def check_network(seed: int, rank: int, seen: Counter[str]) -> None:
    """Answers at an enlarged and at the trained size, and cells of the feature map."""
    net, features = random_network(seed, rank)
    result = fc2conv.convert(net.classifier(features), verify=False)
    grid = result.geometry.grid
    margin = [net.crops * s for s in grid.stride]
    sides = zip(grid.trained_size, grid.stride, grid.padding, grid.padding_after, strict=True)
    grown = [t + s * (-(-max(a, 0) // s) - (-max(b, 0) // s) + 1 + 2 * net.crops) for t, s, a, b in sides]
    size = tuple(n + (seed % 3 if step == 1 else 0) for n, step in zip(grown, grid.step, strict=True))
    try:
        assert not grid.global_context
        answers = moved(result.model, size)
        assert answers[0].shape[1:] == grid.grid_size(size)
        compare(answers, size, grid.receptive_box, net.holes, margin, seen)
        compare(moved(net.backbone(), size), size, map_boxes(grid), net.holes, margin, seen)
        compare(moved(result.model, net.size), net.size, grid.receptive_box, net.holes, margin, seen)
    except AssertionError as e:
        raise AssertionError(f"network {seed}, size {size}: {onnx.printer.to_text(net.backbone().graph)}") from e
    seen.update(net.kinds)
    seen["pixels that no cell reads"] += min(grid.padding_after) < 0
    seen["without holes"] += not net.holes


def map_boxes(grid: fc2conv.Grid) -> Any:
    """The receptive boxes of single cells of the map."""

    def box_of(*cell: int) -> tuple[int, ...]:
        starts = tuple(i * s - p for i, s, p in zip(cell, grid.stride, grid.padding, strict=True))
        return starts + tuple(a + f for a, f in zip(starts, grid.field, strict=True))

    return box_of


@pytest.mark.parametrize("rank", NETWORKS)
def test_what_cells_depend_on(rank: int) -> None:
    """200 random backbones: receptive boxes of the converted model's cells, and of the cells of its feature map."""
    seen: Counter[str] = Counter()
    for seed in range(NETWORKS[rank]):
        check_network(seed, rank, seen)
    assert min(seen["inside"], seen["border"]) > 300
    assert seen["equal"] > 300
    assert min(seen["pixels that no cell reads"], seen["without holes"]) > 5
    assert len([kind for kind in seen if kind.startswith("conv")]) == 7
    assert {"MaxPool", "dilated MaxPool", "AveragePool", "residual", "skip", "crop", "pad"} <= set(seen)


def larger_of_each(self: Axis, other: Axis) -> Axis:
    return replace(self, field=max(self.field, other.field), padding=max(self.padding, other.padding))


SABOTAGE: list[tuple[Any, str, Any]] = [
    (Axis, "joined", larger_of_each),
    (Axis, "joined", lambda self, other: self),
    (Axis, "reach", property(lambda a: (-a.padding, (a.size - 1) * a.stride - a.padding + a.field - 1))),
    (Axis, "reach", property(lambda a: (-a.padding, (a.size - 1) * a.stride - a.padding + a.field + 1))),
    (Axis, "reach", property(lambda a: (-a.padding + 1, (a.size - 1) * a.stride - a.padding + a.field))),
    (Axis, "reach", property(lambda a: (Fraction(0), Fraction(a.trained)))),
]


@pytest.mark.parametrize(("owner", "name", "wrong"), SABOTAGE)
def test_a_wrong_formula_is_noticed(owner: Any, name: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, name, wrong)
    with pytest.raises(AssertionError, match="network"):
        [check_network(seed, 1, Counter()) for seed in range(NETWORKS[1])]


# -- what random backbones do not have -----------------------------------------------------------------------------


def small(text: str, size: tuple[int, ...] = (8, 8), **arrays: Any) -> ModelProto:
    """A model written as ONNX text from ``x`` [N, 2, *size] to ``y``; a shape stands for positive weights."""
    nodes = onnx.parser.parse_graph("g (float x) => (float y) {\n" + text + "\n}").node
    rng = np.random.default_rng(1)
    values = {
        name: rng.uniform(0.5, 1, value).astype(np.float32) if isinstance(value, tuple) else np.array(value)
        for name, value in arrays.items()
    }
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", CHANNELS, *size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", "K"])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


GLOBAL = {
    "a gate": small(
        """a = Conv (x, w)
        p = GlobalAveragePool (a)
        b = Add (a, p)
        f = Flatten (b)
        y = Gemm (f, v)""",
        w=(2, 2, 3, 3),
        v=(72, 2),
    ),
    "a resize": small(
        """a = MaxPool <kernel_shape = [4, 4], strides = [4, 4]> (x)
        b = Resize <mode = "linear"> (a, , scales)
        f = Flatten (b)
        y = Gemm (f, v)""",
        scales=np.array([1, 1, 2, 2], np.float32),
        v=(32, 2),
    ),
}


@pytest.mark.parametrize("model", GLOBAL.values(), ids=GLOBAL.keys())
def test_with_global_context_no_pixel_is_ruled_out(model: ModelProto) -> None:
    grid = fc2conv.convert(model, verify=False).geometry.grid
    assert grid.global_context
    assert grid.receptive_box(1, 0, size=(12, 16)) == (0, 0, 12, 16)
    assert grid.box(1, 0, size=(12, 16)) == grid.box(1, 0)
    with pytest.raises(ValueError, match=r"every pixel; give its size: receptive_box\(1, 0, size=\(height, width\)\)"):
        grid.receptive_box(1, 0)


def test_a_gate_makes_every_answer_depend_on_every_pixel() -> None:
    rows, columns = moved(fc2conv.convert(GLOBAL["a gate"], verify=False).model, (10, 9))
    assert rows.all()
    assert columns.all()


def test_global_context_is_told_by_output() -> None:
    """One head stands behind a normalisation, the other does not."""
    model = small(
        """a = Conv (x, w)
        p = GlobalMaxPool (a)
        b = Mul (a, p)
        f = Flatten (b)
        y = Gemm (f, v)
        g = Flatten (a)
        z = Gemm (g, v)""",
        w=(2, 2, 3, 3),
        v=(72, 2),
    )
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 2]))
    geometry = fc2conv.convert(model, verify=False).geometry
    assert [geometry[name].global_context for name in ("y", "z")] == [True, False]


SEVERAL_MAPS = small(
    """a = Conv <pads = [1, 0, 0, 2], strides = [2, 2]> (x, w)
    b = Conv <pads = [0, 3, 3, 0], strides = [2, 2], dilations = [2, 1]> (a, v)
    f = Flatten (a)
    g = Flatten (b)
    h = Concat <axis = 1> (f, g)
    y = Gemm (h, u)""",
    (13, 13),
    w=(2, 2, 3, 2),
    v=(2, 2, 3, 4),
    u=(108, 2),
)


def test_a_head_over_several_maps_reaches_what_any_window_does() -> None:
    result = fc2conv.convert(SEVERAL_MAPS, verify=False)
    grid, size = result.geometry.grid, (41, 41)
    masks = moved(result.model, size)
    assert masks[0].shape[1:] == grid.grid_size(size)
    seen: Counter[str] = Counter()
    compare(masks, size, grid.receptive_box, True, [0, 0], seen)
    assert seen["inside"] > 20
    assert (grid.padding, grid.padding_after) == ((1, 6), (5, 1))


def test_inputs_that_meet_reach_what_either_does() -> None:
    model = small(
        """a = Conv <pads = [2, 0, 0, 0]> (x, w)
        b = Conv <pads = [0, 0, 2, 0]> (z, w)
        c = Add (a, b)
        f = Flatten (c)
        y = Gemm (f, u)""",
        w=(2, 2, 3, 1),
        u=(128, 2),
    )
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", CHANNELS, 8, 8]))
    grid = fc2conv.convert(model, verify=False).geometry.grid
    assert (grid.source, grid.padding, grid.padding_after, grid.field) == ("x", (2, 0), (2, 0), (5, 1))


def test_a_pool_that_stays_global_has_the_whole_map_as_its_field() -> None:
    model = small(
        """a = Conv <strides = [2, 2]> (x, w)
        p = GlobalAveragePool (a)
        f = Flatten (p)
        y = Gemm (f, u)""",
        (9, 11),
        w=(2, 2, 2, 3),
        u=(2, 2),
    )
    grid = fc2conv.convert(model, verify=False, global_pool="keep").geometry.grid
    assert (grid.window, grid.field, grid.window_field, grid.padding_after) == ((1, 1), (8, 11), (8, 11), (-1, 0))


# -- sizes at which everything stands at its place -----------------------------------------------------------------


U_SHAPED = small(
    """a = Conv <auto_pad = "SAME_UPPER", strides = [2, 2]> (x, w)
    b = MaxPool <auto_pad = "SAME_UPPER", kernel_shape = [2, 2], strides = [2, 2]> (a)
    c = MaxPool <auto_pad = "SAME_UPPER", kernel_shape = [2, 2], strides = [2, 2]> (b)
    d = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric"> (c, , scales)
    e = Add (b, d)
    f = Flatten (e)
    y = Gemm (f, u)""",
    (16, 16),
    w=(2, 2, 3, 3),
    scales=np.array([1, 1, 2, 2], np.float32),
    u=(32, 2),
)


def test_sizes_follow_the_coarsest_map_and_not_the_output() -> None:
    """Between its steps a map of stride 8 has no cell more, and its enlarged copy does not fit the map of stride 4."""
    result = fc2conv.convert(U_SHAPED)
    grid = result.geometry.grid
    assert (grid.stride, grid.step) == ((4, 4), (8, 8))
    assert result.report.valid_sizes == "16 + n*8 x 16 + n*8"
    assert grid.grid_size((32, 24)) == (5, 3)
    with pytest.raises(ValueError, match=r"\(20, 16\) is not of the form 16 \+ n\*8 x 16 \+ n\*8; .*: \(24, 16\)"):
        grid.grid_size((20, 16))
    with pytest.raises(fc2conv.UsageError, match="not of the form"):
        fc2conv.convert(U_SHAPED, sizes=[(20, 16)])
