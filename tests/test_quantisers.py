"""Models as onnxruntime's own quantiser writes them are converted, and every check passes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
import pytest
from onnx import ModelProto, TensorProto
from onnxruntime import quantization
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType

import onnx_fc2conv as fc2conv
from onnx_fc2conv.verification.saturation import saturates
from tests.reverse.models import image, run
from tests.reverse.models import model as convolutions

MODELS = Path(__file__).parents[1] / "models"
NAMES = ("lenet", "reference_detector", "two_heads_prelu")
IMAGES = 4

FORMATS = {"QDQ": QuantFormat.QDQ, "QOperator": QuantFormat.QOperator}
TYPES = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}
INTEGERS = (TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16)


class Images(CalibrationDataReader):
    """A few random images of the trained size."""

    def __init__(self, model: ModelProto) -> None:
        value = model.graph.input[0]
        shape = [d.dim_value or 1 for d in value.type.tensor_type.shape.dim]
        rng = np.random.default_rng(8)
        self._feeds: Iterator[dict[str, Any]] = iter(
            [{value.name: rng.standard_normal(shape).astype(np.float32)} for _ in range(IMAGES)]
        )

    def get_next(self) -> Any:
        return next(self._feeds, None)


def quantised(name: str, folder: Path, form: str, activations: str, weights: str, per_channel: bool) -> ModelProto:
    """One of the example models, quantised. Before opset 13 there is no scale per channel."""
    source, target = folder / "floats.onnx", folder / "quantised.onnx"
    model = onnx.load(MODELS / f"{name}.onnx")
    model = onnx.version_converter.convert_version(model, max(model.opset_import[0].version, 13))
    onnx.save(model, source)
    quantization.quantize_static(
        source,
        target,
        Images(model),
        quant_format=FORMATS[form],
        activation_type=TYPES[activations],
        weight_type=TYPES[weights],
        per_channel=per_channel,
    )
    return onnx.load(target)


def bytes_of(model: ModelProto, *types: int) -> int:
    """Bytes of the initializers of these types."""
    chosen = [t for t in model.graph.initializer if t.data_type in types]
    return sum(onnx.numpy_helper.to_array(t).nbytes for t in chosen)


CASES = list(itertools.product(NAMES, FORMATS, (("uint8", "int8"), ("int8", "int8")), (False, True)))


@pytest.mark.parametrize(
    ("name", "form", "types", "per_channel"),
    CASES,
    ids=[f"{n}, {f}, {a} x {w}{', per channel' * p}" for n, f, (a, w), p in CASES],
)
def test_quantised_models_convert(
    name: str, form: str, types: tuple[str, str], per_channel: bool, tmp_path: Path
) -> None:
    original = quantised(name, tmp_path, form, *types, per_channel)
    if form == "QOperator" and types == ("uint8", "int8") and saturates():
        pytest.skip("onnxruntime's uint8 x int8 products saturate on this processor")
    result = fc2conv.convert(original)
    assert all(c.passed for c in result.report.checks if c.passed is not None)
    assert {"same size", "windows", "default run"} <= {c.name for c in result.report.checks}
    assert bytes_of(result.model, *INTEGERS) == bytes_of(original, *INTEGERS)
    assert bytes_of(result.model, TensorProto.FLOAT) <= bytes_of(original, TensorProto.FLOAT)


def test_a_dynamically_quantised_model_is_refused(tmp_path: Path) -> None:
    """Its scales are those of the whole image: enlarged, all answers would depend on all of it."""
    target = tmp_path / "quantised.onnx"
    quantization.quantize_dynamic(MODELS / "lenet.onnx", target, op_types_to_quantize=["Gemm", "MatMul"])
    with pytest.raises(fc2conv.Unliftable, match="its scale is computed over the whole tensor"):
        fc2conv.convert(onnx.load(target))


def test_an_int4_quantiser_of_matrix_products_takes_convolutions() -> None:
    """That is what they are written as products for. Every block of weights holds a -8, so its scale is 1 and exact."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    rng = np.random.default_rng(5)
    weights = {"w": rng.integers(-8, 8, (6, 32, 3, 3)).astype(np.float32)}
    weights["w"][:, 0] = -8
    weights["v"] = rng.integers(-8, 8, (5, 32, 1, 1)).astype(np.float32)
    weights["v"][:, 0] = -8
    text = "a = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w)\nb = Conv(x, v)"
    original = convolutions(text, weights, ("N", 32, "height", "width"), {"a": 4, "b": 4})
    quantiser = MatMulNBitsQuantizer(
        fc2conv.convolution_to_matmul(original).model, block_size=32, is_symmetric=True, accuracy_level=1
    )
    quantiser.process()
    made = quantiser.model.model
    assert [n.op_type for n in made.graph.node if "MatMul" in n.op_type] == ["MatMulNBits"] * 2
    x = image(2, 32, 9, 6)
    assert all(np.array_equal(a, b) for a, b in zip(run(made, x), run(original, x), strict=True))
