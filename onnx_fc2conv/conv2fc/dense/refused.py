"""Why an operator is neither a product with a constant matrix nor elementwise."""

from __future__ import annotations

from ...ops import Op

MAXIMUM = "a maximum is no product with a matrix"
NORMALISED = "divides by what it computes from all features, which is no product with a matrix"
STATE = "carries a state from step to step, which is no product with a matrix"

REASONS: dict[str, str] = {
    **dict.fromkeys(("MaxPool", "GlobalMaxPool", "ReduceMax", "ReduceMin", "ArgMax", "ArgMin", "TopK"), MAXIMUM),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax", "LpNormalization", "LRN"), NORMALISED),
    **dict.fromkeys(("InstanceNormalization", "GroupNormalization", "LayerNormalization"), NORMALISED),
    **dict.fromkeys(("ConvInteger", "QLinearConv"), "multiplies quantised numbers, and the matrix is one of floats"),
    "DeformConv": "takes its map at positions that are computed at run time",
    **dict.fromkeys(("LSTM", "GRU", "RNN", "Loop", "Scan"), STATE),
}


def reason_of(op: Op) -> str:
    """The reason to refuse a node when every node has to be dense or elementwise."""
    known = REASONS.get(op.op_type) if op.standard else "is no operator of the ONNX standard"
    return known or "is neither a product with a constant matrix nor elementwise"
