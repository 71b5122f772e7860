"""Where onnxruntime's products of bytes saturate, a rejection of a quantised model says so."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv.verification import saturation
from tests.networks import Head, integers, network

QUANTISED = Head(
    """v = Flatten(map)
    q = QuantizeLinear(v, s, z)
    w = DequantizeLinear(W, t)
    d = DequantizeLinear(q, s, z)
    y = MatMul(d, w)""",
    {
        "s": np.float32(0.25),
        "z": np.uint8(128),
        "t": np.float32(0.5),
        "W": integers((12, 4), 3, -40, 40, np.int8),
    },
)


@pytest.mark.parametrize("saturates", [True, False])
def test_a_rejection_says_whether_the_processor_may_be_why(saturates: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnx_fc2conv.verification.judgement.saturates", lambda: saturates)
    original = network(QUANTISED)
    converted = fc2conv.convert(original, verify=False).model
    weight = next(t for t in converted.graph.initializer if t.data_type == 3)
    weight.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weight), weight.name))
    with pytest.raises(fc2conv.VerificationFailed) as caught:
        fc2conv.verify(original, converted)
    assert (saturation.HINT in caught.value.reason) == saturates


def test_the_probe_compares_with_the_right_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    class Right:
        def load(self, model: object) -> Right:
            return self

        def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {"y": feeds["x"].astype(np.int32) @ np.full((2, 8), 127, np.int32)}

    class Wrong(Right):
        def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {"y": np.minimum(super().run(feeds)["y"], 32767)}

    for runtime, expected in ((Right, False), (Wrong, True)):
        monkeypatch.setattr("onnx_fc2conv.verification.runtime.OnnxRuntime", runtime)
        assert saturation.saturates.__wrapped__() is expected
