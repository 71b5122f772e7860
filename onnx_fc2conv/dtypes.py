"""One table per element type: its numpy type, its rounding, and what the runtime can do with it.

Tolerances come from here and from nowhere else. The original and the converted head add up the same products in another
order, so what may differ is rounding, and how much that is follows from the type, the length of the sums and the
magnitude of the answers (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., 2002):

1. One rounding multiplies a value by 1 + d with |d| <= u, the unit roundoff, half of the type's ``eps`` (section 2.2).
2. So the error of a sum is the sum of d_k s_k over its partial sums s_k, to first order in u (section 4.2), and at most
   n u sum|a||b| for n products (section 3.1). That bound is attained only if all roundings go one way.
3. They do not. Errors d_k that are independent, with mean 0, add like a random walk (section 2.8; Higham and Mary, A
   New Approach to Probabilistic Rounding Error Analysis, SIAM J. Sci. Comput. 41, 2019): spread evenly over [-u, u]
   they have the standard deviation u / sqrt(3), and n of them u sqrt(n/3) times the root mean square of s_k.
4. Sums that follow each other add their variances, so ``terms`` is the number of products in all of them. Each node
   rounds its result to its type once more, of which there are ``nodes``.
5. Original and converted model have an error of that size each, their difference sqrt(2) of it. With eps = 2u and no
   partial sum beyond the largest answer, one standard deviation of the difference is eps sqrt(n/6) of the scale.

``SAFETY`` is the bound in units of eps sqrt(n): 9.8 standard deviations, SAFETY sqrt(6). The largest of 2 ** 23 numbers
(8 checks of 1024 answers with 1024 features each) passes 7.2 of them once in 10,000 conversions, sqrt(2 ln(2 * 2 ** 23
/ 1e-4)). The rest, a factor of 1.36, is for heads whose partial sums are up to that much larger than their largest
answer. Where they are larger still (a head that cancels) no bound from lengths alone can hold; there the checks ask
double precision. Every kind of mistake crosses the bound by orders of magnitude (the sabotage tests show it).

A node that quantises rounds to a step, ``2 ** -bits`` of its range; of an eight-bit float with m bits of mantissa that
is the distance of two numbers below the end of its range, ``2 ** -(m + 1)`` of that. Where two computations differ by
rounding, a value next to the middle between two steps goes to the one in one of them and to the other in the other, and
from there on they differ by a step. Relative to the largest magnitude a step is up to four times as much as relative to
the range: a signed range has zero in its middle, and the values at hand may use no more than half of what it was made
for.

How often that happens follows from the same bound: as often as the rounding error is wide, measured in steps. The
number of flips is that of rare independent events, whose variance is their mean (Poisson); SAFETY standard deviations
of the mean of all answers are accepted, and one flip always.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from onnx import TensorProto, defs
from onnx.helper import tensor_dtype_to_np_dtype

SAFETY = 4.0  #: the bound, where a standard deviation is 1 / sqrt(6); see above for why

STEP_OF_SCALE = 4.0  #: a step relative to the largest magnitude, over one relative to the range, at most

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

#: What one step of a quantised type is worth, relative to its range.
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


def most_of_its_digits(elem_type: int) -> float:
    """The error, relative to the scale, with which a value has lost three quarters of the digits that its type has."""
    row = _TABLE.get(elem_type)
    return row.eps**0.25 if row is not None else 0.0


def quantised_tolerance(step: float, nodes: int) -> float:
    """Largest accepted error where rounding may have moved values by a step of a quantised type.

    Args:
        step: the coarsest step, an entry of ``STEPS``.
        nodes: nodes that quantise.
    """
    return STEP_OF_SCALE * step * math.sqrt(nodes)


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
