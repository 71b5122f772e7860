"""Published networks in their dense form: a plain chain, and the same answers; with small integers, the same bits."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx_fc2conv import dtypes
from tests.test_corpus import CORPUS, needs_corpus

from .dense import answers, built, deviation, feeds_of

CHAIN = {"Flatten", "Gemm", "Relu"}
POOLED = CHAIN | {"MaxPool", "Reshape"}
LENET = "affine_out flatten max_values nobias permute_whc sigmoid view_m1".split()

#: path in the corpus -> op_types that there may be
MODELS: dict[str, set[str]] = {
    **{f"real/vnn21_oval21_cifar_{size}_kw.onnx": CHAIN for size in ("base", "deep", "wide")},
    **{f"real/vnn21_marabou_cifar10_{size}.onnx": CHAIN for size in ("small", "medium")},
    "real/marabou_torch04_cifar_base_kw.onnx": CHAIN,
    "real/vnn21_cifar10_resnet_2b.onnx": CHAIN | {"Add"},
    "real/lenet5_mnist.onnx": POOLED | {"Softmax", "Constant"},
    **{f"torch/lenet_{name}__ts13.onnx": POOLED for name in LENET},
    "torch/lenet_max_values__ts13.onnx": POOLED | {"Softmax", "ReduceMax", "ArgMax"},
    "torch/lenet_sigmoid__ts13.onnx": POOLED | {"Sigmoid"},
    "torch/lenet_view_m1__ts13.onnx": POOLED | {"Constant"},
    "torch/lenet_flatten__ts17_fp16.onnx": POOLED,
}
#: one rounds to half precision, the other divides by a number that is no power of two
INEXACT = {"torch/lenet_flatten__ts17_fp16.onnx", "torch/lenet_affine_out__ts13.onnx"}


def up_to_the_logits(model: ModelProto) -> ModelProto:
    """The network without what saturates at its end: there, answers of large numbers tell nothing."""
    ends = [n for n in model.graph.node if n.op_type in ("Softmax", "Sigmoid")]
    if ends:
        logits, elem_type = ends[0].input[0], model.graph.output[0].type.tensor_type.elem_type
        last = list(model.graph.node).index(ends[0])
        del model.graph.node[last:], model.graph.output[:]
        model.graph.output.append(helper.make_tensor_value_info(logits, elem_type, None))
        model = onnx.shape_inference.infer_shapes(model)
    return model


def in_small_integers(model: ModelProto) -> ModelProto:
    """The same network with a few weights of 1 and -1 in each sum, so that every sum is exact."""
    result = ModelProto()
    result.CopyFrom(model)
    for i, tensor in enumerate(result.graph.initializer):
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor)
            random = np.random.default_rng(i)
            share = 0.04 if values.size > 20_000 else 0.3 if values.size > 20 else 1
            signs = random.choice([-1, 1], values.shape)
            drawn = np.where(random.random(values.shape) < share, signs, 0).astype(values.dtype)
            tensor.CopyFrom(numpy_helper.from_array(drawn, tensor.name))
    return result


@needs_corpus
@pytest.mark.parametrize("path", MODELS)
def test_published_network(path: str) -> None:
    model = onnx.load(CORPUS / path)
    found = built(model)
    assert set(found.op_types) <= MODELS[path]
    assert set(found.op_types) >= {"Flatten", "Gemm"}
    assert found.op_types.count("Flatten") == 1 or "MaxPool" in found.op_types
    elem_type = model.graph.input[0].type.tensor_type.elem_type
    longest = max(p.rows for p in found.estimate.products)
    tolerance = dtypes.tolerance(elem_type, longest, len(model.graph.node) + found.lowering.roundings)
    feeds = feeds_of(model, 2, small=False)
    assert deviation(answers(found.model, feeds), answers(model, feeds)) <= tolerance


@needs_corpus
@pytest.mark.parametrize("path", [path for path in MODELS if path not in INEXACT])
def test_published_network_in_small_integers(path: str) -> None:
    model = in_small_integers(up_to_the_logits(onnx.load(CORPUS / path)))
    feeds = feeds_of(model, 2)
    expected = answers(model, feeds)
    assert len(np.unique(expected[0])) > 2, "answers that tell nothing"
    for value, reference in zip(answers(built(model).model, feeds), expected, strict=True):
        np.testing.assert_array_equal(value, reference, strict=True)
