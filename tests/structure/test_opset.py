"""Opsets before 7 are raised to 7 where ONNX's converter can and onnxruntime still loads the original."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

import onnx_fc2conv as fc2conv

from ..networks import answers, integers, session
from .models import assert_converted, build, kinds

PLAIN = "r = Relu(map)\n p = MaxPool <kernel_shape = [1, 1]> (r)\n f = Flatten(p)\n [fc] y = MatMul(f, w)"
OLD = "[a] m = Add <broadcast = 1, axis = 1> (map, s)\n f = Flatten(m)\n {}"
NEW = "m = Add(map, s2)\n f = Flatten(m)\n {}"


def old(text: str, opset: int, weights: dict[str, tuple[int, ...]], batch: int | str = 2) -> ModelProto:
    """A model of IR 3, where every initializer is an input."""
    model = build(text, weights, opset=opset, ir_version=3, batch=batch)
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    return model


@pytest.mark.parametrize("opset", [5, 6])
@pytest.mark.parametrize("batch", [2, "N"])
def test_what_onnxruntime_loads_is_converted_and_verified(opset: int, batch: int | str) -> None:
    text = PLAIN if opset == 6 else PLAIN.replace("r = Relu(map)", "r = Identity(map)")
    model = old(text, opset, {"w": (12, 3)}, batch)
    result = assert_converted(model)
    assert result.report.restructured == [f"opset {opset}: raised to 7 by onnx.version_converter"]
    assert [o.version for o in result.model.opset_import] == [7]
    assert result.model.ir_version == 3
    assert {t.name for t in result.model.graph.initializer} == {"backbone", "w"}


HEADS = {
    "Gemm": ("y = Gemm <broadcast = 1> (f, w, b)", "y = Gemm(f, w, b)"),
    "MatMul and Add": ("t = MatMul(f, w)\n y = Add <broadcast = 1> (t, b)", "t = MatMul(f, w)\n y = Add(t, b)"),
    "Dropout": (
        "d = Dropout <is_test = 1> (f)\n y = Gemm <broadcast = 1> (d, w, b)",
        "y = Gemm(f, w, b)",
    ),
}
WEIGHTS = {"w": (12, 3), "b": (3,), "s": (2,)}


@pytest.mark.parametrize("name", HEADS)
def test_broadcasting_by_attributes_means_what_a_twin_of_opset_17_means(name: str) -> None:
    """onnxruntime has no such operators, so only the raised model can be run, and no check against the file."""
    model = old(OLD.format(HEADS[name][0]), 6, WEIGHTS)
    result = fc2conv.convert(model, verify=False)
    assert kinds(result.model)[-1] == "Conv" or name == "MatMul and Add"
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    twin = build(NEW.format(HEADS[name][1]), {"w": (12, 3), "b": (3,), "s2": arrays["s"].reshape(2, 1, 1)})
    image = integers((2, 1, 10, 12), seed=3)
    found = session(result.model).run(["y"], {"x": image})[0]
    np.testing.assert_array_equal(found, answers(twin, image, (3, 2))["y"])


@pytest.mark.parametrize("name", HEADS)
def test_what_onnxruntime_does_not_load_is_refused_because_nothing_can_be_checked(name: str) -> None:
    model = old(OLD.format(HEADS[name][0]), 6, WEIGHTS)
    with pytest.raises(
        fc2conv.UnreadableModel, match="onnxruntime does not load the original model, so nothing can be"
    ):
        fc2conv.convert(model)


def test_what_the_converter_does_not_convert_is_refused_with_its_reason() -> None:
    model = old(OLD.format(HEADS["Gemm"][0]), 6, WEIGHTS, batch="N")
    with pytest.raises(
        fc2conv.Unliftable, match=r"opset 6 is older than 7, and onnx\.version_converter fails: .+"
    ) as e:
        fc2conv.convert(model)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("versions", [[0], [-5]])
def test_versions_that_do_not_exist_are_left_to_the_rest(versions: Sequence[int]) -> None:
    model = old(PLAIN, 6, {"w": (12, 3)})
    model.opset_import[0].version = versions[0]
    with pytest.raises(fc2conv.Fc2ConvError):
        fc2conv.convert(model)


def test_large_weights_do_not_go_through_the_converter(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    convert = onnx.version_converter.convert_version

    def watched(model: ModelProto, target: int) -> ModelProto:
        seen.extend(int(np.prod(t.dims)) for t in model.graph.initializer)
        return convert(model, target)

    monkeypatch.setattr(onnx.version_converter, "convert_version", watched)
    model = old(PLAIN, 6, {"w": (12, 400)})
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 400
    assert_converted(model)
    assert seen == [8]
