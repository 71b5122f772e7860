"""Matrix products in front of the head: over channels they keep every position, over positions they fit one size."""

from __future__ import annotations

from ..geometry import Axis
from ..ops import Array, Op
from ..plan import Dims, FeatureMap, Merged, Part, follows, parts_of
from .pointwise import meet
from .registry import Operand, Trace, moves


@moves("MatMul", "Gemm", "com.microsoft.FusedGemm", "com.microsoft.FusedMatMul", merged=True)
def move_product(op: Op, operands: list[Operand], trace: Trace) -> Dims:
    """``x @ W`` with the channels last: a 1x1 Conv in all but name, or an FC on a map that was pooled to a vector."""
    x, weight = operands[0], operands[1]
    if isinstance(x, FeatureMap) and isinstance(weight, FeatureMap) and op.kind == "MatMul":
        return _between(op, x, weight, trace)
    if not isinstance(x, FeatureMap):
        raise op.fits_one_size("multiplies positions, so it fits the trained size only")
    op.contradict_if(any(isinstance(a, Part) for a in parts_of(x.dims[-1])), "has a weight for each row of a part")
    if not isinstance(weight, Array) or isinstance(x.dims[-1], (Axis, Merged)) or len(weight.shape) != 2:
        raise op.fits_one_size("multiplies positions, so it fits the trained size only")
    op.refuse_if(x.dims[-1] == "batch" or op.attr("transA", 0), "sums over the batch")
    op.refuse_if(op.attr("transBatchA", 0) or op.attr("transBatchB", 0), "transposes a stack of matrices")
    return (*x.dims[:-1], weight.shape[0 if op.attr("transB", 0) else 1])


def _between(op: Op, a: FeatureMap, b: FeatureMap, trace: Trace) -> Dims:
    """A product of two maps: attention between the tokens of a window, or between all positions."""
    if min(len(a.dims), len(b.dims)) < 3:
        raise op.fits_one_size("multiplies positions, so it fits the trained size only")
    inner = (a.dims[-2], a.dims[-1], b.dims[-2], b.dims[-1])
    op.refuse_if(
        "batch" in inner or any("batch" in getattr(d, "parts", ()) for d in inner), "multiplies over the batch"
    )
    meet(op, [a.dims[-1]], [b.dims[-2]], trace)
    if a.dims[-2] == b.dims[-1] and isinstance(a.dims[-2], Axis):
        raise op.fits_one_size("multiplies positions, so it fits the trained size only")
    if any(follows(d) for d in inner):
        trace.blame(op, "global context", "multiplies all positions with each other")
    rank = max(len(a.dims), len(b.dims)) - 2
    fronts = [[*[1] * (rank - len(x.dims) + 2), *x.dims[:-2]] for x in (a, b)]
    return (*meet(op, fronts[0], fronts[1], trace), a.dims[-2], b.dims[-1])


@moves("Einsum")
def move_einsum(op: Op, operands: list[Operand], trace: Trace) -> Dims:
    """What an Einsum does to positions is told in the head only."""
    raise op.fits_one_size("is not known on a feature map in front of the head")
