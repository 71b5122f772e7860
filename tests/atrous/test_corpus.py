"""Networks of real exporters at a half and a quarter of their stride: the grid law, the windows, every k-th cell."""

from __future__ import annotations

import pytest

from onnx_fc2conv import model_io, pipeline
from onnx_fc2conv.settings import Settings
from onnx_fc2conv.verification import Verifier

from ..test_corpus import CORPUS, needs_corpus

#: path in the corpus -> the stride that is asked for, and the verdict
MODELS: dict[str, tuple[int, str]] = {
    "real/vnn21_cifar10_resnet_2b.onnx": (2, "padded"),
    "real/vnn21_marabou_cifar10_small.onnx": (2, "exact"),
    "real/vnn21_verivital_avgpool.onnx": (1, "exact"),
    "real/vnn22_sri_resnet_b.onnx": (4, "padded"),
    "real/cntk_mnist8.onnx": (3, "padded"),
    "real/mtcnn_rnet.onnx": (2, "padded"),
    "real/seetaface_points81_net1.onnx": (8, "padded"),
    "real/keras2onnx_mnist_lg.onnx": (2, "padded"),
    "torch/lenet_flatten__ts9.onnx": (1, "exact"),
    "torch/lenet_flatten__ts17_fp16.onnx": (2, "exact"),
    "quant/vgg11_mini__ts17_dyn_qdq.onnx": (4, "padded"),
    "quant/two_head_det__ts13_qop.onnx": (2, "exact"),
    "edge/asym_pads_ceil.onnx": (1, "padded"),
}


@needs_corpus
@pytest.mark.parametrize("path", MODELS)
def test_a_network_made_denser(path: str) -> None:
    stride, verdict = MODELS[path]
    conversion = pipeline.prepare(*model_io.load(str(CORPUS / path)), Settings(stride=(stride,)))
    sizes = {
        n: tuple(a + 3 * b for a, b in zip(t, conversion.steps[n], strict=True)) for n, t in conversion.trained.items()
    }
    outcome = Verifier(conversion, conversion.proto, str((CORPUS / path).parent), lambda *_: None).run([sizes])
    passed = [c.name for c in outcome.checks if c.passed]
    assert {"same size", "grid law", "every k-th cell", "windows"} <= set(passed)
    assert conversion.verdict == verdict
    assert ("image crops" in passed) == (verdict == "exact")
    assert set(conversion.geometry.grid.stride) == {stride}
