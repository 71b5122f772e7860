"""``global_pool="keep"``: one answer for the whole image, which is the original's own at that size."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv.cli import main
from onnx_fc2conv.dtypes import tolerance

from .lift.tables import head, table
from .networks import Head, answers, assert_close, cut, integers, network, session

SIZES = ((6, 4), (7, 5), (12, 10), (6, 16))  #: the network's stride is 2, its trained size 6 x 4
ALLOWED = tolerance(TensorProto.FLOAT, 2 * 64, 6)  #: an average over up to 64 cells, then an FC


def pooled(text: str, opset: int = 17, *, channels: int = 2, **rest: object) -> Head:
    """A head whose text makes ``t`` [N, channels] of the map."""
    return head(f"{text}\ny = Gemm(t, M, C)", opset, channels=channels, **{"M": (channels, 3), "C": (3,), **rest})


def native(model: ModelProto, image: np.ndarray, outputs: list[str]) -> list[np.ndarray]:
    """The original itself at any size: all that is done to it is that its declared sizes go."""
    return session(cut(model, ["x"], outputs)).run(outputs, {"x": image})


def assert_kept(original: Head, freely_sized: Head | None = None) -> fc2conv.Result:
    """Convert, check with the tool's own checks, and compare with the original at every size.

    Args:
        original: what is converted.
        freely_sized: the same computed by nodes that know no size, where the original's own do.
    """
    model = network(original)
    result = fc2conv.convert(model, global_pool="keep")
    outputs = [o.name for o in model.graph.output]
    batch = original.batch if isinstance(original.batch, int) else 2
    for size in SIZES:
        image = integers((batch, 1, *size[: len(original.window)]), seed=3)
        expected = native(network(freely_sized or original), image, outputs)
        for reference, found in zip(expected, session(result.model).run(outputs, {"x": image}), strict=True):
            assert found.shape == (*reference.shape, *[1] * len(original.window))
            assert_close(found.reshape(reference.shape), reference, ALLOWED)
    return result


BY_INPUT = "p = {op} <keepdims = {keep}> (map, axes)\nt = {view}(p)"
NHWC = "n = Transpose <perm = [0, 2, 3, 1]> (map)\n"
ENDS = {"Flatten": "t = Flatten(p)", "Reshape": "t = Reshape(p, d)", "Squeeze": "t = Squeeze(p, axes)"}

KEPT = table(
    {
        f"{op}, {name}": pooled(f"p = {op}(map)\n{view}", d=[-1, 2], axes=[2, 3])
        for op in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
        for name, view in ENDS.items()
    },
    {
        f"{op}, keepdims {keep}, axes {axes}": pooled(
            BY_INPUT.format(op=op, keep=keep, view="Flatten" if keep else "Relu"), 18, axes=axes
        )
        for op in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceSum")
        for keep in (0, 1)
        for axes in ([2, 3], [-1, -2])
    },
    {
        f"axes as an attribute, opset {opset}, keepdims {keep}": pooled(
            f"p = ReduceMean <axes = [2, 3], keepdims = {keep}> (map)\nt = {'Flatten' if keep else 'Identity'}(p)",
            opset,
        )
        for opset in (7, 11, 13)
        for keep in (0, 1)
    },
    {
        "the FC reads the mean itself": head(
            "t = ReduceMean <axes = [2, 3], keepdims = 0> (map)\ny = MatMul(t, M)", M=(2, 3)
        ),
        "N, H, W, C": pooled(f"{NHWC}t = ReduceMean <axes = [1, 2], keepdims = 0> (n)"),
        "N, H, W, C, keepdims": pooled(f"{NHWC}p = ReduceMax <axes = [1, 2]> (n)\nt = Flatten(p)"),
        "two in a row": pooled(
            "p = ReduceMean <axes = [3], keepdims = 0> (map)\nt = ReduceMean <axes = [2], keepdims = 0> (p)"
        ),
        "two in a row, keepdims": pooled(
            "p = ReduceMean <axes = [3]> (map)\nq = ReduceMean <axes = [2]> (p)\nt = Flatten(q)"
        ),
        "two in a row, the first with keepdims": pooled(
            "p = ReduceMax <axes = [3]> (map)\nq = ReduceMax <axes = [2], keepdims = 0> (p)\nt = Flatten(q)"
        ),
        "a 1x1 Conv behind it": pooled(
            "p = GlobalAveragePool(map)\nc = Conv(p, K)\na = HardSwish(c)\nt = Flatten(a)", K=(4, 2, 1, 1), M=(4, 3)
        ),
        "BatchNormalization of the vector": pooled(
            "p = ReduceMean <axes = [2, 3], keepdims = 0> (map)\nt = BatchNormalization(p, o, z, z, o)",
            o=np.ones(2, np.float32),
            z=(2,),
        ),
        "a shape computed from the pooled map": pooled(
            "p = GlobalMaxPool(map)\ns = Shape <start = 0, end = 1> (p)\nd = Concat <axis = 0> (s, m)\n"
            "t = Reshape(p, d)",
            m=[-1],
        ),
        "average beside maximum": pooled(
            "a = GlobalAveragePool(map)\nb = GlobalMaxPool(map)\nc = Concat <axis = 1> (a, b)\nt = Flatten(c)", M=(4, 3)
        ),
        "two vectors that meet behind an FC": head(
            "a = ReduceMax <axes = [2, 3], keepdims = 0> (map)\nb = ReduceMin <axes = [2, 3], keepdims = 0> (map)\n"
            "c = MatMul(a, M)\nd = Concat <axis = 1> (c, b)\ny = MatMul(d, L)",
            M=(2, 3),
            L=(5, 2),
        ),
        "maps of different strides, pooled both": head(
            "s = MaxPool <kernel_shape = [2, 1], strides = [2, 1]> (map)\na = GlobalMaxPool(map)\n"
            "b = GlobalMaxPool(s)\nf = Flatten(a)\ng = Flatten(b)\nt = Concat <axis = 1> (f, g)\ny = MatMul(t, M)",
            M=(4, 3),
        ),
        "a gate in front": pooled(
            "g = GlobalAveragePool(map)\ns = Sigmoid(g)\nm = Mul(map, s)\np = GlobalMaxPool(m)\nt = Flatten(p)"
        ),
        "a gate without axes of size 1": pooled(
            "g = ReduceMax <axes = [2, 3], keepdims = 0> (map)\nu = Unsqueeze(g, axes)\nm = Mul(map, u)\n"
            "p = GlobalMaxPool(m)\nt = Flatten(p)",
            axes=[2, 3],
        ),
        "Softmax behind the FC": head(
            "p = GlobalMaxPool(map)\nt = Flatten(p)\nu = Gemm(t, M)\ny = Softmax <axis = -1> (u)", M=(2, 3)
        ),
        "1-D": pooled("p = GlobalAveragePool(map)\nt = Flatten(p)", window=(3,)),
        "a batch of 3": pooled("p = GlobalMaxPool(map)\nt = Reshape(p, d)", batch=3, d=[3, 2]),
    },
)


@pytest.mark.parametrize("row", KEPT.values(), ids=list(KEPT))
def test_one_answer_which_is_the_originals_own(row: Head) -> None:
    result = assert_kept(row)
    assert not [n.op_type for n in result.model.graph.node if n.op_type in ("Gemm", "MatMul")]


def covering(attrs: str, kind: str = "AveragePool") -> Head:
    return pooled(f"p = {kind} <{attrs}> (map)\nt = Flatten(p)")


COVERING = table(
    {
        f"{kind}, {attrs}": (covering(attrs, kind), f"Global{kind}")
        for kind in ("AveragePool", "MaxPool", "LpPool")
        for attrs in (
            "kernel_shape = [3, 2]",
            "kernel_shape = [3, 2], strides = [3, 2]",
            "kernel_shape = [3, 2], strides = [7, 5]",
            'kernel_shape = [3, 2], strides = [4, 4], auto_pad = "SAME_UPPER"',
            "kernel_shape = [5, 4], pads = [1, 1, 1, 1]",
            "kernel_shape = [4, 2], pads = [1, 0, 1, 0], strides = [9, 9]",
        )
    },
    {
        "LpPool, p = 1": (covering("kernel_shape = [3, 2], p = 1", "LpPool"), "GlobalLpPool <p = 1>"),
        "AveragePool, ceil_mode": (covering("kernel_shape = [3, 2], ceil_mode = 1"), "GlobalAveragePool"),
        "AveragePool, count_include_pad": (
            covering("kernel_shape = [3, 2], count_include_pad = 1"),
            "GlobalAveragePool",
        ),
    },
)


@pytest.mark.parametrize(("row", "pool"), COVERING.values(), ids=list(COVERING))
def test_a_pool_that_covers_the_map_becomes_a_global_one(row: Head, pool: str) -> None:
    result = assert_kept(row, pooled(f"p = {pool}(map)\nt = Flatten(p)"))
    assert [n.op_type for n in result.model.graph.node] == ["Conv", pool.split()[0], "Conv"]
    (said,) = result.report.unbaked
    assert said.endswith(f"-> {pool.split()[0]}")


def test_a_pool_with_part_of_the_map_as_its_kernel_still_slides() -> None:
    row = head("p = MaxPool <kernel_shape = [2, 1]> (map)\nt = Flatten(p)\ny = MatMul(t, M)", M=(8, 3))
    kept, windowed = (fc2conv.convert(network(row), global_pool=way).model for way in ("keep", "window"))
    assert kept == windowed


REFUSED = {
    "pads that count": (
        covering("kernel_shape = [5, 4], pads = [1, 1, 1, 1], count_include_pad = 1"),
        "AveragePool 'p'",
        "counts what is not there, so it is no pool over the whole map",
    ),
    "a window that sticks out": (
        covering("kernel_shape = [4, 3], strides = [4, 3], ceil_mode = 1"),
        "AveragePool 'p'",
        "counts what is not there, so it is no pool over the whole map",
    ),
    "positions of the maxima": (
        pooled("p, i = MaxPool <kernel_shape = [3, 2]> (map)\nt = Flatten(p)", outputs="y i"),
        "MaxPool 'p'",
        "gives positions inside the trained map",
    ),
    "a mean over flattened positions": (
        pooled("r = Reshape(map, d)\nt = ReduceMean <axes = [2], keepdims = 0> (r)", d=[0, 0, -1]),
        "ReduceMean 't'",
        "--global-pool window pools every window instead",
    ),
    "a maximum over flattened positions, behind an activation": (
        pooled("r = Reshape(map, d)\ns = Relu(r)\nt = ReduceMax <axes = [-1], keepdims = 0> (s)", d=[0, 2, 6]),
        "ReduceMax 't'",
        "it cannot stay global: its window is fixed",
    ),
    "a mean over flattened positions, N, HW, C": (
        pooled(f"{NHWC}r = Reshape(n, d)\nt = ReduceMean <axes = [1], keepdims = 0> (r)", d=[0, 6, 2]),
        "ReduceMean 't'",
        "it cannot stay global: its window is fixed",
    ),
    "a mean over everything": (
        pooled("r = Reshape(map, d)\np = ReduceMean <axes = [1, 2]> (r)\nt = Flatten(p)", d=[0, 2, 6], M=(1, 3)),
        "ReduceMean 'p'",
        "it cannot stay global: its window is fixed",
    ),
    "a pool over a map that was flattened before": (
        pooled("v = Flatten(map)\nm = Reshape(v, d)\np = GlobalMaxPool(m)\nt = Flatten(p)", d=[0, 2, 3, 2]),
        "GlobalMaxPool 'p'",
        "it cannot stay global: its window is fixed",
    ),
    "one spatial axis only": (
        head("p = ReduceMean <axes = [3], keepdims = 0> (map)\nt = Flatten(p)\ny = MatMul(t, M)", M=(6, 3)),
        "Flatten 't'",
        "has lost 1 spatial axes; the whole map was pooled by ReduceMean 'p'",
    ),
    "one spatial axis only, keepdims": (
        head("p = ReduceMean <axes = [3]> (map)\nt = Flatten(p)\ny = MatMul(t, M)", M=(6, 3)),
        "Flatten 't'",
        "whose size does not follow the input's; the whole map was pooled by ReduceMean 'p'",
    ),
    "a pooled map beside the flattened one": (
        pooled("p = GlobalMaxPool(map)\na = Flatten(p)\nb = Flatten(map)\nt = Concat <axis = 1> (b, a)", M=(14, 3)),
        "Concat 't'",
        "combines heads on different grids",
    ),
}


@pytest.mark.parametrize(("row", "node", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_refuses(row: Head, node: str, reason: str) -> None:
    with pytest.raises(fc2conv.Unliftable, match=re.escape(reason)) as caught:
        fc2conv.convert(network(row), global_pool="keep", verify=False)
    assert caught.value.node == node


NOT_POOLS = {
    "the norm of the flattened vector": "v = Flatten(map)\nn = ReduceL2 <axes = [1]> (v)\nt = Div(v, n)",
    "a reduction over channels": "r = Reshape(map, d)\nt = ReduceMax <axes = [1], keepdims = 0> (r)",
    "a reduction behind the FC": "v = Flatten(map)\nu = Gemm(v, W)\nt = ReduceMax <axes = [1]> (u)",
}


@pytest.mark.parametrize("text", NOT_POOLS.values(), ids=list(NOT_POOLS))
def test_what_pools_no_positions_is_lifted_to_every_window(text: str) -> None:
    features = {"r": 6, "u": 1}.get(text.split("\n")[-1].split("(")[-1][0], 12)
    row = head(f"{text}\ny = MatMul(t, M)", d=[0, 2, 6], W=(12, 6), M=(features, 3))
    result = fc2conv.convert(network(row), global_pool="keep")
    image = integers((1, 1, 10, 10), seed=3)
    expected = answers(network(row), image, (3, 2))["y"]
    assert_close(session(result.model).run(None, {"x": image})[0], expected, ALLOWED)
    assert expected.shape == (1, 3, 3, 4)


GAP = pooled("p = GlobalAveragePool(map)\nt = Flatten(p)")


def test_by_default_every_window_has_its_own_answer() -> None:
    assert fc2conv.convert(network(GAP)).geometry.grid_size((12, 10)) == (4, 4)
    assert fc2conv.convert(network(GAP), global_pool="keep").geometry.grid_size((12, 10)) == (1, 1)


def test_geometry() -> None:
    result = fc2conv.convert(network(GAP), global_pool="keep")
    grid = result.geometry["y"]
    assert grid.whole_image
    assert (grid.window, grid.stride, grid.trained_size) == ((1, 1), (2, 2), (6, 4))
    assert all(grid.grid_size(size) == (1, 1) for size in SIZES)
    assert grid.box(0, 0, size=(12, 10)) == result.geometry.box(0, 0, size=(12, 10)) == (0, 0, 12, 10)
    with pytest.raises(ValueError, match="the answer is for the whole image; give its size"):
        grid.box(0, 0)
    assert fc2conv.read_geometry(result.model) == result.geometry
    windowed = fc2conv.convert(network(GAP)).geometry["y"]
    assert not windowed.whole_image
    assert windowed.box(1, 1, size=(12, 10)) == windowed.box(1, 1) == (2, 2, 8, 6)


def test_declared_shapes() -> None:
    model = fc2conv.convert(network(GAP), global_pool="keep").model
    (y,), (x,) = model.graph.output, model.graph.input
    assert [d.dim_param or d.dim_value for d in y.type.tensor_type.shape.dim] == ["N", 3, 1, 1]
    assert [d.dim_param or d.dim_value for d in x.type.tensor_type.shape.dim] == ["N", 1, "height", "width"]


def test_report() -> None:
    report = fc2conv.convert(network(GAP), global_pool="keep").report
    assert report.verdict == "global context"
    assert report.outputs[0].whole_image
    assert "one answer for the whole image" in report.verdict_words()
    assert not [c for c in report.checks if c.name == "image crops"]
    assert [(c.cells, c.cells_total) for c in report.checks if c.name == "windows"] == [(1, 1), (1, 1)]
    assert not report.deviation
    assert not fc2conv.convert(network(GAP)).report.outputs[0].whole_image


def test_two_heads_of_which_one_is_pooled() -> None:
    row = head(
        "p = GlobalMaxPool(map)\nt = Flatten(p)\ny = MatMul(t, M)\nv = Flatten(map)\nz = MatMul(v, L)",
        M=(2, 3),
        L=(12, 4),
        outputs="y z",
    )
    result = fc2conv.convert(network(row), global_pool="keep")
    assert {name: grid.whole_image for name, grid in result.geometry.outputs.items()} == {"y": True, "z": False}
    assert result.report.verdict_words().startswith("y: one answer for the whole image; of the others every answer")
    assert [c.name for c in result.report.checks].count("windows") == 4
    assert [c.name for c in result.report.checks].count("image crops") == 2


def test_exactness_on_crops_is_not_claimed() -> None:
    with pytest.raises(fc2conv.Unliftable, match=r"global context: \S+ '\w+' \(pools the whole map\)"):
        fc2conv.convert(network(GAP), global_pool="keep", require_exact=True)


# -- the checks can fail -----------------------------------------------------------------------------------------------


def shifted_bias(model: ModelProto) -> None:
    (bias,) = (t for t in model.graph.initializer if t.name == "C")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + 1, "C"))


def slides_after_all(model: ModelProto) -> None:
    (pool,) = (n for n in model.graph.node if n.op_type == "GlobalAveragePool")
    pool.op_type = "AveragePool"
    pool.attribute.append(helper.make_attribute("kernel_shape", [3, 2]))


def corner_only(model: ModelProto) -> None:
    """Answers for the first window: right at the trained size, and one answer at every other."""
    (pool,) = (n for n in model.graph.node if n.op_type == "GlobalAveragePool")
    pool.op_type = "AveragePool"
    pool.attribute.append(helper.make_attribute("kernel_shape", [3, 2]))
    pool.attribute.append(helper.make_attribute("strides", [99, 99]))


def maximum_instead(model: ModelProto) -> None:
    (pool,) = (n for n in model.graph.node if n.op_type == "GlobalAveragePool")
    pool.op_type = "GlobalMaxPool"


SABOTAGE: dict[str, tuple[Callable[[ModelProto], None], str]] = {
    "another bias": (shifted_bias, "same size"),
    "a pool over windows": (slides_after_all, "grid law|structure"),
    "a pool over the corner": (corner_only, "windows"),
    "another pool": (maximum_instead, "same size"),
}


@pytest.mark.parametrize(("change", "check"), SABOTAGE.values(), ids=list(SABOTAGE))
def test_sabotage_is_caught(change: Callable[[ModelProto], None], check: str) -> None:
    model = network(GAP)
    converted = onnx.ModelProto.FromString(
        fc2conv.convert(model, global_pool="keep", verify=False).model.SerializeToString()
    )
    assert fc2conv.verify(model, converted, global_pool="keep").verified
    change(converted)
    with pytest.raises(fc2conv.VerificationFailed, match=check):
        fc2conv.verify(model, converted, global_pool="keep")


def test_one_way_does_not_pass_for_the_other() -> None:
    model = network(GAP)
    for made, asked in (("keep", "window"), ("window", "keep")):
        other = fc2conv.convert(model, global_pool=made).model
        with pytest.raises(fc2conv.VerificationFailed, match="structure: the geometry in the metadata says"):
            fc2conv.verify(model, other, global_pool=asked)
        del other.metadata_props[:]
        with pytest.raises(fc2conv.VerificationFailed, match=r"grid law|structure: value 'y' is declared"):
            fc2conv.verify(model, other, global_pool=asked)


# -- the option --------------------------------------------------------------------------------------------------------


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "in.onnx", tmp_path / "out.onnx"
    onnx.save(network(GAP), source)
    assert main([str(source), str(target), "--global-pool", "keep"]) == 0
    assert "whole image" in capsys.readouterr().out
    assert fc2conv.read_geometry(target)["y"].whole_image
    assert main([str(source), "--global-pool", "keep"]) == 0
    assert "[N, 3, 1, 1]" in capsys.readouterr().out
    assert main([str(source), str(target), "--global-pool", "window"]) == 0
    assert not fc2conv.read_geometry(target)["y"].whole_image


def test_other_choices_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["in.onnx", str(tmp_path / "out.onnx"), "--global-pool", "both"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--global-pool" in line
    with pytest.raises(fc2conv.UsageError, match="global_pool 'both' is none of window, keep"):
        fc2conv.convert(network(GAP), global_pool="both")


def test_inspect_says_what_would_be_done() -> None:
    assert fc2conv.inspect(network(GAP), global_pool="keep").outputs[0].whole_image
    assert not fc2conv.inspect(network(GAP)).outputs[0].whole_image
