"""``verify``: what the checks of a conversion cost, in time and in memory.

Every run is a process of its own, what it imports is counted for none, and ways take turns.
"""

from __future__ import annotations

from .convert import CONVERT, cleared
from .models import Case, vgg_cases
from .plan import Plan
from .tables import Table, duration, size
from .timing import Child, children, python

COLUMNS = ("model", "bytes", "--no-verify", "verified", "times --no-verify", "peak memory", "times the bytes")
VERIFY = f"from onnx_fc2conv import verification{CONVERT}"
CASES = ("VGG16-like, one file", "weights in Constant nodes")  #: of the models of ``convert``


def run(plan: Plan) -> list[Table]:
    """Measure some of the models of ``convert``."""
    about = "Time of a conversion with and without verification, and the peak memory of the verified one."
    table = Table("bench verify", f"{about} {(__doc__ or '').partition(chr(10) * 2)[2].strip()}", COLUMNS)
    for case in (case for case in vgg_cases(plan.small) if case.name in CASES):
        measure(case, plan, table)
    return [table]


def measure(case: Case, plan: Plan, table: Table) -> None:
    """The row of one model."""
    path = case.saved(plan.folder)
    folder = path.parent / "verified"

    def child(code: str, *options: str) -> Child:
        command = python(code, path.parent, folder / "converted.onnx", *options)
        return Child(command, before=lambda: cleared(folder), after=lambda: cleared(folder))

    found = children({"plain": child(CONVERT, "--no-verify"), "verified": child(VERIFY)}, plan.rounds)
    plain, verified = found["plain"], found["verified"]
    total = sum(f.stat().st_size for f in path.parent.iterdir() if f.name in ("model.onnx", "weights.data"))
    ratio, share = verified.median / plain.median, verified.peak / total
    table.add(
        (
            case.name,
            size(total),
            f"{duration(plain.median)}, {size(plain.peak)}",
            duration(verified.median),
            f"{ratio:.2f}",
            size(verified.peak),
            f"{share:.2f}",
        ),
        model=case.name,
        bytes=total,
        pairs=plan.rounds,
        plain={"seconds": plain.seconds, "peak": plain.peak},
        verified={"seconds": verified.seconds, "peak": verified.peak},
        ratio=ratio,
        times_bytes=share,
    )
