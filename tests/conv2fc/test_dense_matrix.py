"""The explicit matrix of each linear operator, against plain loops over every output, and what was estimated of it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from onnx_fc2conv.conv2fc import convolution
from onnx_fc2conv.conv2fc.dense import matrix
from onnx_fc2conv.conv2fc.dense.linear import Windows
from onnx_fc2conv.conv2fc.dense.reading import Reading
from onnx_fc2conv.conv2fc.dense.window import Sliding
from onnx_fc2conv.errors import Unliftable
from onnx_fc2conv.ops import Array

from .dense import Built, answers, built, feeds_of, planned
from .small import integers, network


def looped(
    weight: np.ndarray, size: tuple[int, ...], strides: Any, dilations: Any, pads: Any, group: int
) -> tuple[np.ndarray, tuple[int, ...]]:
    """The matrix ``[C * inputs, K * outputs]`` of a convolution, one entry at a time; and the size of the result."""
    units, per_group, *window = weight.shape
    rank = len(window)
    reach = [(k - 1) * d + 1 for k, d in zip(window, dilations, strict=True)]
    out = tuple((size[i] + pads[i] + pads[rank + i] - reach[i]) // strides[i] + 1 for i in range(rank))
    found = np.zeros((per_group * group, *size, units, *out))
    for k in range(units):
        first = k // (units // group) * per_group
        for c in range(per_group):
            for p in itertools.product(*map(range, out)):
                for t in itertools.product(*map(range, window)):
                    cell = [p[i] * strides[i] + t[i] * dilations[i] - pads[i] for i in range(rank)]
                    if all(0 <= cell[i] < size[i] for i in range(rank)):
                        found[(first + c, *cell, k, *p)] = weight[(k, c, *t)]
    return found.reshape(per_group * group * int(np.prod(size)), -1), out


def listed(numbers: Any) -> str:
    return "[" + ", ".join(map(str, numbers)) + "]"


def assert_as_estimated(found: Built) -> None:
    """Every product is what was said of it before it was made, and so are the bytes of all."""
    made = found.matrices()
    assert len(made) == len(found.estimate.products)
    for product, m in zip(found.estimate.products, made, strict=True):
        assert (product.rows, product.columns) == m.shape
        assert product.after == m.size
        assert product.zeros == pytest.approx(float((m == 0).mean()), abs=1e-12)
    biases = [n.input[2] for n in gemms(found.model) if len(n.input) > 2]
    size = sum(m.nbytes for m in made) + sum(found.constants()[name].nbytes for name in biases)
    assert found.estimate.bytes == size == sum(p.bytes_after for p in found.estimate.products)


def gemms(model: ModelProto) -> list[Any]:
    return [n for n in model.graph.node if n.op_type == "Gemm"]


def assert_equal_bits(model: ModelProto, found: Built, batches: tuple[int, ...] = (1, 2, 3)) -> None:
    for n in batches:
        feeds = feeds_of(model, n, seed=n)
        for expected, value in zip(answers(model, feeds), answers(found.model, feeds), strict=True):
            np.testing.assert_array_equal(value, expected, strict=True)


CONVS = [
    # map, kernel [units, channels / group, *window], strides, dilations, pads, group
    ((5, 4), (3, 2, 1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1),
    ((5, 4), (3, 2, 3, 2), (1, 1), (1, 1), (0, 0, 0, 0), 1),
    ((5, 6), (2, 2, 3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1),
    ((7, 6), (2, 1, 3, 3), (2, 3), (1, 1), (1, 0, 2, 1), 1),
    ((7, 8), (2, 2, 3, 2), (1, 2), (2, 3), (2, 1, 0, 3), 1),
    ((4, 4), (4, 2, 3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 2),
    ((4, 5), (6, 1, 3, 3), (2, 2), (1, 1), (1, 1, 1, 1), 3),
    ((4, 5), (6, 1, 2, 2), (1, 1), (1, 1), (0, 0, 0, 0), 2),
    ((3, 2), (4, 2, 3, 2), (1, 1), (1, 1), (0, 0, 0, 0), 1),  # the whole map
    ((2, 2), (2, 1, 5, 5), (1, 1), (1, 1), (2, 2, 2, 2), 1),  # larger than the map
    ((1, 1), (3, 4, 1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1),
    ((7,), (2, 3, 3), (2,), (2,), (2, 1), 1),
    ((6,), (4, 1, 4), (3,), (1,), (0, 3), 2),
    ((3, 4, 3), (2, 2, 2, 3, 1), (1, 2, 1), (1, 1, 1), (0, 1, 1, 1, 1, 0), 1),
    ((3, 3, 4), (4, 1, 2, 2, 2), (1, 1, 2), (1, 2, 1), (1, 0, 0, 0, 1, 1), 2),
]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("size", "kernel", "strides", "dilations", "pads", "group"), CONVS)
def test_conv(size: Any, kernel: Any, strides: Any, dilations: Any, pads: Any, group: int, bias: bool) -> None:
    attrs = f"strides={listed(strides)}, dilations={listed(dilations)}, pads={listed(pads)}, group={group}"
    weights = {"w": kernel} | ({"b": kernel[:1]} if bias else {})
    model = network(f"y = Conv <{attrs}> (x, {', '.join(weights)})", (kernel[1] * group, *size), weights)
    found = built(model)
    expected, out = looped(integers(kernel, 3), size, strides, dilations, pads, group)
    (m,) = found.matrices()
    np.testing.assert_array_equal(m, expected)
    if bias:
        stored = found.constants()[gemms(found.model)[0].input[2]]
        np.testing.assert_array_equal(stored, np.repeat(integers(kernel[:1], 4), int(np.prod(out))))
    assert found.op_types == ["Flatten", "Gemm", "Reshape"]
    assert_as_estimated(found)
    (product,) = found.estimate.products
    assert product.before == int(np.prod(kernel)) * int(np.prod(out))
    assert product.bytes_before == 4 * (int(np.prod(kernel)) + bias * kernel[0])
    assert_equal_bits(model, found)


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize(("size", "window", "stride"), [((5, 6), 2, 1), ((5, 6), 3, 2), ((7, 4), 4, 3)])
def test_auto_pad(auto_pad: str, size: Any, window: int, stride: int) -> None:
    text = f'y = Conv <auto_pad="{auto_pad}", strides=[{stride}, {stride}]> (x, w)'
    model = network(text, (2, *size), {"w": (3, 2, window, window)})
    found = built(model)
    assert_equal_bits(model, found)
    assert_as_estimated(found)


POOLS = [
    # attributes, map, whether its means are exact in binary
    ("kernel_shape=[2, 2], strides=[2, 2]", (4, 6), True),
    ("kernel_shape=[2, 4], strides=[1, 3]", (4, 7), True),
    ("kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 1, 1], count_include_pad=1", (3, 5), True),
    ("kernel_shape=[2, 2], strides=[1, 1], pads=[1, 1, 1, 1]", (3, 3), True),
    ("kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1", (5, 3), True),
    ("kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, pads=[1, 0, 0, 0]", (4, 5), True),
    ('kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER"', (3, 5), True),
    ('kernel_shape=[2, 2], strides=[1, 1], auto_pad="SAME_LOWER"', (3, 4), True),
    ("kernel_shape=[3, 3], strides=[2, 1], pads=[1, 1, 1, 1]", (5, 4), False),
    ("kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1, ceil_mode=1", (6, 6), False),
    ("kernel_shape=[4], strides=[2], pads=[1, 1], count_include_pad=1", (6,), True),
    ("kernel_shape=[2, 1, 2]", (3, 2, 3), True),
]


@pytest.mark.parametrize(("attrs", "size", "exact"), POOLS)
def test_average_pool(attrs: str, size: Any, exact: bool) -> None:
    model = network(f"y = AveragePool <{attrs}> (x)", (3, *size), opset=19)
    found = built(model)
    assert_as_estimated(found)
    (m,) = found.matrices()
    np.testing.assert_array_equal(m, by_images(model, 3 * int(np.prod(size))))
    if exact:
        assert_equal_bits(model, found)


def by_images(model: ModelProto, features: int) -> np.ndarray:
    """The matrix of a linear model without a bias: what the runtime gives for each image with a single 1."""
    dims = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]
    images = np.eye(features, dtype=np.float32).reshape(features, *dims)
    (found,) = answers(model, {"x": images})
    return np.asarray(found.reshape(features, -1))


LINEAR = [
    ("y = GlobalAveragePool (x)", (3, 2, 4), 17),
    ("y = GlobalAveragePool (x)", (3, 8), 17),
    ("y = ReduceMean <axes=[2, 3]> (x)", (3, 2, 4), 17),
    ("y = ReduceMean <axes=[-1], keepdims=0> (x)", (3, 2, 4), 13),
    ("y = ReduceMean <axes=[1, 2], keepdims=0> (x)", (2, 2, 4), 11),
    ("y = ReduceSum <keepdims=0> (x, axes)", (3, 2, 4), 13),
    ("y = ReduceMean <keepdims=0> (x, axes)", (3, 2, 4), 18),
    ("y = ConvTranspose <strides=[2, 1], pads=[1, 0, 0, 1]> (x, w)", (3, 2, 4), 17),
    ("y = ConvTranspose <strides=[2, 2], dilations=[1, 2], output_padding=[1, 0], group=3> (x, d)", (3, 2, 4), 11),
]


@pytest.mark.parametrize(("text", "dims", "opset"), LINEAR)
def test_other_linear_operators(text: str, dims: Any, opset: int) -> None:
    """Behind a Conv that changes nothing, so that sums, which stay where they are alone, become matrices too."""
    same = np.ones((dims[0], *[1] * len(dims)), np.float32)
    given = {"axes": np.array([2, 3]), "w": (3, 2, 3, 2), "d": (3, 2, 2, 2), "same": same}
    text = f"a = Conv <group={dims[0]}> (x, same)\n{text.replace('(x', '(a')}"
    model = network(text, dims, {k: v for k, v in given.items() if f"{k})" in text}, opset=opset)
    found = built(model)
    _, m = found.matrices()
    np.testing.assert_array_equal(m, by_images(model, int(np.prod(dims))))
    assert_as_estimated(found)
    assert_equal_bits(model, found)


@pytest.mark.parametrize("tokens", [1, 3])
def test_tokens_each_have_the_weights(tokens: int) -> None:
    """With --strict only: the weights of an FC on tokens stand once for each of them."""
    model = network("a = MatMul (x, w)\ny = Conv (a, c)", (tokens, 4), {"w": (4, 2), "c": (3, tokens, 1)})
    found = built(model, strict=True)
    np.testing.assert_array_equal(found.matrices()[0], np.kron(np.eye(tokens), integers((4, 2), 3)))
    assert_as_estimated(found)
    assert_equal_bits(model, found)
    assert built(model).op_types[0] == ("MatMul" if tokens > 1 else "Flatten")


READINGS = [
    Reading(scale=np.arange(1.0, 19)),
    Reading(shift=np.arange(18.0)),
    Reading(np.random.default_rng(0).permutation(18), np.arange(1.0, 19), np.arange(-9.0, 9)),
    Reading(np.arange(20)[2:], shift=np.ones(18)),
    Reading(np.array([*range(4), -1, -1, *range(6, 16), -1, 17])),
    Reading(np.array([*range(4), -1, -1, *range(6, 16), -1, 17]), np.full(18, 2.0), np.arange(18.0)),
]
RESULTS = [
    Reading(),
    Reading(np.random.default_rng(1).permutation(8), np.arange(1.0, 9), np.arange(8.0)),
    Reading(shift=np.ones(8)),
]
CONV = Windows(
    rows=18,
    columns=8,
    what="",
    before=0,
    bytes_before=0,
    offset=lambda: np.arange(8.0),
    axes=(Sliding(3, 2, 2), Sliding(3, 2, 3, pad=1, stride=2, pad_after=1)),
    group=1,
    channels=2,
    units=2,
    weight=Array.of("w", integers((2, 2, 2, 3), 5)),
)


@pytest.mark.parametrize("result", RESULTS)
@pytest.mark.parametrize("reading", READINGS)
def test_readings_are_taken_into_the_matrix(reading: Reading, result: Reading) -> None:
    """On any vector, the folded matrix gives what reading, the bare matrix, and reading give one after the other."""
    size = 18 if reading.index is None else 20
    x = np.random.default_rng(2).integers(-5, 6, size).astype(np.float64)
    bare, bias = matrix.build(CONV, Reading(), 18, Reading(), np.dtype(np.float64)), np.arange(8.0)
    folded = matrix.build(CONV, reading, size, result, np.dtype(np.float64))
    added = matrix.bias_of(CONV, reading, result, np.dtype(np.float64))
    assert added is not None
    np.testing.assert_array_equal(folded @ x + added, result.apply(bare @ reading.apply(x) + bias))
    assert matrix.nonzeros(CONV, reading) == int((folded != 0).sum())


def test_the_number_of_pairs_is_counted_without_the_pairs() -> None:
    for size, outputs, window, stride, dilation, pad in itertools.product(
        (1, 4, 7), (1, 3, 5), (1, 2, 5), (1, 2, 3), (1, 2), (0, 1, 3)
    ):
        axis = Sliding(size, outputs, window, stride, dilation, pad)
        assert axis.pairs == int(axis.inside.sum()) == sum(len(axis.at(t)[0]) for t in range(window))


def test_a_plan_of_an_impossible_size_is_made_at_once_and_never_carried_out() -> None:
    model = network("a = Conv (x, w)\ny = Relu (a)", (3, 2**20, 2**20), {"w": (8, 3, 3, 3)})
    estimate = planned(model)
    (product,) = estimate.products
    assert product.rows == 3 * 2**40
    assert product.columns == 8 * (2**20 - 2) ** 2
    assert estimate.bytes == 4 * product.rows * product.columns
    with pytest.raises(Unliftable, match="too large to be made"):
        estimate.build()


def test_loops_see_a_wrong_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pads that are taken from the other side are found."""
    real = convolution.read

    def swapped(*args: Any) -> Any:
        read = real(*args)
        object.__setattr__(read, "pads", tuple(p[::-1] for p in read.pads if p))
        return read

    monkeypatch.setattr(convolution, "read", swapped)
    with pytest.raises(AssertionError):
        test_conv((7, 6), (2, 1, 3, 3), (2, 3), (1, 1), (1, 0, 2, 1), 1, True)
