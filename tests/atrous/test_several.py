"""Several images, several readers, other runtimes: --stride where more than one thing depends on a map."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv import Unliftable

from ..networks import integers, session
from .oracle import on_crops
from .test_networks import built

CHAIN = "{o} = Conv<strides = [2, 2]>({x}, w1)\n {o}m = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>({o})\n"
WEIGHTS = {"w1": (2, 1, 2, 2), "fc": (3, 32)}


def with_second_image(text: str, size: tuple[int, int]) -> ModelProto:
    model = built(text, (1, 16, 8), WEIGHTS)
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 1, *size]))
    return model


def test_two_images_that_meet_in_the_head() -> None:
    text = CHAIN.format(o="a", x="x") + CHAIN.format(o="b", x="z")
    text += "c = Concat<axis = 1>(am, bm)\n f = Flatten(c)\n y = Gemm<transB = 1>(f, fc)"
    model = with_second_image(text, (16, 8))
    result = fc2conv.convert(model, stride=(2, 1))
    assert result.report.verdict == "exact"
    feeds = {"x": integers((1, 1, 19, 11), 1), "z": integers((1, 1, 19, 11), 2)}
    (found,) = session(result.model).run(["y"], feeds)
    assert found.shape == (1, 3, 2, 4)
    original = session(model)
    for i, j in np.ndindex(2, 4):
        crop = {name: v[:, :, 2 * i : 2 * i + 16, j : j + 8] for name, v in feeds.items()}
        np.testing.assert_array_equal(found[..., i, j], original.run(["y"], crop)[0])


def test_two_images_that_never_meet() -> None:
    text = CHAIN.format(o="a", x="x") + "f = Flatten(am)\n y = Gemm<transB = 1>(f, fa)\n"
    text += "b = Conv<strides = [2, 2]>(z, w1)\n g = Flatten(b)\n v = Gemm<transB = 1>(g, fb)"
    model = built(text, (1, 16, 8), WEIGHTS | {"fa": (3, 16), "fb": (3, 18)})
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 1, 6, 6]))
    model.graph.output.append(helper.make_tensor_value_info("v", TensorProto.FLOAT, ["N", 3]))
    result = fc2conv.convert(model, stride=1)
    assert [result.geometry[name].stride for name in ("y", "v")] == [(1, 1), (1, 1)]
    coarse = fc2conv.convert(model, stride=4)  # what is finer stays
    assert [coarse.geometry[name].stride for name in ("y", "v")] == [(4, 4), (2, 2)]


def test_heads_of_their_own_over_maps_of_different_strides() -> None:
    text = CHAIN.format(o="a", x="x") + "f = Flatten(am)\n y = Gemm<transB = 1>(f, fa)\n"
    text += "g = Flatten(a)\n v = Gemm<transB = 1>(g, fb)"
    model = built(text, (1, 16, 8), WEIGHTS | {"fa": (3, 16), "fb": (3, 64)})
    model.graph.output.append(helper.make_tensor_value_info("v", TensorProto.FLOAT, ["N", 3]))
    result = fc2conv.convert(model, stride=2)
    assert [result.geometry[name].stride for name in ("y", "v")] == [(2, 2), (2, 2)]
    assert result.report.dilations == {"am": [2, 2]}


def test_a_map_that_something_else_reads_is_refused() -> None:
    text = CHAIN.format(o="a", x="x") + "p, at = MaxPool<kernel_shape = [2, 2]>(am)\n"
    text += "f = Flatten(am)\n y = Gemm<transB = 1>(f, fa)"
    model = built(text, (1, 16, 8), WEIGHTS | {"fa": (3, 16)})
    model.graph.output.append(helper.make_tensor_value_info("at", TensorProto.INT64, ["N", 2, 3, 1]))
    with pytest.raises(Unliftable, match="reads the map 'am', which --stride makes denser, beside the heads"):
        fc2conv.convert(model, stride=1, verify=False)


def test_what_carries_the_trained_size_follows_the_denser_map() -> None:
    """A channel shuffle behind a stride that goes: its target is written anew, and is right where the map is denser."""
    text = CHAIN.format(o="a", x="x") + "r = Reshape(am, split)\n t = Transpose<perm = [0, 2, 1, 3, 4]>(r)\n"
    text += "s = Reshape(t, joined)\n map = Conv(s, w2)\n f = Flatten(map)\n y = Gemm<transB = 1>(f, fa)"
    arrays = {"split": np.array([-1, 2, 2, 4, 2]), "joined": np.array([-1, 4, 4, 2])}
    weights = {"w1": (4, 1, 2, 2), "w2": (2, 4, 2, 2), "fa": (3, 6)}
    model = built(text, (1, 16, 8), weights | arrays)
    result = fc2conv.convert(model, stride=2)
    assert len(result.report.unbaked) == 2
    image = integers((1, 1, 23, 14), 2)
    (found,) = session(result.model).run(["y"], {"x": image})
    np.testing.assert_array_equal(found, on_crops(model, image, (16, 8), (2, 2), (2, 3)))


def of_type(model: ModelProto, elem_type: int) -> ModelProto:
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.elem_type = elem_type
    del model.graph.value_info[:]
    return model


@pytest.mark.parametrize("opset", [17, 19])
def test_float64_checked_by_the_reference(opset: int) -> None:
    text = "a = Conv<strides = [2, 2]>(x, w1)\n p = AveragePool<kernel_shape = [2, 2], pads = [1, 0, 0, 1]>(a)\n"
    text += "f = Flatten(p)\n y = Gemm<transB = 1>(f, fa)"
    weights = {name: integers(s, 3, -1, 2, np.float64) for name, s in {"w1": (2, 1, 2, 2), "fa": (3, 18)}.items()}
    model = of_type(built(text, (1, 6, 6), weights, opset), TensorProto.DOUBLE)
    result = fc2conv.convert(model, stride=1, runtime="reference", sizes=[(8, 9)])
    assert result.report.runtime is not None
    assert result.report.runtime.startswith("onnx.reference")


def test_half_precision() -> None:
    text = "a = Conv<strides = [2, 2]>(x, w1)\n p = MaxPool<kernel_shape = [2, 2], pads = [1, 0, 0, 1]>(a)\n"
    text += "q = AveragePool<kernel_shape = [2, 2]>(p)\n f = Flatten(q)\n y = Gemm<transB = 1>(f, fa)"
    weights = {name: integers(s, 3, -1, 2, np.float16) for name, s in {"w1": (2, 1, 2, 2), "fa": (3, 8)}.items()}
    model = of_type(built(text, (1, 6, 6), weights), TensorProto.FLOAT16)
    assert fc2conv.convert(model, stride=1).report.verdict == "padded"
