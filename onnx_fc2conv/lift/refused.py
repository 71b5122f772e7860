"""Operators that can never be lifted, each with its reason. What is merely missing has no entry at all."""

from __future__ import annotations

from .registry import refused

refused(
    *("Compress", "NonMaxSuppression", "NonZero", "Unique", "ReverseSequence", "TfIdfVectorizer"),
    because="its output shape or order depends on the data, so windows cannot be kept apart",
)
refused(
    *("GRU", "LSTM", "RNN", "Scan", "Loop", "If"),
    because="it carries a state or a branch through the batch, which differs from window to window",
)
refused(
    *("Bernoulli", "Multinomial", "RandomNormalLike", "RandomUniformLike"),
    because="its result is random, so no answer could be checked",
)
refused(
    *("DynamicQuantizeLinear", "com.microsoft.DynamicQuantizeMatMul"),
    because="its scale is computed over the whole tensor, so a larger image would change every answer",
)
refused(
    "com.microsoft.MatMulNBits",
    because="its weights are packed in blocks of a few bits, which no Conv takes: have them dequantised first",
)
refused(
    "MeanVarianceNormalization",
    because="it normalises over positions and over the batch, so it would mix windows",
)
refused(
    *("SequenceConstruct", "SplitToSequence", "SequenceInsert", "ConcatFromSequence"),
    because="sequences have no grid axes",
)
refused(
    *("ConvInteger", "QLinearConv", "GridSample"),
    because="it works on positions, and behind {start} they are features: what flattens there, or carries the trained "
    "size in its shape, has to go first",
)
