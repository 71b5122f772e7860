"""``growth``: time of a conversion without verification for each node, in graphs of up to 20,000 of them.

Graphs of residual blocks in front of a head, in order and not, and with weights of its own for each Conv. Reading and
writing the file count; the sizes take turns in one process.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import onnx

from onnx_fc2conv import cli

from .graphs import GRAPHS
from .plan import Plan, answer, image, require_same, session
from .tables import Table
from .timing import medians

COUNTS, SMALL_COUNTS = (1000, 5000, 20000), (60, 120)


def run(plan: Plan) -> list[Table]:
    """Measure all graphs."""
    counts = SMALL_COUNTS if plan.small else COUNTS
    about = (__doc__ or "").partition("\n\n")[2].replace("\n", " ").strip()
    columns = ("graph", *(f"{n} nodes" for n in counts), f"{counts[-1]} / {counts[0]}")
    table = Table("bench growth", about, columns)
    for name in GRAPHS:
        measure(name, counts, plan, table)
    return [table]


def measure(name: str, counts: tuple[int, ...], plan: Plan, table: Table) -> None:
    """The row of one kind of graph."""
    paths = {count: saved(name, count, plan.folder) for count in counts}
    require_right(name, paths[counts[0]])
    found = medians({str(n): partial(converted, path) for n, path in paths.items()}, plan.rounds)
    each = {n: found[str(n)] / n for n in counts}
    ratio = each[counts[-1]] / each[counts[0]]
    table.add(
        (name, *(f"{1e6 * each[n]:.0f} us for each" for n in counts), f"{ratio:.2f}"),
        graph=name,
        seconds={n: found[str(n)] for n in counts},
        seconds_per_node=each,
        ratio=ratio,
        rounds=plan.rounds,
    )


def saved(name: str, count: int, folder: Path) -> Path:
    """A graph as a file."""
    path = folder / f"graph_{list(GRAPHS).index(name)}_{count}.onnx"
    if not path.exists():
        onnx.save(GRAPHS[name](count), path)
    return path


def converted(path: Path) -> Path:
    """The file that a conversion makes of it."""
    target = path.with_name("grown.onnx")
    if cli.main([str(path), str(target), "--no-verify", "--quiet"]):
        raise SystemExit(f"{path}: not converted")
    return target


def require_right(name: str, path: Path) -> None:
    """The smallest of them answers as the original does, to which nodes in any order are the same.

    Raises:
        SystemExit: it does not.
    """
    original, found = (session(p, mapped=True) for p in (path, converted(path)))
    feeds = image(original)
    require_same(name, answer(found, image(found, size=feeds["x"].shape[2:])), answer(original, feeds))
