"""What is made denser: every kind of node behind a stride that goes, over ranks, opsets and branches.

Of an exact network every answer is the original's on the image crop; of one that pads every k-th answer is that of the
loop over windows of the original's own map. Both with small integers, bit for bit, but for averages that are divided
otherwise.
"""

from __future__ import annotations

import re
from dataclasses import replace
from fnmatch import fnmatchcase

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import onnx_fc2conv as fc2conv
from onnx_fc2conv import Unliftable, dtypes

from ..backbone.cases import CASES, Case, classifier
from ..networks import answers, assert_close, session
from .oracle import every, on_crops

GROWN = 9  #: pixels added along the first axis, one more along each other


def behind(case: Case) -> Case:
    """The same nodes behind a pool of stride 2."""
    two = ", ".join(["2"] * len(case.spatial))
    text = f"x1 = MaxPool<kernel_shape = [{two}], strides = [{two}]> (x)\n" + re.sub(r"\bx\b", "x1", case.text)
    image = (case.image[0], *(2 * n for n in case.image[1:]))
    return replace(case, text=text, image=image, stride=tuple(2 * s for s in case.stride))


def plain(case: Case) -> bool:
    """True for an image laid out as N, C, spatial axes, in which a pool can stand in front."""
    return case.spatial == tuple(range(2, 2 + len(case.spatial)))


def tolerance(case: Case) -> float:
    """Averages may be multiplied where they were divided."""
    inexact = case.terms or any(word in case.text for word in ("AveragePool", "Mean", "LeakyRelu"))
    return dtypes.tolerance(TensorProto.FLOAT, max(case.terms, 9) + 64, 4) if inexact else 0.0


def assert_denser(case: Case, stride: tuple[int, ...], within: float | None = None) -> fc2conv.Result:
    """Convert at this stride and compare with the original."""
    model, within = classifier(case), tolerance(case) if within is None else within
    plain_grid = fc2conv.inspect(model).geometry["outputs"]["y"]
    effective = plain_grid["stride"]
    result = fc2conv.convert(model, stride=stride, verify=False)
    onnx.checker.check_model(result.model, full_check=True)
    grid, steps = result.geometry.grid, [e // s for e, s in zip(effective, stride, strict=True)]
    assert grid.stride == stride
    if result.report.sizes and "any" not in result.report.valid_sizes:
        size = tuple(t + 2 * s for t, s in zip(case.trained, grid.step, strict=True))
    else:
        size = tuple(t + GROWN + i for i, t in enumerate(case.trained))
    image = case.pixels(size)
    (found,) = session(result.model).run(["y"], {"x": image})
    assert found.shape[2:] == grid.grid_size(size)
    (one,) = session(result.model).run(["y"], {"x": case.pixels(case.trained)})
    assert one.shape[2:] == (1,) * len(stride)
    if result.report.verdict == "exact":
        expected = on_crops(model, image, case.trained, stride, case.spatial)
        assert all(a >= b for a, b in zip(found.shape, expected.shape, strict=True))
        assert_close(found[tuple(slice(n) for n in expected.shape)], expected, within)
    if plain(case) and case.map_spatial is None and case.dtype == np.float32:
        own = answers(model, image, plain_grid["window"])["y"]
        thinned = every(found, steps)
        assert_close(thinned, own[tuple(slice(n) for n in thinned.shape)], within)
    return result


#: kinds that are refused behind a stride that goes, by the name of their case; a star stands for any end
REFUSED = {
    "SpaceToDepth*": "moves neighbouring cells into channels",
    "DepthToSpace*": "makes several cells of one",
    "Resize*": "makes several cells of one",
    "Upsample*": "makes several cells of one",
    "ConvTranspose*": "makes several cells of one",
    "InstanceNormalization*": "normalises over all positions",
    "MeanVarianceNormalization*": "normalises over all positions",
    "LayerNormalization of all": "looks at all positions",
    "Softmax over the width": "looks at all positions",
    "Softmax before opset 13 takes all axes": "looks at all positions",
    "Softmax over channels on, before opset 13": "looks at all positions",
    "LpNormalization over the width": "looks at all positions",
    "Pad reflect": "pads with copies",
    "Pad edge": "pads with copies",
    "LpPool": "LpPool has dilations since opset 18",
    "Quantised AveragePool*": "has no dilations",
    "com.microsoft QLinearAveragePool*": "has no dilations",
    "com.microsoft quantised branches": "has no dilations",
}


def refusal(name: str) -> str | None:
    return next((reason for key, reason in REFUSED.items() if fnmatchcase(name, key)), None)


BEHIND = [name for name, case in CASES.items() if plain(case) and (case.dtype != np.uint8 or case.opset >= 12)]


@pytest.mark.parametrize("name", BEHIND)
def test_every_kind_of_node_behind_a_stride_that_goes(name: str) -> None:
    case = behind(CASES[name])
    effective = fc2conv.inspect(classifier(case)).geometry["outputs"]["y"]["stride"]
    reason = refusal(name)
    if reason is None:
        assert_denser(case, (1,) * len(effective))
        return
    with pytest.raises(Unliftable, match=reason) as caught:
        fc2conv.convert(classifier(case), stride=(1,) * len(effective), verify=False)
    assert caught.value.node


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not plain(case) and max(case.stride) > 1])
def test_strides_of_other_layouts(name: str) -> None:
    assert_denser(CASES[name], (1,) * len(CASES[name].spatial))


def test_every_reason_is_met() -> None:
    assert {key for key in REFUSED if any(fnmatchcase(name, key) for name in BEHIND)} == set(REFUSED)
