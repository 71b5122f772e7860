"""``convert``: time and peak memory of a conversion without verification, against a plain copy of the file.

The plain copy is ``os.copy_file_range``, as ``cp`` uses it, of every file of the model, and then ``fsync``, as the tool
syncs what it writes; no cache is dropped for either. Every run is a process of its own, what it imports is not counted
unless it is said, and ways take turns. Up to 1 GB, what was converted is first run beside its original; larger ones are
run by ``verify``.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from onnx_fc2conv import cli
from onnx_fc2conv.settings import Settings

from .models import Case, vgg_cases
from .plan import Plan, answer, image, require_same, session
from .tables import Table, duration, size
from .timing import Child, Times, children, python

COLUMNS = ("model", "bytes", "way", "time", "times a copy", "peak memory")
OURS = "onnx-fc2conv --no-verify"
SHARED = f"{OURS} --share-data"
CHECKED = 1e9  #: bytes; larger models are not run here
COPY = """
import os
def measured(source, target):
    for name in os.listdir(source):
        if name in ("model.onnx", "weights.data"):
            with open(f"{source}/{name}", "rb") as f, open(f"{target}/{name}", "wb") as g:
                left = os.fstat(f.fileno()).st_size
                while left:
                    left -= os.copy_file_range(f.fileno(), g.fileno(), left)
                os.fsync(g.fileno())
"""
LOAD_SAVE = """
import onnx
def measured(source, target):
    onnx.save(onnx.load(f"{source}/model.onnx"), f"{target}/model.onnx")
"""
GRAPHSURGEON = """
import onnx, onnx_graphsurgeon
def measured(source, target):
    graph = onnx_graphsurgeon.import_onnx(onnx.load(f"{source}/model.onnx"))
    onnx.save(onnx_graphsurgeon.export_onnx(graph), f"{target}/model.onnx")
"""
ONNX_IR = """
import onnx_ir
def measured(source, target):
    onnx_ir.save(onnx_ir.load(f"{source}/model.onnx"), f"{target}/model.onnx")
"""
CONVERT = """
from onnx_fc2conv import cli, pipeline, report
def measured(source, target, *options):
    if cli.main([f"{source}/model.onnx", target, "--quiet", *options]):
        raise SystemExit(1)
"""
OTHERS = {
    "onnx.load, onnx.save": LOAD_SAVE,
    "onnx-graphsurgeon import, export, save": GRAPHSURGEON,
    "onnx-ir load, save": ONNX_IR,
}


def run(plan: Plan) -> list[Table]:
    """Measure all models; the other tools on the first of them only."""
    table = Table("bench convert", (__doc__ or "").partition("\n\n")[2].replace("\n", " ").strip(), COLUMNS)
    for i, case in enumerate(vgg_cases(plan.small)):
        measure(case, plan, OTHERS if i == 0 else {}, table)
    return [table]


def measure(case: Case, plan: Plan, others: dict[str, str], table: Table) -> None:
    """The rows of one model."""
    path = case.saved(plan.folder)
    ways, target = commands(path, others)
    total = sum(f.stat().st_size for f in path.parent.iterdir() if f.name in ("model.onnx", "weights.data"))
    try:
        if total <= CHECKED:
            require_right(case.name, path, target)
        found = children(ways, plan.rounds)
    finally:
        cleared(target.parent)
    if SHARED not in ways and case.network().storage == "external":
        found[SHARED] = Times()
    copy = found["plain copy"].median
    for i, (way, times) in enumerate(found.items()):
        begin = (case.name, size(total)) if i == 0 else ("", "")
        if not times.seconds:
            table.add((*begin, way, "not available", "", ""), model=case.name, way=way, seconds=None)
            continue
        cells = (duration(times.median), f"{times.median / copy:.2f}", size(times.peak))
        figures = {"seconds": times.seconds, "ratio": times.median / copy, "peak": times.peak}
        table.add((*begin, way, *cells), model=case.name, bytes=total, way=way, pairs=plan.rounds, **figures)


def commands(path: Path, others: dict[str, str]) -> tuple[dict[str, Child], Path]:
    """Each way as a process, and where ours writes to: beside the model, as ``--share-data`` needs."""
    source, folder = path.parent, path.parent / "copies"
    target = folder / "converted.onnx"
    beside = source / "converted.onnx"

    def child(code: str, *arguments: object) -> Child:
        return Child(python(code, source, *arguments), before=lambda: cleared(folder), after=lambda: cleared(folder))

    ways = {"plain copy": child(COPY, folder), OURS: child(CONVERT, target, "--no-verify")}
    script = f"import sys; from onnx_fc2conv.cli import main; sys.exit(main({[str(path), str(target)]!r}"
    whole = [*python("")[:2], f"{script} + ['--quiet', '--no-verify']))"]
    ways[f"{OURS}, with start-up"] = Child(whole, False, lambda: cleared(folder), lambda: cleared(folder))
    if "share_data" in Settings.OPTIONS and (source / "weights.data").exists():
        shared = python(CONVERT, source, beside, "--no-verify", "--share-data")
        ways[SHARED] = Child(shared, after=lambda: removed(beside))
    ways |= {name: child(code, folder) for name, code in others.items()}
    return ways, target


def require_right(name: str, path: Path, target: Path) -> None:
    """The converted model answers as the original does; also what warms the caches.

    Raises:
        SystemExit: it does not.
    """
    cleared(target.parent)
    if cli.main([str(path), str(target), "--no-verify", "--quiet"]):
        raise SystemExit(f"{name}: not converted")
    original = session(path, mapped=True)
    feeds = image(original)
    expected = answer(original, feeds)
    del original
    require_same(name, answer(session(target, mapped=True), feeds), expected)


def cleared(folder: Path) -> None:
    """An empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


def removed(path: Path) -> None:
    """What a conversion wrote under this name, data files included."""
    for found in path.parent.glob(f"{path.name}*"):
        found.unlink()
