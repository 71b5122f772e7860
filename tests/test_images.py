"""Models with several image inputs. A new case is a row of ``CASES``, a new reason one of ``REFUSALS``.

The oracle is a loop over windows with the original's own nodes, every map cropped at the same cell.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

import onnx_fc2conv as fc2conv
from onnx_fc2conv.errors import Fc2ConvError, UnreadableModel, UsageError
from tests.networks import IR_VERSION, cut, integers, session

IMAGE = ("N", 1, 6, 4)  #: behind a 2x2 Conv of stride 2 and two channels: 3 x 2 cells, 12 features
HEIGHT = ["height", "width"]
HEIGHT_2 = ["height_2", "width_2"]


@dataclass(frozen=True)
class Case:
    """A model.

    Attributes:
        text: nodes, one a line.
        outputs: each lifted output with the maps that its head flattens; other outputs with none.
        weights: initializers; a shape stands for seeded small integers.
        inputs: dims of the image inputs.
        spatial: positions of the spatial axes of inputs and maps that are not laid out as N, C, spatial axes.
        names: the spatial ``dim_param``s that the inputs get; numbers where they stay fixed.
        verdict: of the report.
        step: cells of a map from one answer to the next, where its stride is finer than the answers'.
    """

    text: str
    outputs: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"y": ("ma", "mb")})
    weights: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, tuple[Any, ...]] = field(default_factory=lambda: {"a": IMAGE, "b": IMAGE})
    spatial: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    names: Mapping[str, list[Any]] = field(default_factory=lambda: {"a": HEIGHT, "b": HEIGHT})
    verdict: str = "exact"
    step: Mapping[str, int] = field(default_factory=dict)

    @property
    def model(self) -> ModelProto:
        lines = [line.strip() for line in self.text.strip().splitlines()]
        nodes = parser.parse_graph("g (float a) => (float y) {\n" + "\n".join(lines) + "\n}").node
        arrays = {
            "ka": (2, 1, 2, 2),
            "kb": (2, 1, 2, 2),
            "w": (3, 12),
            "v": (3, 12),
            "one": np.array([1]),
            **self.weights,
        }
        used = {name for n in nodes for name in n.input}
        graph = helper.make_graph(
            nodes,
            "images",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in self.inputs.items()],
            [onnx.ValueInfoProto(name=name) for name in self.outputs],
            [
                numpy_helper.from_array(integers(v, 11 + i) if isinstance(v, tuple) else np.asarray(v), name)
                for i, (name, v) in enumerate(arrays.items())
                if name in used
            ],
        )
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        model.graph.output[0].CopyFrom(inferred.graph.output[0])
        del model.graph.output[:]
        model.graph.output.extend(inferred.graph.output)
        return model

    def positions(self, name: str, rank: int) -> tuple[int, ...]:
        return self.spatial.get(name, tuple(range(2, rank)))

    def trained(self, name: str) -> list[int]:
        dims = self.inputs[name]
        return [dims[i] for i in self.positions(name, len(dims))]

    def images(self, sizes: Mapping[str, Any], batch: int = 2) -> dict[str, np.ndarray]:
        found = {}
        for i, (name, dims) in enumerate(self.inputs.items()):
            shape = [batch if d == "N" else d for d in dims]
            for position, n in zip(self.positions(name, len(dims)), sizes.get(name, self.trained(name)), strict=True):
                shape[position] = n
            found[name] = integers(shape, 5 + i, -3, 4)
        return found


def run_part(model: ModelProto, feeds: Mapping[str, np.ndarray], outputs: list[str]) -> dict[str, np.ndarray]:
    """Values of the original, computed by its own nodes from some of its values."""
    run = session(cut(model, list(feeds), outputs))
    return dict(zip(outputs, run.run(outputs, dict(feeds)), strict=True))


def answers(case: Case, feeds: Mapping[str, np.ndarray], output: str) -> np.ndarray:
    """The original head's output on every window: the maps that it flattens, all cropped at the same cell."""
    model, names = case.model, list(case.outputs[output])
    windows = run_part(model, case.images({}), names)
    maps = run_part(model, feeds, names)
    index = {name: case.positions(name, maps[name].ndim) for name in names}
    step = {n: case.step.get(n, 1) for n in names}
    (grid,) = {tuple((maps[n].shape[p] - windows[n].shape[p]) // step[n] + 1 for p in index[n]) for n in names}
    head = session(cut(model, [*case.inputs, *names], [output]))
    result: np.ndarray | None = None
    for cell in itertools.product(*map(range, grid)):
        crops = case.images({})  # of the trained size, for heads that ask for the input's shape
        for name in names:
            crop = [slice(None)] * maps[name].ndim
            for p, i in zip(index[name], cell, strict=True):
                crop[p] = slice(i * step[name], i * step[name] + windows[name].shape[p])
            crops[name] = np.ascontiguousarray(maps[name][tuple(crop)])
        (answer,) = head.run([output], crops)
        if result is None:
            result = np.empty((*answer.shape, *grid), answer.dtype)
        result[(Ellipsis, *cell)] = answer
    assert result is not None
    return result


SHARED = "ma = Conv <strides = [2, 2]> (a, ka)\nmb = Conv <strides = [2, 2]> (b, ka)\n"
UNSHARED = "ma = Conv <strides = [2, 2]> (a, ka)\nmb = Conv <strides = [2, 2]> (b, kb)\n"
FLAT = "fa = Flatten (ma)\nfb = Flatten (mb)\n"
FCS = FLAT + "ga = Gemm <transB = 1> (fa, w)\ngb = Gemm <transB = 1> (fb, v)\n"
SAME_FC = FLAT + "ga = Gemm <transB = 1> (fa, w)\ngb = Gemm <transB = 1> (fb, w)\n"
ONE_HEAD = {"y": ("map",)}
TWO_HEADS = {"y": ("ma",), "z": ("mb",)}
FLAT_MAP = "f = Flatten (map)\ny = Gemm <transB = 1> (f, w)"
TWO_FCS = FLAT + "y = Gemm <transB = 1> (fa, w)\nz = Gemm <transB = 1> (fb, v)"
BESIDE = "\nfb = Flatten (mb)\nz = Gemm <transB = 1> (fb, v)"
APART = {"a": HEIGHT, "b": HEIGHT_2}

CASES = {
    # -- two towers, one head
    "difference of features, shared weights": Case(SHARED + SAME_FC + "d = Sub (ga, gb)\ny = Abs (d)"),
    "difference of features, unshared weights": Case(UNSHARED + FCS + "y = Sub (ga, gb)"),
    "squared distance": Case(SHARED + SAME_FC + "d = Sub (ga, gb)\np = Mul (d, d)\ny = ReduceSum (p, one)"),
    "difference in front of the FC": Case(
        UNSHARED + FLAT + "d = Sub (fa, fb)\ne = Abs (d)\ny = Gemm <transB = 1> (e, w)"
    ),
    "inner product": Case(SHARED + SAME_FC + "p = Mul (ga, gb)\ny = ReduceSum (p, one)"),
    "features side by side": Case(
        UNSHARED + FCS + "c = Concat <axis = 1> (ga, gb)\ny = Gemm <transB = 1> (c, u)", weights={"u": (2, 6)}
    ),
    "flattened maps side by side": Case(
        UNSHARED + FLAT + "c = Concat <axis = 1> (fb, fa)\ny = Gemm <transB = 1> (c, u)", weights={"u": (3, 24)}
    ),
    "the second input first": Case(UNSHARED + FCS + "y = Sub (gb, ga)"),
    "one image for both towers": Case(
        UNSHARED.replace("(b,", "(a,") + FCS + "y = Sub (ga, gb)", inputs={"a": IMAGE}, names={"a": HEIGHT}
    ),
    "different channels": Case(
        UNSHARED + FLAT + "ga = Gemm <transB = 1> (fa, w)\ngb = Gemm <transB = 1> (fb, v)\ny = Sub (ga, gb)",
        weights={"kb": (3, 2, 2, 2), "v": (3, 18)},
        inputs={"a": IMAGE, "b": ("N", 2, 6, 4)},
    ),
    "three inputs, tied in a chain": Case(
        UNSHARED + "mc = Conv <strides = [2, 2]> (c, kb)\n" + FCS + "fc = Flatten (mc)\n"
        "gc = Gemm <transB = 1> (fc, w)\ny = Sub (gb, gc)\nz = Add (ga, gb)",
        {"y": ("mb", "mc"), "z": ("ma", "mb")},
        inputs={"a": IMAGE, "b": IMAGE, "c": IMAGE},
        names={"a": HEIGHT, "b": HEIGHT, "c": HEIGHT},
    ),
    "heights as H and W swapped in one layout": Case(
        UNSHARED + "mt = Transpose <perm = [0, 1, 3, 2]> (mb)\nfa = Flatten (ma)\nfb = Flatten (mt)\n"
        "ga = Gemm <transB = 1> (fa, w)\ngb = Gemm <transB = 1> (fb, v)\ny = Sub (ga, gb)",
        {"y": ("ma", "mt")},
        spatial={"mt": (3, 2)},
    ),
    "strides 2 and 1": Case(
        "ma = Conv <strides = [2, 2]> (a, ka)\nmb = Conv (b, kb)\n" + FCS + "y = Sub (ga, gb)",
        weights={"kb": (2, 1, 4, 3)},
        step={"mb": 2},
    ),
    # -- maps that meet in the backbone
    "maps added": Case(UNSHARED + "map = Add (ma, mb)\n" + FLAT_MAP, ONE_HEAD),
    "maps side by side": Case(
        UNSHARED + "map = Concat <axis = 1> (ma, mb)\n" + FLAT_MAP, ONE_HEAD, weights={"w": (3, 24)}
    ),
    "images subtracted": Case(
        "d = Sub (a, b)\nmap = Conv <strides = [2, 2]> (d, ka)\n" + FLAT_MAP, ONE_HEAD
    ),
    "images side by side": Case(
        "s = Concat <axis = 1> (a, b)\nmap = Conv <strides = [2, 2]> (s, k)\n" + FLAT_MAP,
        ONE_HEAD,
        weights={"k": (2, 2, 2, 2)},
    ),
    "maps added by a FusedConv": Case(
        "mb = Conv <strides = [2, 2]> (b, kb)\nmap = com.microsoft.FusedConv <strides = [2, 2]> (a, ka, bias, mb)\n"
        + FLAT_MAP,
        ONE_HEAD,
        weights={"bias": (2,)},
    ),
    "images side by side, N,H,W,C": Case(
        "s = Concat <axis = 3> (b, a)\nt = Transpose <perm = [0, 3, 1, 2]> (s)\n"
        "map = Conv <strides = [2, 2]> (t, k)\n" + FLAT_MAP,
        ONE_HEAD,
        weights={"k": (2, 4, 2, 2)},
        inputs={"a": ("N", 6, 4, 3), "b": ("N", 6, 4, 1)},
        spatial={"a": (1, 2), "b": (1, 2)},
    ),
    "signals side by side": Case(
        "s = Concat <axis = 1> (a, b)\nmap = Conv <strides = [2]> (s, k)\n" + FLAT_MAP,
        ONE_HEAD,
        weights={"k": (2, 3, 2), "w": (3, 8)},
        inputs={"a": ("N", 1, 8), "b": ("N", 2, 8)},
        names={"a": ["length"], "b": ["length"]},
    ),
    "a gate from an image of another size": Case(
        UNSHARED + "g = GlobalMaxPool (mb)\nmap = Mul (ma, g)\n" + FLAT_MAP,
        ONE_HEAD,
        inputs={"a": IMAGE, "b": ("N", 1, 10, 8)},
        names=APART,
        verdict="global context",
    ),
    # -- layouts and ranks
    "N,C,H,W and N,H,W,C": Case(
        "t = Transpose <perm = [0, 3, 1, 2]> (b)\nma = Conv <strides = [2, 2]> (a, ka)\n"
        "mb = Conv <strides = [2, 2]> (t, kb)\n" + FCS + "y = Sub (ga, gb)",
        weights={"ka": (2, 3, 2, 2), "kb": (2, 3, 2, 2)},
        inputs={"a": ("N", 3, 6, 4), "b": ("N", 6, 4, 3)},
        spatial={"b": (1, 2)},
    ),
    "flattened as C,H,W and as H,W,C": Case(
        UNSHARED + "t = Transpose <perm = [0, 2, 3, 1]> (mb)\nfa = Flatten (ma)\nfb = Flatten (t)\n"
        "d = Sub (fa, fb)\ny = Gemm <transB = 1> (d, w)"
    ),
    "1-D": Case(
        "ma = Conv <strides = [2]> (a, ka)\nmb = Conv <strides = [2]> (b, kb)\n" + FCS + "y = Sub (ga, gb)",
        weights={"ka": (2, 1, 2), "kb": (2, 1, 2), "w": (3, 8), "v": (3, 8)},
        inputs={"a": ("N", 1, 8), "b": ("N", 1, 8)},
        names={"a": ["length"], "b": ["length"]},
    ),
    "1-D and 2-D, two heads": Case(
        "ma = Conv <strides = [2]> (a, ka)\nmb = Conv <strides = [2, 2]> (b, kb)\n" + TWO_FCS,
        TWO_HEADS,
        weights={"ka": (2, 1, 2), "w": (3, 8)},
        inputs={"a": ("N", 1, 8), "b": IMAGE},
        names={"a": ["length"], "b": HEIGHT},
    ),
    # -- inputs that never meet
    "two heads": Case(UNSHARED + TWO_FCS, TWO_HEADS, names=APART),
    "two heads, different sizes": Case(
        UNSHARED + TWO_FCS,
        TWO_HEADS,
        weights={"v": (3, 40)},
        inputs={"a": IMAGE, "b": ("N", 1, 10, 8)},
        names=APART,
    ),
    "two heads, different strides": Case(
        "ma = Conv <strides = [2, 2]> (a, ka)\nmb = Conv <strides = [3, 1]> (b, kb)\n" + TWO_FCS,
        TWO_HEADS,
        weights={"kb": (2, 1, 3, 3), "v": (3, 8)},
        names=APART,
    ),
    "two that meet and one that does not": Case(
        UNSHARED + "mc = Conv <strides = [2, 2]> (c, kb)\n" + FCS + "y = Sub (ga, gb)\nfc = Flatten (mc)\n"
        "z = Gemm <transB = 1> (fc, w)",
        {"y": ("ma", "mb"), "z": ("mc",)},
        inputs={"c": IMAGE, "a": IMAGE, "b": IMAGE},
        names={"c": HEIGHT, "a": HEIGHT_2, "b": HEIGHT_2},
    ),
    # -- images without an FC
    "an image without a head": Case(
        "ma = Conv <strides = [2, 2]> (a, ka)\nfa = Flatten (ma)\ny = Gemm <transB = 1> (fa, w)\n"
        "s = Conv (b, kb)\nz = ReduceMean <axes = [3], keepdims = 0> (s)",
        {"y": ("ma",), "z": ()},
        names={"a": HEIGHT, "b": [6, 4]},
    ),
    "an image without a head whose operator is not known": Case(
        "ma = Conv <strides = [2, 2]> (a, ka)\nfa = Flatten (ma)\ny = Gemm <transB = 1> (fa, w)\nz = NonZero (b)",
        {"y": ("ma",), "z": ()},
        names={"a": HEIGHT, "b": [6, 4]},
    ),
    "an image without a head that meets one in an output": Case(
        UNSHARED + "fa = Flatten (ma)\ny = Gemm <transB = 1> (fa, w)\nz = Add (mb, ma)", {"y": ("ma",), "z": ()}
    ),
    "an image that nothing reads": Case(
        "ma = Conv <strides = [2, 2]> (a, ka)\nfa = Flatten (ma)\ny = Gemm <transB = 1> (fa, w)",
        {"y": ("ma",)},
        names={"a": HEIGHT, "b": [6, 4]},
    ),
    # -- numbers from sizes
    "the batch asked of the other image": Case(
        UNSHARED + "s = Shape <end = 1> (b)\nd = Concat <axis = 0> (s, rest)\nfa = Reshape (ma, d)\nfb = Flatten (mb)\n"
        "ga = Gemm <transB = 1> (fa, w)\ngb = Gemm <transB = 1> (fb, v)\ny = Sub (ga, gb)",
        weights={"rest": np.array([-1])},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_cell_is_the_original_head_on_its_windows(case: Case) -> None:
    model = case.model
    result = fc2conv.convert(model, verify=False)
    onnx.checker.check_model(result.model, full_check=True)
    run = session(result.model)
    outputs = list(case.outputs)
    for grow in ((0, 0), (2, 6), (6, 4), (5, 3)):
        sizes = {}
        for k, name in enumerate(dict.fromkeys(map(str, case.names.values()))):  # inputs of one size grow alike
            for image in (i for i in case.names if str(case.names[i]) == name):
                fixed = isinstance(case.names[image][0], int)
                more = grow if k % 2 == 0 else grow[::-1]
                sizes[image] = [t + (0 if fixed else g) for t, g in zip(case.trained(image), more, strict=False)]
        feeds = case.images(sizes)
        found = dict(zip(outputs, run.run(outputs, feeds), strict=True))
        for name in outputs:
            maps = case.outputs[name]
            expected = answers(case, feeds, name) if maps else run_part(model, feeds, [name])[name]
            assert_declared(result.model, name, found[name], feeds)
            np.testing.assert_array_equal(found[name], expected, err_msg=f"{name} at {sizes}")


def assert_declared(model: ModelProto, name: str, value: np.ndarray, feeds: Mapping[str, np.ndarray]) -> None:
    """What the model declares of an output is what it computes, given the sizes that the inputs' names stand for."""
    symbols: dict[str, int] = {}
    for i in model.graph.input:
        for dim, n in zip(i.type.tensor_type.shape.dim, feeds[i.name].shape, strict=True):
            if dim.dim_param:
                assert symbols.setdefault(dim.dim_param, n) == n
    (output,) = (o for o in model.graph.output if o.name == name)
    for dim, n in zip(output.type.tensor_type.shape.dim, value.shape, strict=True):
        if dim.HasField("dim_value"):
            assert dim.dim_value == n
        elif dim.dim_param and not dim.dim_param.startswith("unk__"):
            assert eval(dim.dim_param, {"__builtins__": {}}, dict(symbols)) == n


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_inputs_get_these_names(case: Case) -> None:
    model = fc2conv.convert(case.model, verify=False).model
    for value in model.graph.input:
        dims = [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        assert [dims[i] for i in case.positions(value.name, len(dims))] == case.names[value.name]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_verified(case: Case) -> None:
    report = fc2conv.convert(case.model).report
    assert report.verdict == case.verdict
    assert {c.name for c in report.checks if c.passed} >= {"structure", "same size", "grid law", "windows"}
    assert [i.name for i in report.images] == [n for n, dims in case.names.items() if isinstance(dims[0], str)]


def test_cells_of_an_exact_model_are_the_original_on_the_crops_of_both_images() -> None:
    case = CASES["difference of features, unshared weights"]
    (found,) = session(fc2conv.convert(case.model, verify=False).model).run(
        ["y"], case.images({"a": (10, 8), "b": (10, 8)})
    )
    original, feeds = session(case.model), case.images({"a": (10, 8), "b": (10, 8)})
    assert found.shape[2:] == (3, 3)
    for i, j in np.ndindex(3, 3):
        crops = {n: np.ascontiguousarray(v[:, :, 2 * i : 2 * i + 6, 2 * j : 2 * j + 4]) for n, v in feeds.items()}
        np.testing.assert_array_equal(found[..., i, j], original.run(["y"], crops)[0])


# -- refusals --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Refusal:
    """A model that must not be converted, the node that is named, and part of the reason."""

    case: Case
    node: str | None
    reason: str
    error: type[Fc2ConvError] = fc2conv.Unliftable


LARGER = {"a": IMAGE, "b": ("N", 1, 12, 8)}
SIZES = "combines inputs of different trained sizes, 'a' (6x4) and 'b' (12x8), so their windows do not correspond"

REFUSALS = {
    "a pyramid that meets in the head": Refusal(
        Case(UNSHARED.replace("[2, 2]> (b", "[4, 4]> (b") + FCS + "y = Sub (ga, gb)", inputs=LARGER), "Sub 'y'", SIZES
    ),
    "a pyramid that meets in the backbone": Refusal(
        Case(UNSHARED.replace("[2, 2]> (b", "[4, 4]> (b") + "map = Add (ma, mb)\n" + FLAT_MAP, inputs=LARGER),
        "Add 'map'",
        SIZES,
    ),
    "ranks that meet": Refusal(
        Case(
            "ma = Conv <strides = [2]> (a, ka)\nmb = Conv <strides = [2, 2]> (b, kb)\n" + FCS + "y = Sub (ga, gb)",
            weights={"ka": (2, 1, 2), "w": (3, 8)},
            inputs={"a": ("N", 1, 8), "b": IMAGE},
        ),
        "Sub 'y'",
        "'a' (8) and 'b' (6x4)",
    ),
    "sizes that meet by way of a third input": Refusal(
        Case(
            UNSHARED + "mc = Conv <strides = [2, 2]> (c, kb)\n" + FCS + "fc = Flatten (mc)\n"
            "gc = Gemm <transB = 1> (fc, u)\nd = Sub (ga, gb)\ny = Sub (d, gc)",
            weights={"u": (3, 24)},
            inputs={"a": IMAGE, "b": IMAGE, "c": ("N", 1, 12, 4)},
        ),
        "Sub 'y'",
        "'b' (6x4) and 'c' (12x4)",
    ),
    "strides that meet in the head": Refusal(
        Case(
            "ma = Conv <strides = [2, 2]> (a, ka)\nmb = Conv <strides = [3, 3]> (b, kb)\n" + FCS + "y = Sub (ga, gb)",
            weights={"kb": (2, 1, 3, 2), "v": (3, 4)},
        ),
        "Sub 'y'",
        "combines heads on different grids (effective stride",
    ),
    "strides that meet in the backbone": Refusal(
        Case(
            "ma = Conv <strides = [2, 2]> (a, ka)\nmb = Conv (b, kb)\nmap = Add (ma, mb)\n" + FLAT_MAP,
            weights={"kb": (2, 1, 4, 3)},
        ),
        "Add 'map'",
        "combines maps with effective strides 2 and 1",
    ),
    "swapped axes in a FusedConv": Refusal(
        Case(
            "t = Conv (b, kb)\nmb = Transpose <perm = [0, 1, 3, 2]> (t)\n"
            "map = com.microsoft.FusedConv (a, ka, bias, mb)\n" + FLAT_MAP,
            weights={"bias": (2,), "w": (3, 50)},
            inputs={"a": ("N", 1, 6, 6), "b": ("N", 1, 6, 6)},
        ),
        "com.microsoft.FusedConv 'map'",
        "combines maps with swapped spatial axes",
    ),
    "swapped axes": Refusal(
        Case(
            "t = Transpose <perm = [0, 1, 3, 2]> (b)\nmap = Concat <axis = 1> (a, t)\n" + FLAT_MAP,
            weights={"w": (3, 72)},
            inputs={"a": ("N", 1, 6, 6), "b": ("N", 1, 6, 6)},
        ),
        "Concat 'map'",
        "combines maps with swapped spatial axes",
    ),
    "batches that differ": Refusal(
        Case(UNSHARED + FCS + "y = Sub (ga, gb)", inputs={"a": IMAGE, "b": (1, 1, 6, 4)}),
        None,
        "the batch of image input 'a' is N and that of 'b' is 1; give them the same first",
    ),
    "a factor that is the ratio of two sizes": Refusal(
        Case(
            UNSHARED + "sa = Shape <start = 2, end = 3> (a)\nsb = Shape <start = 2, end = 3> (b)\nq = Div (sb, sa)\n"
            "r = Cast <to = 1> (q)\nmap = Mul (ma, r)\n" + FLAT_MAP + BESIDE,
            {"y": ("map",), "z": ("mb",)},
        ),
        "Mul 'map'",
        "its input 'r' is computed from the size of the image, so it fits the trained size only",
    ),
    "the smaller of two sizes": Refusal(
        Case(
            UNSHARED + "sa = Shape <start = 2, end = 3> (a)\nsb = Shape <start = 2, end = 3> (b)\nq = Min (sb, sa)\n"
            "r = Cast <to = 1> (q)\nmap = Mul (ma, r)\n" + FLAT_MAP + BESIDE,
            {"y": ("map",), "z": ("mb",)},
        ),
        "Mul 'map'",
        "its input 'r' is computed from the size of the image, so it fits the trained size only",
    ),
    "a second image without a size": Refusal(
        Case(UNSHARED + FCS + "y = Sub (ga, gb)", inputs={"a": IMAGE, "b": ("N", 1, "H", 4)}),
        None,
        "input 'b' axis 2 is 'H'; give it the trained size first",
        UnreadableModel,
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", REFUSALS.values(), ids=REFUSALS.keys())
def test_refuses_by_node_and_reason(row: Refusal) -> None:
    with pytest.raises(row.error) as caught:
        fc2conv.convert(row.case.model, verify=False)
    assert caught.value.node == row.node
    assert row.reason in caught.value.reason
    assert "\n" not in str(caught.value)


def test_an_input_without_a_size_is_no_obstacle_where_no_head_depends_on_it() -> None:
    case = CASES["an image without a head"]
    result = fc2conv.convert(replace(case, inputs={"a": IMAGE, "b": ("N", 1, "H", 4)}).model, verify=False)
    assert list(result.geometry.outputs) == ["y"]
    assert result.model.graph.input[1].type.tensor_type.shape.dim[2].dim_param == "H"


# -- sizes and the report --------------------------------------------------------------------------------------------


def test_a_size_is_every_inputs() -> None:
    report = fc2conv.convert(CASES["two heads"].model, sizes=[(10, 12)]).report
    assert [i.sizes for i in report.images] == [[[10, 12]], [[10, 12]]]
    assert {o.name: o.grids for o in report.outputs} == {n: {"6x4": [1, 1], "10x12": [3, 5]} for n in ("y", "z")}


def test_inputs_that_never_meet_are_verified_at_different_sizes() -> None:
    report = fc2conv.convert(CASES["two heads"].model).report
    assert [i.sizes for i in report.images] == [[[8, 10], [14, 8]], [[14, 8], [8, 10]]]
    assert any("inputs 'a' 8x10, 'b' 14x8" in c.note for c in report.checks)
    assert {tuple(c.size) for c in report.checks if c.name == "windows" and c.size} == {(8, 10), (14, 8)}


def test_no_size_can_be_asked_for_where_the_trained_sizes_differ() -> None:
    model = CASES["two heads, different sizes"].model
    assert fc2conv.convert(model).report.verified
    with pytest.raises(UsageError, match="trained at different ones \\('a' 6x4, 'b' 10x8\\)"):
        fc2conv.convert(model, sizes=[(20, 20)])


@pytest.mark.parametrize(
    ("size", "reason"), [((4, 4), "smaller than the trained size 6x4"), ((8, 8, 8), "has 3 axes, input 'a' has 2")]
)
def test_a_size_that_does_not_fit_is_refused(size: tuple[int, ...], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        fc2conv.convert(CASES["two heads"].model, sizes=[size])


def test_the_report_lists_the_images() -> None:
    data = fc2conv.convert(CASES["two that meet and one that does not"].model, verify=False).report.to_dict()
    rows = [(i["name"], i["shape"][2:], i["trained_size"], i["same_size_as"]) for i in data["images"]]
    assert rows == [("c", HEIGHT, [6, 4], None), ("a", HEIGHT_2, [6, 4], None), ("b", HEIGHT_2, [6, 4], "a")]
    assert (data["image_input"], data["trained_size"]) == ("c", [6, 4])
    assert {name: o["input"] for name, o in data["geometry"]["outputs"].items()} == {"y": "a", "z": "c"}


# -- sabotage --------------------------------------------------------------------------------------------------------


def edit(model: ModelProto, name: str) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == name)
    values = numpy_helper.to_array(tensor).copy()
    values.flat[3] += 1
    tensor.CopyFrom(numpy_helper.from_array(values, name))


def backbone_of_one_branch(model: ModelProto) -> None:
    edit(model, "kb")


def head_of_one_branch(model: ModelProto) -> None:
    (conv,) = (n for n in model.graph.node if n.op_type == "Conv" and n.output[0] == "gb")
    edit(model, conv.input[1])


def swapped_inputs(model: ModelProto) -> None:
    for n in model.graph.node:
        n.input[:] = [{"a": "b", "b": "a"}.get(name, name) for name in n.input]


def one_input_for_both(model: ModelProto) -> None:
    for n in model.graph.node:
        n.input[:] = ["a" if name == "b" else name for name in n.input]


def windows_that_do_not_correspond(model: ModelProto) -> None:
    """The second branch answers with the first window everywhere: right at the trained size, and of the right shape."""
    (conv,) = (n for n in model.graph.node if n.op_type == "Conv" and n.output[0] == "gb")
    conv.output[0] = "all"
    zero, last = np.array([0, 0]), np.array([1, 1])
    for name, values in (("zero", zero), ("last", last), ("axes", np.array([2, 3]))):
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    place = list(model.graph.node).index(conv) + 1
    model.graph.node.insert(place, helper.make_node("Slice", ["all", "zero", "last", "axes"], ["first"]))
    model.graph.node.insert(place + 1, helper.make_node("Shape", ["all"], ["dims"]))
    model.graph.node.insert(place + 2, helper.make_node("Expand", ["first", "dims"], ["gb"]))


def second_input_fixed(model: ModelProto) -> None:
    model.graph.input[1].type.tensor_type.shape.dim[3].dim_value = 4


def two_sizes_declared(model: ModelProto) -> None:
    model.graph.input[1].type.tensor_type.shape.dim[3].dim_param = "width_2"


def second_input_gone(model: ModelProto) -> None:
    one_input_for_both(model)
    del model.graph.input[1]


SABOTAGE: list[tuple[Callable[[ModelProto], None], str]] = [
    (backbone_of_one_branch, "same size"),
    (head_of_one_branch, "same size"),
    (swapped_inputs, "same size"),
    (one_input_for_both, "same size"),
    (windows_that_do_not_correspond, "windows"),
    (second_input_fixed, "structure: input 'b' still has a fixed spatial dim"),
    (two_sizes_declared, "structure: inputs 'a' and 'b' must have one size and declare two"),
    (second_input_gone, "structure: input 'b' is gone"),
]


@pytest.mark.parametrize(("mutate", "check"), SABOTAGE, ids=[m.__name__ for m, _ in SABOTAGE])
def test_verify_rejects(mutate: Callable[[ModelProto], None], check: str) -> None:
    original = CASES["difference of features, unshared weights"].model
    converted = ModelProto()
    converted.CopyFrom(fc2conv.convert(original, verify=False).model)
    fc2conv.verify(original, converted)
    mutate(converted)
    with pytest.raises(fc2conv.VerificationFailed, match=check):
        fc2conv.verify(original, converted)


def test_without_an_fc_all_images_are_freed() -> None:
    result = fc2conv.convert(Case(UNSHARED + "y = Add (ma, mb)").model)
    assert result.report.heads == []
    assert [image.same_size_as for image in result.report.images] == [None, result.report.images[0].name]
