"""Matrix products in front of the head: over channels they keep every position, over positions they fit one size."""

from __future__ import annotations

from ..geometry import Axis
from ..ops import Array, Op
from ..plan import Dims, FeatureMap
from .registry import Operand, Trace, moves


@moves("MatMul", "Gemm", "com.microsoft.FusedGemm", "com.microsoft.FusedMatMul")
def move_product(op: Op, operands: list[Operand], trace: Trace) -> Dims:
    """``x @ W`` with the channels last: a 1x1 Conv in all but name, or an FC on a map that was pooled to a vector."""
    if not isinstance(operands[0], FeatureMap):
        raise op.fits_one_size("multiplies positions, so it fits the trained size only")
    x, weight = operands[0], operands[1]
    if not isinstance(weight, Array) or isinstance(x.dims[-1], Axis) or len(weight.shape) != 2:
        raise op.fits_one_size("multiplies positions, so it fits the trained size only")
    op.refuse_if(x.dims[-1] == "batch" or op.attr("transA", 0), "sums over the batch")
    op.refuse_if(op.attr("transBatchA", 0) or op.attr("transBatchB", 0), "transposes a stack of matrices")
    return (*x.dims[:-1], weight.shape[0 if op.attr("transB", 0) else 1])


@moves("Einsum")
def move_einsum(op: Op, operands: list[Operand], trace: Trace) -> Dims:
    """What an Einsum does to positions is told in the head only."""
    raise op.fits_one_size("is not known on a feature map in front of the head")
