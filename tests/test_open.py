"""Models that are not treated right yet; each is expected to fail, and says so when it no longer does.

What is put right moves to the table of its family.
"""

from __future__ import annotations

import numpy as np
import pytest

import onnx_fc2conv as fc2conv
from onnx_fc2conv.errors import Unliftable

from .backbone.cases import Case, classifier, prepared
from .lift.tables import Lifts, every, head, spent
from .networks import network

still = pytest.mark.xfail(strict=True, reason="see the row")

NOT_LIFTED: dict[str, Lifts] = {
    # ONNX infers no shape for this operator, though it is its input's
    "GroupNormalization behind an FC": Lifts(
        spent(
            "r = Reshape(u, d)\ny = GroupNormalization <num_groups = 2> (r, s, s)",
            21,
            units=12,
            d=[0, 2, 3, 2],
            s=np.ones(2, np.float32),
        ),
        terms=24,
        nodes=8,
    ),
    # a node that slides on what an FC has made turns what began the head into a part of the backbone
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


@still
@every(NOT_LIFTED)
def test_lifts(row: Lifts) -> None:
    row.check()


SCALES = {"one": np.float32(1), "z": np.uint8(128)}


@still
def test_what_onnxruntime_s_own_dequantize_linear_makes_is_float() -> None:
    """Its result is taken for what it reads, uint8, so the FC behind is refused."""
    text = "a = QuantizeLinear (x, one, z)\nmap = com.microsoft.DequantizeLinear (a, one, z)"
    assert fc2conv.convert(classifier(Case(text, SCALES))).report.verified


CHANNELS_LAST = """a = QuantizeLinear (x, one, z)
b = com.microsoft.QLinearAveragePool <channels_last = 1, kernel_shape = [2, 2], strides = [2, 2]> (a, one, z, one, z)
map = DequantizeLinear (b, one, z)"""


@still
def test_a_quantised_pool_with_its_channels_last_is_refused_where_the_map_has_them_first() -> None:
    """It slides over axes 1 and 2, and is followed over axes 2 and 3: without the checks a broken model comes out."""
    with pytest.raises(Unliftable):
        fc2conv.convert(classifier(Case(CHANNELS_LAST, SCALES, image=(10, 8, 8))), verify=False)


@still
def test_a_quantised_global_pool_with_its_channels_last_pools_the_positions() -> None:
    text = """t = Transpose <perm = [0, 2, 3, 1]> (x)
    a = QuantizeLinear (t, one, z)
    p = com.microsoft.QLinearGlobalAveragePool <channels_last = 1> (a, one, z, one, z)
    b = com.microsoft.QLinearAdd (a, one, z, p, one, z, one, z)
    map = DequantizeLinear (b, one, z)"""
    assert prepared(Case(text, SCALES)).plan.maps["p"].shape(1) == (1, 1, 1, 2)


@still
@pytest.mark.parametrize(
    "text",
    ["y = LayerNormalization(u, s)", "a = Relu(u)\ny = LayerNormalization <axis = 1> (a, s)"],
    ids=["behind an FC", "behind a Relu"],
)
def test_no_operand_that_is_left_out_is_written_at_the_end(text: str) -> None:
    """onnxruntime's SkipLayerNormFusion ends the whole program at a LayerNormalization with an empty third operand."""
    model = fc2conv.convert(network(spent(text, s=np.ones(4, np.float32))), verify=False).model
    assert not [n.name for n in model.graph.node if n.input and not n.input[-1]]
