"""One table per element type: its numpy type, its rounding, and what the runtime can do with it.

Tolerances come from here and from nowhere else. The original and the converted head add up the same products
in another order, so what may differ is rounding: every node rounds its result once to the element type
(``eps``), and a sum of T products in the accumulator's type (``accumulator_eps``) has a random error that grows
with sqrt(T) (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 2.8). Four standard
deviations of both make a bound that a correct conversion does not cross and that every kind of mistake crosses
by orders of magnitude (the sabotage tests show it).

A node that quantises rounds to a step, about ``2 ** -bits`` of its range. Where two computations differ by rounding, a
value next to the middle between two steps goes to the one in one of them and to the other in the other, and from there
on they differ by a step. How often that happens follows from the same bound: as often as the rounding error is wide,
measured in steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from onnx import TensorProto, defs
from onnx.helper import tensor_dtype_to_np_dtype

SAFETY = 4.0

#: what to do about a model that onnxruntime cannot run
ADVICE = "to convert it all the same and have it checked by onnx.reference, use --runtime reference"


@dataclass(frozen=True)
class ElementType:
    """What is known of one ONNX element type."""

    name: str
    eps: float
    accumulator_eps: float
    in_onnxruntime: bool = True  #: its CPU provider has a Conv of this type


_TABLE: dict[int, ElementType] = {
    TensorProto.FLOAT: ElementType("float32", 2.0**-23, 2.0**-23),
    # onnxruntime's CPU provider computes float16 Conv and Gemm in float32 and rounds each result; so does numpy.
    TensorProto.FLOAT16: ElementType("float16", 2.0**-10, 2.0**-23),
    TensorProto.DOUBLE: ElementType("float64", 2.0**-52, 2.0**-52, in_onnxruntime=False),
    # In onnx.reference, np.matmul (Conv) promotes bfloat16 to float32 and np.dot (Gemm) sums products in float32; both
    # results are rounded once. Sums without products (a mean) round after each term, in the same order on both sides.
    TensorProto.BFLOAT16: ElementType("bfloat16", 2.0**-7, 2.0**-23, in_onnxruntime=False),
}

#: What one rounding of a quantised type is worth, relative to its range.
STEPS: dict[int, float] = {
    TensorProto.INT8: 2.0**-8,
    TensorProto.UINT8: 2.0**-8,
    TensorProto.INT16: 2.0**-16,
    TensorProto.UINT16: 2.0**-16,
    TensorProto.INT4: 2.0**-4,
    TensorProto.UINT4: 2.0**-4,
    TensorProto.FLOAT8E4M3FN: 2.0**-4,
    TensorProto.FLOAT8E5M2: 2.0**-3,
}


def name_of(elem_type: int) -> str:
    """The numpy-style name of an ONNX element type (``TensorProto.DataType``)."""
    if elem_type in _TABLE:
        return _TABLE[elem_type].name
    return str(TensorProto.DataType.Name(elem_type)).lower()


def fc_refusal(elem_type: int, opset: int, runtime: str) -> str | None:
    """Why an FC cannot become a Conv that is valid and that the checks can run; ``None`` if it can.

    Args:
        elem_type: its ONNX element type.
        opset: version of the default domain that the model imports.
        runtime: name of the runtime that checks, a value of ``settings.RUNTIMES``.
    """
    name = name_of(elem_type)
    if elem_type not in _TABLE:
        return f"ONNX defines Conv for floating-point types only, not for {name}"
    since = _conv_since(elem_type)
    if since is None or opset < since:
        when = f"from opset {since} on, and the model imports {opset}" if since else "in no opset that this onnx knows"
        return f"ONNX defines Conv for {name} {when}; convert the model with onnx.version_converter first"
    if runtime == "onnxruntime" and not _TABLE[elem_type].in_onnxruntime:
        return f"onnxruntime's CPU provider has no {name} Conv, so the converted model would not load; {ADVICE}"
    return None


@lru_cache
def _conv_since(elem_type: int) -> int | None:
    """The first opset whose Conv takes an element type."""
    spelled = f"tensor({TensorProto.DataType.Name(elem_type).lower()})"
    conv = [s for s in defs.get_all_schemas_with_history() if s.name == "Conv" and s.domain == ""]
    return min((s.since_version for s in conv if spelled in s.type_constraints[0].allowed_type_strs), default=None)


#: of which onnxruntime's CPU provider has a ReduceMax, in every opset whose standard has one
_MAX_IN_ONNXRUNTIME = frozenset(
    (
        *(TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT32, TensorProto.INT64),
        *(TensorProto.INT8, TensorProto.UINT8, TensorProto.BOOL),
    )
)


def pooling_refusal(form: str, elem_type: int, opset: int, runtime: str) -> str | None:
    """Why the answers of all windows cannot be pooled to one of the same type; ``None`` if they can.

    Args:
        form: ``mean`` or ``max``.
        elem_type: their ONNX element type.
        opset: version of the default domain that the model imports.
        runtime: name of the runtime that checks, a value of ``settings.RUNTIMES``.
    """
    name = name_of(elem_type)
    if form == "mean":
        return None if elem_type in _TABLE else f"a mean of {name} values is no {name}"
    allowed = defs.get_schema("ReduceMax", opset, "").type_constraints[0].allowed_type_strs
    if f"tensor({TensorProto.DataType.Name(elem_type).lower()})" not in allowed:
        return f"ReduceMax of opset {opset} does not take {name}"
    if runtime == "onnxruntime" and elem_type not in _MAX_IN_ONNXRUNTIME:
        return f"onnxruntime's CPU provider has no ReduceMax of {name}"
    return None


def numpy_type(elem_type: int) -> np.dtype:
    """The numpy dtype of an ONNX element type."""
    return np.dtype(tensor_dtype_to_np_dtype(elem_type))


def tolerance(elem_type: int, terms: int, nodes: int) -> float:
    """Largest accepted error, relative to the largest magnitude of the reference values.

    Args:
        elem_type: element type of the compared output.
        terms: products in the longest sum between the point where both computations are still equal and the output.
        nodes: nodes between that point and the output, each of which rounds once.

    Returns:
        The bound; 0 for types that are not floating-point (indices and flags must be equal).
    """
    row = _TABLE.get(elem_type)
    if row is None:
        return 0.0
    return SAFETY * (row.eps * math.sqrt(max(nodes, 1)) + row.accumulator_eps * math.sqrt(max(terms, 1)))


def quantised_tolerance(step: float, nodes: int) -> float:
    """Largest accepted error where rounding may have moved values by a step of a quantised type.

    Args:
        step: the coarsest step, an entry of ``STEPS``.
        nodes: nodes that quantise.
    """
    return SAFETY * step * math.sqrt(nodes)


def share_of_flips(step: float, values: int, rounding: float, answers: int) -> float:
    """Largest accepted share of answers in which a quantised value went to another step.

    Args:
        step: the finest step, an entry of ``STEPS``.
        values: values that are quantised for one answer.
        rounding: tolerance of the same computation without quantising.
        answers: how many are compared; of few, one flip is a large share.
    """
    expected = values * (rounding / SAFETY) / step
    return min(expected + SAFETY * math.sqrt(expected / answers) + 1 / answers, 1.0)
