"""Models that were once treated wrongly, in more than one room."""

from __future__ import annotations

import numpy as np
import pytest

import onnx_fc2conv as fc2conv
from onnx_fc2conv.errors import Unliftable

from .backbone.cases import Case, classifier
from .lift.tables import Lifts, every, head, spent
from .networks import network

LIFTS: dict[str, Lifts] = {
    # a node that slides on what an FC has made says nothing about what began the head
    "a decoder behind a code made of a pooled map": Lifts(
        head(
            "p = GlobalMaxPool(map)\nf = Flatten(p)\nu = Gemm(f, W)\nr = Reshape(u, d)\ny = ConvTranspose(r, K)",
            W=(2, 12),
            d=[0, 2, 3, 2],
            K=(2, 3, 2, 2),
        )
    ),
    "a decoder behind a code made of a map with a constant for each position": Lifts(
        head(
            "a = Add(map, k)\nf = Flatten(a)\nu = Gemm(f, W)\nr = Reshape(u, d)\ny = ConvTranspose(r, K)",
            k=(3, 2),
            W=(12, 12),
            d=[0, 2, 3, 2],
            K=(2, 3, 2, 2),
        )
    ),
}


@every(LIFTS)
def test_lifts(row: Lifts) -> None:
    row.check()


SCALES = {"one": np.float32(1), "z": np.uint8(128)}


def test_what_onnxruntime_s_own_dequantize_linear_makes_is_float() -> None:
    """Its result is not of the type of what it reads."""
    text = "a = QuantizeLinear (x, one, z)\nmap = com.microsoft.DequantizeLinear (a, one, z)"
    assert fc2conv.convert(classifier(Case(text, SCALES))).report.verified


CHANNELS_LAST = """a = QuantizeLinear (x, one, z)
b = com.microsoft.QLinearAveragePool <channels_last = 1, kernel_shape = [2, 2], strides = [2, 2]> (a, one, z, one, z)
map = DequantizeLinear (b, one, z)"""


CHANNELS_LAST_GLOBAL = """t = Transpose <perm = [0, 2, 3, 1]> (x)
a = QuantizeLinear (t, one, z)
p = com.microsoft.QLinearGlobalAveragePool <channels_last = 1> (a, one, z, one, z)
b = com.microsoft.QLinearAdd (a, one, z, p, one, z, one, z)
map = DequantizeLinear (b, one, z)"""


@pytest.mark.parametrize("text", [CHANNELS_LAST, CHANNELS_LAST_GLOBAL], ids=["sliding", "global"])
def test_a_quantised_pool_with_its_channels_last_is_refused(text: str) -> None:
    """It works on axes 1 and 2, where others have the channels."""
    with pytest.raises(Unliftable, match="has its channels last"):
        fc2conv.convert(classifier(Case(text, SCALES)), verify=False)


@pytest.mark.parametrize(
    "text",
    ["y = LayerNormalization(u, s)", "a = Relu(u)\ny = LayerNormalization <axis = 1> (a, s)"],
    ids=["behind an FC", "behind a Relu"],
)
def test_no_operand_that_is_left_out_is_written_at_the_end(text: str) -> None:
    """onnxruntime's SkipLayerNormFusion ends the whole program at a LayerNormalization with an empty third operand."""
    model = fc2conv.convert(network(spent(text, s=np.ones(4, np.float32))), verify=False).model
    assert not [n.name for n in model.graph.node if n.input and not n.input[-1]]
