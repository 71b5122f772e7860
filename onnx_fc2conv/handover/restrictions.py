"""What TensorRT's ONNX parser documents of single operators beyond their element types, as far as a model shows it.

Each function says what is restricted in a node, or nothing. The facts are those of ``operators.SOURCE``. Not looked at,
because the model does not show it: that the branches of an ``If`` have outputs of one rank, that what a ``Loop``
collects has a fixed length and what it carries one shape, and that the input of ``STFT`` is real.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .nodes import Node
from .operators import QUANTISED

Restriction = Callable[[Node], str | None]

RESTRICTIONS: dict[str, list[Restriction]] = {}

REDUCTIONS = """ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
ReduceSumSquare"""
MOST_OF_TOPK = 3840

RESIZE: dict[str, tuple[object, set[object]]] = {
    # attribute: (default, documented values)
    "mode": ("nearest", {"nearest", "linear"}),
    "coordinate_transformation_mode": (
        "half_pixel",
        {"half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners"},
    ),
    "nearest_mode": ("round_prefer_floor", {"floor", "ceil", "round_prefer_floor", "round_prefer_ceil"}),
    "keep_aspect_ratio_policy": ("stretch", {"stretch"}),
    "antialias": (0, {0}),
}


def _of(kinds: str) -> Callable[[Restriction], Restriction]:
    def add(restriction: Restriction) -> Restriction:
        for kind in kinds.split():
            RESTRICTIONS.setdefault(kind, []).append(restriction)
        return restriction

    return add


@_of("AveragePool MaxPool")
def _two_or_three_axes(node: Node) -> str | None:
    dims = node.dims(node.input(0))
    kernel = node.attr("kernel_shape", ())
    axes = len(dims) - 2 if dims is not None else len(kernel)
    return None if axes in (2, 3) else f"{axes} spatial axes (2 and 3 are documented)"


@_of("AveragePool MaxPool LpPool")
def _no_dilations(node: Node) -> str | None:
    dilated = any(d != 1 for d in node.attr("dilations", ()))
    return "dilations other than 1" if dilated else None


@_of("MaxPool")
def _no_indices(node: Node) -> str | None:
    return "the output of indices" if node.output(1) else None


@_of("LayerNormalization")
def _one_output(node: Node) -> str | None:
    return "outputs other than the first" if node.output(1) or node.output(2) else None


@_of("Constant")
def _no_sparse_or_text(node: Node) -> str | None:
    found = [a.name for a in node.proto.attribute if a.name in ("sparse_value", "value_string", "value_strings")]
    return f"the attribute {found[0]}" if found else None


@_of("CumSum")
def _constant_axis(node: Node) -> str | None:
    return None if node.constant(node.input(1)) else "an axis that is not constant"


@_of("Squeeze Unsqueeze")
def _constant_axes(node: Node) -> str | None:
    return None if node.constant(node.input(1)) else "axes that are not constant"


@_of(REDUCTIONS)
def _stored_axes(node: Node) -> str | None:
    return None if node.stored(node.input(1)) else "axes that are no initializer"


@_of("OneHot")
def _constant_depth(node: Node) -> str | None:
    return None if node.constant(node.input(1)) else "a depth that is not constant"


@_of("DequantizeLinear QuantizeLinear")
def _zero_point_is_zero(node: Node) -> str | None:
    name = node.input(2)
    if not name:
        return None
    values = node.values(name)
    if values is None:
        return "a zero point that is not known to be 0"
    return "a zero point other than 0" if np.any(np.asarray(values).astype(np.float32)) else None


@_of("QuantizeLinear")
def _quantised_to(node: Node) -> str | None:
    made = node.elem_type(node.output(0))
    return f"a result of {made}" if made is not None and made not in QUANTISED else None


@_of("Cast CastLike")
def _bytes_at_the_edges(node: Node) -> str | None:
    inner = [
        name
        for name in (node.input(0), node.output(0))
        if node.elem_type(name) == "uint8" and name not in node.scope.edges
    ]
    return "uint8 values inside (inputs and outputs of the model may be of it)" if inner else None


@_of("Dropout")
def _not_in_training(node: Node) -> str | None:
    name = node.input(2)
    if not name:
        return None
    values = node.values(name)
    return "training_mode that is not known to be false" if values is None or np.any(values) else None


@_of("EyeLike")
def _fixed_dims(node: Node) -> str | None:
    dims = node.dims(node.input(0))
    return "an input whose dims are not fixed" if dims is None or None in dims else None


@_of("Hardmax")
def _fixed_axis(node: Node) -> str | None:
    dims, axis = node.dims(node.input(0)), node.attr("axis", -1 if node.scope.opset >= 13 else 1)
    if dims is None or not -len(dims) <= axis < len(dims):
        return None
    return "an axis whose size is not fixed" if dims[axis] is None else None


@_of("GridSample")
def _four_axes(node: Node) -> str | None:
    dims = node.dims(node.input(0))
    return f"an input of {len(dims)} axes (4 are documented)" if dims is not None and len(dims) != 4 else None


@_of("DeformConv")
def _deformed(node: Node) -> str | None:
    dims = node.dims(node.input(0))
    if dims is not None and len(dims) not in (3, 4):
        return f"{len(dims) - 2} spatial axes (1 and 2 are documented)"
    pads = node.attr("pads", ())
    half = len(pads) // 2
    return "pads that differ between begin and end" if list(pads[:half]) != list(pads[half:]) else None


@_of("Resize")
def _resize(node: Node) -> str | None:
    for name, (default, documented) in RESIZE.items():
        if name == "nearest_mode" and node.attr("mode", "nearest") != "nearest":
            continue
        value = node.attr(name, default)
        if value not in documented:
            return f"{name} {value!r}"
    axes, dims = node.attr("axes"), node.dims(node.input(0))
    if axes and node.input(2) and dims is not None and list(axes) != list(range(len(dims))):
        return "scales together with axes that are not all of them in order"
    return None


@_of("ScatterND")
def _no_reduction(node: Node) -> str | None:
    reduction = node.attr("reduction", "none")
    return None if reduction == "none" else f"reduction {reduction!r}"


@_of("TopK")
def _sorted_and_few(node: Node) -> str | None:
    if node.attr("sorted", 1) != 1:
        return "sorted other than 1"
    values = node.values(node.input(1)) if node.input(1) else np.asarray(node.attr("k", 1))
    return f"a K of {MOST_OF_TOPK} or more" if values is not None and np.any(values >= MOST_OF_TOPK) else None


@_of("GRU LSTM RNN")
def _same_activations(node: Node) -> str | None:
    for name in ("activations", "activation_alpha", "activation_beta"):
        given = list(node.attr(name, ()))
        half = len(given) // 2
        if node.attr("direction", "forward") == "bidirectional" and given[:half] != given[half:]:
            return "activations that differ between the directions"
    return None


@_of("LSTM")
def _plain_lstm(node: Node) -> str | None:
    found = [name for name in ("input_forget", "layout") if node.attr(name, 0)]
    return f"{found[0]} other than 0" if found else None


@_of("STFT")
def _stored_frames(node: Node) -> str | None:
    return None if node.stored(node.input(1)) and node.stored(node.input(2)) else "a step or window that is not stored"


@_of("RotaryEmbedding")
def _positions(node: Node) -> str | None:
    found = node.elem_type(node.input(3))
    return None if found in (None, "int64") else f"position_ids of {found}"


@_of("TensorScatter")
def _cache(node: Node) -> str | None:
    ranks = [dims for dims in (node.dims(node.input(0)), node.dims(node.input(1))) if dims is not None]
    if any(len(dims) != 4 for dims in ranks):
        return "a cache or update that has not 4 axes"
    return None if node.attr("axis", -2) == -2 else "an axis other than -2"


@_of("Attention")
def _attention(node: Node) -> str | None:
    if any(node.input(i) for i in (4, 5, 6)):
        return "past_key, past_value or nonpad_kv_seqlen"
    if any(node.output(i) for i in (1, 2, 3)):
        return "outputs other than the first"
    if node.attr("softcap", 0.0) or node.attr("qk_matmul_output_mode", 0):
        return "softcap or qk_matmul_output_mode"
    dims = [node.dims(node.input(i)) for i in range(4)]
    return "operands that have not 4 axes" if any(d is not None and len(d) != 4 for d in dims) else None
