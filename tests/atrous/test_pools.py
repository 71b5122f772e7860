"""Dilated pools over opsets, ranks and pads: with ``dilations``, and as what stands for them in older opsets."""

from __future__ import annotations

from typing import Any

import pytest
from onnx import TensorProto

import onnx_fc2conv as fc2conv
from onnx_fc2conv import Unliftable, dtypes

from ..backbone.cases import Case, classifier
from .test_dense import assert_denser, behind


def pool(kind: str, rank: int = 2, opset: int = 17, kernel: int = 3, stride: int = 2, **attrs: Any) -> Case:
    """Two pools in a row, so that the second is dilated even where the stride of the first goes alone."""
    numbers = {"kernel_shape": [kernel] * rank, "strides": [stride] * rank, **attrs}
    words = ", ".join(f"{k} = {v if not isinstance(v, str) else chr(34) + v + chr(34)}" for k, v in numbers.items())
    text = f"map = {kind}<{words}> (x)"
    image = (2, *((14, 13, 9)[:rank] if rank < 3 else (8, 7, 6)))
    return Case(text, image=image, spatial=tuple(range(2, 2 + rank)), stride=(stride,) * rank, opset=opset)


ONES, UNEVEN = [1, 1, 1, 1], [0, 1, 2, 0]
#: a pool, and the operators that it has become
POOLS: dict[str, tuple[Case, set[str]]] = {
    "MaxPool": (pool("MaxPool"), {"MaxPool"}),
    "MaxPool opset 10": (pool("MaxPool", opset=10), {"MaxPool"}),
    "MaxPool opset 8": (pool("MaxPool", opset=8), {"MaxPool", "Slice", "Max"}),
    "MaxPool opset 7, pads": (pool("MaxPool", opset=7, pads=ONES), {"MaxPool", "Slice", "Max", "Pad"}),
    "MaxPool opset 9, 3-D": (pool("MaxPool", 3, 9, 2, 1), {"MaxPool", "Slice", "Max"}),
    "MaxPool pads": (pool("MaxPool", pads=ONES), {"MaxPool"}),
    "MaxPool wide pads": (pool("MaxPool", pads=UNEVEN), {"MaxPool", "Pad"}),
    "MaxPool wide pads, opset 10": (pool("MaxPool", opset=10, pads=UNEVEN), {"MaxPool", "Pad"}),
    "MaxPool 1-D": (pool("MaxPool", 1, kernel=2), {"MaxPool"}),
    "MaxPool 3-D": (pool("MaxPool", 3, kernel=2), {"MaxPool"}),
    "MaxPool SAME_UPPER": (pool("MaxPool", auto_pad="SAME_UPPER"), {"MaxPool"}),
    "MaxPool SAME_LOWER, stride 1": (pool("MaxPool", stride=1, auto_pad="SAME_LOWER"), {"MaxPool"}),
    "MaxPool ceil_mode": (pool("MaxPool", ceil_mode=1), {"MaxPool"}),
    "MaxPool dilated before": (pool("MaxPool", kernel=2, dilations=[2, 1]), {"MaxPool"}),
    "AveragePool opset 19": (pool("AveragePool", opset=19), {"MaxPool", "AveragePool"}),
    "AveragePool opset 22, pads": (pool("AveragePool", opset=22, pads=ONES), {"MaxPool", "AveragePool"}),
    "AveragePool opset 19, counts pads": (
        pool("AveragePool", opset=19, pads=ONES, count_include_pad=1),
        {"MaxPool", "AveragePool", "Pad"},
    ),
    "AveragePool opset 19, wide pads": (
        pool("AveragePool", opset=19, pads=UNEVEN),
        {"MaxPool", "Conv", "Slice", "Cast", "Not", "Or", "Div"},
    ),
    "AveragePool": (pool("AveragePool"), {"MaxPool", "Conv"}),
    "AveragePool opset 7": (pool("AveragePool", opset=7), {"MaxPool", "Conv"}),
    "AveragePool pads": (pool("AveragePool", pads=ONES), {"MaxPool", "Conv", "Slice", "Cast", "Not", "Or", "Div"}),
    "AveragePool opset 7, pads": (
        pool("AveragePool", opset=7, pads=UNEVEN),
        {"MaxPool", "Conv", "Slice", "Cast", "Not", "Or", "Div"},
    ),
    "AveragePool counts pads": (pool("AveragePool", pads=ONES, count_include_pad=1), {"MaxPool", "Conv", "Pad"}),
    "AveragePool ceil_mode": (
        pool("AveragePool", ceil_mode=1),
        {"MaxPool", "Conv", "Slice", "Cast", "Not", "Or", "Div"},
    ),
    "AveragePool 1-D": (pool("AveragePool", 1, kernel=2), {"MaxPool", "Conv"}),
    "AveragePool 3-D": (pool("AveragePool", 3, kernel=2), {"MaxPool", "Conv"}),
    "LpPool opset 18": (pool("LpPool", opset=18, p=1), {"MaxPool", "LpPool"}),
    "LpPool opset 18, wide pads": (pool("LpPool", opset=18, p=1, pads=UNEVEN), {"MaxPool", "LpPool", "Pad"}),
}


@pytest.mark.parametrize("name", POOLS)
def test_pools(name: str) -> None:
    case, operators = POOLS[name]
    inexact = dtypes.tolerance(TensorProto.FLOAT, 9 + 128, 4) if "Average" in name else 0.0
    result = assert_denser(behind(case), (1,) * len(case.spatial), inexact)
    last = next(i for i, n in enumerate(result.model.graph.node) if "map" in n.output)
    assert {n.op_type for n in result.model.graph.node[: last + 1]} == operators


@pytest.mark.parametrize("name", ["MaxPool SAME_UPPER", "MaxPool ceil_mode"])
def test_pads_that_depend_on_the_size_are_those_of_the_trained_one(name: str) -> None:
    case = behind(POOLS[name][0])
    result = fc2conv.convert(classifier(case), stride=1, verify=False)
    pooled = [n for n in result.model.graph.node if n.op_type == "MaxPool"]
    assert result.geometry.grid.step == case.stride
    assert not any(a.name in ("auto_pad", "ceil_mode") for n in pooled for a in n.attribute)


def test_an_average_that_counts_its_pads_and_not_what_is_beyond_them_is_refused() -> None:
    case = behind(pool("AveragePool", kernel=3, ceil_mode=1, count_include_pad=1, pads=[1, 1, 0, 0], opset=19))
    with pytest.raises(Unliftable, match="counts its pads and, with ceil_mode") as caught:
        fc2conv.convert(classifier(case), stride=1, verify=False)
    assert caught.value.node == "AveragePool 'map'"


def test_positions_inside_of_a_map_are_refused() -> None:
    text = "map, at = MaxPool<kernel_shape = [2, 2], strides = [2, 2]> (x)\nunused = Cast<to = 1>(at)"
    model = classifier(Case(text, image=(2, 8, 8), stride=(2, 2)))
    model.graph.output.add(name="unused").type.tensor_type.elem_type = TensorProto.FLOAT
    with pytest.raises(Unliftable, match="gives positions inside of a map"):
        fc2conv.convert(model, stride=1, verify=False)
